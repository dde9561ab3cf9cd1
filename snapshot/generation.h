/* SPDX-License-Identifier: Apache-2.0 */
/* All weights of a version in a reader's memory: the dense slab of its own,
 * and a persistent map a table, which shares with its neighbours what did not
 * change. Made by one thread, read by any; freed as snapshot/map.h says. */
#ifndef SNAPSHOT_GENERATION_H
#define SNAPSHOT_GENERATION_H

#include "snapshot/map.h"

struct snapshot_generation {
    float *dense; /* OWNS, 64-byte aligned */
    unsigned table_count;
    struct snapshot_map *maps[LEARNER_TABLES_MAX]; /* OWNS */
};

/* From the files of a base, each verified. Needs memory for the largest file
 * of a table beside the weights while it runs. After an error there is
 * nothing to free. */
enum base_status
snapshot_generation_load(int folder, const struct snapshot_manifest *manifest,
                         const struct learner_model *model,
                         struct snapshot_generation *generation,
                         struct base_error *error) BASE_MUST_CHECK;

/* A successor of `old`, without dense weights until a delta is applied. */
enum base_status
snapshot_generation_begin(const struct snapshot_generation *old,
                          struct snapshot_generation *generation,
                          struct base_error *error) BASE_MUST_CHECK;

/* Takes in the files of a delta; `old` is what it began from, NULL where it
 * was loaded. After an error it is only good to be freed. */
enum base_status
snapshot_generation_apply(int folder, const struct snapshot_manifest *manifest,
                          const struct learner_model *model,
                          const struct snapshot_generation *old,
                          struct snapshot_generation *generation,
                          struct base_error *error) BASE_MUST_CHECK;

/* Frees what `shared` (a neighbour, or NULL) has not. */
void snapshot_generation_free(struct snapshot_generation *generation,
                              const struct snapshot_generation *shared);

uint64_t
snapshot_generation_bytes(const struct snapshot_generation *generation);

/* For learner_score. BORROWS. */
struct learner_parameters
snapshot_generation_parameters(const struct snapshot_generation *generation);

#endif
