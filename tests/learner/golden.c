/* SPDX-License-Identifier: Apache-2.0 */
/* See golden.h. */
#include "tests/learner/golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct golden_line golden_lines[GOLDEN_CASES] = {
    {"lr", "first order; FTRL with l1, l2"},
    {"lr_rich_adam", "first order of multi-hot fields, fnw; Adam"},
    {"base", "sum pooling, affine, MLP, PReLU; lazy Adam"},
    {"base_mean_relu_adagrad", "mean pooling, ReLU, multi-hot; Adagrad"},
    {"base_sigmoid_sgd_l2_no_goods", "sigmoid, a field off; SGD, L2"},
    {"base_dice_difacto", "Dice; DiFacto"},
    {"wide_deep", "first order, crosses"},
    {"wide_deep_mean_dense", "dense wide layer, mean pooling, fnw"},
    {"pnn_rich_mba", "product; MBA, learning-rate schedule"},
    {"deepfm", "factorization machine"},
    {"deepfm_rich_mean", "the same, mean pooling, multi-hot; SGD"},
    {"din", "attention unit without softmax"},
    {"din_rich_softmax", "attention unit, softmax, fnw"},
    {"din_prelu_row_adagrad", "PReLU; row-wise Adagrad"},
    {"din_mba", "MBA under attention"},
    {"din_inner", "attention: inner product"},
    {"din_inner_softmax_sigmoid", "the same, softmax, sigmoid"},
    {"din_outer_relu", "attention: outer product, ReLU"},
    {"gru_att", "two GRUs, attention over the second, H unlike D"},
    {"gru_att_rich_auxiliary", "the same with the auxiliary network"},
    {"dien", "AUGRU, auxiliary network, left-out cells"},
    {"dien_rich", "the same, multi-hot, fnw, H unlike D"},
    {"dien_rich_no_goods", "an item that is one multi-hot field"},
    {"dien_wide", "widths above 16 that are no multiple of it; AIGRU"},
    {"dien_no_auxiliary", "AUGRU alone"},
    {"dien_auxiliary_inner", "auxiliary loss: inner product"},
    {"dien_augru_code", "AUGRU as the code has it"},
    {"dien_agru", "AGRU, H unlike D"},
    {"dien_aigru", "AIGRU"},
    {"dien_attention_inner", "attention over states: inner product"},
    {"dien_attention_outer", "attention over states: outer; PReLU"},
    {"dien_no_softmax", "AUGRU without softmax; Adagrad"},
    {"reference_lr", "every-row updates beside FTRL"},
    {"reference_base", "padded sum, half loss, epsilon; every-row Adam"},
    {"reference_base_mean", "mean pooling"},
    {"reference_wide_deep", "padded dense wide layer"},
    {"reference_wide_deep_crosses", "crosses"},
    {"reference_pnn", "padded product"},
    {"reference_deepfm", "factorization machine, half loss"},
    {"reference_din", "padded; Dice of the batch when scoring too"},
    {"reference_din_prelu", "PReLU"},
    {"reference_gru_att", "padded; two GRUs"},
    {"reference_dien", "auxiliary mean over padded cells, epsilon"},
    {"reference_dien_no_auxiliary", "AUGRU as the code has it"},
    {"reference_dien_auxiliary_inner", "auxiliary inner product, epsilon"},
    {"reference_dien_agru", "AGRU"},
    {"reference_dien_aigru", "AIGRU"},
    {"reference_dien_augru", "AUGRU of the paper"},
};

#define FOLDER "tests/golden/models/"

