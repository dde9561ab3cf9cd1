/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of tables into the network's buffers, and gradients back to rows. A
 * row's gradient is added up in one fixed order: fields in the schema's
 * order; for each its samples ascending, then, for an item field, histories,
 * negatives and padding; each table is one job, so the order does not depend
 * on shards or threads. A multi-hot field is the mean of the rows present. */
#include <string.h>

#include "learner/net.h"

/* One field's index cells and where its embeddings lie. */
struct cells {
    const uint32_t *index;        /* first cell of row 0 */
    size_t index_ld, ld;          /* cells, floats from row to row */
    unsigned places, table;
    size_t E, W;                  /* embedding, whole row */
};

static struct cells cells_of(const struct learner_net *net, unsigned field,
                             const uint32_t *index, size_t index_ld)
{
    const struct learner_model *model = net->model;
    const struct learner_field *own = &model->schema.fields[field];
    return (struct cells){
        .index = index, .index_ld = index_ld, .ld = model->ldD,
        .places = own->more + 1u, .table = own->table,
        .E = model->embedding[own->table],
        .W = model->tables[own->table].dimension};
}

static struct cells sample_cells(const struct learner_net *net, unsigned field)
{
    size_t F = net->model->schema.field_count;
    struct cells cells = cells_of(net, field, net->input->index + field, F);
    if (net->model->schema.fields[field].group != LEARNER_ITEM)
        cells.ld = net->model->ldX;
    return cells;
}

/* of an item field, over `index` (N,f) */
static struct cells item_cells(const struct learner_net *net, unsigned field,
                               const uint32_t *index)
{
    const struct learner_schema *schema = &net->model->schema;
    return cells_of(net, field, index + (field - schema->profile_count),
                    schema->item_count);
}

