/* SPDX-License-Identifier: Apache-2.0 */
/* The model's one table of tensors, and the sizes that follow from schema and
 * configuration. Sizes, offsets, start values, the optimizer's loop, the
 * gradient check, snapshots and golden comparisons all walk this table; there
 * is no second list. Immutable after learner_model_new(); any thread.
 *
 * Symbols: P, D, C widths of the profile, item and context embeddings; H of
 * the GRUs' states, K of the attention's keys (D, or H), I of the interest
 * vector; X of the MLP's input; A0, A1 attention's hidden widths, M0, M1 the
 * MLP's, U0, U1 the auxiliary network's. A width of something that the kind
 * has not is 0. A width rounded up to 16 floats has the prefix ld. */
#ifndef LEARNER_MODEL_H
#define LEARNER_MODEL_H

#include "learner/learner.h"

/* The tensors of all kinds in the order of the table; a model has those whose
 * condition holds (learner_model_has()). */
enum learner_tensor_name {
    TENSOR_BN_GAMMA,
    TENSOR_BN_BETA,
    TENSOR_ATTENTION_0_WEIGHT,
    TENSOR_ATTENTION_0_BIAS,
    TENSOR_ATTENTION_1_WEIGHT,
    TENSOR_ATTENTION_1_BIAS,
    TENSOR_ATTENTION_2_WEIGHT,
    TENSOR_ATTENTION_2_BIAS,
    TENSOR_QUERY_WEIGHT,
    TENSOR_QUERY_BIAS,
    TENSOR_QUERY_ALPHA,
    TENSOR_GRU1_GATES_WEIGHT,
    TENSOR_GRU1_GATES_BIAS,
    TENSOR_GRU1_CANDIDATE_WEIGHT,
    TENSOR_GRU1_CANDIDATE_BIAS,
    TENSOR_GRU2_GATES_WEIGHT,
    TENSOR_GRU2_GATES_BIAS,
    TENSOR_GRU2_CANDIDATE_WEIGHT,
    TENSOR_GRU2_CANDIDATE_BIAS,
    TENSOR_AUXILIARY_BN_GAMMA,
    TENSOR_AUXILIARY_BN_BETA,
    TENSOR_AUXILIARY_0_WEIGHT,
    TENSOR_AUXILIARY_0_BIAS,
    TENSOR_AUXILIARY_1_WEIGHT,
    TENSOR_AUXILIARY_1_BIAS,
    TENSOR_AUXILIARY_2_WEIGHT,
    TENSOR_AUXILIARY_2_BIAS,
    TENSOR_MLP_0_WEIGHT,
    TENSOR_MLP_0_BIAS,
    TENSOR_MLP_1_WEIGHT,
    TENSOR_MLP_1_BIAS,
    TENSOR_MLP_2_WEIGHT,
    TENSOR_MLP_2_BIAS,
    TENSOR_WIDE_WEIGHT,
    TENSOR_WIDE_BIAS,
    TENSOR_FIRST_ORDER_BIAS,
    TENSOR_MLP_0_ALPHA,
    TENSOR_MLP_1_ALPHA,
    TENSOR_MLP_0_MEAN,
    TENSOR_MLP_0_VARIANCE,
    TENSOR_MLP_1_MEAN,
    TENSOR_MLP_1_VARIANCE,
    TENSORS
};

enum learner_tensor_start {
    LEARNER_START_ZERO,
    LEARNER_START_ONE,
    LEARNER_START_TENTH,  /* PReLU's slope */
    LEARNER_START_GLOROT, /* uniform +-sqrt(6 / (in + out)) */
};

/* Where the parts of x start: [profile; item; context; s; item . s;
 * interest], the last two where the kind has them. */
struct learner_parts {
    uint32_t profile, item, context, sum, product, interest;
};

struct learner_model {
    struct learner_schema schema; /* the fields and tables in use */
    uint8_t column[LEARNER_FIELDS_MAX]; /* of a field in the stream's */
    uint16_t stream_fields, stream_profile, stream_items; /* all of theirs */
    struct learner_table_spec tables[LEARNER_TABLES_MAX]; /* rows as wide
        as all their parameters; crosses last */
    unsigned table_count;
    /* Floats of a row that are embedding; what follows, a first-order weight,
     * starts at 0. */
    uint32_t embedding[LEARNER_TABLES_MAX];
    struct learner_model_config config;
    struct learner_tensor tensors[TENSORS];
    enum learner_tensor_start start[TENSORS];
    int8_t place[TENSORS]; /* in tensors[]; -1: the model has it not */
    unsigned tensor_count;
    size_t dense_size; /* floats */
    /* What the kind is made of. */
    bool has_mlp, has_product, has_attention, has_unit, has_states,
        has_first_order, has_crosses, has_factors, has_wide;
    uint32_t P, D, C, X, H, K, I; /* widths */
    uint32_t A0, A1, M0, M1, U0, U1;
    uint32_t ldD, ldX, ldH, ldK, ldI, ldA0, ldA1, ldM0, ldM1, ldU0, ldU1;
    struct learner_parts part;
    uint32_t field_offset[LEARNER_FIELDS_MAX]; /* of a field within its
                                                  group's embedding */
};

static inline uint32_t learner_round16(uint32_t width)
{
    return (width + 15u) & ~15u;
}

/* Floats from the start of the slab to a tensor that the model has. */
static inline size_t learner_model_offset(const struct learner_model *model,
                                          enum learner_tensor_name name)
{
    BASE_ASSERT(model->place[name] >= 0);
    return model->tensors[model->place[name]].offset;
}

static inline bool learner_model_has(const struct learner_model *model,
                                     enum learner_tensor_name name)
{
    return model->place[name] >= 0;
}

/* BASE_CONFIG with the reason where the schema is not usable: counts, order
 * of groups, names, tables, runs of multi-hot fields. */
enum base_status learner_schema_check(const struct learner_schema *schema,
                                      struct base_error *error)
    BASE_MUST_CHECK;

/* BASE_CONFIG with the name of a setting that is out of its range, or of
 * two that do not go together. */
enum base_status
learner_config_check(const struct learner_model_config *config,
                     struct base_error *error) BASE_MUST_CHECK;

/* Start values of all tensors from config.seed; dense: (dense_size) floats,
 * 64-byte aligned. Gaps between tensors become 0. */
void learner_model_start(const struct learner_model *model, float *dense);

#endif
