/* SPDX-License-Identifier: Apache-2.0 */
/* The weights of a version as they lie in its files: the dense tensors copied
 * into the learner's slab, the tables mapped. After opening
 *  1. every dense tensor of the model is there with its shape, and no other,
 *  2. in each table keys ascend strictly, row 0 is the OOV row with key 0,
 *  3. each key is found through the index, and every probe ends,
 *  4. all values are finite.
 * Immutable; any thread may read. */
#ifndef SNAPSHOT_WEIGHTS_H
#define SNAPSHOT_WEIGHTS_H

#include "snapshot/manifest.h"

struct snapshot_table {
    struct snapshot_tensors file; /* OWNS the mapping below */
    const uint32_t *index;        /* (mask + 1) */
    uint64_t mask;
    const uint64_t *keys; /* (rows) */
    const float *values;  /* (rows, dimension) */
    uint64_t rows;
    size_t dimension; /* floats of a row: all its parameters */
};

struct snapshot_weights {
    float *dense; /* OWNS (learner_dense_size), 64-byte aligned */
    unsigned table_count;
    struct snapshot_table tables[LEARNER_TABLES_MAX];
};

/* Opens the files that the manifest lists, below the folder descriptor.
 * `model` must be of the manifest's schema and configuration. */
enum base_status snapshot_weights_open(int folder,
                                       const struct snapshot_manifest *manifest,
                                       const struct learner_model *model,
                                       struct snapshot_weights *weights,
                                       struct base_error *error)
    BASE_MUST_CHECK;
void snapshot_weights_fini(struct snapshot_weights *weights);

/* For learner_score. BORROWS from the weights. */
struct learner_parameters
snapshot_weights_parameters(const struct snapshot_weights *weights);

#endif
