/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the files of one version into an empty folder: dense tensors, tables
 * with their index, golden requests scored from the files just written, and
 * manifest.json last. Every file and the folder are synced. Does not rename
 * and does not touch CURRENT. Role: publish. */
#ifndef SNAPSHOT_WRITER_H
#define SNAPSHOT_WRITER_H

#include "snapshot/manifest.h"

/* Where the weights come from: all of them for a base, those that changed and
 * the keys that went for a delta. BORROWS everything. */
struct snapshot_content {
    const struct learner_model *model;
    const float *dense; /* (learner_dense_size) */
    void *self;
    /* As learner_checkpoint_rows: ascending by key, key 0 first. Called twice
     * for each table; must give the same rows. */
    enum base_status (*rows)(void *self, unsigned table,
                             enum base_status (*each)(void *each_self,
                                                      uint64_t key,
                                                      const float *weights),
                             void *each_self, struct base_error *error);
    /* Of a delta: ascending, none of rows(), never 0. */
    const uint64_t *gone[LEARNER_TABLES_MAX];
    uint64_t gone_count[LEARNER_TABLES_MAX];
};

/* `manifest` comes with kind, identity, position and configuration, that of a
 * delta with the version's rows too, and leaves with counts, files and golden
 * requests. *hash is that of manifest.json. BASE_DATA
 * where a weight is not finite. */
enum base_status snapshot_writer_write(int folder,
                                       const struct snapshot_content *content,
                                       unsigned golden_requests,
                                       struct snapshot_manifest *manifest,
                                       struct snapshot_hash *hash,
                                       struct base_error *error)
    BASE_MUST_CHECK;

#endif
