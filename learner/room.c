/* SPDX-License-Identifier: Apache-2.0 */
/* The network's memory: slabs that grow with the largest batch, and the cut of
 * a batch into shards; see net.h. Columns that pad
 * a width to 16 are zeroed when a slab is made and never written otherwise
 * with anything that could reach a result. */
#include <stdlib.h>
#include <string.h>

#include "learner/net.h"

enum { FIXED_PER_SHARD = 9 };

static void point_partial(const struct learner_net *net,
                          struct learner_partial *partial, float *base,
                          size_t *size)
{
    const struct learner_model *model = net->model;
    size_t K = model->has_unit ? model->K : 0, A0 = model->A0;
    size_t ldX = model->ldX, ldA0 = model->ldA0, ldA1 = model->ldA1;
    size_t turned = model->has_unit ? A0 * model->ldK : 0;
    bool outer = model->config.attention == LEARNER_ATTENTION_OUTER;
    const struct learner_slot own[] = {
        {&partial->dgamma, ldX}, {&partial->dbeta, ldX},
        {&partial->daq, K * ldA0}, {&partial->dak, turned},
        {&partial->dap, outer ? 0 : turned},
        {&partial->dao, outer ? K * turned : 0},
        {&partial->da0_bias, ldA0},
        {&partial->da1, A0 * ldA1}, {&partial->da1_bias, ldA1},
        {&partial->da2, ldA1}, {&partial->da2_bias, 16},
        {&partial->dwide, learner_round16(3 * model->D)},
    };
    unsigned count = sizeof own / sizeof own[0];
    struct learner_slot slots[sizeof own / sizeof own[0] +
                              LEARNER_EVOLUTION_PARTIAL_SLOTS];
    memcpy(slots, own, sizeof own);
    if (model->has_states)
        count += learner_evolution_partial_slots(net, &partial->evolution,
                                                 slots + count);
    size_t at = 0;
    for (unsigned i = 0; i < count; i++) {
        if (base)
            *slots[i].at = base + at;
        at += slots[i].size;
    }
    *size = at;
}

/* Scratch of a shard, whatever the batch. */
static void list_scratch(struct learner_shard *shard,
                         const struct learner_model *model,
                         struct learner_slot slots[FIXED_PER_SHARD])
{
    size_t K = model->K, ldK = model->ldK;
    size_t A0 = model->A0, ldA0 = model->ldA0;
    bool outer = model->config.attention == LEARNER_ATTENTION_OUTER;
    size_t runs = !model->has_unit ? 0 : outer ? NET_RUNS : 1;
    size_t pairs = runs == 1 ? 2 * NET_TILE : 0;
    const struct learner_slot own[FIXED_PER_SHARD] = {
        {&shard->tile0, NET_TILE * ldA0},
        {&shard->tile1, NET_TILE * (size_t)model->ldA1},
        {&shard->pair, pairs * ldK}, {&shard->dpair, pairs * ldK},
        {&shard->fold, runs * K * ldA0},
        {&shard->fold_turned, runs * A0 * ldK},
        {&shard->dfold, runs * A0 * ldK},
        {&shard->fold_query, runs * ldK},
        {&shard->wide, learner_round16(3 * model->D)},
    };
    memcpy(slots, own, sizeof own);
}

static enum base_status make_fixed(struct learner_net *net,
                                   struct base_error *error)
{
    const struct learner_model *model = net->model;
    unsigned shards = net->shard_count, count = 0;
    struct learner_slot *slots = calloc(
        (FIXED_PER_SHARD + LEARNER_EVOLUTION_SCRATCH_SLOTS) * shards + 1,
        sizeof *slots);
    if (!slots)
        return base_fail(error, BASE_SYSTEM, "net: no memory");
    for (unsigned i = 0; i < shards; i++) {
        list_scratch(&net->shards[i], model, slots + count);
        count += FIXED_PER_SHARD;
        if (model->has_states)
            count += learner_evolution_scratch_slots(
                net, &net->shards[i].evolution, slots + count);
    }
    point_partial(net, &net->shards[0].partial, NULL, &net->partial_size);
    slots[count++] = (struct learner_slot){
        &net->partials, net->training ? shards * net->partial_size : 0};
    enum base_status status = learner_slab_cut(&net->fixed, slots, count,
                                               error);
    free(slots);
    for (unsigned i = 0; !status && net->training && i < shards; i++)
        point_partial(net, &net->shards[i].partial,
                      net->partials + i * net->partial_size,
                      &net->partial_size);
    return status;
}

