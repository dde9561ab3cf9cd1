/* SPDX-License-Identifier: Apache-2.0 */
/* See net_case.h. */
#include "tests/learner/net_case.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"

/* ---- variants ----------------------------------------------------------- */

static void mean(struct learner_model_config *c)
{
    c->pooling = LEARNER_MEAN;
}

static void dense(struct learner_model_config *c)
{
    c->wide = LEARNER_WIDE_DENSE;
}

static void sigmoid(struct learner_model_config *c)
{
    c->activation = LEARNER_SIGMOID;
}

static void relu(struct learner_model_config *c)
{
    c->activation = LEARNER_RELU;
    c->pooling = LEARNER_MEAN;
}

static void softmax(struct learner_model_config *c)
{
    c->attention_softmax = true;
}

static void outer(struct learner_model_config *c)
{
    c->attention = LEARNER_ATTENTION_OUTER;
}

static void inner(struct learner_model_config *c)
{
    c->attention = LEARNER_ATTENTION_INNER;
    c->attention_softmax = true;
}

static void prelu(struct learner_model_config *c)
{
    c->activation = LEARNER_PRELU;
}

static void code(struct learner_model_config *c)
{
    c->evolution = LEARNER_AUGRU_CODE;
}

static void agru(struct learner_model_config *c)
{
    c->evolution = LEARNER_AGRU;
    c->hidden = 21;
}

static void aigru(struct learner_model_config *c)
{
    c->evolution = LEARNER_AIGRU;
    c->auxiliary = LEARNER_AUXILIARY_NONE;
}

static void inner_auxiliary(struct learner_model_config *c)
{
    c->auxiliary = LEARNER_AUXILIARY_INNER;
    c->attention_softmax = false;
}

static void network_auxiliary(struct learner_model_config *c)
{
    c->auxiliary = LEARNER_AUXILIARY_NETWORK;
    c->hidden = 9;
}

/* Matrices of one column, and of one row. */
static void narrow(struct learner_model_config *c)
{
    c->attention_hidden[0] = c->attention_hidden[1] = 1;
    c->mlp_hidden[0] = c->mlp_hidden[1] = 1;
    c->auxiliary_hidden[0] = c->auxiliary_hidden[1] = 1;
    c->hidden = c->kind == LEARNER_DIEN;
    c->activation = LEARNER_SIGMOID;
}

const struct net_variant net_variants[] = {
    {"din", LEARNER_DIN, LEARNER_STREAMING, NULL},
    {"din prelu", LEARNER_DIN, LEARNER_STREAMING, prelu},
    {"din softmax", LEARNER_DIN, LEARNER_STREAMING, softmax},
    {"din outer", LEARNER_DIN, LEARNER_STREAMING, outer},
    {"din inner", LEARNER_DIN, LEARNER_STREAMING, inner},
    {"din reference", LEARNER_DIN, LEARNER_REFERENCE, NULL},
    {"din narrow", LEARNER_DIN, LEARNER_STREAMING, narrow},
    {"lr", LEARNER_LR, LEARNER_STREAMING, NULL},
    {"base", LEARNER_BASE, LEARNER_STREAMING, NULL},
    {"base mean", LEARNER_BASE, LEARNER_STREAMING, mean},
    {"base sigmoid", LEARNER_BASE, LEARNER_STREAMING, sigmoid},
    {"base relu mean", LEARNER_BASE, LEARNER_STREAMING, relu},
    {"base reference", LEARNER_BASE, LEARNER_REFERENCE, NULL},
    {"wide_deep", LEARNER_WIDE_DEEP, LEARNER_STREAMING, NULL},
    {"wide_deep dense", LEARNER_WIDE_DEEP, LEARNER_STREAMING, dense},
    {"pnn", LEARNER_PNN, LEARNER_STREAMING, NULL},
    {"pnn mean", LEARNER_PNN, LEARNER_STREAMING, mean},
    {"deepfm", LEARNER_DEEPFM, LEARNER_STREAMING, NULL},
    {"deepfm mean", LEARNER_DEEPFM, LEARNER_STREAMING, mean},
    {"gru_att", LEARNER_GRU_ATT, LEARNER_STREAMING, NULL},
    {"gru_att auxiliary", LEARNER_GRU_ATT, LEARNER_STREAMING,
     network_auxiliary},
    {"gru_att inner", LEARNER_GRU_ATT, LEARNER_STREAMING, inner},
    {"gru_att reference", LEARNER_GRU_ATT, LEARNER_REFERENCE, NULL},
    {"dien", LEARNER_DIEN, LEARNER_STREAMING, NULL},
    {"dien code", LEARNER_DIEN, LEARNER_STREAMING, code},
    {"dien agru", LEARNER_DIEN, LEARNER_STREAMING, agru},
    {"dien aigru", LEARNER_DIEN, LEARNER_STREAMING, aigru},
    {"dien inner", LEARNER_DIEN, LEARNER_STREAMING, inner},
    {"dien outer", LEARNER_DIEN, LEARNER_STREAMING, outer},
    {"dien inner auxiliary", LEARNER_DIEN, LEARNER_STREAMING,
     inner_auxiliary},
    {"dien narrow", LEARNER_DIEN, LEARNER_STREAMING, narrow},
    {"dien reference", LEARNER_DIEN, LEARNER_REFERENCE, NULL},
};
const unsigned net_variant_count =
    sizeof net_variants / sizeof net_variants[0];

