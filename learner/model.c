/* SPDX-License-Identifier: Apache-2.0 */
/* The model's table of tensors; see model.h. Start values are a function of
 * (seed, tensor, index) alone. Does no arithmetic of the model. */
#include "learner/model.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"

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

/* What the kind is made of. */
static void set_parts(struct learner_model *model)
{
    const struct learner_model_config *config = &model->config;
    enum learner_kind kind = config->kind;
    bool crosses = config->wide == LEARNER_WIDE_CROSSES;
    model->has_mlp = kind != LEARNER_LR;
    model->has_states = kind == LEARNER_GRU_ATT || kind == LEARNER_DIEN;
    model->has_attention = model->has_states || kind == LEARNER_DIN;
    model->has_unit = model->has_attention &&
                      config->attention != LEARNER_ATTENTION_INNER;
    model->has_product = model->has_attention || kind == LEARNER_PNN;
    model->has_factors = kind == LEARNER_DEEPFM;
    model->has_crosses = kind == LEARNER_WIDE_DEEP && crosses;
    model->has_wide = kind == LEARNER_WIDE_DEEP && !crosses;
    model->has_first_order =
        kind == LEARNER_LR || model->has_factors || model->has_crosses;
}

static enum base_status set_tables(struct learner_model *model,
                                   struct base_error *error)
{
    const struct learner_schema *schema = &model->schema;
    for (unsigned t = 0; t < schema->table_count; t++) {
        const struct learner_table_spec *own = &schema->tables[t];
        if (model->has_factors && own->dimension != schema->tables[0].dimension)
            return base_fail(error, BASE_CONFIG,
                             "model: deepfm needs tables of one dimension; %s "
                             "has %u, %s has %u; set dimension",
                             schema->tables[0].name,
                             schema->tables[0].dimension, own->name,
                             own->dimension);
        if (model->has_crosses && strcmp(own->name, LEARNER_CROSS_TABLE) == 0)
            return base_fail(error, BASE_CONFIG,
                             "model: wide_deep has a table %s of its own; "
                             "rename the schema's", own->name);
        model->tables[t] = *own;
        model->embedding[t] = model->has_mlp ? own->dimension : 0;
        model->tables[t].dimension =
            (uint16_t)(model->embedding[t] + model->has_first_order);
    }
    model->table_count = schema->table_count;
    if (!model->has_crosses)
        return BASE_OK;
    if (model->table_count == LEARNER_TABLES_MAX)
        return base_fail(error, BASE_CONFIG,
                         "model: %d tables and that of crosses are one too "
                         "many", LEARNER_TABLES_MAX);
    model->tables[model->table_count++] =
        (struct learner_table_spec){LEARNER_CROSS_TABLE, 1};
    return BASE_OK;
}

static void set_widths(struct learner_model *model)
{
    const struct learner_schema *schema = &model->schema;
    const struct learner_model_config *config = &model->config;
    uint32_t *width[] = {&model->P, &model->D, &model->C};
    for (unsigned i = 0; i < schema->field_count; i++) {
        const struct learner_field *field = &schema->fields[i];
        if (field->continues) {
            model->field_offset[i] = model->field_offset[i - 1];
            continue;
        }
        model->field_offset[i] = *width[field->group];
        *width[field->group] += model->embedding[field->table];
    }
    uint32_t D = model->D;
    model->H = !model->has_states ? 0 : config->hidden ? config->hidden : D;
    model->K = model->has_states ? model->H : model->has_attention ? D : 0;
    model->I = model->K;
    struct learner_parts *part = &model->part;
    part->item = model->P;
    part->context = part->item + D;
    part->sum = part->context + model->C;
    part->product = part->sum + D;
    part->interest = part->product + (model->has_product ? D : 0);
    model->X = part->interest + model->I;
}

static void set_hidden(struct learner_model *model)
{
    const struct learner_model_config *config = &model->config;
    if (model->has_unit) {
        model->A0 = config->attention_hidden[0];
        model->A1 = config->attention_hidden[1];
    }
    if (model->has_mlp) {
        model->M0 = config->mlp_hidden[0];
        model->M1 = config->mlp_hidden[1];
    }
    if (config->auxiliary == LEARNER_AUXILIARY_NETWORK) {
        model->U0 = config->auxiliary_hidden[0];
        model->U1 = config->auxiliary_hidden[1];
    }
    model->ldD = learner_round16(model->D);
    model->ldX = learner_round16(model->X);
    model->ldH = learner_round16(model->H);
    model->ldK = learner_round16(model->K);
    model->ldI = learner_round16(model->I);
    model->ldA0 = learner_round16(model->A0);
    model->ldA1 = learner_round16(model->A1);
    model->ldM0 = learner_round16(model->M0);
    model->ldM1 = learner_round16(model->M1);
    model->ldU0 = learner_round16(model->U0);
    model->ldU1 = learner_round16(model->U1);
}