static void *demand(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

static void *array(size_t count, size_t size)
{
    return demand(calloc(count + 1, size));
}

float *golden_memory(size_t floats)
{
    size_t bytes = (floats * sizeof(float) + 127) / 64 * 64;
    float *memory = demand(aligned_alloc(64, bytes));
    memset(memory, 0, bytes);
    return memory;
}

size_t golden_size(const struct learner_tensor *tensor)
{
    return (size_t)tensor->shape[0] * tensor->shape[1];
}

size_t golden_rows_size(const struct golden_case *c, unsigned table)
{
    return (size_t)c->row_count[table] *
           learner_model_table(c->model, table)->dimension;
}

bool golden_noise(const struct learner_model *model, const char *tensor)
{
    return learner_model_get_config(model)->attention_softmax &&
           strcmp(tensor, "attention.2.bias") == 0;
}

uint64_t golden_key(uint32_t row)
{
    return row * UINT64_C(0x9e3779b97f4a7c15);
}

uint32_t golden_row(uint64_t key, uint32_t rows)
{
    for (uint32_t row = 0; row < rows; row++)
        if (golden_key(row) == key)
            return row;
    abort();
}

/* ---- values of a file ---------------------------------------------------- */

static bool has(const struct safetensors *file, const char *name)
{
    char key[128];
    snprintf(key, sizeof key, "\"%s\":{", name);
    return strstr(file->header, key) != NULL;
}

/* The tensor as whole numbers; -1 becomes `absent`. */
static size_t numbers(const struct safetensors *file, const char *name,
                      uint32_t **out, uint32_t absent)
{
    double *values;
    size_t count = safetensors_get(file, name, &values);
    *out = array(count, sizeof **out);
    for (size_t i = 0; i < count; i++)
        (*out)[i] = values[i] < 0 ? absent : (uint32_t)values[i];
    free(values);
    return count;
}

static void set(float *to, const struct safetensors *file, const char *title,
                const char *name, size_t count)
{
    char key[128];
    double *values;
    snprintf(key, sizeof key, "%s.%s", title, name);
    if (safetensors_get(file, key, &values) != count) {
        fprintf(stderr, "%s: has not %zu elements\n", key, count);
        abort();
    }
    for (size_t i = 0; i < count; i++)
        to[i] = (float)values[i];
    free(values);
}

bool golden_agrees(const struct safetensors *file, const char *title,
                   const char *name, const float *values, size_t count,
                   double tolerance)
{
    char key[128];
    double *right, top = 0, worst = 0;
    size_t at = 0;
    snprintf(key, sizeof key, "%s%s%s", title, name ? "." : "",
             name ? name : "");
    if (safetensors_get(file, key, &right) != count) {
        fprintf(stderr, "%s: has not %zu elements\n", key, count);
        free(right);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        double away = fabs((double)values[i] - right[i]);
        top = fmax(top, fabs(right[i]));
        if (!(away <= worst)) {
            worst = away;
            at = i;
        }
    }
    bool agrees = worst <= tolerance * top;
    if (!agrees)
        fprintf(stderr,
                "%s[%zu]: %.9g, golden %.9g; off by %.2g of the maximum\n",
                key, at, (double)values[at], right[at], worst / top);
    free(right);
    return agrees;
}

/* ---- configuration and schema -------------------------------------------- */

enum type { ENUM, BOOL, U16, U16_PAIR, U32, U64, FLOAT };
#define MEMBER(name, type) \
    {#name, offsetof(struct learner_model_config, name), type}
static const struct member {
    const char *name;
    size_t offset;
    enum type type;
} members[] = {
    MEMBER(activation, ENUM), MEMBER(pooling, ENUM), MEMBER(attention, ENUM),
    MEMBER(attention_softmax, BOOL), MEMBER(evolution, ENUM),
    MEMBER(auxiliary, ENUM), MEMBER(wide, ENUM), MEMBER(optimizer, ENUM),
    MEMBER(regularizer, ENUM), MEMBER(attention_hidden, U16_PAIR),
    MEMBER(mlp_hidden, U16_PAIR), MEMBER(auxiliary_hidden, U16_PAIR),
    MEMBER(hidden, U16), MEMBER(dimension, U16), MEMBER(fields_off, U64),
    MEMBER(probability_epsilon, FLOAT), MEMBER(learning_rate, FLOAT),
    MEMBER(rate_decay, FLOAT), MEMBER(rate_decay_samples, U64),
    MEMBER(ftrl_l1, FLOAT), MEMBER(ftrl_l2, FLOAT), MEMBER(batch_size, U32),
    MEMBER(shards, U16),
};

static void set_member(void *at, enum type type, const double *value)
{
    switch (type) {
    case ENUM: *(unsigned *)at = (unsigned)value[0]; break;
    case BOOL: *(bool *)at = value[0] != 0; break;
    case U16_PAIR: ((uint16_t *)at)[1] = (uint16_t)value[1]; /* fall through */
    case U16: *(uint16_t *)at = (uint16_t)value[0]; break;
    case U32: *(uint32_t *)at = (uint32_t)value[0]; break;
    case U64: *(uint64_t *)at = (uint64_t)value[0]; break;
    case FLOAT: *(float *)at = (float)value[0]; break;
    }
}

static double number(const struct safetensors *file, const char *name)
{
    double *value, first;
    safetensors_get(file, name, &value);
    first = value[0];
    free(value);
    return first;
}

/* The profile's switches, then those of the file; one that no line above
 * knows aborts. */
static struct learner_model_config read_config(const struct safetensors *file)
{
    struct learner_model_config config;
    learner_model_config_profile(
        &config, (enum learner_profile)number(file, "config.profile"),
        (enum learner_kind)number(file, "config.kind"));
    size_t known = 2, given = 0;
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        char key[64];
        double *value;
        snprintf(key, sizeof key, "config.%s", members[i].name);
        if (!has(file, key))
            continue;
        safetensors_get(file, key, &value);
        set_member((char *)&config + members[i].offset, members[i].type,
                   value);
        free(value);
        known++;
    }
    for (const char *at = file->header; (at = strstr(at, "\"config."));
         at++)
        given++;
    if (given != known)
        abort();
    return config;
}

static void read_schema(struct golden_case *c)
{
    static const char *const names[] = {"schema.group", "schema.table",
                                        "schema.more", "schema.continues"};
    struct learner_schema *schema = &c->schema;
    uint16_t *const counts[] = {&schema->profile_count, &schema->item_count,
                                &schema->context_count};
    uint32_t *values[4], *dimension, *rows;
    size_t fields = 0;
    for (unsigned i = 0; i < 4; i++)
        fields = numbers(&c->stream, names[i], &values[i], 0);
    schema->field_count = (uint16_t)fields;
    for (unsigned i = 0; i < fields; i++) {
        struct learner_field *field = &schema->fields[i];
        snprintf(field->name, sizeof field->name, "field%u", i);
        field->group = (enum learner_group)values[0][i];
        field->table = (uint16_t)values[1][i];
        field->more = (uint16_t)values[2][i];
        field->continues = values[3][i] != 0;
        ++*counts[field->group];
    }
    size_t tables = numbers(&c->stream, "schema.dimension", &dimension, 0);
    numbers(&c->stream, "schema.rows", &rows, 0);
    schema->table_count = (uint16_t)tables;
    for (unsigned t = 0; t < tables; t++) {
        char key[64];
        snprintf(key, sizeof key, "schema.name.%u.", t);
        const char *at = demand(strstr(c->stream.header, key));
        sscanf(at + strlen(key), "%31[a-z]", schema->tables[t].name);
        schema->tables[t].dimension = (uint16_t)dimension[t];
        c->schema_rows[t] = rows[t];
    }
    for (unsigned i = 0; i < 4; i++)
        free(values[i]);
    free(dimension);
    free(rows);
}

/* ---- the case ------------------------------------------------------------ */

uint32_t golden_goods(const struct golden_case *c)
{
    unsigned first = c->schema.profile_count;
    return c->schema_rows[c->schema.fields[first].table];
}

static void read_rows(struct golden_case *c)
{
    c->tables = learner_model_tables(c->model);
    for (unsigned t = 0; t < c->tables; t++) {
        const char *name = learner_model_table(c->model, t)->name;
        c->row_count[t] = golden_goods(c) * golden_goods(c);
        for (unsigned i = 0; i < c->schema.table_count; i++)
            if (strcmp(name, c->schema.tables[i].name) == 0)
                c->row_count[t] = c->schema_rows[i];
        c->rows[t] = golden_memory(golden_rows_size(c, t));
        c->drows[t] = golden_memory(golden_rows_size(c, t));
        set(c->rows[t], &c->file, "rows", name, golden_rows_size(c, t));
    }
}

void golden_open(struct golden_case *c, const char *name)
{
    static const char *const streams[] = {"plain", "rich", "reference"};
    char path[160], key[64];
    memset(c, 0, sizeof *c);
    snprintf(path, sizeof path, FOLDER "%s.safetensors", name);
    safetensors_open(&c->file, path);
    for (unsigned i = 0; i < 3; i++) {
        snprintf(key, sizeof key, "stream.%s", streams[i]);
        if (!has(&c->file, key))
            continue;
        snprintf(path, sizeof path, FOLDER "stream.%s.safetensors",
                 streams[i]);
        safetensors_open(&c->stream, path);
    }
    read_schema(c);
    struct learner_model_config config = read_config(&c->file);
    struct base_error error;
    if (learner_model_new(&c->schema, &config, &c->model, &error)) {
        fprintf(stderr, "%s: %s\n", name, error.text);
        abort();
    }
    c->padded_to = (uint32_t)number(&c->file, "padded_to");
    c->dense = golden_memory(learner_dense_size(c->model));
    c->ddense = golden_memory(learner_dense_size(c->model));
    for (unsigned i = 0; i < learner_tensor_count(c->model); i++) {
        const struct learner_tensor *tensor = learner_tensor(c->model, i);
        set(c->dense + tensor->offset, &c->file, "w", tensor->name,
            golden_size(tensor));
    }
    read_rows(c);
    golden_load(c, 0, true);
}

static void free_batch(struct golden_case *c)
{
    void *const memory[] = {
        c->ids, c->history, c->user, c->negatives, c->event_ms, c->label,
        c->kind, c->group_begin, c->history_begin, c->index,
        c->history_index, c->negative_index, c->cross_index};
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++)
        free(memory[i]);
}

