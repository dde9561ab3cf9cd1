/* SPDX-License-Identifier: Apache-2.0 */
/* One training step and one prediction; see step.h. This file runs the
 * network's phases (net.h) over the worker pool and says what was not
 * finite. */
#include "learner/step.h"

#include <stdlib.h>

#include "learner/net.h"
#include "learner/pool.h"

struct learner_step {
    struct learner_net net;
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
    enum base_status status = learner_net_init(
        &made->net, model, model->config.shards, true, error);
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
    learner_net_fini(&step->net);
    free(step);
}

/* ---- jobs ---------------------------------------------------------------- */

static void forward_rows(void *self, unsigned job)
{
    struct learner_step *step = self;
    learner_net_forward_rows(&step->net, job);
}

static void predict_rows(void *self, unsigned job)
{
    struct learner_step *step = self;
    learner_net_forward_rows(&step->net, job);
    learner_net_predict_rows(&step->net, job);
}

static void forward_0(void *self, unsigned job)
{
    struct learner_step *step = self;
    learner_net_forward_block(&step->net, 0, job);
}

static void forward_1(void *self, unsigned job)
{
    struct learner_step *step = self;
    learner_net_forward_block(&step->net, 1, job);
}

static void backward_1(void *self, unsigned job)
{
    struct learner_step *step = self;
    learner_net_backward_block(&step->net, 1, job);
}

static void backward_0(void *self, unsigned job)
{
    struct learner_step *step = self;
    learner_net_backward_block(&step->net, 0, job);
}

static void backward_rows(void *self, unsigned job)
{
    struct learner_step *step = self;
    learner_net_backward_rows(&step->net, job);
}

/* Job 0: dense gradients; job t + 1: rows of table t. */
static void collect(void *self, unsigned job)
{
    struct learner_step *step = self;
    if (job == 0)
        learner_net_collect(&step->net, step->output->ddense);
    else
        learner_net_collect_rows(&step->net, job - 1,
                                 step->output->drows[job - 1]);
}

/* ---- the two entries ----------------------------------------------------- */

static enum base_status begin(struct learner_step *step,
                              const struct learner_step_input *input,
                              bool backward, struct base_error *error)
{
    step->input = input;
    enum base_status status = learner_net_begin(&step->net, input, error);
    if (status)
        return base_wrap(error, "step of %u samples", input->batch->samples);
    BASE_ASSERT(step->net.samples == input->batch->samples);
    learner_net_load(&step->net, input->dense, backward);
    return BASE_OK;
}

/* Through the MLP with the statistics of the batch, up to the logits. */
static void forward(struct learner_step *step)
{
    struct learner_net *net = &step->net;
    learner_pool_run(step->pool, forward_rows, step, net->shard_count);
    learner_pool_run(step->pool, forward_0, step, learner_net_blocks(net, 0));
    learner_pool_run(step->pool, forward_1, step, learner_net_blocks(net, 1));
    learner_net_logits(net);
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
    if (learner_net_batch_statistics(&step->net))
        forward(step);
    else
        learner_pool_run(step->pool, predict_rows, step,
                         step->net.shard_count);
    learner_net_probability(&step->net, probability);
    return BASE_OK;
}

/* All below 2^60: finite, and so are the squares that Adam keeps. */
static bool all_bounded(const float *x, size_t size)
{
    int bad = 0;
    for (size_t i = 0; i < size; i++)
        bad |= !((x[i] < 0x1p60f) & (x[i] > -0x1p60f));
    return bad == 0;
}

static bool tensor_bounded(const struct learner_tensor *tensor,
                           const float *dense)
{
    return all_bounded(dense + tensor->offset,
                       (size_t)tensor->shape[0] * tensor->shape[1]);
}

/* Dice's statistics of the batch, which the moving ones are to take in: the
 * name of one that is not bounded, or NULL. */
static const char *worst_statistic(const struct learner_net *net)
{
    const struct learner_model *model = net->model;
    if (!learner_model_has(model, TENSOR_MLP_0_MEAN))
        return NULL;
    for (unsigned i = 0; i < 2; i++) {
        const struct learner_layer *layer = &net->layer[i];
        int place = model->place[TENSOR_MLP_0_MEAN + 2 * i];
        if (!all_bounded(layer->mean, layer->out))
            return model->tensors[place].name;
        if (!all_bounded(layer->variance, layer->out))
            return model->tensors[place + 1].name;
    }
    return NULL;
}

/* What is not finite, or NULL: the loss, then statistics, which make all that
 * follows what they are, then gradients from the output backwards. */
static const char *worst_of(const struct learner_step *step)
{
    const struct learner_model *model = step->net.model;
    const struct learner_step_output *output = step->output;
    const char *worst = worst_statistic(&step->net);
    if (!(output->loss - output->loss == 0))
        return "loss";
    if (!worst && !all_bounded(output->ddense, model->dense_size))
        for (unsigned i = model->tensor_count; !worst && i-- > 0;)
            if (!tensor_bounded(&model->tensors[i], output->ddense))
                worst = model->tensors[i].name;
    for (unsigned t = 0; !worst && t < model->table_count; t++)
        if (!all_bounded(output->drows[t],
                         (size_t)step->input->row_count[t] *
                             model->tables[t].dimension))
            worst = model->tables[t].name;
    return worst;
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
    struct learner_net *net = &step->net;
    step->output = output;
    forward(step);
    output->loss =
        learner_net_loss(net, input->batch->label, input->batch->kind);
    learner_pool_run(step->pool, backward_1, step, learner_net_blocks(net, 1));
    learner_pool_run(step->pool, backward_0, step, learner_net_blocks(net, 0));
    learner_pool_run(step->pool, backward_rows, step, net->shard_count);
    output->auxiliary = learner_evolution_loss(net);
    output->loss +=
        (double)net->model->config.auxiliary_weight * output->auxiliary;
    learner_pool_run(step->pool, collect, step, net->model->table_count + 1u);
    output->worst = worst_of(step);
    output->finite = !output->worst;
    if (output->finite)
        learner_net_move(net, output->dense);
    return BASE_OK;
}