struct line {
    enum learner_tensor_name name;
    bool present;
    const char *text;
    size_t rows, columns; /* columns 0: one dimension */
    enum learner_tensor_start start;
    bool trained;
};

enum { SLAB_MAX = 1 << 28 }; /* floats */

static enum base_status add_tensor(struct learner_model *model,
                                   const struct line *line,
                                   struct base_error *error)
{
    model->place[line->name] = -1;
    if (!line->present)
        return BASE_OK;
    unsigned place = model->tensor_count++;
    size_t columns = line->columns ? line->columns : 1;
    size_t size = line->rows * columns;
    if (line->rows > SLAB_MAX || columns > SLAB_MAX ||
        model->dense_size + size > SLAB_MAX)
        return base_fail(error, BASE_CONFIG,
                         "model: %s is %zu x %zu; the dense part may have at "
                         "most %d floats", line->text, line->rows, columns,
                         SLAB_MAX);
    model->place[line->name] = (int8_t)place;
    model->start[place] = line->start;
    model->tensors[place] = (struct learner_tensor){
        .name = line->text,
        .shape = {(uint32_t)line->rows, (uint32_t)columns},
        .dimensions = line->columns ? 2 : 1,
        .trained = line->trained,
        .offset = model->dense_size,
    };
    model->dense_size += (size + 15u) & ~(size_t)15;
    return BASE_OK;
}

/* Floats that the first attention layer sees: [q; k; q-k; q.k], or
 * [q; q (x) k; k]. */
static size_t unit_input(const struct learner_model *model)
{
    size_t K = model->K;
    return model->config.attention == LEARNER_ATTENTION_OUTER ? (2 + K) * K
                                                              : 4 * K;
}