/* Where a sample's field lies, in item and x or their gradients. */
static size_t part_of(const struct learner_model *model, unsigned field)
{
    size_t offset = model->field_offset[field];
    switch (model->schema.fields[field].group) {
    case LEARNER_PROFILE: return model->part.profile + offset;
    case LEARNER_CONTEXT: return model->part.context + offset;
    case LEARNER_ITEM: break;
    }
    return offset;
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

static void read_mean(float *to, const float *rows, const struct cells *cells,
                      const uint32_t *index)
{
    float count = (float)learner_places_present(index, cells->places);
    memset(to, 0, cells->E * sizeof *to);
    for (unsigned i = 0; i < cells->places; i++)
        if (index[i] != LEARNER_NO_ROW)
            add(to, rows + index[i] * cells->W, cells->E);
    for (size_t j = 0; j < cells->E; j++)
        to[j] /= count;
}

/* to: row 0's place */
static void read_rows(const struct learner_net *net, const struct cells *cells,
                      float *to, size_t first, size_t count)
{
    const float *rows = net->input->rows[cells->table];
    for (size_t i = first; i < first + count; i++) {
        const uint32_t *index = cells->index + i * cells->index_ld;
        if (cells->places > 1)
            read_mean(to + i * cells->ld, rows, cells, index);
        else
            copy(to + i * cells->ld, rows + index[0] * cells->W, cells->E);
    }
}

/* A cell is left out where no place of any field has a row. */
static bool is_left_out(const struct learner_net *net, size_t t)
{
    unsigned f = net->model->schema.item_count;
    return learner_places_present(net->input->negative_index + t * f, f) == 0;
}

bool learner_net_has_negative(const struct learner_net *net, uint32_t group,
                              uint32_t t)
{
    return net->input->negative_index && t != net->history_begin[group] &&
           !is_left_out(net, t);
}

static void read_negatives(struct learner_net *net, unsigned field,
                           size_t first, size_t count)
{
    const uint32_t *index = net->input->negative_index;
    if (!index || !net->negative)
        return;
    struct cells cells = item_cells(net, field, index);
    float *to = net->negative + net->model->field_offset[field];
    for (size_t t = first; t < first + count; t++)
        if (!is_left_out(net, t))
            read_rows(net, &cells, to, t, 1);
}

void learner_embedding_gather(struct learner_net *net,
                              const struct learner_range *rows)
{
    const struct learner_model *model = net->model;
    const struct learner_schema *schema = &model->schema;
    for (unsigned f = 0; f < schema->field_count; f++) {
        const struct learner_field *field = &schema->fields[f];
        if (field->continues || !model->embedding[field->table])
            continue;
        bool item = field->group == LEARNER_ITEM;
        struct cells cells = sample_cells(net, f);
        read_rows(net, &cells, (item ? net->item : net->x) + part_of(model, f),
                  rows->sample, rows->samples);
        if (!item)
            continue;
        cells = item_cells(net, f, net->input->history_index);
        read_rows(net, &cells, net->history + model->field_offset[f],
                  rows->behavior, rows->behaviors);
    }
}

void learner_embedding_negatives(struct learner_net *net,
                                 const struct learner_range *rows)
{
    const struct learner_schema *schema = &net->model->schema;
    for (unsigned i = 0; i < schema->item_count; i++) {
        unsigned f = schema->profile_count + i;
        if (!schema->fields[f].continues)
            read_negatives(net, f, rows->behavior, rows->behaviors);
    }
}

void learner_embedding_pad(struct learner_net *net)
{
    const struct learner_schema *schema = &net->model->schema;
    if (!net->input->padded_to || !net->model->has_mlp)
        return;
    for (unsigned i = 0; i < schema->item_count; i++) {
        unsigned f = schema->profile_count + i;
        if (schema->fields[f].continues)
            continue;
        struct cells cells = item_cells(net, f, net->input->padding_index);
        read_rows(net, &cells, net->padding + net->model->field_offset[f], 0,
                  1);
    }
}

/* drows (U,W) += gradient (E) of the cell, shared among the rows present */
static void write_row(float *drows, const struct cells *cells,
                      const uint32_t *index, const float *gradient)
{
    if (cells->places == 1) {
        add(drows + index[0] * cells->W, gradient, cells->E);
        return;
    }
    float count = (float)learner_places_present(index, cells->places);
    for (unsigned i = 0; i < cells->places; i++)
        if (index[i] != LEARNER_NO_ROW)
            for (size_t j = 0; j < cells->E; j++)
                drows[index[i] * cells->W + j] += gradient[j] / count;
}

static void write_rows(const struct cells *cells, float *drows,
                       const float *gradient, size_t count)
{
    const uint32_t *index = cells->index;
    for (size_t i = 0; i < count; i++, index += cells->index_ld) {
        const float *from = gradient + i * cells->ld;
        if (cells->places == 1)
            add(drows + index[0] * cells->W, from, cells->E);
        else
            write_row(drows, cells, index, from);
    }
}

static void write_negatives(const struct learner_net *net, unsigned field,
                            float *drows)
{
    if (!net->input->negative_index || !net->dnegative)
        return;
    struct cells cells = item_cells(net, field, net->input->negative_index);
    const float *from = net->dnegative + net->model->field_offset[field];
    for (uint32_t g = 0; g < net->groups; g++)
        for (uint32_t t = net->history_begin[g]; t < net->history_begin[g + 1];
             t++)
            if (learner_net_has_negative(net, g, t))
                write_row(drows, &cells, cells.index + t * cells.index_ld,
                          from + t * cells.ld);
}

/* What s took in of the padding row. */
static void write_padding(const struct learner_net *net, unsigned field,
                          float *drows)
{
    if (!net->input->padded_to)
        return;
    struct cells cells = item_cells(net, field, net->input->padding_index);
    float sum[LEARNER_DIMENSION_MAX] = {0};
    for (uint32_t g = 0; g < net->groups; g++) {
        const float *ds =
            net->ds + g * cells.ld + net->model->field_offset[field];
        uint32_t size = learner_net_history(net, g);
        if (size >= net->input->padded_to)
            continue;
        float pads = (float)(net->input->padded_to - size);
        for (size_t j = 0; j < cells.E; j++)
            sum[j] += pads * ds[j];
    }
    write_row(drows, &cells, cells.index, sum);
}

static void scatter(const struct learner_net *net, unsigned field,
                    float *drows)
{
    const struct learner_model *model = net->model;
    bool item = model->schema.fields[field].group == LEARNER_ITEM;
    struct cells cells = sample_cells(net, field);
    write_rows(&cells, drows,
               (item ? net->ditem : net->dx) + part_of(model, field),
               net->samples);
    if (!item)
        return;
    cells = item_cells(net, field, net->input->history_index);
    write_rows(&cells, drows, net->dhistory + model->field_offset[field],
               net->behaviors);
    write_negatives(net, field, drows);
    write_padding(net, field, drows);
}

void learner_net_collect_rows(const struct learner_net *net, unsigned table,
                              float *drows)
{
    const struct learner_model *model = net->model;
    size_t size = (size_t)net->input->row_count[table] *
                  model->tables[table].dimension;
    if (size == 0)
        return;
    memset(drows, 0, size * sizeof *drows);
    if (table == model->schema.table_count) {
        learner_wide_scatter_crosses(net, drows);
        return;
    }
    for (unsigned f = 0; f < model->schema.field_count; f++) {
        const struct learner_field *field = &model->schema.fields[f];
        if (field->table != table || field->continues)
            continue;
        if (model->embedding[table])
            scatter(net, f, drows);
        if (model->has_first_order)
            learner_wide_scatter(net, f, drows);
    }
}
