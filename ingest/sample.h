/* SPDX-License-Identifier: Apache-2.0 */
/* The journal's records and blocks, byte by byte. Records are canonical: they
 * depend neither on commits nor on blocks.
 *
 * Sample, little-endian:             Final label (fnw):
 *    0  u8   1                          0  u8   2
 *    1  u8   enum learner_sample_kind   1  u8   label
 *    2  u8   label                      2  6 x 0
 *    3  u8   1: carries a history       8  u64  position of the negative
 *    4  u32  behaviors T (0 without)
 *    8  i64  event_ms                Batch end:
 *   16  u64  user                       0  u8   3
 *   24  F x u64 ids                     1  3 x 0
 *       T x f x u64 history             4  u32  positions of the batch
 * Forget:                               8  u64  end: position behind it
 *    0  u8   4
 *    1  3 x 0
 *    4  u32  rows n, at most LEARNER_FORGET_ROWS
 *    8  u64  user, 0: nobody
 *   16  n x {u64 table of the stream's schema, u64 key}
 * A sample without history is "as before": same user and history as the one
 * before it. The first of a group (at most LEARNER_GROUP_MAX, never across a
 * batch end) carries it. Positions are dense, one a sample and one a forget,
 * which is a batch of its own.
 * Chain: h' = XXH3-128(h as 16 bytes, low half first || record); h starts 0.
 *
 * Block value: u64 XXH3-64 of the rest | u16 format 1, u16 0, u32 records |
 * u64 position of the next sample at its start | u64 block number | u64 chain
 * low, high at its start | records. Key: big-endian position, big-endian
 * block number. At most 64 KiB, but for one record that is larger alone.
 * Any thread; no state. */
#ifndef INGEST_SAMPLE_H
#define INGEST_SAMPLE_H

#include <stdbool.h>

#include "base/status.h"
#include "ingest/digest.h"
#include "ingest/store.h"
#include "learner/learner.h"

enum {
    INGEST_JOURNAL_FORMAT = 1,
    INGEST_JOURNAL_HEAD = 48,
    INGEST_JOURNAL_KEY = 16,
    INGEST_JOURNAL_BLOCK = 64 * 1024,
    INGEST_SAMPLE_HEAD = 24,
    INGEST_MARK_SIZE = 16, /* a final, a batch end, a forget without rows */
    INGEST_FORGET_ROW = 16,
    INGEST_FORGET_MAX =
        INGEST_MARK_SIZE + LEARNER_FORGET_ROWS * INGEST_FORGET_ROW,
};

enum ingest_record_type {
    INGEST_RECORD_SAMPLE = 1,
    INGEST_RECORD_FINAL = 2,
    INGEST_RECORD_BATCH_END = 3,
    INGEST_RECORD_FORGET = 4,
};

/* A parsed record. Pointers BORROW; they may be unaligned. */
struct ingest_record {
    enum ingest_record_type type;
    size_t size;
    uint8_t kind, label;
    bool fresh;       /* carries its history */
    uint32_t count;   /* sample: T; batch end: positions; forget: rows */
    uint64_t number;  /* sample, forget: user; final: position; batch end: end
                       */
    int64_t event_ms; /* of a sample */
    const uint8_t *ids, *history;
    const uint8_t *rows; /* of a forget */
};

struct ingest_journal_block {
    uint32_t records;
    uint64_t position, number;
    struct ingest_digest chain;
    const uint8_t *at, *end; /* the records */
};

/* Largest sample of a schema. */
size_t ingest_sample_max(unsigned field_count, unsigned item_count,
                         uint32_t history_max);
/* False where the bytes at `at` are no record. */
bool ingest_record_parse(const uint8_t *at, const uint8_t *end,
                         unsigned field_count, unsigned item_count,
                         struct ingest_record *record);
/* Positions that the record takes. */
static inline unsigned
ingest_record_positions(const struct ingest_record *record)
{
    return record->type == INGEST_RECORD_SAMPLE ||
           record->type == INGEST_RECORD_FORGET;
}
/* Of a forget record. */
void ingest_record_forget(const struct ingest_record *record,
                          struct learner_forget *forget);
/* Writes one into bytes[INGEST_FORGET_MAX]; returns its size. */
size_t ingest_record_put_forget(uint8_t *bytes,
                                const struct learner_forget *forget);
struct ingest_digest ingest_record_chain(struct ingest_digest before,
                                       const uint8_t *record, size_t size);
/* Verifies the block's hash and key. */
enum base_status ingest_journal_block_open(struct ingest_bytes key,
                                           struct ingest_bytes value,
                                           struct ingest_journal_block *block,
                                           struct base_error *error)
    BASE_MUST_CHECK;
/* Fills the head of value[size] and its hash. */
void ingest_journal_block_close(uint8_t *value, size_t size,
                                const struct ingest_journal_block *block);
void ingest_journal_block_key(uint8_t key[INGEST_JOURNAL_KEY],
                              uint64_t position, uint64_t number);

#endif
