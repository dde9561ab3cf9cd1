/* SPDX-License-Identifier: Apache-2.0 */
/* The recurrent kinds' weights, memory and sequences; see evolution.h. */
#include "learner/evolution.h"

#include <stdlib.h>
#include <string.h>

#include "learner/net.h"

/* ---- weights ------------------------------------------------------------- */

static enum learner_gru_form form_of(const struct learner_model *model)
{
    if (model->config.kind != LEARNER_DIEN)
        return LEARNER_GRU_PLAIN;
    switch (model->config.evolution) {
    case LEARNER_AUGRU: return LEARNER_GRU_AUGRU;
    case LEARNER_AUGRU_CODE: return LEARNER_GRU_AUGRU_CODE;
    case LEARNER_AGRU: return LEARNER_GRU_AGRU;
    case LEARNER_AIGRU: break;
    }
    return LEARNER_GRU_AIGRU;
}

enum base_status learner_evolution_init(struct learner_net *net,
                                        struct base_error *error)
{
    const struct learner_model *model = net->model;
    const struct learner_model_config *config = &model->config;
    struct learner_evolution_part *own = &net->evolution;
    *own = (struct learner_evolution_part){
        .has_auxiliary =
            net->training && config->auxiliary != LEARNER_AUXILIARY_NONE};
    learner_gru_pack_init(&own->gru[0], model->D, model->H, LEARNER_GRU_PLAIN);
    learner_gru_pack_init(&own->gru[1], model->H, model->H, form_of(model));
    learner_auxiliary_pack_init(&own->auxiliary, config->auxiliary,
                                config->probability_epsilon, model->H,
                                model->D, config->auxiliary_hidden);
    struct learner_slot slots[2 * LEARNER_GRU_PACK_SLOTS +
                              LEARNER_AUXILIARY_PACK_SLOTS + 5];
    unsigned count = learner_gru_pack_slots(&own->gru[0], slots);
    count += learner_gru_pack_slots(&own->gru[1], slots + count);
    count += learner_auxiliary_pack_slots(&own->auxiliary, slots + count);
    const struct learner_slot more[5] = {
        {&own->query, (size_t)model->D * model->ldH},
        {&own->query_bias, model->ldH},
        {&own->query_alpha, model->ldH},
        {&own->query_turned, (size_t)model->H * model->ldD},
        {&own->zero, (size_t)model->ldD + model->ldH},
    };
    memcpy(slots + count, more, sizeof more);
    return learner_slab_cut(&own->slab, slots, count + 5, error);
}

void learner_evolution_fini(struct learner_net *net)
{
    struct learner_evolution_part *own = &net->evolution;
    free(own->slab);
    free(own->by_group);
    free(own->by_sample);
    free(own->group_order);
    free(own->sample_order);
    free(own->cell);
    *own = (struct learner_evolution_part){0};
}

/* A tensor in dense, or NULL where the model has it not. */
static const float *tensor(const struct learner_model *model,
                           const float *dense, enum learner_tensor_name name)
{
    return learner_model_has(model, name)
               ? dense + learner_model_offset(model, name)
               : NULL;
}

/* The auxiliary network's tensors, in the order of the model's table. */
static struct learner_auxiliary_tensors
auxiliary_tensors(const struct learner_model *model, const float *dense)
{
    const float *at[8];
    for (unsigned i = 0; i < 8; i++)
        at[i] = tensor(model, dense, TENSOR_AUXILIARY_BN_GAMMA + i);
    return (struct learner_auxiliary_tensors){at[0], at[1], at[2], at[3],
                                              at[4], at[5], at[6], at[7]};
}

static void load_query(struct learner_net *net, const float *dense,
                       bool backward)
{
    const struct learner_model *model = net->model;
    struct learner_evolution_part *own = &net->evolution;
    size_t D = model->D, H = model->H;
    learner_pack_widen(own->query, model->ldH,
                       tensor(model, dense, TENSOR_QUERY_WEIGHT), D, H);
    if (backward)
        learner_pack_turn(own->query_turned, model->ldD, own->query,
                          model->ldH, D, H);
    if (!learner_model_has(model, TENSOR_QUERY_BIAS))
        return;
    learner_pack_widen(own->query_bias, 0,
                       tensor(model, dense, TENSOR_QUERY_BIAS), 1, H);
    learner_pack_widen(own->query_alpha, 0,
                       tensor(model, dense, TENSOR_QUERY_ALPHA), 1, H);
}