enum base_status learner_net_init(struct learner_net *net,
                                  const struct learner_model *model,
                                  unsigned shards, bool training,
                                  struct base_error *error)
{
    *net = (struct learner_net){.model = model,
                                .kernels = learner_kernels_get(),
                                .training = training,
                                .shard_count = shards};
    net->layer[0] = (struct learner_layer){
        .in = model->X, .out = model->M0,
        .ld_in = model->ldX, .ld = model->ldM0};
    net->layer[1] = (struct learner_layer){
        .in = model->M0, .out = model->M1,
        .ld_in = model->ldM0, .ld = model->ldM1};
    net->shards = calloc(shards, sizeof *net->shards);
    if (!net->shards)
        return base_fail(error, BASE_SYSTEM, "net: no memory");
    enum base_status status = learner_pack_init(&net->pack, model, error);
    if (!status && model->has_states)
        status = learner_evolution_init(net, error);
    if (!status)
        status = make_fixed(net, error);
    if (status)
        learner_net_fini(net);
    return status;
}

void learner_net_fini(struct learner_net *net)
{
    learner_pack_fini(&net->pack);
    learner_evolution_fini(net);
    free(net->shards);
    free(net->fixed);
    free(net->slab);
    free(net->pair_begin);
    net->shards = NULL;
    net->fixed = net->slab = NULL;
    net->pair_begin = NULL;
}

static bool grow(size_t *room, size_t needed)
{
    if (needed <= *room)
        return false;
    *room = needed + needed / 2;
    return true;
}

enum { SLOTS_MAX = 80 };

struct slots {
    struct learner_slot list[SLOTS_MAX];
    unsigned count;
};

static void want(struct slots *slots, float **at, size_t size)
{
    BASE_ASSERT(slots->count < SLOTS_MAX);
    slots->list[slots->count++] = (struct learner_slot){at, size};
}

/* Both a buffer and, in training, its gradient. */
static void want_pair(struct slots *slots, const struct learner_net *net,
                      float **at, float **gradient, size_t size)
{
    want(slots, at, size);
    want(slots, gradient, net->training ? size : 0);
}

static void list_layer(struct slots *slots, const struct learner_net *net,
                       struct learner_layer *layer)
{
    size_t B = net->room_samples, ld = layer->ld;
    size_t train = net->training ? 1 : 0;
    want(slots, &layer->z, B * ld);
    want(slots, &layer->f, B * ld);
    want(slots, &layer->p, train * B * ld);
    want(slots, &layer->d, train * B * ld);
    want(slots, &layer->dweight, train * layer->in * ld);
    want(slots, &layer->dbias, ld);
    want(slots, &layer->dalpha, ld);
    want(slots, &layer->mean, ld);
    want(slots, &layer->variance, ld);
    want(slots, &layer->scale, ld);
}

static void list_attention(struct slots *slots, struct learner_net *net)
{
    const struct learner_model *model = net->model;
    size_t B = net->room_samples, N = net->room_behaviors;
    size_t pairs = net->room_pairs, train = net->training ? 1 : 0;
    want_pair(slots, net, &net->qp, &net->dqp, B * model->ldA0);
    want_pair(slots, net, &net->a, &net->da, pairs);
    want(slots, &net->h0, train * pairs * model->ldA0);
    want(slots, &net->h1, train * pairs * model->ldA1);
    want_pair(slots, net, &net->interest, &net->dinterest, B * model->ldI);
    if (!model->has_states)
        return;
    want_pair(slots, net, &net->query, &net->dquery, B * model->ldK);
    want_pair(slots, net, &net->key, &net->dkey, N * model->ldK);
}

static void list_output(struct slots *slots, struct learner_net *net)
{
    size_t B = net->room_samples, train = net->training ? 1 : 0;
    want(slots, &net->extra, B);
    want(slots, &net->logit, B * 16);
    want(slots, &net->dlogit, train * B * 16);
    want(slots, &net->margin, B + 16);
    want(slots, &net->p, B + 16);
    want(slots, &net->plus, B + 16);
    want(slots, &net->minus, B + 16);
    want(slots, &net->dmargin, train * B);
    want(slots, &net->dbag, train * net->room_groups);
    want(slots, &net->dm2, train * net->layer[1].out * 16);
    want(slots, &net->dm2_bias, 16);
}

