/* SPDX-License-Identifier: Apache-2.0 */
/* A stored state opened for reading only: one commit of it, beside a running
 * daemon or without one. Its record of totals and its configuration are
 * verified. Whoever walks far renews the view from time to time: a view that
 * stands keeps the daemon's freed pages from being used again. Any thread, but
 * not in a process that has the state open. Private to ingest. */
#ifndef INGEST_VIEW_H
#define INGEST_VIEW_H

#include "ingest/join.h"
#include "ingest/store.h"

struct ingest_view {
    struct ingest_store *store;
    struct ingest_reader *reader;
    unsigned field_count, item_count;
    char *stream; /* OWNS: the stored configuration */
    struct ingest_totals totals;
    int64_t begun_ms; /* monotonic */
};

/* BASE_NO_INPUT where there is no state. Close it after an error too. */
enum base_status ingest_view_open(struct ingest_view *view, const char *folder,
                                  struct base_error *error) BASE_MUST_CHECK;
void ingest_view_close(struct ingest_view *view);
/* The newest commit instead of the one that was read; its totals too. */
enum base_status ingest_view_renew(struct ingest_view *view,
                                   struct base_error *error) BASE_MUST_CHECK;
/* Whether the view has stood for long. */
bool ingest_view_old(const struct ingest_view *view);

#endif
