/* SPDX-License-Identifier: Apache-2.0 */
/* The model's table of tensors; see model.h. Start values are a function of
 * (seed, tensor, index) alone. Does no arithmetic of the model. */
#include "learner/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"

static bool has_states(enum learner_kind kind)
{
    return kind == LEARNER_GRU_ATT || kind == LEARNER_DIEN;
}

void learner_model_config_profile(struct learner_model_config *config,
                                  enum learner_profile profile,
                                  enum learner_kind kind)
{
    bool reference = profile == LEARNER_REFERENCE;
    bool dice = kind == LEARNER_DIN || has_states(kind);
    *config = (struct learner_model_config){
        .kind = kind,
        .activation = dice ? LEARNER_DICE : LEARNER_PRELU,
        .pooling = LEARNER_SUM,
        .attention = LEARNER_ATTENTION_UNIT,
        .attention_softmax = reference || has_states(kind),
        .evolution = reference ? LEARNER_AUGRU_CODE : LEARNER_AUGRU,
        .auxiliary = kind == LEARNER_DIEN ? LEARNER_AUXILIARY_NETWORK
                                          : LEARNER_AUXILIARY_NONE,
        .wide = reference ? LEARNER_WIDE_DENSE : LEARNER_WIDE_CROSSES,
        .optimizer = kind == LEARNER_LR ? LEARNER_FTRL : LEARNER_ADAM,
        .attention_hidden = {80, 40},
        .mlp_hidden = {200, 80},
        .auxiliary_hidden = {100, 50},
        .dice_batch = reference,
        .dice_epsilon = reference ? 1e-9f : 1e-8f,
        .probability_epsilon = reference ? 1e-8f : 0,
        .loss_scale = reference ? 0.5f : 1,
        .auxiliary_weight = reference ? 1 : 2,
        .auxiliary_any = reference,
        .adam_every_row = reference,
        .learning_rate = 0.001f,
        .rate_decay = 1,
        .ftrl_alpha = 0.1f,
        .ftrl_beta = 1,
        .lambda = 0.01f,
        .admission = 2,
        .row_limit = 0.05f,
        .batch_size = 128,
        .shards = 4,
        .seed = 1,
    };
}

void learner_model_config_default(struct learner_model_config *config)
{
    learner_model_config_profile(config, LEARNER_STREAMING, LEARNER_DIN);
}

enum { HIDDEN_MAX = 4096, SHARDS_MAX = 256, BATCH_MAX = 1 << 20 };

static enum base_status check_config(const struct learner_model_config *config,
                                     struct base_error *error)
{
    if (config->kind != LEARNER_DIN)
        return base_fail(error, BASE_CONFIG, "model: kind %d is unknown",
                         (int)config->kind);
    if (config->activation != LEARNER_PRELU &&
        config->activation != LEARNER_DICE)
        return base_fail(error, BASE_CONFIG, "model: activation %d is unknown",
                         (int)config->activation);
    for (unsigned i = 0; i < 2; i++) {
        unsigned a = config->attention_hidden[i], m = config->mlp_hidden[i];
        if (a == 0 || a > HIDDEN_MAX || m == 0 || m > HIDDEN_MAX)
            return base_fail(error, BASE_CONFIG,
                             "model: hidden widths %u and %u; allowed are 1 "
                             "to %d", a, m, HIDDEN_MAX);
    }
    if (config->batch_size == 0 || config->batch_size > BATCH_MAX)
        return base_fail(error, BASE_CONFIG,
                         "model: batch_size %u; allowed are 1 to %d",
                         config->batch_size, BATCH_MAX);
    if (config->shards == 0 || config->shards > SHARDS_MAX)
        return base_fail(error, BASE_CONFIG,
                         "model: shards %u; allowed are 1 to %d",
                         config->shards, SHARDS_MAX);
    if (!(config->learning_rate > 0) || !(config->row_limit >= 0) ||
        !isfinite(config->learning_rate) || !isfinite(config->row_limit))
        return base_fail(error, BASE_CONFIG,
                         "model: learning_rate must be above 0, row_limit "
                         "not below 0");
    return BASE_OK;
}

/* Keeps the fields that the configuration does not switch off, and the tables
 * that they use. */