/* ---- model -------------------------------------------------------------- */

static const struct {
    const char *name, *table;
    enum learner_group group;
    uint16_t more;
} fields[] = {
    {"gender", "gender", LEARNER_PROFILE, 0},
    {"likes", "genre", LEARNER_PROFILE, 1},
    {"goods", "goods", LEARNER_ITEM, 0},
    {"genres", "genre", LEARNER_ITEM, 2},
    {"cate", "cate", LEARNER_ITEM, 0},
    {"hour", "hour", LEARNER_CONTEXT, 0},
};

static uint16_t table_of(struct learner_schema *schema, const char *name)
{
    uint16_t t = 0;
    while (t < schema->table_count &&
           strcmp(schema->tables[t].name, name) != 0)
        t++;
    if (t == schema->table_count) {
        snprintf(schema->tables[t].name, LEARNER_NAME_MAX, "%s", name);
        schema->tables[t].dimension = (uint16_t)(3 + t);
        schema->table_count++;
    }
    return t;
}

static void make_schema(struct learner_schema *schema)
{
    memset(schema, 0, sizeof *schema);
    uint16_t *count[] = {&schema->profile_count, &schema->item_count,
                         &schema->context_count};
    for (unsigned i = 0; i < sizeof fields / sizeof fields[0]; i++)
        for (unsigned j = 0; j <= fields[i].more; j++) {
            struct learner_field *field =
                &schema->fields[schema->field_count++];
            snprintf(field->name, LEARNER_NAME_MAX, j ? "%s.%u" : "%s",
                     fields[i].name, j + 1);
            field->group = fields[i].group;
            field->table = table_of(schema, fields[i].table);
            field->more = j ? 0 : fields[i].more;
            field->continues = j > 0;
            ++*count[fields[i].group];
        }
}

static void make_model(struct net_case *c, const struct net_case_spec *spec)
{
    struct learner_schema schema;
    struct learner_model_config config;
    struct base_error error;
    make_schema(&schema);
    learner_model_config_profile(&config, spec->variant->profile,
                                 spec->variant->kind);
    config.attention_hidden[0] = 11, config.attention_hidden[1] = 7;
    config.mlp_hidden[0] = 19, config.mlp_hidden[1] = 13;
    config.auxiliary_hidden[0] = 10, config.auxiliary_hidden[1] = 6;
    config.dimension = spec->variant->kind == LEARNER_DEEPFM ? 5 : 0;
    config.shards = spec->shards;
    config.batch_size = 16;
    if (spec->variant->change)
        spec->variant->change(&config);
    if (learner_model_new(&schema, &config, &c->model, &error)) {
        fprintf(stderr, "%s: %s\n", spec->variant->name, error.text);
        abort();
    }
}

