/* SPDX-License-Identifier: Apache-2.0 */
/* The gradients' way back into tensors: shards added up in their order,
 * padding cut off, what pack.h split put together; and the step of Dice's
 * moving statistics. Runs alone. */
#include <math.h>
#include <string.h>

#include "learner/net.h"

/* A tensor's place in ddense, from (m,ld), ld 1 for a column that is a row
 * there; nothing where the model has it not. */
static void narrow(const struct learner_net *net, float *ddense,
                   enum learner_tensor_name name, const float *from, size_t ld)
{
    const struct learner_model *model = net->model;
    if (!learner_model_has(model, name))
        return;
    const struct learner_tensor *tensor = &model->tensors[model->place[name]];
    float *to = ddense + tensor->offset;
    size_t m = tensor->shape[0], n = tensor->shape[1];
    if (tensor->dimensions == 1)
        n = m, m = 1;
    for (size_t i = 0; i < m; i++)
        memcpy(to + i * n, from + i * ld, n * sizeof *to);
}

static void cut(float *to, const float *from, size_t ld, size_t m, size_t n)
{
    for (size_t i = 0; i < m; i++)
        memcpy(to + i * n, from + i * ld, n * sizeof *to);
}

static void collect_split(const struct learner_net *net, float *dwq)
{
    const struct learner_model *model = net->model;
    const struct learner_partial *sum = &net->shards[0].partial;
    size_t K = model->K, A0 = model->A0, ldK = model->ldK;
    cut(dwq, sum->daq, model->ldA0, K, A0);
    if (model->config.attention == LEARNER_ATTENTION_OUTER) {
        float *dwo = dwq + K * A0, *dwk = dwo + K * K * A0;
        for (size_t i = 0; i < K; i++)
            learner_pack_turn(dwo + i * K * A0, A0, sum->dao + i * A0 * ldK,
                              ldK, A0, K);
        learner_pack_turn(dwk, A0, sum->dak, ldK, A0, K);
        return;
    }
    float *dwk = dwq + K * A0, *dwd = dwk + K * A0, *dwp = dwd + K * A0;
    learner_pack_turn(dwk, A0, sum->dak, ldK, A0, K);
    for (size_t i = 0; i < K * A0; i++)
        dwd[i] = dwq[i] - dwk[i];
    learner_pack_turn(dwp, A0, sum->dap, ldK, A0, K);
}

static void collect_attention(const struct learner_net *net, float *ddense)
{
    const struct learner_model *model = net->model;
    const struct learner_partial *sum = &net->shards[0].partial;
    size_t ldA0 = model->ldA0, ldA1 = model->ldA1;
    collect_split(net, ddense + learner_model_offset(
                                    model, TENSOR_ATTENTION_0_WEIGHT));
    narrow(net, ddense, TENSOR_ATTENTION_0_BIAS, sum->da0_bias, ldA0);
    narrow(net, ddense, TENSOR_ATTENTION_1_WEIGHT, sum->da1, ldA1);
    narrow(net, ddense, TENSOR_ATTENTION_1_BIAS, sum->da1_bias, ldA1);
    narrow(net, ddense, TENSOR_ATTENTION_2_WEIGHT, sum->da2, 1);
    narrow(net, ddense, TENSOR_ATTENTION_2_BIAS, sum->da2_bias, 1);
}

static void collect_mlp(const struct learner_net *net, float *ddense)
{
    const struct learner_model *model = net->model;
    const struct learner_partial *sum = &net->shards[0].partial;
    float factor = 1.0f / sqrtf(LEARNER_BN_VARIANCE);
    float *dgamma = ddense + learner_model_offset(model, TENSOR_BN_GAMMA);
    for (size_t j = 0; j < model->X; j++)
        dgamma[j] = sum->dgamma[j] * factor;
    narrow(net, ddense, TENSOR_BN_BETA, sum->dbeta, model->ldX);
    for (unsigned i = 0; i < 2; i++) {
        const struct learner_layer *layer = &net->layer[i];
        enum learner_tensor_name weight = TENSOR_MLP_0_WEIGHT + 2 * i;
        narrow(net, ddense, weight, layer->dweight, layer->ld);
        narrow(net, ddense, weight + 1, layer->dbias, layer->ld);
        narrow(net, ddense, TENSOR_MLP_0_ALPHA + i, layer->dalpha, layer->ld);
    }
    narrow(net, ddense, TENSOR_MLP_2_WEIGHT, net->dm2, 16);
    narrow(net, ddense, TENSOR_MLP_2_BIAS, net->dm2_bias, 16);
}

/* The biases beside the MLP's: each sample's margin has them once. */
static void collect_wide(const struct learner_net *net, float *ddense)
{
    const struct learner_model *model = net->model;
    const float *dwide = net->shards[0].partial.dwide;
    float sum = 0;
    for (size_t i = 0; i < net->samples; i++)
        sum += net->dmargin[i];
    if (model->has_first_order)
        ddense[learner_model_offset(model, TENSOR_FIRST_ORDER_BIAS)] = sum;
    if (!model->has_wide)
        return;
    float *dbias = ddense + learner_model_offset(model, TENSOR_WIDE_BIAS);
    float *dweight = ddense + learner_model_offset(model, TENSOR_WIDE_WEIGHT);
    dbias[0] = sum, dbias[1] = -sum;
    for (size_t j = 0; j < 3 * (size_t)model->D; j++)
        dweight[2 * j] = dwide[j], dweight[2 * j + 1] = -dwide[j];
}

void learner_net_collect(struct learner_net *net, float *ddense)
{
    const struct learner_model *model = net->model;
    for (unsigned s = 1; s < net->shard_count; s++) {
        const float *from = net->partials + s * net->partial_size;
        for (size_t i = 0; i < net->partial_size; i++)
            net->partials[i] += from[i];
    }
    memset(ddense, 0, model->dense_size * sizeof *ddense);
    if (model->has_mlp)
        collect_mlp(net, ddense);
    if (model->has_unit)
        collect_attention(net, ddense);
    if (model->has_states)
        learner_evolution_collect(net, ddense);
    if (model->has_first_order || model->has_wide)
        collect_wide(net, ddense);
}

void learner_net_move(const struct learner_net *net, float *dense)
{
    if (!learner_model_has(net->model, TENSOR_MLP_0_MEAN))
        return;
    for (unsigned i = 0; i < 2; i++) {
        const struct learner_layer *layer = &net->layer[i];
        enum learner_tensor_name mean = TENSOR_MLP_0_MEAN + 2 * i;
        learner_activation_move(dense + learner_model_offset(net->model, mean),
                                layer->mean, layer->out);
        learner_activation_move(
            dense + learner_model_offset(net->model, mean + 1),
            layer->variance, layer->out);
    }
}
