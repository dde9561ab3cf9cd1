/* SPDX-License-Identifier: Apache-2.0 */
/* Two append-only lists beside the state: dead letters (records that could
 * not be decoded, with reason and bytes) and decisions (what a clock or an
 * operator decided). Keys: big-endian u64 serial. Values:
 *
 * Dead letter: u64 XXH3-64 of the rest, serial as seed | u8 topic, u8 reason,
 * u16 0, i32 partition | i64 offset | i64 kafka_ms | u32 size of the record,
 * u32 bytes kept | bytes. Capped by the sum of all values; the oldest go first.
 * Decision: u64 XXH3-64 of the rest | u8 topic, u8 kind, u16 0, i32 partition
 * | i64 offset | i64 own_ms | i64 apply_ms | text (may be empty).
 * Decisions are kept as long as the record is in Kafka, those of operators for
 * good: they are the input of a rebuild. Thread: store. */
#ifndef INGEST_LETTER_H
#define INGEST_LETTER_H

#include "base/map.h"
#include "ingest/event.h"
#include "ingest/store.h"

enum ingest_decision_kind { /* bits; 1, 2, 16 and 32 are the event's */
    INGEST_DECISION_STOPPED = 4,
    INGEST_DECISION_CONFIGURATION = 8,
    /* Both of these bits: another member of the group has the partition. */
    INGEST_DECISION_REVOKED = 12,
    INGEST_DECISION_SKIPPED = 64, /* an operator gave up a range */
    /* Text: user, then TABLE:KEY for each row, all in 16 hex digits but the
     * table. Of user 0: the mark behind others. */
    INGEST_DECISION_FORGET = 128,
};

/* Stored in the state's record. */
struct ingest_letter_mark {
    uint64_t next_letter, letter_bytes, letters_dropped;
    uint64_t next_decision;
};

enum base_status ingest_letter_put(struct ingest_store *store,
                                   struct ingest_letter_mark *mark,
                                   const struct ingest_event *event,
                                   uint64_t max_bytes,
                                   struct base_error *error) BASE_MUST_CHECK;
/* Dead letters that hold the id of one of `users` (base_map, by user id) as
 * Avro writes a string, bytes or an integer, wherever in the kept bytes, go;
 * *gone of them. An integer's few bytes may stand there by chance: then a
 * letter too many goes. */
enum base_status ingest_letter_forget(struct ingest_store *store,
                                      struct ingest_letter_mark *mark,
                                      const struct base_map *users,
                                      uint64_t *gone,
                                      struct base_error *error) BASE_MUST_CHECK;
enum base_status ingest_decision_put(struct ingest_store *store,
                                     struct ingest_letter_mark *mark,
                                     const struct ingest_event *event,
                                     uint8_t kind, const char *text,
                                     struct base_error *error) BASE_MUST_CHECK;

/* See ingest_state_trim_decisions. */
struct ingest_position;
enum base_status ingest_decisions_trim(struct ingest_store *store,
                                       const struct ingest_position *begins,
                                       unsigned count, uint64_t *at,
                                       uint64_t *gone,
                                       struct base_error *error)
    BASE_MUST_CHECK;

/* A stored one of either list. */
struct ingest_letter {
    uint8_t topic, what; /* reason, or decision kind */
    int32_t partition;
    int64_t offset, first_ms, second_ms; /* kafka_ms; own_ms, apply_ms */
    uint32_t size;                       /* of the dead record */
    const uint8_t *bytes;
    uint32_t bytes_kept;
};
/* False where the value does not verify. BORROWS from it. */
bool ingest_letter_decode(struct ingest_bytes key, struct ingest_bytes value,
                          struct ingest_letter *letter);
bool ingest_decision_decode(struct ingest_bytes key, struct ingest_bytes value,
                            struct ingest_letter *letter);

#endif