/* ---- memory ------------------------------------------------------------- */

static void *array(size_t count, size_t size)
{
    void *memory = aligned_alloc(64, (count * size + 127) / 64 * 64);
    if (!memory)
        abort();
    memset(memory, 0, (count * size + 127) / 64 * 64);
    return memory;
}

/* Not a number everywhere: a result that is not written shows. */
static float *unwritten(size_t count)
{
    float *memory = array(count, sizeof *memory);
    for (size_t i = 0; i < count; i++)
        memory[i] = NAN;
    return memory;
}

size_t net_case_table_size(const struct net_case *c, unsigned table)
{
    return (size_t)c->row_count[table] *
           learner_model_table(c->model, table)->dimension;
}

static void allocate(struct net_case *c, uint32_t samples, uint32_t groups,
                     size_t behaviors, size_t pairs)
{
    const struct learner_schema *schema = learner_model_schema(c->model);
    c->group_begin = array(groups + 1, sizeof *c->group_begin);
    c->history_begin = array(groups + 1, sizeof *c->history_begin);
    c->label = array(samples, 1);
    c->kind = array(samples, 1);
    c->index = array((size_t)samples * schema->field_count, sizeof *c->index);
    c->history_index =
        array(behaviors * schema->item_count, sizeof *c->history_index);
    c->negative_index =
        array(behaviors * schema->item_count, sizeof *c->negative_index);
    c->cross_index = array(pairs, sizeof *c->cross_index);
    for (unsigned t = 0; t < learner_model_tables(c->model); t++) {
        c->rows[t] = array(net_case_table_size(c, t), sizeof(float));
        c->drows[t] = unwritten(net_case_table_size(c, t));
    }
    size_t size = learner_dense_size(c->model);
    c->dense = array(size, sizeof(float));
    c->ddense = unwritten(size);
    c->probability = array(samples, sizeof(float));
    c->batch = (struct learner_batch){
        .end = samples, .samples = samples, .groups = groups,
        .label = c->label, .kind = c->kind,
        .group_begin = c->group_begin, .history_begin = c->history_begin};
    bool negatives = learner_model_get_config(c->model)->auxiliary !=
                     LEARNER_AUXILIARY_NONE;
    c->input = (struct learner_step_input){
        .batch = &c->batch, .index = c->index,
        .history_index = c->history_index,
        .negative_index = negatives ? c->negative_index : NULL,
        .cross_index = c->cross_index,
        .rows = (const float *const *)c->rows, .row_count = c->row_count,
        .dense = c->dense};
    c->output = (struct learner_step_output){
        .dense = c->dense, .ddense = c->ddense, .drows = c->drows};
}

void net_case_fini(struct net_case *c)
{
    for (unsigned t = 0; t < NET_CASE_TABLES; t++) {
        free(c->rows[t]);
        free(c->drows[t]);
    }
    free(c->group_begin);
    free(c->history_begin);
    free(c->label);
    free(c->kind);
    free(c->index);
    free(c->history_index);
    free(c->negative_index);
    free(c->cross_index);
    free(c->dense);
    free(c->ddense);
    free(c->probability);
    learner_model_free(c->model);
}

/* ---- values ------------------------------------------------------------- */

struct draws {
    uint64_t seed, position;
};

static uint32_t draw(struct draws *draws, uint32_t n)
{
    uint64_t bits = base_random_u64(draws->seed, 1, draws->position++, 0);
    return (uint32_t)base_random_below(bits, n);
}

/* One line of cells from field `first` on; a third of the places of a
 * multi-hot field is absent, its first too, but never all. */