void golden_close(struct golden_case *c)
{
    free_batch(c);
    for (unsigned t = 0; t < c->tables; t++) {
        free(c->rows[t]);
        free(c->drows[t]);
    }
    free(c->dense);
    free(c->ddense);
    learner_model_free(c->model);
    safetensors_close(&c->file);
    safetensors_close(&c->stream);
}

/* ---- batches ------------------------------------------------------------- */

/* A line of rows of the stream: its columns from `first` on, `count` of them,
 * and the model's fields [begin, end) that stand in it. */
struct line {
    unsigned first, count, begin, end;
};

/* rows (n lines) to the model's fields */
static uint32_t *own_columns(const struct golden_case *c, const uint32_t *rows,
                             size_t n, const struct line *line)
{
    size_t width = line->end - line->begin;
    uint32_t *out = array(n * width, sizeof *out);
    for (size_t i = 0; i < n; i++)
        for (unsigned f = line->begin; f < line->end; f++)
            out[i * width + f - line->begin] =
                rows[i * line->count + learner_model_column(c->model, f) -
                     line->first];
    return out;
}

static uint64_t *keys_of(const uint32_t *rows, size_t n)
{
    uint64_t *keys = array(n, sizeof *keys);
    for (size_t i = 0; i < n; i++)
        keys[i] = rows[i] == LEARNER_NO_ROW ? LEARNER_ABSENT
                                            : golden_key(rows[i]);
    return keys;
}

