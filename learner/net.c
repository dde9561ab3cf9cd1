/* SPDX-License-Identifier: Apache-2.0 */
/* The row phases: in which order a shard's parts are computed, forward and
 * backward; see net.h. */
#include "learner/net.h"

#include <string.h>

void learner_net_load(struct learner_net *net, const float *dense,
                      bool backward)
{
    learner_pack_load(&net->pack, net->model, dense, backward);
    if (net->model->has_states)
        learner_evolution_load(net, dense, backward);
}

struct learner_range learner_net_range(const struct learner_net *net,
                                       const struct learner_shard *shard)
{
    uint32_t sample = net->group_begin[shard->group_begin];
    uint32_t behavior = net->history_begin[shard->group_begin];
    return (struct learner_range){
        sample, net->group_begin[shard->group_end] - sample, behavior,
        net->history_begin[shard->group_end] - behavior};
}

static void forward_part(struct learner_net *net,
                         const struct learner_shard *shard)
{
    const struct learner_model *model = net->model;
    struct learner_range rows = learner_net_range(net, shard);
    learner_embedding_gather(net, &rows);
    if (model->has_mlp)
        learner_compose_pool(net, shard);
    if (model->has_first_order || model->has_wide)
        learner_wide_forward(net, shard);
    if (!model->has_mlp)
        return;
    if (model->has_states)
        learner_evolution_keys(net, shard);
    if (model->has_attention)
        learner_attention_forward(net, shard);
    if (model->config.kind == LEARNER_DIEN)
        learner_evolution_evolve(net, shard);
    else if (model->has_attention)
        learner_attention_pool(net, shard);
    learner_compose_forward(net, shard);
    if (model->has_factors)
        learner_factor_forward(net, &rows);
}

/* Moves `part`, which begins where the one before ended, to the next groups
 * of the shard that the prediction has not computed; false where there are
 * none. Sequences of a shard advance together: all of its groups, or none. */
static bool next_part(const struct learner_net *net, struct learner_shard *part,
                      uint32_t end)
{
    const uint8_t *fresh = net->input->fresh;
    bool together = net->model->has_states;
    uint32_t g = part->group_end;
    while (g < end && fresh && !fresh[g])
        g++;
    if (g == end)
        return false;
    if (!together)
        part->group_begin = g;
    while (g < end && (together || !fresh || fresh[g]))
        g++;
    part->group_end = g;
    return true;
}

void learner_net_forward_rows(struct learner_net *net, unsigned index)
{
    struct learner_shard part = net->shards[index];
    struct learner_range rows = learner_net_range(net, &part);
    uint32_t end = part.group_end;
    learner_embedding_negatives(net, &rows);
    part.group_end = part.group_begin;
    while (next_part(net, &part, end))
        forward_part(net, &part);
}

void learner_net_backward_rows(struct learner_net *net, unsigned index)
{
    struct learner_shard *shard = &net->shards[index];
    const struct learner_model *model = net->model;
    memset(net->partials + index * net->partial_size, 0,
           net->partial_size * sizeof *net->partials);
    if (model->has_first_order)
        learner_wide_backward(net, shard);
    if (!model->has_mlp)
        return;
    learner_compose_backward(net, shard);
    if (!model->has_attention)
        return;
    if (model->has_states)
        learner_evolution_clear(net, shard);
    if (model->config.kind == LEARNER_DIEN)
        learner_evolution_evolve_backward(net, shard);
    else
        learner_attention_unpool(net, shard);
    learner_attention_backward(net, shard);
    if (model->has_states)
        learner_evolution_keys_backward(net, shard);
}