static void fill_line(struct draws *draws, const struct net_case_spec *spec,
                      const struct learner_field *first, unsigned count,
                      uint32_t *line)
{
    for (unsigned i = 0; i < count; i++) {
        line[i] = spec->unknown ? 0 : draw(draws, spec->rows);
        if (first[i].continues && draw(draws, 3) == 0)
            line[i] = LEARNER_NO_ROW;
        if (first[i].continues && !first[i - 1].continues &&
            line[i] != LEARNER_NO_ROW && draw(draws, 3) == 0)
            line[i - 1] = LEARNER_NO_ROW;
    }
}

static void fill_lines(struct draws *draws, const struct net_case_spec *spec,
                       struct net_case *c)
{
    const struct learner_schema *schema = learner_model_schema(c->model);
    const struct learner_field *item = schema->fields + schema->profile_count;
    size_t F = schema->field_count, f = schema->item_count;
    for (size_t i = 0; i < c->batch.samples; i++) {
        fill_line(draws, spec, schema->fields, (unsigned)F, c->index + i * F);
        c->label[i] = draw(draws, 3) == 0;
    }
    for (size_t t = 0; t < c->history_begin[c->batch.groups]; t++) {
        uint32_t *negative = c->negative_index + t * f;
        fill_line(draws, spec, item, (unsigned)f, c->history_index + t * f);
        fill_line(draws, spec, item, (unsigned)f, negative);
        if (draw(draws, 5) == 0)
            memset(negative, 0xff, f * sizeof *negative);
    }
}

static uint64_t id_of(uint32_t row)
{
    return row == LEARNER_NO_ROW ? LEARNER_ABSENT : row;
}

uint32_t net_case_cross_row(const struct net_case *c, uint64_t key)
{
    return (uint32_t)(key %
                      c->row_count[learner_model_tables(c->model) - 1]);
}

static void fill_crosses(struct net_case *c)
{
    const struct learner_schema *schema = learner_model_schema(c->model);
    size_t F = schema->field_count, f = schema->item_count, pair = 0;
    for (uint32_t g = 0; g < c->batch.groups; g++)
        for (uint32_t i = c->group_begin[g]; i < c->group_begin[g + 1]; i++)
            for (size_t t = c->history_begin[g]; t < c->history_begin[g + 1];
                 t++)
                c->cross_index[pair++] = net_case_cross_row(
                    c, learner_cross_id(
                           id_of(c->history_index[t * f]),
                           id_of(c->index[i * F + schema->profile_count])));
}

static float uniform(uint64_t seed, uint64_t purpose, uint64_t at, float limit)
{
    return (2 * base_random_unit(base_random_u64(seed, purpose, at, 0)) - 1) *
           limit;
}

/* Every weight, statistic and slope at random, so that none hides behind a 0
 * or a 1. */
static void randomize(struct net_case *c, uint64_t seed)
{
    learner_model_start(c->model, c->dense);
    for (unsigned i = 0; i < learner_tensor_count(c->model); i++) {
        const struct learner_tensor *tensor = learner_tensor(c->model, i);
        size_t size = (size_t)tensor->shape[0] * tensor->shape[1];
        for (size_t j = 0; j < size; j++) {
            float more = uniform(seed, 100 + i, j, 0.1f);
            c->dense[tensor->offset + j] += tensor->trained ? more : 3 * more;
        }
    }
    for (unsigned t = 0; t < learner_model_tables(c->model); t++)
        for (size_t j = 0; j < net_case_table_size(c, t); j++)
            c->rows[t][j] = uniform(seed, 200 + t, j, 0.5f);
}

struct net_case_spec net_case_usual(const struct net_variant *variant)
{
    return (struct net_case_spec){.variant = variant, .shards = 3,
                                  .groups = 11, .group_max = 4,
                                  .history_max = 7, .rows = 9, .seed = 1};
}

