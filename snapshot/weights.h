/* SPDX-License-Identifier: Apache-2.0 */
/* The weights of one version's folder as they lie in its files: the dense
 * tensors copied into the learner's slab, the tables as arrays. After opening
 *  1. every dense tensor of the model is there with its shape, and no other,
 *  2. in each table keys ascend strictly, row 0 is the OOV row with key 0,
 *  3. of a base, each key is found through the index, and every probe ends,
 *  4. of a delta, keys that went (`gone`) ascend strictly from above 0 and are
 *     none of the keys that changed,
 *  5. all values are finite.
 * A delta alone scores requests that use its own keys only. Immutable; any
 * thread may read. */
#ifndef SNAPSHOT_WEIGHTS_H
#define SNAPSHOT_WEIGHTS_H

#include "snapshot/manifest.h"

struct snapshot_table {
    struct snapshot_tensors file; /* OWNS the bytes that the others point to */
    enum snapshot_dtype dtype;    /* of `values` */
    size_t dimension;       /* values of a row: all its parameters */
    uint64_t rows;          /* in this file */
    const uint32_t *index;  /* (mask + 1); NULL in a delta */
    uint64_t mask;
    const uint64_t *keys;   /* (rows) */
    const uint8_t *values;  /* (rows, dimension) of dtype */
    const float *scale;     /* (rows), I8 only */
    const uint64_t *gone;   /* (gone_count), of a delta */
    uint64_t gone_count;
};

struct snapshot_weights {
    float *dense; /* OWNS (learner_dense_size), 64-byte aligned */
    unsigned table_count;
    struct snapshot_table tables[LEARNER_TABLES_MAX];
};

/* The tables that the manifest lists must be the model's. */
enum base_status
snapshot_weights_check(const struct snapshot_manifest *manifest,
                       const struct learner_model *model,
                       struct base_error *error) BASE_MUST_CHECK;

/* *dense OWNS the slab. */
enum base_status snapshot_dense_open(int folder,
                                     const struct snapshot_manifest *manifest,
                                     const struct learner_model *model,
                                     float **dense, struct base_error *error)
    BASE_MUST_CHECK;

/* Table `number` of the manifest. To be fini'd after success only. */
enum base_status snapshot_table_open(int folder,
                                     const struct snapshot_manifest *manifest,
                                     unsigned number,
                                     enum snapshot_access access,
                                     struct snapshot_table *table,
                                     struct base_error *error) BASE_MUST_CHECK;
/* The same of a file that lies in memory; BORROWS `bytes`. */
enum base_status snapshot_table_parse(const void *bytes, size_t size,
                                      const struct snapshot_manifest *manifest,
                                      unsigned number,
                                      struct snapshot_table *table,
                                      struct base_error *error)
    BASE_MUST_CHECK;
void snapshot_table_fini(struct snapshot_table *table);
/* Row `at` of the file as memory keeps it (snapshot/row.h). */
void snapshot_table_pack(const struct snapshot_table *table, uint64_t at,
                         void *row);

/* All of it, mapped: for the publisher, whose folder nobody else writes to.
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
