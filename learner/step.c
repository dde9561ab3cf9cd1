/* SPDX-License-Identifier: Apache-2.0 */
/* One training step and one prediction; see step.h. This file gathers rows,
 * runs DIN's phases over the worker pool and scatters gradients of rows. A
 * row's gradient is added up in one fixed order: fields in the schema's
 * order, samples ascending, then the histories of the item fields; each table
 * is one job, so the order does not depend on shards or threads. */
#include "learner/step.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "learner/din.h"
#include "learner/pool.h"

struct learner_step {
    struct learner_din din;
    struct learner_pool *pool;
    const struct learner_step_input *input;
    struct learner_step_output *output;
};

enum base_status learner_step_new(const struct learner_model *model,
                                  unsigned threads,
                                  struct learner_step **step,
                                  struct base_error *error)
{
    *step = NULL;
    struct learner_step *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "step: no memory");
    enum base_status status = learner_din_init(
        &made->din, model, model->config.shards, true, error);
    if (!status)
        status = learner_pool_new(threads, &made->pool, error);
    if (status) {
        learner_step_free(made);
        return status;
    }
    *step = made;
    return BASE_OK;
}

void learner_step_free(struct learner_step *step)
{
    if (!step)
        return;
    learner_pool_free(step->pool);
    learner_din_fini(&step->din);
    free(step);
}

/* memcpy of a known small size per row is a call; rows are short. */
static void copy(float *to, const float *from, size_t size)
{
    for (size_t i = 0; i < size; i++)
        to[i] = from[i];
}

static void add(float *to, const float *from, size_t size)
{
    for (size_t i = 0; i < size; i++)
        to[i] += from[i];
}

static void gather_samples(struct learner_step *step, unsigned field,
                           uint32_t begin, uint32_t end)
{
    const struct learner_schema *schema = &step->din.model->schema;
    const struct learner_step_input *input = step->input;
    unsigned table = schema->fields[field].table;
    size_t E = schema->tables[table].dimension;
    for (uint32_t i = begin; i < end; i++) {
        size_t row = input->index[(size_t)i * schema->field_count + field];
        copy(learner_din_place(&step->din, field, i),
             input->rows[table] + row * E, E);
    }
}

static void gather_history(struct learner_step *step, unsigned item,
                           uint32_t begin, uint32_t end)
{
    const struct learner_model *model = step->din.model;
    const struct learner_schema *schema = &model->schema;
    const struct learner_step_input *input = step->input;
    unsigned field = schema->profile_count + item;
    unsigned table = schema->fields[field].table;
    size_t E = schema->tables[table].dimension;
    float *to = step->din.k + model->field_offset[field];
    for (size_t t = begin; t < end; t++) {
        size_t row = input->history_index[t * schema->item_count + item];
        copy(to + t * model->ldD, input->rows[table] + row * E, E);
    }
}

static void gather(struct learner_step *step, unsigned index)
{
    const struct learner_din *din = &step->din;
    const struct learner_schema *schema = &din->model->schema;
    const struct learner_din_shard *shard = &din->shards[index];
    for (unsigned f = 0; f < schema->field_count; f++)
        gather_samples(step, f, din->group_begin[shard->group_begin],
                       din->group_begin[shard->group_end]);
    for (unsigned f = 0; f < schema->item_count; f++)
        gather_history(step, f, din->history_begin[shard->group_begin],
                       din->history_begin[shard->group_end]);
}

/* ---- jobs ---------------------------------------------------------------- */

static void forward_rows(void *self, unsigned job)
{
    struct learner_step *step = self;
    gather(step, job);
    learner_din_forward_rows(&step->din, job);
}

static void predict_rows(void *self, unsigned job)
{
    forward_rows(self, job);
    struct learner_step *step = self;
    learner_din_predict_rows(&step->din, job);
}

static void forward_0(void *self, unsigned job)
{
    struct learner_step *step = self;
    learner_din_forward_block(&step->din, 0, job);
}

static void forward_1(void *self, unsigned job)
{
    struct learner_step *step = self;
    learner_din_forward_block(&step->din, 1, job);
}

static void backward_1(void *self, unsigned job)
{
    struct learner_step *step = self;
    learner_din_backward_block(&step->din, 1, job);
}

static void backward_0(void *self, unsigned job)
{
    struct learner_step *step = self;
    learner_din_backward_block(&step->din, 0, job);
}

static void backward_rows(void *self, unsigned job)
{
    struct learner_step *step = self;
    learner_din_backward_rows(&step->din, job);
}

