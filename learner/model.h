/* SPDX-License-Identifier: Apache-2.0 */
/* The model's one table of tensors, and the sizes that follow from schema and
 * configuration. Sizes, offsets, start values, the optimizer's loop, the
 * gradient check, snapshots and golden comparisons all walk this table; there
 * is no second list. Immutable after learner_model_new(); any thread.
 *
 * Symbols: P, D, C widths of the profile, item and context embeddings; X
 * width of the MLP's input; A0, A1 attention's hidden widths; M0, M1 the
 * MLP's. A width rounded up to 16 floats has the prefix ld. */
#ifndef LEARNER_MODEL_H
#define LEARNER_MODEL_H

#include "learner/learner.h"

/* DIN's tensors by their place in the table. Statistics exist with Dice
 * only; that is why they come last. */
enum learner_din_tensor {
    DIN_BN_GAMMA,
    DIN_BN_BETA,
    DIN_ATTENTION_0_WEIGHT,
    DIN_ATTENTION_0_BIAS,
    DIN_ATTENTION_1_WEIGHT,
    DIN_ATTENTION_1_BIAS,
    DIN_ATTENTION_2_WEIGHT,
    DIN_ATTENTION_2_BIAS,
    DIN_MLP_0_WEIGHT,
    DIN_MLP_0_BIAS,
    DIN_MLP_1_WEIGHT,
    DIN_MLP_1_BIAS,
    DIN_MLP_2_WEIGHT,
    DIN_MLP_2_BIAS,
    DIN_MLP_0_ALPHA,
    DIN_MLP_1_ALPHA,
    DIN_MLP_0_MEAN,
    DIN_MLP_0_VARIANCE,
    DIN_MLP_1_MEAN,
    DIN_MLP_1_VARIANCE,
    DIN_TENSORS
};

enum learner_tensor_start {
    LEARNER_START_ZERO,
    LEARNER_START_ONE,
    LEARNER_START_TENTH,  /* PReLU's slope */
    LEARNER_START_GLOROT, /* uniform +-sqrt(6 / (in + out)) */
};

struct learner_model {
    struct learner_schema schema; /* the fields and tables in use */
    uint8_t column[LEARNER_FIELDS_MAX]; /* of a field in the stream's */
    uint16_t stream_fields, stream_profile, stream_items; /* all of theirs */
    struct learner_table_spec tables[LEARNER_TABLES_MAX]; /* rows as wide as
        all their parameters; crosses last */
    unsigned table_count;
    /* Floats of a row that are embedding; the others, first-order weights,
     * start at 0. */
    uint32_t embedding[LEARNER_TABLES_MAX];
    struct learner_model_config config;
    struct learner_tensor tensors[DIN_TENSORS];
    enum learner_tensor_start start[DIN_TENSORS];
    unsigned tensor_count;
    size_t dense_size;                   /* floats */
    uint32_t P, D, C, X;                 /* widths */
    uint32_t ldD, ldX, ldA0, ldA1, ldM0, ldM1;
    uint32_t field_offset[LEARNER_FIELDS_MAX]; /* of a field within its
                                                  group's embedding */
};

static inline uint32_t learner_round16(uint32_t width)
{
    return (width + 15u) & ~15u;
}

/* BASE_CONFIG with the reason where the schema is not usable: counts, order
 * of groups, names, tables. */
enum base_status learner_schema_check(const struct learner_schema *schema,
                                      struct base_error *error)
    BASE_MUST_CHECK;

/* Start values of all tensors from config.seed; dense: (dense_size) floats,
 * 64-byte aligned. Gaps between tensors become 0. */
void learner_model_start(const struct learner_model *model, float *dense);

#endif