static void choose_fields(struct learner_model *model,
                          const struct learner_schema *stream)
{
    struct learner_schema *own = &model->schema;
    uint16_t *count[] = {&own->profile_count, &own->item_count,
                         &own->context_count};
    int place[LEARNER_TABLES_MAX];
    memset(place, -1, sizeof place);
    bool off = false;
    model->stream_fields = stream->field_count;
    model->stream_profile = stream->profile_count;
    model->stream_items = stream->item_count;
    for (unsigned i = 0; i < stream->field_count; i++) {
        const struct learner_field *field = &stream->fields[i];
        if (!field->continues)
            off = model->config.fields_off >> i & 1;
        if (off)
            continue;
        if (place[field->table] < 0) {
            place[field->table] = own->table_count;
            own->tables[own->table_count] = stream->tables[field->table];
            if (model->config.dimension)
                own->tables[own->table_count].dimension =
                    model->config.dimension;
            own->table_count++;
        }
        model->column[own->field_count] = (uint8_t)i;
        own->fields[own->field_count] = *field;
        own->fields[own->field_count++].table = (uint16_t)place[field->table];
        ++*count[field->group];
    }
}

static bool has_first_order(const struct learner_model_config *config)
{
    return config->kind == LEARNER_LR || config->kind == LEARNER_DEEPFM ||
           (config->kind == LEARNER_WIDE_DEEP &&
            config->wide == LEARNER_WIDE_CROSSES);
}

static void set_tables(struct learner_model *model)
{
    const struct learner_schema *schema = &model->schema;
    bool first_order = has_first_order(&model->config);
    for (unsigned t = 0; t < schema->table_count; t++) {
        model->tables[t] = schema->tables[t];
        model->embedding[t] = model->config.kind == LEARNER_LR
                                  ? 0
                                  : schema->tables[t].dimension;
        model->tables[t].dimension =
            (uint16_t)(model->embedding[t] + first_order);
    }
    model->table_count = schema->table_count;
    if (first_order && model->config.kind == LEARNER_WIDE_DEEP)
        model->tables[model->table_count++] =
            (struct learner_table_spec){LEARNER_CROSS_TABLE, 1};
}

static void set_widths(struct learner_model *model)
{
    const struct learner_schema *schema = &model->schema;
    uint32_t *width[] = {&model->P, &model->D, &model->C};
    for (unsigned i = 0; i < schema->field_count; i++) {
        const struct learner_field *field = &schema->fields[i];
        if (field->continues) {
            model->field_offset[i] = model->field_offset[i - 1];
            continue;
        }
        model->field_offset[i] = *width[field->group];
        *width[field->group] += schema->tables[field->table].dimension;
    }
    /* x = [profile; item; context; s; e_a . s; attention] */
    model->X = model->P + model->C + 4 * model->D;
    model->ldD = learner_round16(model->D);
    model->ldX = learner_round16(model->X);
    model->ldA0 = learner_round16(model->config.attention_hidden[0]);
    model->ldA1 = learner_round16(model->config.attention_hidden[1]);
    model->ldM0 = learner_round16(model->config.mlp_hidden[0]);
    model->ldM1 = learner_round16(model->config.mlp_hidden[1]);
}

struct line {
    enum learner_din_tensor place;
    const char *name;
    uint32_t rows, columns; /* columns 0: one dimension */
    enum learner_tensor_start start;
    bool trained, dice_only;
};

static void add_tensor(struct learner_model *model, const struct line *line)
{
    unsigned place = model->tensor_count++;
    BASE_ASSERT(place == (unsigned)line->place);
    model->start[place] = line->start;
    model->tensors[place] = (struct learner_tensor){
        .name = line->name,
        .shape = {line->rows, line->columns ? line->columns : 1},
        .dimensions = line->columns ? 2 : 1,
        .trained = line->trained,
        .offset = model->dense_size,
    };
    size_t size = (size_t)line->rows * (line->columns ? line->columns : 1);
    model->dense_size += (size + 15u) & ~(size_t)15;
}