static uint8_t *bytes_of(const struct safetensors *file, const char *key)
{
    uint32_t *values;
    size_t count = numbers(file, key, &values, 0);
    uint8_t *out = array(count, 1);
    for (size_t i = 0; i < count; i++)
        out[i] = (uint8_t)values[i];
    free(values);
    return out;
}

/* Rows of the crosses of (behavior, candidate), in the order of step.h. */
static void cross_pairs(struct golden_case *c, const uint32_t *samples,
                        const uint32_t *behaviors)
{
    const struct learner_model_config *config =
        learner_model_get_config(c->model);
    if (config->kind != LEARNER_WIDE_DEEP ||
        config->wide != LEARNER_WIDE_CROSSES)
        return;
    unsigned first = c->schema.profile_count, f = c->schema.item_count;
    c->cross_index = array((size_t)c->batch.samples *
                               c->history_begin[c->batch.groups],
                           sizeof *c->cross_index);
    uint32_t *at = c->cross_index, goods = golden_goods(c);
    for (uint32_t g = 0; g < c->batch.groups; g++)
        for (uint32_t i = c->group_begin[g]; i < c->group_begin[g + 1]; i++)
            for (uint32_t t = c->history_begin[g];
                 t < c->history_begin[g + 1]; t++) {
                uint32_t a = samples[(size_t)i * c->schema.field_count +
                                     first];
                uint32_t k = behaviors[(size_t)t * f];
                *at++ = a && k ? k * goods + a : 0;
            }
}