void learner_evolution_load(struct learner_net *net, const float *dense,
                            bool backward)
{
    const struct learner_model *model = net->model;
    struct learner_evolution_part *own = &net->evolution;
    for (unsigned i = 0; i < 2; i++) {
        const enum learner_tensor_name first =
            i ? TENSOR_GRU2_GATES_WEIGHT : TENSOR_GRU1_GATES_WEIGHT;
        const struct learner_gru_tensors tensors = {
            tensor(model, dense, first), tensor(model, dense, first + 1),
            tensor(model, dense, first + 2), tensor(model, dense, first + 3)};
        learner_gru_pack_load(&own->gru[i], &tensors, backward);
    }
    load_query(net, dense, backward);
    if (!own->has_auxiliary || !backward)
        return;
    struct learner_auxiliary_tensors tensors = auxiliary_tensors(model, dense);
    learner_auxiliary_pack_load(&own->auxiliary, &tensors);
}

/* ---- memory -------------------------------------------------------------- */

unsigned
learner_evolution_partial_slots(const struct learner_net *net,
                                struct learner_evolution_partial *partial,
                                struct learner_slot *slots)
{
    const struct learner_model *model = net->model;
    const struct learner_evolution_part *own = &net->evolution;
    unsigned count = 0;
    for (unsigned i = 0; i < 2; i++)
        count += learner_gru_partial_slots(
            &own->gru[i].shape, &partial->gru[i], slots + count);
    if (own->has_auxiliary)
        count += learner_auxiliary_partial_slots(
            &own->auxiliary, &partial->auxiliary, slots + count);
    const struct learner_slot more[3] = {
        {&partial->dquery, (size_t)model->D * model->ldH},
        {&partial->dquery_bias, model->ldH},
        {&partial->dquery_alpha, model->ldH},
    };
    memcpy(slots + count, more, sizeof more);
    return count + 3;
}

unsigned learner_evolution_scratch_slots(const struct learner_net *net,
                                         struct learner_evolution_shard *shard,
                                         struct learner_slot *slots)
{
    const struct learner_evolution_part *own = &net->evolution;
    unsigned count = 0;
    for (unsigned i = 0; i < 2; i++) {
        const struct learner_gru_shape *shape = &own->gru[i].shape;
        struct learner_gru_work *work = &shard->work[i];
        count += learner_gru_work_slots(shape, work, slots + count);
        if (!net->training)
            count += learner_gru_step_slots(shape, 2 * LEARNER_GRU_BLOCK, work,
                                            slots + count);
    }
    if (own->has_auxiliary)
        count += learner_auxiliary_work_slots(&own->auxiliary,
                                              &shard->auxiliary,
                                              slots + count);
    return count;
}

/* Steps of the second GRU: of groups, or of samples. */
static size_t second_rows(const struct learner_net *net)
{
    return net->model->config.kind == LEARNER_DIEN ? net->room_pairs
                                                   : net->room_behaviors;
}

unsigned learner_evolution_room_slots(struct learner_net *net,
                                      struct learner_slot *slots)
{
    const struct learner_model *model = net->model;
    struct learner_evolution_part *own = &net->evolution;
    size_t N = net->room_behaviors, train = net->training ? 1 : 0;
    /* dien's keys are the first GRU's states */
    size_t states = model->config.kind == LEARNER_DIEN ? 0 : N * model->ldH;
    unsigned count = 0;
    for (unsigned i = 0; i < 2; i++) {
        const struct learner_gru_shape *shape = &own->gru[i].shape;
        slots[count++] = (struct learner_slot){&own->product[i],
                                               N * shape->ldP};
        size_t apart = own->gru[i].form == LEARNER_GRU_AIGRU ? train : 0;
        slots[count++] = (struct learner_slot){&own->dproduct[i],
                                               apart * N * shape->ldP};
        if (train)
            count += learner_gru_step_slots(shape, i ? second_rows(net) : N,
                                            &own->steps[i], slots + count);
    }
    const struct learner_slot more[3] = {
        {&own->states, states},
        {&own->dstates, train * states},
        {&own->query_input, net->room_samples * model->ldH},
    };
    memcpy(slots + count, more, sizeof more);
    return count + 3;
}

