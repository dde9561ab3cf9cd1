/* SPDX-License-Identifier: Apache-2.0 */
/* The offset ledger: where each partition stands and in which bucket each of
 * its consumed offsets is.
 *
 * 1. At every commit, for each partition, the sum of its buckets is
 *    before + next - start; anything else is BASE_BROKEN.
 * 2. INGEST_WAITING is the only bucket that an offset leaves.
 * 3. start and next are offsets of the log that is read now. Where an operator
 *    has said that this is another one (the topic was made anew, or stands in
 *    another cluster), `before` is how many offsets of all former logs were
 *    consumed; their buckets stay. What a former log held behind our place is
 *    not counted: nobody can say how much that was.
 * 4. A range given up in the log that is read now is in INGEST_LOST; of
 *    another log, so is what it held before the offset we go on from.
 * 5. own_ms and apply_ms of a partition number never run backwards, through
 *    another log neither: old events sent once more are late, not trained
 *    again.
 * Value per partition (key: u8 topic, big-endian u32 partition): struct
 * ingest_ledger_value in ledger.c. Thread: store. */
#ifndef INGEST_LEDGER_H
#define INGEST_LEDGER_H

#include "base/map.h"
#include "ingest/state.h"
#include "ingest/store.h"

struct ingest_partition {
    struct ingest_position position;
    uint64_t before; /* offsets consumed of logs before this one */
    uint64_t buckets[INGEST_BUCKET_COUNT];
    bool dirty;
};

struct ingest_ledger {
    struct ingest_store *store;
    struct base_map *index; /* topic << 32 | partition -> place */
    unsigned count;
    struct ingest_partition partitions[INGEST_PARTITIONS_MAX];
    struct ingest_position positions[INGEST_PARTITIONS_MAX]; /* a copy */
};

enum base_status ingest_ledger_init(struct ingest_ledger *ledger,
                                    struct ingest_store *store,
                                    struct base_error *error) BASE_MUST_CHECK;
void ingest_ledger_fini(struct ingest_ledger *ledger);
/* Within a transaction. */
enum base_status ingest_ledger_load(struct ingest_ledger *ledger,
                                    struct base_error *error) BASE_MUST_CHECK;

/* NULL where it is not known. BORROWS for the life of the ledger. */
struct ingest_partition *ingest_ledger_find(const struct ingest_ledger *ledger,
                                            uint8_t topic, int32_t partition);
enum base_status ingest_ledger_start(struct ingest_ledger *ledger,
                                     uint8_t topic, int32_t partition,
                                     int64_t first_offset,
                                     struct base_error *error) BASE_MUST_CHECK;
/* The record at `event` is being applied: gap, offset, times, anchor. It is
 * in no bucket yet. */
enum base_status ingest_ledger_advance(struct ingest_partition *partition,
                                       const struct ingest_event *event,
                                       struct base_error *error)
    BASE_MUST_CHECK;
/* The partition goes on at offset `to`, what lies before is lost: of the log
 * that was read so far (start -1), or of another one, which begins at `start`.
 * No anchor until the next record. BASE_USAGE where that would read offsets
 * twice. */
enum base_status ingest_ledger_skip(struct ingest_partition *partition,
                                    int64_t start, int64_t to,
                                    struct base_error *error) BASE_MUST_CHECK;
static inline void ingest_ledger_count(struct ingest_partition *partition,
                                       enum ingest_bucket bucket)
{
    partition->buckets[bucket]++;
    partition->dirty = true;
}
/* An offset of (topic, partition) leaves INGEST_WAITING. */
void ingest_ledger_settle(struct ingest_ledger *ledger, uint8_t topic,
                          int32_t partition, enum ingest_bucket bucket);
/* own_ms as of now; INT64_MIN where the partition is not known. */
int64_t ingest_ledger_own(const struct ingest_ledger *ledger, uint8_t topic,
                          int32_t partition);
/* Offsets in no bucket (or in two), of all partitions: 0. */
int64_t ingest_ledger_unaccounted(const struct ingest_ledger *ledger);
/* Checks the sums and writes what changed. */
enum base_status ingest_ledger_flush(struct ingest_ledger *ledger,
                                     struct base_error *error) BASE_MUST_CHECK;
/* One stored partition; BASE_CORRUPT where it does not verify. */
enum base_status ingest_ledger_decode(struct ingest_bytes key,
                                      struct ingest_bytes value,
                                      struct ingest_partition *partition,
                                      struct base_error *error) BASE_MUST_CHECK;

#endif
