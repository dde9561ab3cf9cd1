/* SPDX-License-Identifier: Apache-2.0 */
/* Anchor check: is the log still the one that was read? The last applied
 * record of each partition is read again and its timestamp and checksum are
 * compared. librdkafka 2.0.2 does not notice a topic that was made anew. */
#ifndef INGEST_ANCHOR_H
#define INGEST_ANCHOR_H

#include <stdatomic.h>

#include "ingest/kafka.h"

enum ingest_anchor {
    INGEST_ANCHOR_NONE, /* nothing applied yet */
    INGEST_ANCHOR_SAME,
    INGEST_ANCHOR_GONE,  /* the broker no longer has that record */
    INGEST_ANCHOR_OTHER, /* another record stands at its offset, or the log
                            ends before it: another log */
    INGEST_ANCHOR_DAMAGED, /* its batch cannot be read */
};

/* Fills verdicts[slot] of all slots. BASE_AGAIN where brokers did not answer
 * within timeout_ms, BASE_STOPPED once *stopping. Blocks; uses `handle`
 * (a helper of ingest_kafka_new) for itself meanwhile. */
enum base_status
ingest_anchor_check(rd_kafka_t *handle, const struct ingest_config *config,
                    const struct ingest_position *positions, unsigned slots,
                    int timeout_ms, const atomic_bool *stopping,
                    enum ingest_anchor *verdicts,
                    struct base_error *error) BASE_MUST_CHECK;

#endif
