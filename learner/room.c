/* SPDX-License-Identifier: Apache-2.0 */
/* DIN's memory: slabs that grow with the largest batch, the cut of a batch
 * into shards, and where a field's embedding lies; see din.h. Columns that pad
 * a width to 16 are zeroed when a slab is made and never written otherwise
 * with anything that could reach a result. */
#include <stdlib.h>
#include <string.h>

#include "learner/din.h"

enum { FIXED_PER_SHARD = 6 };

static void point_partial(struct learner_din_partial *partial, float *base,
                          const struct learner_model *model, size_t *size)
{
    size_t D = model->D, A0 = model->config.attention_hidden[0];
    size_t ldX = model->ldX, ldA0 = model->ldA0, ldA1 = model->ldA1;
    const struct learner_slot slots[] = {
        {&partial->dgamma, ldX}, {&partial->dbeta, ldX},
        {&partial->daq, D * ldA0}, {&partial->dak, D * ldA0},
        {&partial->dap, D * ldA0}, {&partial->da0_bias, ldA0},
        {&partial->da1, A0 * ldA1}, {&partial->da1_bias, ldA1},
        {&partial->da2, ldA1}, {&partial->da2_bias, 16},
    };
    size_t at = 0;
    for (unsigned i = 0; i < sizeof slots / sizeof slots[0]; i++) {
        if (base)
            *slots[i].at = base + at;
        at += slots[i].size;
    }
    *size = at;
}

static enum base_status make_fixed(struct learner_din *din,
                                   struct base_error *error)
{
    const struct learner_model *model = din->model;
    unsigned shards = din->shard_count, count = 0;
    struct learner_slot *slots =
        calloc(FIXED_PER_SHARD * shards + 1, sizeof *slots);
    if (!slots)
        return base_fail(error, BASE_SYSTEM, "din: no memory");
    size_t ldD = DIN_TILE * (size_t)model->ldD;
    for (unsigned i = 0; i < shards; i++) {
        struct learner_din_shard *shard = &din->shards[i];
        const struct learner_slot own[FIXED_PER_SHARD] = {
            {&shard->product, ldD}, {&shard->dproduct, ldD},
            {&shard->tile0, DIN_TILE * (size_t)model->ldA0},
            {&shard->tile1, DIN_TILE * (size_t)model->ldA1},
            {&shard->row, model->ldD}, {&shard->drow, model->ldD},
        };
        memcpy(slots + count, own, sizeof own);
        count += FIXED_PER_SHARD;
    }
    point_partial(&din->shards[0].partial, NULL, model, &din->partial_size);
    slots[count++] = (struct learner_slot){
        &din->partials, din->training ? shards * din->partial_size : 0};
    enum base_status status = learner_slab_cut(&din->fixed, slots, count,
                                               error);
    free(slots);
    for (unsigned i = 0; !status && din->training && i < shards; i++)
        point_partial(&din->shards[i].partial,
                      din->partials + i * din->partial_size, model,
                      &din->partial_size);
    return status;
}

enum base_status learner_din_init(struct learner_din *din,
                                  const struct learner_model *model,
                                  unsigned shards, bool training,
                                  struct base_error *error)
{
    *din = (struct learner_din){.model = model,
                                .kernels = learner_kernels_get(),
                                .training = training,
                                .shard_count = shards};
    const struct learner_model_config *config = &model->config;
    din->layer[0] = (struct learner_din_layer){
        .in = model->X, .out = config->mlp_hidden[0],
        .ld_in = model->ldX, .ld = model->ldM0};
    din->layer[1] = (struct learner_din_layer){
        .in = config->mlp_hidden[0], .out = config->mlp_hidden[1],
        .ld_in = model->ldM0, .ld = model->ldM1};
    din->shards = calloc(shards, sizeof *din->shards);
    if (!din->shards)
        return base_fail(error, BASE_SYSTEM, "din: no memory");
    enum base_status status = learner_pack_init(&din->pack, model, error);
    if (!status)
        status = make_fixed(din, error);
    if (status)
        learner_din_fini(din);
    return status;
}

void learner_din_fini(struct learner_din *din)
{
    learner_pack_fini(&din->pack);
    free(din->shards);
    free(din->fixed);
    free(din->slab);
    free(din->pair_begin);
    din->shards = NULL;
    din->fixed = din->slab = NULL;
    din->pair_begin = NULL;
}

static bool grow(size_t *room, size_t needed)
{
    if (needed <= *room)
        return false;
    *room = needed + needed / 2;
    return true;
}

