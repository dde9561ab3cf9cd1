/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint's file, as bytes and as read back.
 *
 * Folder `ck-<position, 20 digits>` with one file `cut.bin`, append-only
 * while it is written, little-endian:
 *   1. 64 bytes, struct learner_cut_file: magic, format, position, hash of
 *      the 56 bytes before it. Any later format keeps these 64 bytes.
 *   2. records: 32 bytes struct learner_cut_record, payload, zeros up to a
 *      multiple of 8. The hash is XXH3-64 of the padded payload, seeded with
 *      XXH3-64 of the header's first 24 bytes, which is seeded with the
 *      record's offset in the file: a record is nowhere else valid.
 *        HEAD      struct learner_checkpoint_info without digest, encoded
 *                  field by field (head.c)
 *        DENSE     u64 trained batches, u64 n, then n weights and two times n
 *                  f32 of the optimizer's state (what it does not use is 0)
 *        METRICS   see metrics.c
 *        NEGATIVES, ADMISSION, EVICTION  see negatives.h, admission.h,
 *                  eviction.h; each only where the model uses it
 *        CHANGES   what changed since the newest version, and since the copy
 *                  that was to become one (delta.h); only where asked for
 *        SLICE     rows (table.h, struct learner_row) of the model's `table`,
 *                  slots `first` and up, stride apart; slices in order
 *        UNDO      u64 slot and row, as often as fits: the row as it was at
 *                  the position, whatever its slice says; before or after it
 *        END       u64 number of records before; then, to the end of the
 *                  file, XXH3-128 of all bytes before it, low half first
 *   HEAD, DENSE and METRICS come first, then the parts that may be missing, in
 *   this order, once each; END comes last.
 * When a byte changes its meaning: raise LEARNER_CUT_FORMAT, keep reading the
 * format before it, add its number to the test of old formats. Formats 1, of
 * before there were several models, and 2, of before deltas, were never in a
 * release; they are refused. */
#ifndef LEARNER_CHECKPOINT_H
#define LEARNER_CHECKPOINT_H

#include "learner/learner.h"
#include "learner/table.h"

enum { LEARNER_CUT_FORMAT = 3 };
#define LEARNER_CUT_MAGIC "intrCUT\n"
#define LEARNER_CUT_NAME "cut.bin"

struct learner_cut_file {
    char magic[8];
    uint32_t format;
    uint32_t size; /* of this header, 64 */
    uint64_t position;
    uint64_t zero[4];
    uint64_t hash;
};

enum learner_cut_type {
    LEARNER_CUT_HEAD = 1,
    LEARNER_CUT_DENSE,
    LEARNER_CUT_METRICS,
    LEARNER_CUT_NEGATIVES,
    LEARNER_CUT_ADMISSION,
    LEARNER_CUT_EVICTION,
    LEARNER_CUT_CHANGES,
    LEARNER_CUT_PARTS, /* the above number less than this; not a record */
    LEARNER_CUT_SLICE = LEARNER_CUT_PARTS,
    LEARNER_CUT_UNDO,
    LEARNER_CUT_END,
};

struct learner_cut_record {
    uint32_t type;
    uint32_t table; /* of slice and undo, else 0 */
    uint64_t first; /* slot, of slice, else 0 */
    uint64_t size;  /* payload bytes without padding */
    uint64_t hash;
};

static inline size_t learner_cut_padded(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

/* Fills file->hash and record->hash; `payload` is padded. */
uint64_t learner_cut_file_hash(const struct learner_cut_file *file);
uint64_t learner_cut_record_hash(const struct learner_cut_record *record,
                                 const void *payload, uint64_t offset);

enum { LEARNER_CHECKPOINT_HEAD_MAX = 16384 };

/* Encodes the HEAD payload into bytes[LEARNER_CHECKPOINT_HEAD_MAX]; returns
 * its size. */
size_t learner_checkpoint_encode(const struct learner_checkpoint_info *info,
                                 void *bytes);
/* False where the bytes are no such payload. */
bool learner_checkpoint_decode(struct learner_checkpoint_info *info,
                               const void *bytes, size_t size);

/* What the trainer restores from, besides the public part. All BORROW. */
struct learner_checkpoint_part {
    const void *bytes; /* NULL: there is none */
    size_t size;
};
struct learner_checkpoint_parts {
    uint64_t dense_step, dense_size; /* floats */
    const float *weights, *state;    /* (n), (2,n) */
    struct learner_checkpoint_part part[LEARNER_CUT_PARTS]; /* by type */
};
const struct learner_checkpoint_parts *
learner_checkpoint_get_parts(const struct learner_checkpoint *checkpoint);
uint32_t learner_checkpoint_slots(const struct learner_checkpoint *checkpoint,
                                  unsigned table);
const struct learner_row *
learner_checkpoint_slot(const struct learner_checkpoint *checkpoint,
                        unsigned table, uint32_t slot);

#endif
