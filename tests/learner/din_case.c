/* SPDX-License-Identifier: Apache-2.0 */
/* See din_case.h. */
#include "tests/learner/din_case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"

struct din_case_spec din_case_small(void)
{
    return (struct din_case_spec){
        .profile = 1, .item = 2, .context = 1, .dimension = 5,
        .attention = {11, 7}, .mlp = {19, 13},
        .activation = LEARNER_DICE, .shards = 3, .groups = 7, .group_max = 3,
        .history_max = 6, .rows = 9, .seed = 1};
}

struct din_case_spec din_case_default(void)
{
    return (struct din_case_spec){
        .profile = 2, .item = 3, .context = 2, .dimension = 18,
        .attention = {80, 40}, .mlp = {200, 80},
        .activation = LEARNER_DICE, .shards = 4, .groups = 60,
        .group_max = 4, .history_max = 150, .rows = 300, .seed = 2};
}

static uint64_t draw(uint64_t seed, uint64_t n)
{
    static uint64_t position; /* a fresh number each time; reset per case */
    if (n == 0) {
        position = 0;
        return 0;
    }
    return base_random_below(base_random_u64(seed, 1, position++, 0), n);
}

static void make_model(struct din_case *c, const struct din_case_spec *spec)
{
    struct learner_schema schema = {
        .profile_count = spec->profile, .item_count = spec->item,
        .context_count = spec->context};
    schema.field_count = (uint16_t)(spec->profile + spec->item +
                                    spec->context);
    schema.table_count = schema.field_count;
    for (unsigned i = 0; i < schema.field_count; i++) {
        struct learner_field *field = &schema.fields[i];
        snprintf(field->name, sizeof field->name, "field%u", i);
        snprintf(schema.tables[i].name, LEARNER_NAME_MAX, "table%u", i);
        field->group = i < spec->profile ? LEARNER_PROFILE
                       : i < spec->profile + (unsigned)spec->item
                           ? LEARNER_ITEM : LEARNER_CONTEXT;
        field->table = (uint16_t)i;
        schema.tables[i].dimension = (uint16_t)(spec->dimension + i);
    }
    struct learner_model_config config;
    learner_model_config_default(&config);
    config.activation = spec->activation;
    config.attention_softmax = spec->softmax;
    memcpy(config.attention_hidden, spec->attention, sizeof spec->attention);
    memcpy(config.mlp_hidden, spec->mlp, sizeof spec->mlp);
    config.shards = spec->shards;
    struct base_error error;
    if (learner_model_new(&schema, &config, &c->model, &error)) {
        fprintf(stderr, "%s\n", error.text);
        abort();
    }
}

float *din_case_memory(size_t floats)
{
    size_t bytes = (floats * sizeof(float) + 127) / 64 * 64;
    float *memory = aligned_alloc(64, bytes);
    if (!memory)
        abort();
    memset(memory, 0, bytes);
    return memory;
}

static void *array(size_t count, size_t size)
{
    void *memory = calloc(count + 1, size);
    if (!memory)
        abort();
    return memory;
}

void din_case_allocate(struct din_case *c, uint32_t samples, uint32_t groups,
                       uint32_t behaviors)
{
    const struct learner_schema *schema = learner_model_schema(c->model);
    c->group_begin = array(groups + 1, sizeof *c->group_begin);
    c->history_begin = array(groups + 1, sizeof *c->history_begin);
    c->label = array(samples, 1);
    c->kind = array(samples, 1);
    c->index = array((size_t)samples * schema->field_count, sizeof *c->index);
    c->history_index = array((size_t)behaviors * schema->item_count,
                             sizeof *c->history_index);
    for (unsigned t = 0; t < schema->table_count; t++) {
        size_t size = (size_t)c->row_count[t] * schema->tables[t].dimension;
        c->rows[t] = din_case_memory(size);
        c->drows[t] = din_case_memory(size);
    }
    c->dense = din_case_memory(learner_dense_size(c->model));
    c->ddense = din_case_memory(learner_dense_size(c->model));
    c->probability = din_case_memory(samples);
    c->batch = (struct learner_batch){
        .end = samples, .samples = samples, .groups = groups,
        .label = c->label, .kind = c->kind,
        .group_begin = c->group_begin, .history_begin = c->history_begin};
    c->input = (struct learner_step_input){
        .batch = &c->batch, .index = c->index,
        .history_index = c->history_index,
        .rows = (const float *const *)c->rows, .row_count = c->row_count,
        .dense = c->dense};
    c->output = (struct learner_step_output){
        .dense = c->dense, .ddense = c->ddense, .drows = c->drows};
}