void net_case_init(struct net_case *c, const struct net_case_spec *spec)
{
    uint32_t sizes[64], lengths[64], samples = 0, behaviors = 0;
    size_t pairs = 0;
    struct draws draws = {spec->seed, 0};
    memset(c, 0, sizeof *c);
    make_model(c, spec);
    for (unsigned t = 0; t < learner_model_tables(c->model); t++)
        c->row_count[t] = spec->rows;
    for (uint32_t g = 0; g < spec->groups; g++) {
        sizes[g] = spec->exact ? spec->group_max
                               : 1 + draw(&draws, spec->group_max);
        lengths[g] = spec->exact ? spec->history_max
                     : g % 5 == 3 ? 0
                                  : draw(&draws, spec->history_max + 1);
        samples += sizes[g];
        behaviors += lengths[g];
        pairs += (size_t)sizes[g] * lengths[g];
    }
    allocate(c, samples, spec->groups, behaviors, pairs);
    for (uint32_t g = 0; g < spec->groups; g++) {
        c->group_begin[g + 1] = c->group_begin[g] + sizes[g];
        c->history_begin[g + 1] = c->history_begin[g] + lengths[g];
    }
    fill_lines(&draws, spec, c);
    fill_crosses(c);
    randomize(c, spec->seed);
}

static void copy_values(struct net_case *to, const struct net_case *from)
{
    const struct learner_schema *schema = learner_model_schema(from->model);
    size_t B = from->batch.samples;
    memcpy(to->label, from->label, B);
    memcpy(to->kind, from->kind, B);
    memcpy(to->index, from->index, B * schema->field_count * sizeof *to->index);
    memcpy(to->dense, from->dense,
           learner_dense_size(from->model) * sizeof *to->dense);
    for (unsigned t = 0; t < learner_model_tables(from->model); t++)
        memcpy(to->rows[t], from->rows[t],
               net_case_table_size(from, t) * sizeof(float));
}

void net_case_split(struct net_case *split, const struct net_case *c)
{
    const struct learner_schema *schema = learner_model_schema(c->model);
    struct base_error error;
    uint32_t behaviors = 0, sample = 0;
    memset(split, 0, sizeof *split);
    if (learner_model_new(schema, learner_model_get_config(c->model),
                          &split->model, &error))
        abort();
    for (unsigned t = 0; t < learner_model_tables(c->model); t++)
        split->row_count[t] = c->row_count[t];
    for (uint32_t g = 0; g < c->batch.groups; g++)
        behaviors += (c->group_begin[g + 1] - c->group_begin[g]) *
                     (c->history_begin[g + 1] - c->history_begin[g]);
    allocate(split, c->batch.samples, c->batch.samples, behaviors, behaviors);
    copy_values(split, c);
    memcpy(split->cross_index, c->cross_index,
           behaviors * sizeof *split->cross_index);
    for (uint32_t g = 0; g < c->batch.groups; g++)
        for (; sample < c->group_begin[g + 1]; sample++) {
            size_t from = c->history_begin[g], f = schema->item_count;
            size_t to = split->history_begin[sample];
            size_t count = c->history_begin[g + 1] - from;
            split->group_begin[sample + 1] = sample + 1;
            split->history_begin[sample + 1] = (uint32_t)(to + count);
            memcpy(split->history_index + to * f, c->history_index + from * f,
                   count * f * sizeof *c->history_index);
            memcpy(split->negative_index + to * f,
                   c->negative_index + from * f,
                   count * f * sizeof *c->negative_index);
        }
}

/* ---- the step ----------------------------------------------------------- */

static void run(struct net_case *c, unsigned threads, bool train)
{
    struct learner_step *step;
    struct base_error error;
    enum base_status status =
        learner_step_new(c->model, threads, &step, &error);
    if (!status)
        status = train ? learner_step_train(step, &c->input, &c->output,
                                            &error)
                       : learner_step_predict(step, &c->input, c->probability,
                                              &error);
    if (status) {
        fprintf(stderr, "%s\n", error.text);
        abort();
    }
    learner_step_free(step);
}

void net_case_predict(struct net_case *c, unsigned threads)
{
    run(c, threads, false);
}

void net_case_train(struct net_case *c, unsigned threads)
{
    run(c, threads, true);
}