static void fill_indices(struct golden_case *c, const char *prefix)
{
    char key[64];
    uint32_t *samples, *behaviors, *negatives;
    const struct learner_schema *own = learner_model_schema(c->model);
    unsigned F = c->schema.field_count, f = c->schema.item_count;
    struct line sample = {0, F, 0, own->field_count};
    struct line item = {c->schema.profile_count, f, own->profile_count,
                        own->profile_count + (unsigned)own->item_count};
    size_t B = c->batch.samples, N = c->history_begin[c->batch.groups];
    snprintf(key, sizeof key, "%sindex", prefix);
    numbers(&c->stream, key, &samples, LEARNER_NO_ROW);
    snprintf(key, sizeof key, "%shistory", prefix);
    numbers(&c->stream, key, &behaviors, LEARNER_NO_ROW);
    snprintf(key, sizeof key, "%snegative", prefix);
    numbers(&c->stream, key, &negatives, LEARNER_NO_ROW);
    c->ids = keys_of(samples, B * F);
    c->history = keys_of(behaviors, N * f);
    c->index = own_columns(c, samples, B, &sample);
    c->history_index = own_columns(c, behaviors, N, &item);
    cross_pairs(c, samples, behaviors);
    c->negative_index = NULL;
    c->negatives = NULL;
    if (learner_model_get_config(c->model)->auxiliary) {
        c->negative_index = own_columns(c, negatives, N, &item);
        c->negatives = keys_of(c->negative_index, N * own->item_count);
    }
    free(samples);
    free(behaviors);
    free(negatives);
}

static void point_step(struct golden_case *c, bool padded)
{
    const struct learner_schema *own = learner_model_schema(c->model);
    for (unsigned f = 0; f < own->item_count; f++)
        c->padding[f] = own->fields[own->profile_count + f].continues
                            ? LEARNER_NO_ROW : 0;
    c->input = (struct learner_step_input){
        .batch = &c->batch, .index = c->index,
        .history_index = c->history_index,
        .negative_index = c->negative_index, .cross_index = c->cross_index,
        .rows = (const float *const *)c->rows, .row_count = c->row_count,
        .dense = c->dense, .padded_to = padded ? c->padded_to : 0,
        .padding_index = c->padding};
    c->output = (struct learner_step_output){
        .dense = c->dense, .ddense = c->ddense, .drows = c->drows};
}

void golden_load(struct golden_case *c, unsigned number, bool padded)
{
    char prefix[16], key[64];
    free_batch(c);
    c->cross_index = NULL;
    snprintf(prefix, sizeof prefix, "%u.", number);
    snprintf(key, sizeof key, "%sgroup_begin", prefix);
    size_t groups = numbers(&c->stream, key, &c->group_begin, 0) - 1;
    snprintf(key, sizeof key, "%shistory_begin", prefix);
    numbers(&c->stream, key, &c->history_begin, 0);
    snprintf(key, sizeof key, "%slabel", prefix);
    c->label = bytes_of(&c->stream, key);
    snprintf(key, sizeof key, "%skind", prefix);
    c->kind = bytes_of(&c->stream, key);
    uint32_t samples = c->group_begin[groups];
    c->user = array(samples, sizeof *c->user);
    c->event_ms = array(samples, sizeof *c->event_ms);
    c->batch = (struct learner_batch){
        .first = (uint64_t)samples * number,
        .end = (uint64_t)samples * (number + 1), .samples = samples,
        .groups = (uint32_t)groups, .user = c->user,
        .event_ms = c->event_ms, .label = c->label, .kind = c->kind,
        .group_begin = c->group_begin, .history_begin = c->history_begin};
    fill_indices(c, prefix);
    c->batch.ids = c->ids;
    c->batch.history = c->history;
    point_step(c, padded);
}
