/* SPDX-License-Identifier: Apache-2.0 */
/* The recurrent kinds' row phases, forward and backward; see evolution.h. */
#include <string.h>

#include "learner/net.h"

/* The first GRU, or gru_att's second: once a group. */
static struct learner_gru_batch groups_of(const struct learner_net *net,
                                          const struct learner_shard *shard,
                                          const float *product, float *states)
{
    const struct learner_evolution_part *own = &net->evolution;
    uint32_t first = shard->group_begin;
    return (struct learner_gru_batch){
        .sequence = own->by_group + first,
        .order = own->group_order + first,
        .sequences = shard->group_end - first,
        .keep = net->training,
        .product = product,
        .states = states};
}

/* dien's second: once a sample, its last state the interest. */
static struct learner_gru_batch samples_of(const struct learner_net *net,
                                           const struct learner_shard *shard)
{
    const struct learner_evolution_part *own = &net->evolution;
    uint32_t first = net->group_begin[shard->group_begin];
    return (struct learner_gru_batch){
        .sequence = own->by_sample + first,
        .order = own->sample_order + first,
        .sequences = net->group_begin[shard->group_end] - first,
        .keep = net->training,
        .product = own->product[1],
        .attention = net->a,
        .last = net->interest + (size_t)first * net->model->ldI};
}

/* ---- forward ------------------------------------------------------------- */

static void make_query(struct learner_net *net,
                       const struct learner_range *rows)
{
    const struct learner_model *model = net->model;
    const struct learner_evolution_part *own = &net->evolution;
    size_t ldH = model->ldH;
    bool linear = !model->has_unit;
    float *query = net->query + rows->sample * ldH;
    float *input = own->query_input + rows->sample * ldH;
    net->kernels->gemm(linear ? query : input, ldH,
                       net->item + rows->sample * model->ldD, model->ldD,
                       own->query, ldH, rows->samples, model->D, ldH,
                       linear ? own->zero : own->query_bias);
    if (!linear)
        net->kernels->prelu(query, input, ldH, rows->samples, ldH,
                            own->query_alpha);
}

void learner_evolution_keys(struct learner_net *net,
                            const struct learner_shard *shard)
{
    const struct learner_model *model = net->model;
    const struct learner_evolution_part *own = &net->evolution;
    struct learner_range rows = learner_net_range(net, shard);
    size_t ldP = own->gru[0].shape.ldP, first = rows.behavior;
    make_query(net, &rows);
    learner_gru_input(&own->gru[0], net->kernels, own->product[0] + first * ldP,
                      net->history + first * model->ldD, rows.behaviors);
    struct learner_gru_batch batch =
        groups_of(net, shard, own->product[0], own->states);
    learner_gru_forward(&own->gru[0], net->kernels, &batch,
                        &shard->evolution.work[0]);
    ldP = own->gru[1].shape.ldP;
    learner_gru_input(&own->gru[1], net->kernels, own->product[1] + first * ldP,
                      own->states + first * model->ldH, rows.behaviors);
    if (model->config.kind == LEARNER_DIEN)
        return;
    batch = groups_of(net, shard, own->product[1], net->key);
    learner_gru_forward(&own->gru[1], net->kernels, &batch,
                        &shard->evolution.work[1]);
}

void learner_evolution_evolve(struct learner_net *net,
                              const struct learner_shard *shard)
{
    struct learner_gru_batch batch = samples_of(net, shard);
    learner_gru_forward(&net->evolution.gru[1], net->kernels, &batch,
                        &shard->evolution.work[1]);
}

/* ---- backward ------------------------------------------------------------ */

static void clear_rows(float *rows, size_t first, size_t count, size_t ld)
{
    memset(rows + first * ld, 0, count * ld * sizeof *rows);
}

