/* SPDX-License-Identifier: Apache-2.0 */
/* The committed journal of a stored state as a source of batches, for reading
 * only, beside a running daemon or without one; see ingest.h. */
#include <stdlib.h>

#include "ingest/feed.h"
#include "ingest/state.h"
#include "ingest/view.h"

struct ingest_reading {
    struct ingest_view view;
    struct ingest_feed feed;
    struct ingest_journal *journal;
};

enum base_status ingest_reading_open(const char *folder,
                                     struct ingest_reading **out,
                                     struct base_error *error)
{
    struct ingest_reading *reading = calloc(1, sizeof *reading);
    *out = NULL;
    if (!reading)
        return base_fail(error, BASE_SYSTEM, "journal: no memory");
    enum base_status status = ingest_view_open(&reading->view, folder, error);
    if (!status) {
        const struct ingest_view *view = &reading->view;
        ingest_feed_init(&reading->feed, view->store, view->field_count,
                         view->item_count);
        ingest_feed_signal(&reading->feed, view->totals.journal.batch_first);
        ingest_reader_end(view->reader); /* keeps no page from being freed */
        status = ingest_feed_open(&reading->feed, &reading->journal, error);
        if (status)
            ingest_feed_fini(&reading->feed);
    }
    if (status) {
        ingest_view_close(&reading->view);
        free(reading);
        return status;
    }
    *out = reading;
    return BASE_OK;
}

enum base_status ingest_reading_next(struct ingest_reading *reading,
                                     uint64_t position, int timeout_ms,
                                     struct learner_batch *batch,
                                     struct base_error *error)
{
    return ingest_journal_next(reading->journal, position, timeout_ms, batch,
                               error);
}

void ingest_reading_free(struct ingest_reading *reading)
{
    if (!reading)
        return;
    ingest_journal_free(reading->journal);
    ingest_feed_fini(&reading->feed);
    ingest_view_close(&reading->view);
    free(reading);
}