/* Sizes of groups and histories; some histories are empty. */
static void fill_batch(struct din_case *c, const struct din_case_spec *spec)
{
    uint32_t sizes[512], lengths[512], samples = 0, behaviors = 0;
    for (uint32_t g = 0; g < spec->groups; g++) {
        sizes[g] = 1 + (uint32_t)draw(spec->seed, spec->group_max);
        lengths[g] = g % 5 == 3 ? 0
                     : (uint32_t)draw(spec->seed, spec->history_max + 1);
        samples += sizes[g];
        behaviors += lengths[g];
    }
    din_case_allocate(c, samples, spec->groups, behaviors);
    for (uint32_t g = 0; g < spec->groups; g++) {
        c->group_begin[g + 1] = c->group_begin[g] + sizes[g];
        c->history_begin[g + 1] = c->history_begin[g] + lengths[g];
    }
    const struct learner_schema *schema = learner_model_schema(c->model);
    for (size_t i = 0; i < (size_t)samples * schema->field_count; i++)
        c->index[i] = (uint32_t)draw(spec->seed, spec->rows);
    for (size_t i = 0; i < (size_t)behaviors * schema->item_count; i++)
        c->history_index[i] = (uint32_t)draw(spec->seed, spec->rows);
    for (uint32_t i = 0; i < samples; i++) {
        c->label[i] = draw(spec->seed, 3) == 0;
        c->kind[i] = LEARNER_WINDOW;
        if (spec->fnw)
            c->kind[i] = c->label[i] ? LEARNER_FNW_POSITIVE
                                     : LEARNER_FNW_NEGATIVE;
    }
}

static float uniform(uint64_t seed, uint64_t purpose, uint64_t at, float limit)
{
    return (2 * base_random_unit(base_random_u64(seed, purpose, at, 0)) - 1) *
           limit;
}

void din_case_randomize(struct din_case *c, uint64_t seed)
{
    const struct learner_schema *schema = learner_model_schema(c->model);
    learner_model_start(c->model, c->dense);
    for (unsigned i = 0; i < learner_tensor_count(c->model); i++) {
        const struct learner_tensor *tensor = learner_tensor(c->model, i);
        size_t size = (size_t)tensor->shape[0] * tensor->shape[1];
        for (size_t j = 0; j < size; j++) {
            float more = uniform(seed, 100 + i, j, 0.1f);
            /* variances stay positive, slopes off their start */
            c->dense[tensor->offset + j] += tensor->trained ? more : 3 * more;
        }
    }
    for (unsigned t = 0; t < schema->table_count; t++) {
        size_t size = (size_t)c->row_count[t] * schema->tables[t].dimension;
        for (size_t j = 0; j < size; j++)
            c->rows[t][j] = uniform(seed, 200 + t, j, 0.5f);
    }
}

void din_case_init(struct din_case *c, const struct din_case_spec *spec)
{
    memset(c, 0, sizeof *c);
    draw(0, 0);
    make_model(c, spec);
    for (unsigned t = 0; t < DIN_CASE_TABLES; t++)
        c->row_count[t] = spec->rows;
    fill_batch(c, spec);
    din_case_randomize(c, spec->seed);
}

void din_case_fini(struct din_case *c)
{
    for (unsigned t = 0; t < DIN_CASE_TABLES; t++) {
        free(c->rows[t]);
        free(c->drows[t]);
    }
    free(c->group_begin);
    free(c->history_begin);
    free(c->label);
    free(c->kind);
    free(c->index);
    free(c->history_index);
    free(c->dense);
    free(c->ddense);
    free(c->probability);
    learner_model_free(c->model);
}

static void run(struct din_case *c, unsigned threads, bool train)
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

void din_case_predict(struct din_case *c, unsigned threads)
{
    run(c, threads, false);
}

void din_case_train(struct din_case *c, unsigned threads)
{
    run(c, threads, true);
}