static void add_tensors(struct learner_model *model)
{
    uint32_t A0 = model->config.attention_hidden[0];
    uint32_t A1 = model->config.attention_hidden[1];
    uint32_t M0 = model->config.mlp_hidden[0];
    uint32_t M1 = model->config.mlp_hidden[1];
    uint32_t X = model->X, D = model->D;
    bool dice = model->config.activation == LEARNER_DICE;
    enum learner_tensor_start zero = LEARNER_START_ZERO,
        one = LEARNER_START_ONE, glorot = LEARNER_START_GLOROT,
        slope = dice ? zero : LEARNER_START_TENTH;
    const struct line lines[] = {
        {DIN_BN_GAMMA, "bn.gamma", X, 0, one, true, false},
        {DIN_BN_BETA, "bn.beta", X, 0, zero, true, false},
        {DIN_ATTENTION_0_WEIGHT, "attention.0.weight", 4 * D, A0, glorot,
         true, false},
        {DIN_ATTENTION_0_BIAS, "attention.0.bias", A0, 0, zero, true, false},
        {DIN_ATTENTION_1_WEIGHT, "attention.1.weight", A0, A1, glorot, true,
         false},
        {DIN_ATTENTION_1_BIAS, "attention.1.bias", A1, 0, zero, true, false},
        {DIN_ATTENTION_2_WEIGHT, "attention.2.weight", A1, 1, glorot, true,
         false},
        {DIN_ATTENTION_2_BIAS, "attention.2.bias", 1, 0, zero, true, false},
        {DIN_MLP_0_WEIGHT, "mlp.0.weight", X, M0, glorot, true, false},
        {DIN_MLP_0_BIAS, "mlp.0.bias", M0, 0, zero, true, false},
        {DIN_MLP_1_WEIGHT, "mlp.1.weight", M0, M1, glorot, true, false},
        {DIN_MLP_1_BIAS, "mlp.1.bias", M1, 0, zero, true, false},
        {DIN_MLP_2_WEIGHT, "mlp.2.weight", M1, 2, glorot, true, false},
        {DIN_MLP_2_BIAS, "mlp.2.bias", 2, 0, zero, true, false},
        {DIN_MLP_0_ALPHA, "mlp.0.alpha", M0, 0, slope, true, false},
        {DIN_MLP_1_ALPHA, "mlp.1.alpha", M1, 0, slope, true, false},
        {DIN_MLP_0_MEAN, "mlp.0.mean", M0, 0, zero, false, true},
        {DIN_MLP_0_VARIANCE, "mlp.0.variance", M0, 0, one, false, true},
        {DIN_MLP_1_MEAN, "mlp.1.mean", M1, 0, zero, false, true},
        {DIN_MLP_1_VARIANCE, "mlp.1.variance", M1, 0, one, false, true},
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        if (dice || !lines[i].dice_only)
            add_tensor(model, &lines[i]);
}

enum base_status learner_model_new(const struct learner_schema *schema,
                                   const struct learner_model_config *config,
                                   struct learner_model **model,
                                   struct base_error *error)
{
    *model = NULL;
    enum base_status status = learner_schema_check(schema, error);
    if (!status)
        status = check_config(config, error);
    if (status)
        return status;
    struct learner_model *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "model: no memory");
    made->config = *config;
    choose_fields(made, schema);
    set_tables(made);
    set_widths(made);
    add_tensors(made);
    *model = made;
    return BASE_OK;
}

void learner_model_free(struct learner_model *model)
{
    free(model);
}

const struct learner_schema *
learner_model_schema(const struct learner_model *model)
{
    return &model->schema;
}

const struct learner_model_config *
learner_model_get_config(const struct learner_model *model)
{
    return &model->config;
}

unsigned learner_model_column(const struct learner_model *model,
                              unsigned field)
{
    BASE_ASSERT(field < model->schema.field_count);
    return model->column[field];
}

unsigned learner_model_tables(const struct learner_model *model)
{
    return model->table_count;
}

const struct learner_table_spec *
learner_model_table(const struct learner_model *model, unsigned table)
{
    BASE_ASSERT(table < model->table_count);
    return &model->tables[table];
}

unsigned learner_tensor_count(const struct learner_model *model)
{
    return model->tensor_count;
}

const struct learner_tensor *learner_tensor(const struct learner_model *model,
                                            unsigned index)
{
    BASE_ASSERT(index < model->tensor_count);
    return &model->tensors[index];
}

size_t learner_dense_size(const struct learner_model *model)
{
    return model->dense_size;
}

size_t learner_dense_trained(const struct learner_model *model)
{
    size_t count = 0;
    for (unsigned i = 0; i < model->tensor_count; i++) {
        const struct learner_tensor *tensor = &model->tensors[i];
        if (tensor->trained)
            count += (size_t)tensor->shape[0] * tensor->shape[1];
    }
    return count;
}

/* Random numbers drawn for start values; rows of tables use their key. */
#define PURPOSE_DENSE UINT64_C(0x64656e7365) /* "dense" */

void learner_model_start(const struct learner_model *model, float *dense)
{
    memset(dense, 0, model->dense_size * sizeof *dense);
    for (unsigned i = 0; i < model->tensor_count; i++) {
        const struct learner_tensor *tensor = &model->tensors[i];
        size_t size = (size_t)tensor->shape[0] * tensor->shape[1];
        float *w = dense + tensor->offset;
        float limit =
            sqrtf(6.0f / (float)(tensor->shape[0] + tensor->shape[1]));
        for (size_t j = 0; j < size; j++) {
            uint64_t bits =
                base_random_u64(model->config.seed, PURPOSE_DENSE, i, j);
            switch (model->start[i]) {
            case LEARNER_START_ZERO: w[j] = 0; break;
            case LEARNER_START_ONE: w[j] = 1; break;
            case LEARNER_START_TENTH: w[j] = 0.1f; break;
            case LEARNER_START_GLOROT:
                w[j] = (2 * base_random_unit(bits) - 1) * limit;
                break;
            }
        }
    }
}
