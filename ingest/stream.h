/* SPDX-License-Identifier: Apache-2.0 */
/* The part of the configuration that the stored state depends on, as lines of
 * `name=value` in the store's meta database. At open the stored lines are
 * compared with the configured ones: what changes the meaning of stored bytes
 * is refused by name; window, lateness, skew, sizes and down-sampling may
 * change and become a decision. Thread: whoever opens. */
#ifndef INGEST_STREAM_H
#define INGEST_STREAM_H

#include "ingest/ingest.h"

/* The lines, NUL at the end. *text OWNS. */
enum base_status ingest_stream_text(const struct ingest_config *config,
                                    char **text,
                                    struct base_error *error) BASE_MUST_CHECK;
/* Value of `name` in the lines, copied to value[size]; "" where missing. */
void ingest_stream_value(const char *text, const char *name, char *value,
                         size_t size);
/* BASE_CONFIG names the first value that may not change. What may and did is
 * described in changes[size], "" for nothing. */
enum base_status ingest_stream_compare(const char *stored, const char *wanted,
                                       char *changes, size_t size,
                                       struct base_error *error)
    BASE_MUST_CHECK;

#endif
