/* SPDX-License-Identifier: Apache-2.0 */
/* What joins the logits beside the MLP: first-order weights (LR terms: bias,
 * one weight an id, the history as a bag, always summed; a multi-hot field
 * counts with the mean of its rows'), one weight a cross (behavior, candidate)
 * (Cheng 2016), or the authors' dense layer of [e_a; s; e_a . s]. A row's
 * first-order weight stands behind its embedding. See net.h. */
#include <string.h>

#include "learner/net.h"

/* The weights of one field: rows (U,W), the weight in column `at`. */
struct column {
    const float *rows;
    size_t W, at;
    unsigned places;
};

static struct column column_of(const struct learner_net *net, unsigned field)
{
    const struct learner_model *model = net->model;
    const struct learner_field *own = &model->schema.fields[field];
    return (struct column){net->input->rows[own->table],
                           model->tables[own->table].dimension,
                           model->embedding[own->table], own->more + 1u};
}

static float weight_of(const struct column *column, const uint32_t *index)
{
    if (column->places == 1)
        return column->rows[index[0] * column->W + column->at];
    float sum = 0;
    for (unsigned i = 0; i < column->places; i++)
        if (index[i] != LEARNER_NO_ROW)
            sum += column->rows[index[i] * column->W + column->at];
    return sum / (float)learner_places_present(index, column->places);
}

/* Of the history: the same for all samples of the group. */
static float bag_of(const struct learner_net *net, uint32_t group)
{
    const struct learner_schema *schema = &net->model->schema;
    size_t f = schema->item_count;
    float bag = 0;
    for (size_t item = 0; item < f; item++) {
        unsigned field = (unsigned)(schema->profile_count + item);
        if (schema->fields[field].continues)
            continue;
        struct column column = column_of(net, field);
        for (size_t t = net->history_begin[group];
             t < net->history_begin[group + 1]; t++)
            bag += weight_of(&column,
                             net->input->history_index + t * f + item);
    }
    return bag;
}

static float fields_of(const struct learner_net *net, size_t sample)
{
    const struct learner_schema *schema = &net->model->schema;
    const uint32_t *index = net->input->index + sample * schema->field_count;
    float sum = net->pack.first_order_bias;
    for (unsigned f = 0; f < schema->field_count; f++) {
        if (schema->fields[f].continues)
            continue;
        struct column column = column_of(net, f);
        sum += weight_of(&column, index + f);
    }
    return sum;
}

/* First pair of a sample. */
static size_t pair_of(const struct learner_net *net, uint32_t group,
                      uint32_t sample)
{
    return net->pair_begin[group] + (size_t)(sample - net->group_begin[group]) *
                                        learner_net_history(net, group);
}

static float crosses_of(const struct learner_net *net, uint32_t group,
                        uint32_t sample)
{
    const float *rows = net->input->rows[net->model->schema.table_count];
    const uint32_t *index =
        net->input->cross_index + pair_of(net, group, sample);
    float sum = 0;
    for (uint32_t t = 0; t < learner_net_history(net, group); t++)
        sum += rows[index[t]];
    return sum;
}

/* wide (3D) = [e_a; s; e_a . s] */
static void join(const struct learner_net *net, float *wide, size_t sample,
                 const float *s)
{
    size_t D = net->model->D;
    const float *item = net->item + sample * net->model->ldD;
    memcpy(wide, item, D * sizeof *wide);
    memcpy(wide + D, s, D * sizeof *wide);
    for (size_t j = 0; j < D; j++)
        wide[2 * D + j] = item[j] * s[j];
}

static float dense_of(const struct learner_net *net,
                      const struct learner_shard *shard, uint32_t group,
                      uint32_t sample)
{
    float sum = 0;
    join(net, shard->wide, sample, net->s + (size_t)group * net->model->ldD);
    net->kernels->row_dot(&sum, shard->wide, 0, 1,
                          learner_round16(3 * net->model->D), net->pack.wide,
                          net->pack.wide_bias);
    return sum;
}

void learner_wide_forward(struct learner_net *net,
                          const struct learner_shard *shard)
{
    const struct learner_model *model = net->model;
    for (uint32_t g = shard->group_begin; g < shard->group_end; g++) {
        float bag = model->has_first_order ? bag_of(net, g) : 0;
        for (uint32_t i = net->group_begin[g]; i < net->group_begin[g + 1];
             i++) {
            if (model->has_wide)
                net->extra[i] = dense_of(net, shard, g, i);
            else
                net->extra[i] = fields_of(net, i) + bag;
            if (model->has_crosses)
                net->extra[i] += crosses_of(net, g, i);
        }
    }
}

void learner_wide_backward(struct learner_net *net,
                           const struct learner_shard *shard)
{
    for (uint32_t g = shard->group_begin; g < shard->group_end; g++) {
        net->dbag[g] = 0;
        for (uint32_t i = net->group_begin[g]; i < net->group_begin[g + 1];
             i++)
            net->dbag[g] += net->dmargin[i];
    }
}

void learner_wide_backward_dense(struct learner_net *net,
                                 const struct learner_shard *shard,
                                 uint32_t group)
{
    size_t D = net->model->D, ldD = net->model->ldD;
    const float *s = net->s + group * ldD, *w = net->pack.wide;
    float *ds = net->ds + group * ldD;
    for (size_t i = net->group_begin[group]; i < net->group_begin[group + 1];
         i++) {
        const float *item = net->item + i * ldD;
        float *ditem = net->ditem + i * ldD, d = net->dmargin[i];
        join(net, shard->wide, i, s);
        for (size_t j = 0; j < 3 * D; j++)
            shard->partial.dwide[j] += d * shard->wide[j];
        for (size_t j = 0; j < D; j++) {
            ditem[j] += d * (w[j] + w[2 * D + j] * s[j]);
            ds[j] += d * (w[D + j] + w[2 * D + j] * item[j]);
        }
    }
}

/* ---- gradients of rows --------------------------------------------------- */

static void spread(float *drows, const struct column *column,
                   const uint32_t *index, float d)
{
    if (column->places == 1) {
        drows[index[0] * column->W + column->at] += d;
        return;
    }
    d /= (float)learner_places_present(index, column->places);
    for (unsigned i = 0; i < column->places; i++)
        if (index[i] != LEARNER_NO_ROW)
            drows[index[i] * column->W + column->at] += d;
}

void learner_wide_scatter(const struct learner_net *net, unsigned field,
                          float *drows)
{
    const struct learner_schema *schema = &net->model->schema;
    size_t F = schema->field_count, f = schema->item_count;
    struct column column = column_of(net, field);
    for (size_t i = 0; i < net->samples; i++)
        spread(drows, &column, net->input->index + i * F + field,
               net->dmargin[i]);
    if (schema->fields[field].group != LEARNER_ITEM)
        return;
    const uint32_t *index =
        net->input->history_index + (field - schema->profile_count);
    for (uint32_t g = 0; g < net->groups; g++)
        for (size_t t = net->history_begin[g]; t < net->history_begin[g + 1];
             t++)
            spread(drows, &column, index + t * f, net->dbag[g]);
}

void learner_wide_scatter_crosses(const struct learner_net *net, float *drows)
{
    const uint32_t *index = net->input->cross_index;
    for (uint32_t g = 0; g < net->groups; g++)
        for (uint32_t i = net->group_begin[g]; i < net->group_begin[g + 1];
             i++)
            for (uint32_t t = 0; t < learner_net_history(net, g); t++)
                drows[*index++] += net->dmargin[i];
}