static enum base_status make_slab(struct learner_din *din,
                                  struct base_error *error)
{
    const struct learner_model *model = din->model;
    size_t B = din->room_samples, N = din->room_behaviors;
    size_t ldD = model->ldD, ldX = model->ldX, ldA0 = model->ldA0;
    size_t pairs = din->room_pairs;
    size_t train = din->training ? 1 : 0; /* 0: none of it */
    struct learner_din_layer *l0 = &din->layer[0], *l1 = &din->layer[1];
    const struct learner_slot slots[] = {
        {&din->x, B * ldX}, {&din->y, B * ldX}, {&din->dx, train * B * ldX},
        {&din->q, B * ldD}, {&din->dq, train * B * ldD},
        {&din->k, N * ldD}, {&din->dk, train * N * ldD},
        {&din->s, din->room_groups * ldD},
        {&din->qp, B * ldA0}, {&din->dqp, train * B * ldA0},
        {&din->kp, N * ldA0}, {&din->dkp, train * N * ldA0},
        {&din->a, pairs}, {&din->da, train * pairs},
        {&din->h0, train * pairs * ldA0},
        {&din->h1, train * pairs * model->ldA1},
        {&din->logit, B * 16}, {&din->dlogit, train * B * 16},
        {&din->margin, B + 16}, {&din->p, B + 16},
        {&din->plus, B + 16}, {&din->minus, B + 16},
        {&l0->z, B * l0->ld}, {&l0->f, B * l0->ld},
        {&l0->p, train * B * l0->ld}, {&l0->d, train * B * l0->ld},
        {&l1->z, B * l1->ld}, {&l1->f, B * l1->ld},
        {&l1->p, train * B * l1->ld}, {&l1->d, train * B * l1->ld},
        {&l0->dweight, train * l0->in * l0->ld}, {&l0->dbias, l0->ld},
        {&l0->dalpha, l0->ld}, {&l0->mean, l0->ld}, {&l0->variance, l0->ld},
        {&l0->scale, l0->ld},
        {&l1->dweight, train * l1->in * l1->ld}, {&l1->dbias, l1->ld},
        {&l1->dalpha, l1->ld}, {&l1->mean, l1->ld}, {&l1->variance, l1->ld},
        {&l1->scale, l1->ld},
        {&din->dm2, train * l1->out * 16}, {&din->dm2_bias, 16},
    };
    free(din->slab);
    din->slab = NULL;
    return learner_slab_cut(&din->slab, slots, sizeof slots / sizeof slots[0],
                            error);
}

static enum base_status make_room(struct learner_din *din, size_t pairs,
                                  struct base_error *error)
{
    bool more = grow(&din->room_samples, din->samples);
    more |= grow(&din->room_behaviors, din->behaviors);
    more |= grow(&din->room_pairs, pairs);
    more |= grow(&din->room_groups, din->groups);
    if (!more && din->slab)
        return BASE_OK;
    enum base_status status = make_slab(din, error);
    if (status) /* nothing fits any more: the next call starts over */
        din->room_samples = din->room_behaviors = din->room_pairs =
            din->room_groups = 0;
    return status;
}

/* A group's work: each pair about 7,500 multiply-adds, each sample's MLP and
 * each behavior's products the same order as some pairs. */
static uint64_t work_of(const struct learner_din *din, uint32_t group)
{
    uint64_t samples = din->group_begin[group + 1] - din->group_begin[group];
    uint64_t size = din->history_begin[group + 1] - din->history_begin[group];
    return samples * (size + 8) + size;
}

/* Group g goes to the shard into which the middle of its work falls. */
static void cut_shards(struct learner_din *din)
{
    uint64_t total = 0, before = 0;
    for (uint32_t g = 0; g < din->groups; g++)
        total += work_of(din, g);
    uint32_t g = 0;
    for (unsigned i = 0; i < din->shard_count; i++) {
        din->shards[i].group_begin = g;
        while (g < din->groups) {
            uint64_t work = work_of(din, g);
            if ((2 * before + work) * din->shard_count >=
                2 * total * (i + 1))
                break;
            before += work;
            g++;
        }
        if (i + 1 == din->shard_count)
            g = din->groups;
        din->shards[i].group_end = g;
    }
}

enum base_status learner_din_begin(struct learner_din *din, uint32_t groups,
                                   const uint32_t *group_begin,
                                   const uint32_t *history_begin,
                                   struct base_error *error)
{
    din->groups = groups;
    din->group_begin = group_begin;
    din->history_begin = history_begin;
    din->samples = group_begin[groups];
    din->behaviors = history_begin[groups];
    if (groups > din->room_groups || !din->pair_begin) {
        size_t room = groups + groups / 2 + 1;
        free(din->pair_begin);
        din->pair_begin = malloc(room * sizeof *din->pair_begin);
        if (!din->pair_begin)
            return base_fail(error, BASE_SYSTEM, "din: no memory");
    }
    size_t pairs = 0;
    for (uint32_t g = 0; g < groups; g++) {
        din->pair_begin[g] = pairs;
        pairs += (size_t)(group_begin[g + 1] - group_begin[g]) *
                 (history_begin[g + 1] - history_begin[g]);
    }
    din->pair_begin[groups] = pairs;
    cut_shards(din);
    return make_room(din, pairs, error);
}

float *learner_din_place(struct learner_din *din, unsigned field,
                         uint32_t sample)
{
    const struct learner_model *model = din->model;
    size_t offset = model->field_offset[field];
    switch (model->schema.fields[field].group) {
    case LEARNER_ITEM:
        return din->q + (size_t)sample * model->ldD + offset;
    case LEARNER_CONTEXT:
        offset += model->P + model->D;
        break;
    case LEARNER_PROFILE:
        break;
    }
    return din->x + (size_t)sample * model->ldX + offset;
}

const float *learner_din_gradient(const struct learner_din *din,
                                  unsigned field, uint32_t sample)
{
    const struct learner_model *model = din->model;
    size_t offset = model->field_offset[field];
    switch (model->schema.fields[field].group) {
    case LEARNER_ITEM:
        return din->dq + (size_t)sample * model->ldD + offset;
    case LEARNER_CONTEXT:
        offset += model->P + model->D;
        break;
    case LEARNER_PROFILE:
        break;
    }
    return din->dx + (size_t)sample * model->ldX + offset;
}
