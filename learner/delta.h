/* SPDX-License-Identifier: Apache-2.0 */
/* The delta's cut (STATE d): the weights of the rows that changed since the
 * newest published version, as of exactly one batch end, copied while training
 * goes on.
 *
 * begin() at a batch end copies the dense weights and what went, and notes
 * which rows are to be copied; step(), called between batches, copies some;
 * touch(), called before a row changes, and gone(), before it goes, copy that
 * row at once. The order of copying is of no meaning: rows are sorted by who
 * reads them. The copy is flying from begin() until settle() says whether it
 * became a version; only one flies.
 *
 * 1. Two notes of changes are kept: since the newest version, and, while a copy
 *    flies, since its batch end. If it becomes a version the second takes the
 *    first's place; if not, the first goes on as if nothing had been.
 * 2. Memory: (8 + 4 W) bytes for each row that changed since the version, W its
 *    weights; so never more than the weights and keys of all rows once, plus
 *    three bits for each slot twice and 8 bytes for each key that went.
 * Train thread, but for reading a copy that flies. */
#ifndef LEARNER_DELTA_H
#define LEARNER_DELTA_H

#include "learner/changes.h"
#include "learner/learner.h"
#include "learner/table.h"

struct learner_delta_cut;

/* BORROWS model and tables until free. */
enum base_status learner_delta_new(const struct learner_model *model,
                                   struct learner_table *const *tables,
                                   struct learner_delta_cut **cut,
                                   struct base_error *error) BASE_MUST_CHECK;
void learner_delta_free(struct learner_delta_cut *cut);

/* Before a row is trained; fresh: its key was made by this batch. `cut` may be
 * NULL, here and in gone(). */
void learner_delta_touch(struct learner_delta_cut *cut, unsigned table,
                         uint32_t slot, bool fresh);
/* Before a live row is removed. */
void learner_delta_gone(struct learner_delta_cut *cut, unsigned table,
                        uint32_t slot);

/* Takes the state as of now: `info` comes with position, journal_hash, status
 * and cut_ms; `dense` are the model's weights, `step` the batches trained. None
 * may be flying. Where memory is refused, or it is not known what changed, the
 * copy has no rows (info.complete is false). */
void learner_delta_begin(struct learner_delta_cut *cut,
                         const struct learner_delta_info *info,
                         const float *dense, uint64_t step);
/* Copies up to `rows` rows; true while there are more. */
bool learner_delta_step(struct learner_delta_cut *cut, unsigned rows);
void learner_delta_settle(struct learner_delta_cut *cut, bool committed);
bool learner_delta_copying(const struct learner_delta_cut *cut);
bool learner_delta_flying(const struct learner_delta_cut *cut);
/* The copy; BORROWS until settle(). */
struct learner_delta *learner_delta_get(struct learner_delta_cut *cut);

/* Nothing has changed since this batch end: it is the version's. */
void learner_delta_start(struct learner_delta_cut *cut, uint64_t position,
                         const uint64_t journal_hash[2], uint64_t step);
/* What changed is no longer known, and the next version is a base: a user is
 * forgotten and no note may name its rows, or the state went back. `cut` may be
 * NULL; `why` is for the log. */
void learner_delta_lose(struct learner_delta_cut *cut, const char *why);
bool learner_delta_known(const struct learner_delta_cut *cut);
/* The version's position; and of the copy: its rows, and the memory held. */
uint64_t learner_delta_since(const struct learner_delta_cut *cut);
uint64_t learner_delta_copied(const struct learner_delta_cut *cut);
uint64_t learner_delta_bytes(const struct learner_delta_cut *cut);

/* For a checkpoint: u64 count, then each known note (changes.h). */
size_t learner_delta_size(const struct learner_delta_cut *cut);
void learner_delta_save(const struct learner_delta_cut *cut, void *bytes);
/* Takes from a checkpoint the note that begins at the version's position, and
 * what rows tell: `step` of the checkpoint, `every_row` of the optimizer. Not
 * known where there is none. BASE_CORRUPT where the bytes do not fit. */
enum base_status learner_delta_load(struct learner_delta_cut *cut,
                                    uint64_t position,
                                    const uint64_t journal_hash[2],
                                    uint64_t step, bool every_row,
                                    const void *bytes, size_t size,
                                    struct base_error *error) BASE_MUST_CHECK;

#endif