/* THE table. DIN's tensors keep their order: start values hang on it. */
static enum base_status add_tensors(struct learner_model *model,
                                    struct base_error *error)
{
    const struct learner_model_config *config = &model->config;
    size_t X = model->X, D = model->D, H = model->H, K = unit_input(model);
    size_t A0 = model->A0, A1 = model->A1, M0 = model->M0, M1 = model->M1;
    size_t U0 = model->U0, U1 = model->U1;
    bool mlp = model->has_mlp, unit = model->has_unit;
    bool states = model->has_states, wide = model->has_wide;
    bool first = model->has_first_order, query = states && unit;
    bool network = config->auxiliary == LEARNER_AUXILIARY_NETWORK;
    bool dice = mlp && config->activation == LEARNER_DICE;
    bool slopes = dice || (mlp && config->activation == LEARNER_PRELU);
    /* AGRU has no gate of its own but reset. */
    bool reset = config->kind == LEARNER_DIEN &&
                 config->evolution == LEARNER_AGRU;
    size_t gates = reset ? H : 2 * H;
    enum learner_tensor_start zero = LEARNER_START_ZERO,
        one = LEARNER_START_ONE, glorot = LEARNER_START_GLOROT,
        tenth = LEARNER_START_TENTH, slope = dice ? zero : tenth;
    const struct line lines[] = {
#define LINE(name, ...) {TENSOR_##name, __VA_ARGS__}
        LINE(BN_GAMMA, mlp, "bn.gamma", X, 0, one, true),
        LINE(BN_BETA, mlp, "bn.beta", X, 0, zero, true),
        LINE(ATTENTION_0_WEIGHT, unit, "attention.0.weight", K, A0, glorot,
             true),
        LINE(ATTENTION_0_BIAS, unit, "attention.0.bias", A0, 0, zero, true),
        LINE(ATTENTION_1_WEIGHT, unit, "attention.1.weight", A0, A1, glorot,
             true),
        LINE(ATTENTION_1_BIAS, unit, "attention.1.bias", A1, 0, zero, true),
        LINE(ATTENTION_2_WEIGHT, unit, "attention.2.weight", A1, 1, glorot,
             true),
        LINE(ATTENTION_2_BIAS, unit, "attention.2.bias", 1, 0, zero, true),
        LINE(QUERY_WEIGHT, states, "query.weight", D, H, glorot, true),
        LINE(QUERY_BIAS, query, "query.bias", H, 0, zero, true),
        LINE(QUERY_ALPHA, query, "query.alpha", H, 0, tenth, true),
        LINE(GRU1_GATES_WEIGHT, states, "gru1.gates.weight", D + H, 2 * H,
             glorot, true),
        LINE(GRU1_GATES_BIAS, states, "gru1.gates.bias", 2 * H, 0, one, true),
        LINE(GRU1_CANDIDATE_WEIGHT, states, "gru1.candidate.weight", D + H, H,
             glorot, true),
        LINE(GRU1_CANDIDATE_BIAS, states, "gru1.candidate.bias", H, 0, zero,
             true),
        LINE(GRU2_GATES_WEIGHT, states, "gru2.gates.weight", 2 * H, gates,
             glorot, true),
        LINE(GRU2_GATES_BIAS, states, "gru2.gates.bias", gates, 0, one, true),
        LINE(GRU2_CANDIDATE_WEIGHT, states, "gru2.candidate.weight", 2 * H, H,
             glorot, true),
        LINE(GRU2_CANDIDATE_BIAS, states, "gru2.candidate.bias", H, 0, zero,
             true),
        LINE(AUXILIARY_BN_GAMMA, network, "auxiliary.bn.gamma", H + D, 0, one,
             true),
        LINE(AUXILIARY_BN_BETA, network, "auxiliary.bn.beta", H + D, 0, zero,
             true),
        LINE(AUXILIARY_0_WEIGHT, network, "auxiliary.0.weight", H + D, U0,
             glorot, true),
        LINE(AUXILIARY_0_BIAS, network, "auxiliary.0.bias", U0, 0, zero, true),
        LINE(AUXILIARY_1_WEIGHT, network, "auxiliary.1.weight", U0, U1, glorot,
             true),
        LINE(AUXILIARY_1_BIAS, network, "auxiliary.1.bias", U1, 0, zero, true),
        LINE(AUXILIARY_2_WEIGHT, network, "auxiliary.2.weight", U1, 2, glorot,
             true),
        LINE(AUXILIARY_2_BIAS, network, "auxiliary.2.bias", 2, 0, zero, true),
        LINE(MLP_0_WEIGHT, mlp, "mlp.0.weight", X, M0, glorot, true),
        LINE(MLP_0_BIAS, mlp, "mlp.0.bias", M0, 0, zero, true),
        LINE(MLP_1_WEIGHT, mlp, "mlp.1.weight", M0, M1, glorot, true),
        LINE(MLP_1_BIAS, mlp, "mlp.1.bias", M1, 0, zero, true),
        LINE(MLP_2_WEIGHT, mlp, "mlp.2.weight", M1, 2, glorot, true),
        LINE(MLP_2_BIAS, mlp, "mlp.2.bias", 2, 0, zero, true),
        LINE(WIDE_WEIGHT, wide, "wide.weight", 3 * D, 2, glorot, true),
        LINE(WIDE_BIAS, wide, "wide.bias", 2, 0, zero, true),
        LINE(FIRST_ORDER_BIAS, first, "first_order.bias", 1, 0, zero, true),
        LINE(MLP_0_ALPHA, slopes, "mlp.0.alpha", M0, 0, slope, true),
        LINE(MLP_1_ALPHA, slopes, "mlp.1.alpha", M1, 0, slope, true),
        LINE(MLP_0_MEAN, dice, "mlp.0.mean", M0, 0, zero, false),
        LINE(MLP_0_VARIANCE, dice, "mlp.0.variance", M0, 0, one, false),
        LINE(MLP_1_MEAN, dice, "mlp.1.mean", M1, 0, zero, false),
        LINE(MLP_1_VARIANCE, dice, "mlp.1.variance", M1, 0, one, false),
#undef LINE
    };
    static_assert(sizeof lines / sizeof lines[0] == TENSORS, "one line each");
    enum base_status status = BASE_OK;
    for (unsigned i = 0; !status && i < TENSORS; i++) {
        BASE_ASSERT((unsigned)lines[i].name == i);
        status = add_tensor(model, &lines[i], error);
    }
    return status;
}

static enum base_status build(struct learner_model *model,
                              const struct learner_schema *schema,
                              struct base_error *error)
{
    choose_fields(model, schema);
    if (model->schema.item_count == 0)
        return base_fail(error, BASE_CONFIG,
                         "model: fields_off leaves no item field");
    set_parts(model);
    enum base_status status = set_tables(model, error);
    if (status)
        return status;
    set_widths(model);
    set_hidden(model);
    if (model->config.auxiliary == LEARNER_AUXILIARY_INNER &&
        model->H != model->D)
        return base_fail(error, BASE_CONFIG,
                         "model: the auxiliary loss by inner product needs "
                         "hidden %u, as wide as the items", model->D);
    return add_tensors(model, error);
}

enum base_status learner_model_new(const struct learner_schema *schema,
                                   const struct learner_model_config *config,
                                   struct learner_model **model,
                                   struct base_error *error)
{
    *model = NULL;
    enum base_status status = learner_schema_check(schema, error);
    if (!status)
        status = learner_config_check(config, error);
    if (status)
        return status;
    struct learner_model *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "model: no memory");
    made->config = *config;
    status = build(made, schema, error);
    if (status) {
        free(made);
        return status;
    }
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