/* GRU `index` of the shard: the gradient of its inputs is added to. */
static void back_through(struct learner_net *net,
                         const struct learner_shard *shard, unsigned index,
                         const struct learner_gru_batch *batch,
                         struct learner_gru_backward *gradients)
{
    const struct learner_evolution_part *own = &net->evolution;
    const struct learner_gru_pack *pack = &own->gru[index];
    const struct learner_gru_shape *shape = &pack->shape;
    const struct learner_gru_partial *partial =
        &shard->partial.evolution.gru[index];
    struct learner_range rows = learner_net_range(net, shard);
    const float *x = index ? own->states : net->history;
    float *dx = index ? own->dstates : net->dhistory;
    float *dproduct = own->dproduct[index];
    gradients->dproduct = dproduct;
    learner_gru_backward(pack, net->kernels, batch,
                         &shard->evolution.work[index], gradients, partial);
    learner_gru_input_backward(
        pack, net->kernels, dx + rows.behavior * shape->ldI,
        dproduct + rows.behavior * shape->ldP, x + rows.behavior * shape->ldI,
        rows.behaviors, partial);
}

void learner_evolution_clear(struct learner_net *net,
                             const struct learner_shard *shard)
{
    struct learner_range rows = learner_net_range(net, shard);
    clear_rows(net->dquery, rows.sample, rows.samples, net->model->ldH);
    clear_rows(net->dkey, rows.behavior, rows.behaviors, net->model->ldH);
}

void learner_evolution_evolve_backward(struct learner_net *net,
                                       const struct learner_shard *shard)
{
    struct learner_gru_batch batch = samples_of(net, shard);
    size_t first = net->group_begin[shard->group_begin];
    struct learner_gru_backward gradients = {
        .dlast = net->dinterest + first * net->model->ldI,
        .dattention = net->da};
    back_through(net, shard, 1, &batch, &gradients);
}

static void back_query(struct learner_net *net,
                       const struct learner_shard *shard,
                       const struct learner_range *rows)
{
    const struct learner_kernels *kernels = net->kernels;
    const struct learner_model *model = net->model;
    const struct learner_evolution_part *own = &net->evolution;
    const struct learner_evolution_partial *partial =
        &shard->partial.evolution;
    size_t ldH = model->ldH, ldD = model->ldD;
    float *d = net->dquery + rows->sample * ldH;
    if (model->has_unit) {
        kernels->prelu_backward(d, partial->dquery_alpha,
                                own->query_input + rows->sample * ldH, ldH,
                                rows->samples, ldH, own->query_alpha);
        kernels->column_sum(partial->dquery_bias, d, ldH, rows->samples, ldH);
    }
    kernels->gemm_tn(partial->dquery, ldH, net->item + rows->sample * ldD, ldD,
                     d, ldH, model->D, rows->samples, ldH, NULL);
    kernels->gemm(net->ditem + rows->sample * ldD, ldD, d, ldH,
                  own->query_turned, ldD, rows->samples, model->H, ldD, NULL);
}

static void run_auxiliary(struct learner_net *net, struct learner_shard *shard)
{
    const struct learner_evolution_part *own = &net->evolution;
    struct learner_evolution_shard *scratch = &shard->evolution;
    if (!own->has_auxiliary || scratch->cell_begin == scratch->cell_end)
        return;
    double weight = net->model->config.auxiliary_weight;
    const struct learner_auxiliary_batch batch = {
        .cell = own->cell + scratch->cell_begin,
        .count = scratch->cell_end - scratch->cell_begin,
        .share = (float)(weight / own->cells),
        .states = own->states, .items = net->history,
        .negatives = net->negative, .dstates = own->dstates,
        .ditems = net->dhistory, .dnegatives = net->dnegative};
    scratch->loss = learner_auxiliary_run(
        &own->auxiliary, net->kernels, &batch, &scratch->auxiliary,
        &shard->partial.evolution.auxiliary);
}

void learner_evolution_keys_backward(struct learner_net *net,
                                     struct learner_shard *shard)
{
    const struct learner_model *model = net->model;
    const struct learner_evolution_part *own = &net->evolution;
    struct learner_range rows = learner_net_range(net, shard);
    back_query(net, shard, &rows);
    if (model->config.kind != LEARNER_DIEN) {
        struct learner_gru_batch second =
            groups_of(net, shard, own->product[1], net->key);
        struct learner_gru_backward gradients = {.dstates = net->dkey};
        clear_rows(own->dstates, rows.behavior, rows.behaviors, model->ldH);
        back_through(net, shard, 1, &second, &gradients);
    }
    run_auxiliary(net, shard);
    struct learner_gru_batch batch =
        groups_of(net, shard, own->product[0], own->states);
    struct learner_gru_backward gradients = {.dstates = own->dstates};
    back_through(net, shard, 0, &batch, &gradients);
}
