/* SPDX-License-Identifier: Apache-2.0 */
/* Recorded decisions taken as input: the floors, clamps and dead letters by
 * the clock of an earlier run, one JSON object a line as `interestd inspect
 * decisions` prints them:
 *   {"topic": "impressions", "partition": 0, "offset": 12,
 *    "kind": "floored", "own_ms": 1, "apply_ms": 2}
 * kind is "floored", "clamped", "ahead", "unregistered" or several joined by
 * '+', decided about this record; or "stopped", "skipped" or "forget", which
 * came between records (repeat.h) and have a "text", and "behind" which of them
 * where that is not the place itself. Lines of other kinds are left out.
 * Immutable once read: any thread. */
#ifndef INGEST_DECISIONS_H
#define INGEST_DECISIONS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "ingest/repeat.h"

struct ingest_decision {
    uint8_t topic;
    uint8_t kinds; /* INGEST_FLOORED | INGEST_CLAMPED | .. of event.h */
    int32_t partition;
    int64_t offset;
    int64_t own_ms;   /* of a clamped record: its stamp after the clamp */
    int64_t apply_ms; /* of a floored record */
};

struct ingest_decisions;

/* BASE_DATA names file, line and what is wrong with it. */
enum base_status ingest_decisions_read(const char *path,
                                       struct ingest_decisions **decisions,
                                       struct base_error *error)
    BASE_MUST_CHECK;
void ingest_decisions_free(struct ingest_decisions *decisions);
size_t ingest_decisions_count(const struct ingest_decisions *decisions);

/* Those that came between records. BORROWS. */
const struct ingest_repeats *
ingest_decisions_repeats(const struct ingest_decisions *decisions);

/* The decision on exactly this record, or NULL. *cursor starts at 0, one a
 * partition; offsets of a partition are asked in rising order. */
const struct ingest_decision *
ingest_decisions_find(const struct ingest_decisions *decisions, uint8_t topic,
                      int32_t partition, int64_t offset, size_t *cursor);

#endif