/* ---- the batch ----------------------------------------------------------- */

/* *array: at least `needed` elements of `size`; contents do not matter. */
static bool renew(void *array, size_t needed, size_t size)
{
    void **at = array;
    free(*at);
    *at = malloc((needed + 1) * size);
    return *at != NULL;
}

static enum base_status make_room(struct learner_net *net,
                                  struct base_error *error)
{
    struct learner_evolution_part *own = &net->evolution;
    bool enough = true;
    if (net->groups > own->room_groups || !own->by_group) {
        size_t room = own->room_groups = net->room_groups;
        enough &= renew(&own->by_group, room, sizeof *own->by_group);
        enough &= renew(&own->group_order, room, sizeof *own->group_order);
    }
    if (net->samples > own->room_samples || !own->by_sample) {
        size_t room = own->room_samples = net->room_samples;
        enough &= renew(&own->by_sample, room, sizeof *own->by_sample);
        enough &= renew(&own->sample_order, room, sizeof *own->sample_order);
    }
    if (own->has_auxiliary &&
        (net->behaviors > own->room_behaviors || !own->cell)) {
        own->room_behaviors = net->room_behaviors;
        enough &= renew(&own->cell, net->room_behaviors, sizeof *own->cell);
    }
    if (enough)
        return BASE_OK;
    own->room_groups = own->room_samples = own->room_behaviors = 0;
    return base_fail(error, BASE_SYSTEM, "net: no memory for sequences");
}

static enum base_status list_sequences(struct learner_net *net,
                                       struct base_error *error)
{
    struct learner_evolution_part *own = &net->evolution;
    for (uint32_t g = 0; g < net->groups; g++) {
        uint32_t begin = net->history_begin[g];
        uint32_t size = learner_net_history(net, g);
        size_t pair = net->pair_begin[g];
        if (size > LEARNER_HISTORY_MAX)
            return base_fail(error, BASE_LIMIT,
                             "a history of %u behaviors; at most %d", size,
                             LEARNER_HISTORY_MAX);
        own->by_group[g] = (struct learner_gru_sequence){begin, size, begin};
        for (uint32_t i = net->group_begin[g]; i < net->group_begin[g + 1];
             i++, pair += size)
            own->by_sample[i] =
                (struct learner_gru_sequence){begin, size, pair};
    }
    return BASE_OK;
}

/* Cells in the order of groups, and what their mean is divided by. */
static void list_cells(struct learner_net *net)
{
    struct learner_evolution_part *own = &net->evolution;
    size_t count = 0;
    own->cells = 0;
    for (unsigned s = 0; s < net->shard_count; s++) {
        struct learner_shard *shard = &net->shards[s];
        shard->evolution.cell_begin = count;
        for (uint32_t g = shard->group_begin; g < shard->group_end; g++) {
            uint32_t samples = net->group_begin[g + 1] - net->group_begin[g];
            for (uint32_t t = net->history_begin[g];
                 t < net->history_begin[g + 1]; t++)
                if (learner_net_has_negative(net, g, t)) {
                    own->cell[count++] = (struct learner_auxiliary_cell){
                        t, (float)samples};
                    own->cells += samples;
                }
        }
        shard->evolution.cell_end = count;
        shard->evolution.loss = 0;
    }
    uint32_t padded = net->input->padded_to;
    if (padded > 1 && count > 0)
        own->cells = (double)net->samples * (padded - 1);
}