static void scatter_field(struct learner_step *step, unsigned field,
                          float *drows)
{
    const struct learner_din *din = &step->din;
    const struct learner_schema *schema = &din->model->schema;
    const struct learner_step_input *input = step->input;
    size_t E = schema->tables[schema->fields[field].table].dimension;
    for (uint32_t i = 0; i < din->samples; i++) {
        size_t row = input->index[(size_t)i * schema->field_count + field];
        add(drows + row * E, learner_din_gradient(din, field, i), E);
    }
    if (schema->fields[field].group != LEARNER_ITEM)
        return;
    const float *from = din->dk + din->model->field_offset[field];
    unsigned item = field - schema->profile_count;
    for (size_t t = 0; t < din->behaviors; t++) {
        size_t row = input->history_index[t * schema->item_count + item];
        add(drows + row * E, from + t * din->model->ldD, E);
    }
}

/* Job 0: dense gradients; job t + 1: rows of table t. */
static void collect(void *self, unsigned job)
{
    struct learner_step *step = self;
    const struct learner_schema *schema = &step->din.model->schema;
    if (job == 0) {
        learner_din_collect(&step->din, step->output->ddense);
        return;
    }
    unsigned table = job - 1;
    float *drows = step->output->drows[table];
    size_t size = (size_t)step->input->row_count[table] *
                  schema->tables[table].dimension;
    if (size > 0)
        memset(drows, 0, size * sizeof *drows);
    for (unsigned f = 0; f < schema->field_count; f++)
        if (schema->fields[f].table == table)
            scatter_field(step, f, drows);
}

/* ---- the two entries ----------------------------------------------------- */

static enum base_status begin(struct learner_step *step,
                              const struct learner_step_input *input,
                              bool backward, struct base_error *error)
{
    const struct learner_batch *batch = input->batch;
    step->input = input;
    enum base_status status =
        learner_din_begin(&step->din, batch->groups, batch->group_begin,
                          batch->history_begin, error);
    if (status)
        return base_wrap(error, "step of %u samples", batch->samples);
    BASE_ASSERT(step->din.samples == batch->samples);
    learner_pack_load(&step->din.pack, step->din.model, input->dense,
                      backward);
    return BASE_OK;
}

enum base_status learner_step_predict(struct learner_step *step,
                                      const struct learner_step_input *input,
                                      float *probability,
                                      struct base_error *error)
{
    if (input->batch->samples == 0)
        return BASE_OK;
    enum base_status status = begin(step, input, false, error);
    if (status)
        return status;
    learner_pool_run(step->pool, predict_rows, step, step->din.shard_count);
    learner_din_probability(&step->din, probability);
    return BASE_OK;
}

/* All below 2^60: finite, and so are the squares that Adam keeps. */
static bool all_bounded(const float *x, size_t size)
{
    uint32_t bad = 0;
    for (size_t i = 0; i < size; i++)
        bad |= (base_get_u32(x + i) & 0x7fffffffu) >= (127u + 60) << 23;
    return bad == 0;
}

/* Dice's statistics of the batch, which the moving ones are to take in. */
static bool statistics_bounded(const struct learner_din *din)
{
    if (din->model->config.activation != LEARNER_DICE)
        return true;
    for (unsigned i = 0; i < 2; i++) {
        const struct learner_din_layer *layer = &din->layer[i];
        if (!all_bounded(layer->mean, layer->out) ||
            !all_bounded(layer->variance, layer->out))
            return false;
    }
    return true;
}

static bool output_finite(const struct learner_step *step)
{
    const struct learner_model *model = step->din.model;
    const struct learner_step_output *output = step->output;
    bool finite = output->loss - output->loss == 0 &&
                  all_bounded(output->ddense, model->dense_size) &&
                  statistics_bounded(&step->din);
    for (unsigned t = 0; finite && t < model->schema.table_count; t++)
        finite = all_bounded(output->drows[t],
                             (size_t)step->input->row_count[t] *
                                 model->schema.tables[t].dimension);
    return finite;
}

enum base_status learner_step_train(struct learner_step *step,
                                    const struct learner_step_input *input,
                                    struct learner_step_output *output,
                                    struct base_error *error)
{
    BASE_ASSERT(input->batch->samples > 0);
    enum base_status status = begin(step, input, true, error);
    if (status)
        return status;
    struct learner_din *din = &step->din;
    step->output = output;
    learner_pool_run(step->pool, forward_rows, step, din->shard_count);
    learner_pool_run(step->pool, forward_0, step, learner_din_blocks(din, 0));
    learner_pool_run(step->pool, forward_1, step, learner_din_blocks(din, 1));
    output->loss =
        learner_din_output(din, input->batch->label, input->batch->kind);
    learner_pool_run(step->pool, backward_1, step, learner_din_blocks(din, 1));
    learner_pool_run(step->pool, backward_0, step, learner_din_blocks(din, 0));
    learner_pool_run(step->pool, backward_rows, step, din->shard_count);
    learner_pool_run(step->pool, collect, step,
                     din->model->schema.table_count + 1u);
    output->finite = output_finite(step);
    if (output->finite)
        learner_din_move(din, output->dense);
    return BASE_OK;
}
