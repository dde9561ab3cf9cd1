/* SPDX-License-Identifier: Apache-2.0 */
/* Admission: an id gets a row once it occurred k times; until then it uses
 * its table's OOV row.
 *
 * 2^24 cells of 4 bits, one for each id by the hash of (table, key), count
 * occurrences of ids without a row up to 15. Ids that share a cell are
 * admitted early, never late. All cells are halved whenever another 2^26
 * occurrences were counted, at the end of the batch that reaches it, so the
 * state is a function of the journal.
 *
 * 1. count() takes effect at once; discard() takes back all since the last
 *    keep().
 * 2. Nothing is allocated between reserve() and keep().
 * Train thread. Does not make rows. */
#ifndef LEARNER_ADMISSION_H
#define LEARNER_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum {
    LEARNER_ADMISSION_CELLS = 1 << 24,
    LEARNER_ADMISSION_MOST = 15,           /* k at most */
    LEARNER_ADMISSION_HALVING = 1 << 26,   /* occurrences */
};

struct learner_admission; /* OWNS its cells */

/* k from 1 to 15. */
enum base_status learner_admission_new(struct learner_admission **admission,
                                       unsigned k, struct base_error *error)
    BASE_MUST_CHECK;
void learner_admission_free(struct learner_admission *admission);

/* Room for `ids` calls of count() until the next keep() or discard(). */
enum base_status learner_admission_reserve(struct learner_admission *admission,
                                           size_t ids,
                                           struct base_error *error)
    BASE_MUST_CHECK;
/* Counts `occurrences` of an id that has no row; true where it has occurred k
 * times now. `table`: seed of the table's name. */
bool learner_admission_count(struct learner_admission *admission,
                             uint64_t table, uint64_t key,
                             uint32_t occurrences);
/* The batch was trained. */
void learner_admission_keep(struct learner_admission *admission);
/* The batch was rejected: all as it was before its first count(). */
void learner_admission_discard(struct learner_admission *admission);

/* Cells of ids that occurred but are not admitted: about as many ids. NULL: 0.
 */
uint64_t learner_admission_waiting(const struct learner_admission *admission);

/* Bytes of the state; between batches. NULL has none: 0, nothing to do. */
size_t learner_admission_size(const struct learner_admission *admission);
void learner_admission_save(const struct learner_admission *admission,
                            void *bytes);
/* BASE_CORRUPT where the size is not admission's. */
enum base_status learner_admission_load(struct learner_admission *admission,
                                        const void *bytes, size_t size,
                                        struct base_error *error)
    BASE_MUST_CHECK;

#endif
