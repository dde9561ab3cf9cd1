/* SPDX-License-Identifier: Apache-2.0 */
/* Any version of a folder with all its weights in memory, loaded as a reader
 * does: a base, then deltas, each verified; its rows in order. One thread. */
#ifndef SNAPSHOT_LOADED_H
#define SNAPSHOT_LOADED_H

#include "snapshot/generation.h"
#include "snapshot/version.h"

/* A version in memory. */
struct snapshot_loaded {
    struct snapshot_version version; /* its manifest, locked */
    bool begun;
    struct learner_model *model; /* OWNS */
    struct snapshot_generation generation;
    uint64_t *keys[LEARNER_TABLES_MAX]; /* OWNS (rows), ascending */
};

/* BASE_NO_INPUT where it, or what it builds on, is not there. To be fini'd in
 * any case. */
enum base_status snapshot_loaded_init(const char *folder, uint64_t epoch,
                                      uint64_t version,
                                      struct snapshot_loaded *loaded,
                                      struct base_error *error)
    BASE_MUST_CHECK;
void snapshot_loaded_fini(struct snapshot_loaded *loaded);
/* As learner_checkpoint_rows. */
enum base_status
snapshot_loaded_rows(void *self, unsigned table,
                     enum base_status (*each)(void *each_self, uint64_t key,
                                              const float *weights),
                     void *each_self, struct base_error *error);

#endif