static enum base_status make_slab(struct learner_net *net,
                                  struct base_error *error)
{
    const struct learner_model *model = net->model;
    size_t B = net->room_samples, N = net->room_behaviors;
    size_t ldD = model->ldD, ldX = model->ldX;
    bool auxiliary = model->config.auxiliary != LEARNER_AUXILIARY_NONE;
    struct slots slots = {.count = 0};
    want_pair(&slots, net, &net->x, &net->dx, B * ldX);
    want(&slots, &net->y, B * ldX);
    want_pair(&slots, net, &net->item, &net->ditem, B * ldD);
    want_pair(&slots, net, &net->history, &net->dhistory, N * ldD);
    want_pair(&slots, net, &net->s, &net->ds, net->room_groups * ldD);
    want(&slots, &net->padding, ldD);
    if (auxiliary && net->training)
        want_pair(&slots, net, &net->negative, &net->dnegative, N * ldD);
    if (model->has_attention)
        list_attention(&slots, net);
    list_output(&slots, net);
    list_layer(&slots, net, &net->layer[0]);
    list_layer(&slots, net, &net->layer[1]);
    if (model->has_states) {
        BASE_ASSERT(slots.count + LEARNER_EVOLUTION_ROOM_SLOTS <= SLOTS_MAX);
        slots.count +=
            learner_evolution_room_slots(net, slots.list + slots.count);
    }
    free(net->slab);
    net->slab = NULL;
    enum base_status status =
        learner_slab_cut(&net->slab, slots.list, slots.count, error);
    if (!model->has_states) {
        net->query = net->item, net->dquery = net->ditem;
        net->key = net->history, net->dkey = net->dhistory;
    }
    return status;
}

static enum base_status make_room(struct learner_net *net, size_t pairs,
                                  struct base_error *error)
{
    bool more = grow(&net->room_samples, net->samples);
    more |= grow(&net->room_behaviors, net->behaviors);
    more |= grow(&net->room_pairs, pairs);
    more |= grow(&net->room_groups, net->groups);
    if (!more && net->slab)
        return BASE_OK;
    enum base_status status = make_slab(net, error);
    if (status) /* nothing fits any more: the next call starts over */
        net->room_samples = net->room_behaviors = net->room_pairs =
            net->room_groups = 0;
    return status;
}

/* A group's work: each pair about 7,500 multiply-adds, each sample's MLP and
 * each behavior's products the same order as some pairs; a recurrent kind's
 * behavior has a GRU and the auxiliary loss. */
static uint64_t work_of(const struct learner_net *net, uint32_t group)
{
    uint64_t samples = net->group_begin[group + 1] - net->group_begin[group];
    uint64_t size = net->history_begin[group + 1] - net->history_begin[group];
    uint64_t behavior = net->model->has_states ? 2 : 1;
    return samples * (size + 8) + behavior * size;
}

/* Group g goes to the shard into which the middle of its work falls. */
static void cut_shards(struct learner_net *net)
{
    uint64_t total = 0, before = 0;
    for (uint32_t g = 0; g < net->groups; g++)
        total += work_of(net, g);
    uint32_t g = 0;
    for (unsigned i = 0; i < net->shard_count; i++) {
        net->shards[i].group_begin = g;
        while (g < net->groups) {
            uint64_t work = work_of(net, g);
            if ((2 * before + work) * net->shard_count >=
                2 * total * (i + 1))
                break;
            before += work;
            g++;
        }
        if (i + 1 == net->shard_count)
            g = net->groups;
        net->shards[i].group_end = g;
    }
}

static enum base_status make_pairs(struct learner_net *net,
                                   struct base_error *error)
{
    uint32_t groups = net->groups;
    if (groups > net->room_groups || !net->pair_begin) {
        size_t room = groups + groups / 2 + 1;
        free(net->pair_begin);
        net->pair_begin = malloc(room * sizeof *net->pair_begin);
        if (!net->pair_begin)
            return base_fail(error, BASE_SYSTEM, "net: no memory");
    }
    size_t pairs = 0;
    for (uint32_t g = 0; g < groups; g++) {
        net->pair_begin[g] = pairs;
        pairs += (size_t)(net->group_begin[g + 1] - net->group_begin[g]) *
                 learner_net_history(net, g);
    }
    net->pair_begin[groups] = pairs;
    return BASE_OK;
}

enum base_status learner_net_begin(struct learner_net *net,
                                   const struct learner_step_input *input,
                                   struct base_error *error)
{
    const struct learner_batch *batch = input->batch;
    net->input = input;
    net->groups = batch->groups;
    net->group_begin = batch->group_begin;
    net->history_begin = batch->history_begin;
    net->samples = net->group_begin[net->groups];
    net->behaviors = net->history_begin[net->groups];
    enum base_status status = make_pairs(net, error);
    if (status)
        return status;
    cut_shards(net);
    status = make_room(net, net->pair_begin[net->groups], error);
    if (!status && net->model->has_states)
        status = learner_evolution_begin(net, error);
    if (!status)
        learner_embedding_pad(net);
    return status;
}
