/* SPDX-License-Identifier: Apache-2.0 */
/* The cut (STATE d): the state at exactly one batch end, written while
 * training goes on.
 *
 * begin() at a batch end takes what is small; step(), called between batches,
 * takes the next slice of rows; touch(), called before a row changes, saves
 * the row as an undo record where its slice has not been taken yet. A thread
 * of the cut's own writes, syncs and renames; buffers travel to it and back
 * through rings. Loading = slices, then undo records over them.
 *
 * 1. From begin to the last slice each row that changes is saved once, with
 *    its content at begin, or its slice was taken before.
 * 2. The buffers are all there and touched from the start; where all are with
 *    the writer, the caller waits, and that is counted.
 * 3. A folder `ck-*` is whole and durable; all else is called `.tmp-*`.
 *
 * Everything here is called by the train thread; the hook by the writer. */
#ifndef LEARNER_CUT_H
#define LEARNER_CUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "learner/checkpoint.h"
#include "learner/table.h"

enum { LEARNER_CUT_SLICE_BYTES = 4 << 20, LEARNER_CUT_BUFFERS = 4 };

enum learner_cut_outcome {
    LEARNER_CUT_NONE,    /* nothing begun, or the outcome was fetched */
    LEARNER_CUT_RUNNING, /* slices to take, or the writer is at it */
    LEARNER_CUT_DONE,
    LEARNER_CUT_FAILED, /* the temporary folder is gone; training is well */
};

struct learner_cut_config {
    struct learner_table *const *tables; /* BORROWS until the free */
    unsigned table_count;
    const char *folder;  /* BORROWS until the free */
    const char *label;   /* as folder; "model=ctr " for log lines, or NULL */
    unsigned kept;       /* checkpoints, at least 1 */
    size_t slice_bytes;  /* buffer size; 0: LEARNER_CUT_SLICE_BYTES */
    /* Durable; called by the writer before the outcome is DONE. */
    void (*written)(void *self, const char *path, uint64_t position,
                    uint64_t oldest_kept, uint64_t request);
    void *written_self;
};

struct learner_cut;

enum base_status learner_cut_new(const struct learner_cut_config *config,
                                 struct learner_cut **cut,
                                 struct base_error *error) BASE_MUST_CHECK;
/* Abandons what is begun. */
void learner_cut_free(struct learner_cut *cut);

/* Room for small parts of `small` bytes, touched: so the first begin() is as
 * fast as the others. None may be running. */
enum base_status learner_cut_reserve(struct learner_cut *cut, size_t small,
                                     struct base_error *error) BASE_MUST_CHECK;
/* Starts a cut at `position`; none may be running. `small` bytes is the sum
 * of the sizes of the parts that follow at once, in the order of their types:
 * HEAD, DENSE, METRICS and those that the model uses. The tables are as of
 * now: no row may change before touch() said so. */
enum base_status learner_cut_begin(struct learner_cut *cut, uint64_t position,
                                   uint64_t request, size_t small,
                                   struct base_error *error) BASE_MUST_CHECK;
/* Where the caller puts the `size` bytes of the next part. */
void *learner_cut_part(struct learner_cut *cut, enum learner_cut_type type,
                       size_t size);

/* Before a row changes. */
void learner_cut_touch(struct learner_cut *cut, unsigned table, uint32_t slot);
/* Takes the next slice; true while there is one left. Without `wait` only
 * where the writer keeps up: two buffers are empty, one is left for undo. */
bool learner_cut_step(struct learner_cut *cut, bool wait);
/* A slice can be taken without waiting. */
bool learner_cut_ready(const struct learner_cut *cut);
/* Drops a running cut and its temporary folder; waits for the writer. */
void learner_cut_abandon(struct learner_cut *cut);

/* True between begin and the last slice. */
bool learner_cut_slicing(const struct learner_cut *cut);
/* True between begin and the outcome. */
bool learner_cut_running(const struct learner_cut *cut);
/* DONE and FAILED are told once, then NONE; FAILED fills *error. With `wait`
 * the remaining slices are taken and the writer waited for. */
enum learner_cut_outcome learner_cut_outcome(struct learner_cut *cut,
                                             bool wait,
                                             struct base_error *error);
/* Times that the train thread waited for a buffer. */
uint64_t learner_cut_waits(const struct learner_cut *cut);

/* Removes `.tmp-*` leftovers in `folder`. */
enum base_status learner_cut_clean(const char *folder,
                                   struct base_error *error) BASE_MUST_CHECK;
/* Removes the checkpoint; aside first: a crash leaves none without its file. */
enum base_status learner_cut_remove(const char *folder, uint64_t position,
                                    struct base_error *error) BASE_MUST_CHECK;

#endif
