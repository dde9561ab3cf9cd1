/* SPDX-License-Identifier: Apache-2.0 */
/* Negatives of the auxiliary loss (DIEN, arXiv 1809.03672, eq. 7; MODEL 1.5):
 * beside each behavior an item that the user did not choose.
 *
 * They come from a pool: the items of the last 65,536 positives in journal
 * order. For behavior t >= 1 of a group, draw k = 0 .. 7 is keyed by (seed,
 * purpose, position of the group's first sample, t, k); an item that stands
 * anywhere in the group's history is drawn again (config.auxiliary_any: only
 * one equal to behavior t). The first item field says which items are equal.
 * After 8 draws the cell is left out; below 256 entries all are.
 *
 * 1. Draws are a function of pool, history, seed and position: threads,
 *    batch borders and earlier draws do not enter.
 * 2. The pool changes in learner_negatives_add() alone, at batch ends.
 *
 * Train thread. Does not look up rows. */
#ifndef LEARNER_NEGATIVES_H
#define LEARNER_NEGATIVES_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "learner/learner.h"

enum {
    LEARNER_NEGATIVES_POOL = 65536,
    LEARNER_NEGATIVES_LEAST = 256,
    LEARNER_NEGATIVES_TRIES = 8,
};

struct learner_negatives; /* OWNS */

/* `stream`: the schema that the model was made from, that of the batches. */
enum base_status learner_negatives_new(const struct learner_model *model,
                                       const struct learner_schema *stream,
                                       struct learner_negatives **negatives,
                                       struct base_error *error)
    BASE_MUST_CHECK;
void learner_negatives_free(struct learner_negatives *negatives);

/* *ids (N,f), f item fields of the model: what stands beside each behavior of
 * the batch, LEARNER_ABSENT in all fields where the cell is left out, as is
 * the first behavior of each group. NULL where the pool is too small. BORROWS
 * until the next draw. Allocates only for a larger batch than before. */
enum base_status learner_negatives_draw(struct learner_negatives *negatives,
                                        const struct learner_batch *batch,
                                        const uint64_t **ids,
                                        struct base_error *error)
    BASE_MUST_CHECK;
/* The batch was trained: its positives' items enter the pool. */
void learner_negatives_add(struct learner_negatives *negatives,
                           const struct learner_batch *batch);

/* Entries in the pool. */
uint32_t learner_negatives_count(const struct learner_negatives *negatives);

/* The pool as bytes for a checkpoint: u64 items ever added, u64 f, then
 * min(items, 65,536) x f ids as they lie in the ring. save writes exactly
 * size bytes. */
size_t learner_negatives_size(const struct learner_negatives *negatives);
size_t learner_negatives_size_max(const struct learner_negatives *negatives);
void learner_negatives_save(const struct learner_negatives *negatives,
                            void *bytes);
/* BASE_CORRUPT where the bytes are no such pool. */
enum base_status learner_negatives_load(struct learner_negatives *negatives,
                                        const void *bytes, size_t size,
                                        struct base_error *error)
    BASE_MUST_CHECK;

#endif