/* The steps' rows of each shard within the net's. */
static void point_steps(struct learner_net *net)
{
    struct learner_evolution_part *own = &net->evolution;
    bool dien = net->model->config.kind == LEARNER_DIEN;
    for (unsigned s = 0; s < net->shard_count; s++) {
        struct learner_shard *shard = &net->shards[s];
        for (unsigned i = 0; i < 2; i++) {
            const struct learner_gru_shape *shape = &own->gru[i].shape;
            const struct learner_gru_work *all = &own->steps[i];
            struct learner_gru_work *work = &shard->evolution.work[i];
            uint32_t g = shard->group_begin;
            size_t row = i && dien ? net->pair_begin[g]
                                   : net->history_begin[g];
            work->gates = all->gates + row * shape->ldG;
            work->candidate = all->candidate + row * shape->ldH;
            work->state = all->state + row * shape->ldH;
            work->reset = all->reset + row * shape->ldH;
        }
    }
}

enum base_status learner_evolution_begin(struct learner_net *net,
                                         struct base_error *error)
{
    struct learner_evolution_part *own = &net->evolution;
    enum base_status status = make_room(net, error);
    if (!status)
        status = list_sequences(net, error);
    if (status)
        return status;
    if (own->has_auxiliary)
        list_cells(net);
    if (net->training)
        point_steps(net);
    for (unsigned i = 0; i < 2; i++)
        if (own->gru[i].form != LEARNER_GRU_AIGRU)
            own->dproduct[i] = own->product[i];
    if (net->model->config.kind == LEARNER_DIEN) {
        own->states = net->key;
        own->dstates = net->dkey;
    }
    return BASE_OK;
}

/* ---- gradients ----------------------------------------------------------- */

static float *gradient(const struct learner_model *model, float *ddense,
                       enum learner_tensor_name name)
{
    return learner_model_has(model, name)
               ? ddense + learner_model_offset(model, name)
               : NULL;
}

static void collect_auxiliary(const struct learner_net *net, float *ddense)
{
    const struct learner_model *model = net->model;
    struct learner_auxiliary_tensors tensors =
        auxiliary_tensors(model, net->input->dense);
    float *at[8];
    for (unsigned i = 0; i < 8; i++)
        at[i] = gradient(model, ddense, TENSOR_AUXILIARY_BN_GAMMA + i);
    const struct learner_auxiliary_gradients to = {
        at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7]};
    learner_auxiliary_collect(&net->evolution.auxiliary,
                              &net->shards[0].partial.evolution.auxiliary,
                              &tensors, &to);
}

void learner_evolution_collect(const struct learner_net *net, float *ddense)
{
    const struct learner_model *model = net->model;
    const struct learner_evolution_part *own = &net->evolution;
    const struct learner_evolution_partial *sum =
        &net->shards[0].partial.evolution;
    for (unsigned i = 0; i < 2; i++) {
        const enum learner_tensor_name first =
            i ? TENSOR_GRU2_GATES_WEIGHT : TENSOR_GRU1_GATES_WEIGHT;
        const struct learner_gru_gradients to = {
            gradient(model, ddense, first), gradient(model, ddense, first + 1),
            gradient(model, ddense, first + 2),
            gradient(model, ddense, first + 3)};
        learner_gru_collect(&own->gru[i].shape, &sum->gru[i], &to);
    }
    size_t H = model->H;
    float *dquery = gradient(model, ddense, TENSOR_QUERY_WEIGHT);
    for (size_t i = 0; i < model->D; i++)
        memcpy(dquery + i * H, sum->dquery + i * model->ldH,
               H * sizeof *dquery);
    float *dbias = gradient(model, ddense, TENSOR_QUERY_BIAS);
    float *dalpha = gradient(model, ddense, TENSOR_QUERY_ALPHA);
    if (dbias) {
        memcpy(dbias, sum->dquery_bias, H * sizeof *dbias);
        memcpy(dalpha, sum->dquery_alpha, H * sizeof *dalpha);
    }
    if (own->has_auxiliary)
        collect_auxiliary(net, ddense);
}

double learner_evolution_loss(const struct learner_net *net)
{
    double loss = 0;
    if (!net->evolution.has_auxiliary || net->evolution.cells == 0)
        return 0;
    for (unsigned s = 0; s < net->shard_count; s++)
        loss += net->shards[s].evolution.loss;
    return loss / net->evolution.cells;
}
