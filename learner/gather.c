/* SPDX-License-Identifier: Apache-2.0 */
/* The unique rows of one batch; see gather.h.
 *
 * Training's view is the prediction's with cells re-pointed: cell by cell for
 * dropout, then place by place (`moved`) for ids not admitted. */
#include "learner/gather.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "learner/model.h"
#include "learner/places.h"
#include "learner/regularizer.h"
#include "learner/step.h"

enum { AHEAD = 8 }; /* rows under way while one is looked at */

#define PURPOSE_DROPOUT UINT64_C(0x64726f706f7574) /* "dropout" */

static void set_lines(struct learner_gather *gather)
{
    const struct learner_model *model = gather->model;
    const struct learner_schema *schema = &model->schema;
    struct learner_gather_line *sample = &gather->sample_line;
    struct learner_gather_line *history = &gather->history_line;
    struct learner_gather_line *negative = &gather->negative_line;
    *sample = (struct learner_gather_line){
        .count = schema->field_count, .stride = model->stream_fields};
    *history = *negative = (struct learner_gather_line){
        .field = schema->profile_count,
        .count = schema->item_count,
        .stride = model->stream_items,
    };
    negative->stride = schema->item_count;
    memcpy(sample->column, model->column, sizeof sample->column);
    for (unsigned j = 0; j < schema->item_count; j++) {
        history->column[j] =
            (uint8_t)(model->column[history->field + j] -
                      model->stream_profile);
        negative->column[j] = (uint8_t)j;
    }
}

enum base_status learner_gather_init(struct learner_gather *gather,
                                     const struct learner_model *model,
                                     struct learner_table *const *tables,
                                     struct base_error *error)
{
    *gather = (struct learner_gather){.model = model, .tables = tables};
    gather->places = calloc(model->table_count, sizeof *gather->places);
    if (!gather->places)
        return base_fail(error, BASE_SYSTEM, "gather: no memory");
    for (unsigned t = 0; t < model->table_count; t++) {
        learner_places_init(&gather->places[t], tables[t]);
        gather->seeds[t] = learner_table_seed(model->tables[t].name);
    }
    set_lines(gather);
    learner_eviction_init(&gather->eviction, model->table_count,
                          model->config.eviction_ms);
    if (!learner_regularizer_admits(&model->config))
        return BASE_OK;
    return learner_admission_new(&gather->admission, model->config.admission,
                                 error);
}

void learner_gather_fini(struct learner_gather *gather)
{
    for (unsigned t = 0; gather->places && t < gather->model->table_count; t++)
        learner_places_fini(&gather->places[t]);
    free(gather->places);
    free(gather->index);
    free(gather->history_index);
    free(gather->negatives);
    free(gather->cross_index);
    free(gather->changed);
    learner_admission_free(gather->admission);
    *gather = (struct learner_gather){0};
}

static bool has_crosses(const struct learner_model *model)
{
    return model->table_count > model->schema.table_count;
}

/* Of item field j. */
static struct learner_places *item_places(const struct learner_gather *gather,
                                          unsigned j)
{
    const struct learner_schema *schema = &gather->model->schema;
    return &gather->places[schema->fields[schema->profile_count + j].table];
}

/* ---- room ---------------------------------------------------------------- */

static enum base_status reserve_index(uint32_t **index, size_t *room,
                                      size_t need, struct base_error *error)
{
    if (need <= *room)
        return BASE_OK;
    uint32_t *larger = realloc(*index, need * 2 * sizeof *larger);
    if (!larger)
        return base_fail(error, BASE_SYSTEM,
                         "gather: no memory for %zu ids of a batch", need);
    *index = larger;
    *room = need * 2;
    return BASE_OK;
}

static enum base_status reserve_changed(struct learner_gather *gather,
                                        struct base_error *error)
{
    size_t groups = gather->batch.groups;
    if (groups <= gather->changed_room && gather->changed)
        return BASE_OK;
    uint8_t *larger = realloc(gather->changed, groups * 2 + 1);
    if (!larger)
        return base_fail(error, BASE_SYSTEM,
                         "gather: no memory for %zu groups of a batch",
                         groups);
    gather->changed = larger;
    gather->changed_room = groups * 2;
    return BASE_OK;
}

static size_t count_pairs(const struct learner_batch *batch)
{
    size_t pairs = 0;
    for (uint32_t g = 0; g < batch->groups; g++)
        pairs += (size_t)(batch->group_begin[g + 1] - batch->group_begin[g]) *
                 (batch->history_begin[g + 1] - batch->history_begin[g]);
    return pairs;
}

/* Most ids that a table can have in this batch: its cells, its negatives and
 * the OOV row. */
static size_t count_ids(const struct learner_gather *gather,
                        size_t ids[LEARNER_TABLES_MAX])
{
    const struct learner_model *model = gather->model;
    const struct learner_schema *schema = &model->schema;
    size_t all = 0;
    bool negatives = model->config.auxiliary != LEARNER_AUXILIARY_NONE;
    for (unsigned t = 0; t < model->table_count; t++)
        ids[t] = 1;
    for (unsigned j = 0; j < schema->field_count; j++) {
        size_t *of = &ids[schema->fields[j].table];
        *of += gather->batch.samples;
        if (schema->fields[j].group == LEARNER_ITEM)
            *of += gather->behaviors * (negatives ? 2 : 1);
    }
    if (has_crosses(model))
        ids[schema->table_count] += gather->pairs;
    for (unsigned t = 0; t < model->table_count; t++)
        all += ids[t];
    return all;
}

static enum base_status reserve(struct learner_gather *gather,
                                struct base_error *error)
{
    const struct learner_model *model = gather->model;
    const struct learner_schema *schema = &model->schema;
    size_t ids[LEARNER_TABLES_MAX];
    size_t all = count_ids(gather, ids);
    size_t history = gather->behaviors * schema->item_count;
    enum base_status status = reserve_index(
        &gather->index, &gather->index_room,
        (size_t)gather->batch.samples * schema->field_count, error);
    if (!status)
        status = reserve_changed(gather, error);
    if (!status)
        status = reserve_index(&gather->history_index, &gather->history_room,
                               history, error);
    if (!status && model->config.auxiliary != LEARNER_AUXILIARY_NONE)
        status = reserve_index(&gather->negatives, &gather->negative_room,
                               history, error);
    if (!status && has_crosses(model))
        status = reserve_index(&gather->cross_index, &gather->cross_room,
                               gather->pairs, error);
    if (!status && gather->admission)
        status = learner_admission_reserve(gather->admission, all, error);
    for (unsigned t = 0; !status && t < model->table_count; t++)
        status = learner_places_reserve(&gather->places[t], ids[t], error);
    return status;
}

/* ---- find ---------------------------------------------------------------- */


/* The id that stands for field j of the line: that of its column, or 0 where
 * j begins a field without any value. */
static uint64_t id_of(const struct learner_gather_line *line,
                      const struct learner_field *fields, const uint64_t *ids,
                      unsigned j)
{
    uint64_t id = ids[line->column[j]];
    if (id != LEARNER_ABSENT || fields[j].continues)
        return id;
    for (unsigned k = 1; k <= fields[j].more; k++)
        if (ids[line->column[j + k]] != LEARNER_ABSENT)
            return id;
    return 0;
}

/* Places of the ids of `count` lines. */
static void place_lines(struct learner_gather *gather,
                        const struct learner_gather_line *line,
                        const uint64_t *ids, size_t count, uint32_t *index)
{
    const struct learner_field *fields =
        gather->model->schema.fields + line->field;
    for (size_t i = 0; i < count; i++, ids += line->stride)
        for (unsigned j = 0; j < line->count; j++, index++) {
            uint64_t id = id_of(line, fields, ids, j);
            if (i + AHEAD < count)
                learner_places_prefetch(
                    &gather->places[fields[j].table],
                    ids[AHEAD * line->stride + line->column[j]]);
            *index = LEARNER_NO_ROW;
            if (id == LEARNER_ABSENT)
                continue;
            unsigned t = fields[j].table;
            *index = learner_places_of(&gather->places[t], id);
            gather->places[t].occurrences[*index]++;
        }
}

/* A cross is of the first item field: behavior and candidate. */
static void place_crosses(struct learner_gather *gather)
{
    const struct learner_batch *batch = &gather->batch;
    const struct learner_gather_line *items = &gather->history_line;
    struct learner_places *places =
        &gather->places[gather->model->schema.table_count];
    unsigned column = gather->sample_line.column[items->field];
    uint32_t *index = gather->cross_index;
    for (uint32_t g = 0; g < batch->groups; g++)
        for (uint32_t i = batch->group_begin[g]; i < batch->group_begin[g + 1];
             i++) {
            uint64_t candidate =
                batch->ids[(size_t)i * gather->sample_line.stride + column];
            for (uint32_t k = batch->history_begin[g];
                 k < batch->history_begin[g + 1]; k++) {
                uint64_t behavior = batch->history[(size_t)k * items->stride +
                                                   items->column[0]];
                *index = learner_places_of(
                    places, learner_cross_id(behavior, candidate));
                places->occurrences[*index++]++;
            }
        }
}

enum base_status learner_gather_find(struct learner_gather *gather,
                                     const struct learner_batch *batch,
                                     struct base_error *error)
{
    const struct learner_model *model = gather->model;
    gather->batch = *batch;
    gather->behaviors =
        batch->groups ? batch->history_begin[batch->groups] : 0;
    gather->pairs = has_crosses(model) ? count_pairs(batch) : 0;
    gather->negative_index = NULL;
    gather->fresh = NULL;
    enum base_status status = reserve(gather, error);
    if (status)
        return status;
    for (unsigned t = 0; t < model->table_count; t++)
        learner_places_begin(&gather->places[t]);
    place_lines(gather, &gather->history_line, batch->history,
                gather->behaviors, gather->history_index);
    place_lines(gather, &gather->sample_line, batch->ids, batch->samples,
                gather->index);
    if (has_crosses(model))
        place_crosses(gather);
    for (unsigned t = 0; t < model->table_count; t++) {
        struct learner_places *places = &gather->places[t];
        learner_places_find(places, 0);
        gather->rows[t] = places->rows;
        gather->drows[t] = places->drows;
        gather->row_count[t] = places->count;
    }
    return BASE_OK;
}

/* ---- training's view ----------------------------------------------------- */

static void drop_cell(struct learner_places *places, uint32_t *index)
{
    places->occurrences[*index]--;
    *index = learner_places_unknown(places);
    places->occurrences[*index]++;
}

/* Item fields of one line, of the sample at `position`. */
static void drop_line(struct learner_gather *gather, uint64_t position,
                      uint64_t behavior, uint32_t *index)
{
    const struct learner_model *model = gather->model;
    const struct learner_schema *schema = &model->schema;
    for (unsigned j = 0; j < schema->item_count; j++) {
        unsigned column = model->column[schema->profile_count + j];
        uint64_t bits =
            base_random_u64(model->config.seed, PURPOSE_DROPOUT, position,
                            column + LEARNER_FIELDS_MAX * behavior);
        if (index[j] != LEARNER_NO_ROW && bits >> 63)
            drop_cell(item_places(gather, j), &index[j]);
    }
}

/* A cross with a dropped id is unknown, as one with an unknown id is. */
static void drop_crosses(struct learner_gather *gather)
{
    const struct learner_batch *batch = &gather->batch;
    const struct learner_schema *schema = &gather->model->schema;
    uint32_t *index = gather->cross_index;
    uint32_t none = learner_places_unknown(item_places(gather, 0));
    for (uint32_t g = 0; g < batch->groups; g++)
        for (uint32_t i = batch->group_begin[g]; i < batch->group_begin[g + 1];
             i++) {
            bool dropped = gather->index[(size_t)i * schema->field_count +
                                         schema->profile_count] == none;
            for (uint32_t k = batch->history_begin[g];
                 k < batch->history_begin[g + 1]; k++, index++)
                if (dropped ||
                    gather->history_index[(size_t)k * schema->item_count] ==
                        none)
                    drop_cell(&gather->places[schema->table_count], index);
        }
}

static void drop_ids(struct learner_gather *gather)
{
    const struct learner_batch *batch = &gather->batch;
    const struct learner_schema *schema = &gather->model->schema;
    for (uint32_t g = 0; g < batch->groups; g++) {
        uint32_t begin = batch->history_begin[g];
        for (uint32_t k = begin; k < batch->history_begin[g + 1]; k++)
            drop_line(gather, batch->first + batch->group_begin[g],
                      k - begin + 1,
                      gather->history_index + (size_t)k * schema->item_count);
    }
    for (uint32_t i = 0; i < batch->samples; i++)
        drop_line(gather, batch->first + i, 0,
                  gather->index + (size_t)i * schema->field_count +
                      schema->profile_count);
    if (has_crosses(gather->model))
        drop_crosses(gather);
}

/* Rows of the ids that occur and have none; those not admitted use the OOV
 * row instead. */
static enum base_status make_rows(struct learner_gather *gather, unsigned t,
                                  struct base_error *error)
{
    struct learner_places *places = &gather->places[t];
    places->table_slots = learner_table_slots(places->table);
    for (uint32_t i = 0; i < places->count; i++) {
        if (places->slots[i] || places->keys[i] == 0 || !places->occurrences[i])
            continue;
        if (gather->admission &&
            !learner_admission_count(gather->admission, gather->seeds[t],
                                     places->keys[i], places->occurrences[i])) {
            learner_places_move(places, i);
            continue;
        }
        if (learner_table_create(gather->tables[t], places->keys[i],
                                 &places->slots[i], error))
            return base_wrap(error, "table %s",
                             gather->model->tables[t].name);
        places->created[i] = 1;
        learner_places_pack(places, i);
    }
    return BASE_OK;
}

static void move_cells(const struct learner_gather *gather,
                       const struct learner_gather_line *line, size_t count,
                       uint32_t *index)
{
    const struct learner_field *fields =
        gather->model->schema.fields + line->field;
    for (size_t i = 0; i < count; i++)
        for (unsigned j = 0; j < line->count; j++, index++) {
            const struct learner_places *places =
                &gather->places[fields[j].table];
            if (places->moved_any && *index != LEARNER_NO_ROW)
                *index = places->moved[*index];
        }
}

static void move_all(struct learner_gather *gather)
{
    move_cells(gather, &gather->history_line, gather->behaviors,
               gather->history_index);
    move_cells(gather, &gather->sample_line, gather->batch.samples,
               gather->index);
    const struct learner_places *places =
        &gather->places[gather->model->schema.table_count];
    for (size_t i = 0; i < gather->pairs && places->moved_any; i++)
        gather->cross_index[i] = places->moved[gather->cross_index[i]];
}

/* The places of one cell's ids; none where all of them are absent. */
static void place_cell(struct learner_gather *gather, const uint64_t *ids,
                       uint32_t *index)
{
    const struct learner_gather_line *line = &gather->negative_line;
    const struct learner_field *fields =
        gather->model->schema.fields + line->field;
    bool out = true;
    for (unsigned j = 0; j < line->count; j++)
        out = out && ids[j] == LEARNER_ABSENT;
    for (unsigned j = 0; j < line->count; j++) {
        uint64_t id = out ? LEARNER_ABSENT : id_of(line, fields, ids, j);
        index[j] = id == LEARNER_ABSENT
                       ? LEARNER_NO_ROW
                       : learner_places_of(item_places(gather, j), id);
    }
}

/* Without a row of its own a negative's id has the OOV row's place. */
static void settle_negatives(struct learner_gather *gather)
{
    size_t f = gather->negative_line.count;
    for (size_t i = 0; i < gather->behaviors; i++)
        for (unsigned j = 0; j < f; j++) {
            uint32_t *index = &gather->negatives[i * f + j];
            struct learner_places *places = item_places(gather, j);
            if (*index == LEARNER_NO_ROW)
                continue;
            if (!places->slots[*index])
                *index = learner_places_unknown(places);
            places->negative[*index] = 1;
        }
}

/* The first behavior of a history has no cell. */
static void place_negatives(struct learner_gather *gather, const uint64_t *ids)
{
    const struct learner_batch *batch = &gather->batch;
    size_t f = gather->negative_line.count;
    gather->negative_index = gather->negatives;
    uint32_t known[LEARNER_TABLES_MAX];
    for (unsigned t = 0; t < gather->model->table_count; t++)
        known[t] = gather->places[t].count;
    for (uint32_t g = 0; g < batch->groups; g++) {
        uint32_t begin = batch->history_begin[g];
        if (begin == batch->history_begin[g + 1])
            continue;
        for (unsigned j = 0; j < f; j++)
            gather->negatives[begin * f + j] = LEARNER_NO_ROW;
        for (uint32_t k = begin + 1; k < batch->history_begin[g + 1]; k++)
            place_cell(gather, ids + k * f, gather->negatives + k * f);
    }
    for (unsigned t = 0; t < gather->model->table_count; t++)
        learner_places_find(&gather->places[t], known[t]);
    settle_negatives(gather);
}

/* Whether a row was made for one of the cells. (An id that is not admitted
 * reads the OOV row's content before and after.) */
static bool any_created(const struct learner_gather *gather,
                        const struct learner_gather_line *line,
                        const uint32_t *index, size_t lines)
{
    const struct learner_field *fields =
        gather->model->schema.fields + line->field;
    for (size_t i = 0; i < lines; i++)
        for (unsigned j = 0; j < line->count; j++, index++)
            if (*index != LEARNER_NO_ROW &&
                gather->places[fields[j].table].created[*index])
                return true;
    return false;
}

/* Dropout and crosses change nearly every group. */
static void mark_fresh(struct learner_gather *gather)
{
    const struct learner_model *model = gather->model;
    const struct learner_batch *batch = &gather->batch;
    size_t f = model->schema.item_count, F = model->schema.field_count;
    if (model->config.regularizer == LEARNER_DROPOUT || has_crosses(model))
        return;
    gather->fresh = gather->changed;
    for (uint32_t g = 0; g < batch->groups; g++) {
        uint32_t sample = batch->group_begin[g];
        uint32_t behavior = batch->history_begin[g];
        gather->fresh[g] =
            any_created(gather, &gather->sample_line,
                        gather->index + sample * F,
                        batch->group_begin[g + 1] - sample) ||
            any_created(gather, &gather->history_line,
                        gather->history_index + behavior * f,
                        batch->history_begin[g + 1] - behavior);
    }
}

enum base_status learner_gather_train(struct learner_gather *gather,
                                      const struct learner_batch *batch,
                                      const uint64_t *negatives,
                                      struct base_error *error)
{
    const struct learner_model *model = gather->model;
    BASE_ASSERT(batch->first == gather->batch.first &&
                batch->samples == gather->batch.samples);
    BASE_ASSERT(!negatives ||
                model->config.auxiliary != LEARNER_AUXILIARY_NONE);
    enum base_status status = BASE_OK;
    if (model->config.regularizer == LEARNER_DROPOUT)
        drop_ids(gather);
    for (unsigned t = 0; !status && t < model->table_count; t++)
        status = make_rows(gather, t, error);
    if (status)
        return status;
    if (gather->admission)
        move_all(gather);
    if (negatives)
        place_negatives(gather, negatives);
    for (unsigned t = 0; t < model->table_count; t++)
        gather->row_count[t] = gather->places[t].count;
    mark_fresh(gather);
    return BASE_OK;
}

void learner_gather_discard(struct learner_gather *gather)
{
    for (unsigned t = 0; t < gather->model->table_count; t++) {
        struct learner_places *places = &gather->places[t];
        for (uint32_t i = places->count; i-- > 0;)
            if (places->created[i])
                learner_table_undo(places->table, places->slots[i],
                                   places->table_slots);
        places->count = 0;
    }
    if (gather->admission)
        learner_admission_discard(gather->admission);
}

/* ---- apply --------------------------------------------------------------- */

static void fetch(const struct learner_table *table, uint32_t slot)
{
    const char *row = (const char *)learner_table_row(table, slot);
    for (size_t i = 0; i < learner_table_stride(table) && i < 256; i += 64)
        __builtin_prefetch(row + i, 1);
}

static uint32_t add_count(uint32_t count, uint32_t occurrences)
{
    return occurrences < UINT32_MAX - count ? count + occurrences : UINT32_MAX;
}

static void apply_table(struct learner_gather *gather, unsigned t,
                        const struct learner_updater *updater,
                        struct learner_cut *cut,
                        struct learner_delta_cut *delta, uint64_t number)
{
    const struct learner_places *places = &gather->places[t];
    const struct learner_model_config *config = &gather->model->config;
    size_t W = places->width;
    for (uint32_t i = 0; i < places->count; i++) {
        if (i + AHEAD < places->count)
            fetch(gather->tables[t], places->slots[i + AHEAD]);
        if (!places->occurrences[i] && !places->negative[i])
            continue;
        struct learner_row *row =
            learner_table_row(gather->tables[t], places->slots[i]);
        float *g = places->drows + i * W;
        learner_cut_touch(cut, t, places->slots[i]);
        learner_delta_touch(delta, t, places->slots[i], places->created[i]);
        row->step += row->step < UINT32_MAX;
        row->count = add_count(row->count, places->occurrences[i]);
        row->touched = (uint32_t)number;
        float factor = learner_regularizer_factor(config, row->count,
                                                  places->occurrences[i]);
        if (factor != 0)
            learner_regularizer_add(g, row->values, W, factor);
        learner_optimizer_row(updater, row->values, g, W,
                              updater->every_row ? number : row->step);
    }
}

/* adam_every_row: the rows that the batch did not train. */
static void apply_rest(struct learner_gather *gather, unsigned t,
                       const struct learner_updater *updater,
                       struct learner_cut *cut,
                       struct learner_delta_cut *delta, uint64_t number)
{
    struct learner_table *table = gather->tables[t];
    for (uint32_t slot = 0; slot < learner_table_slots(table); slot++) {
        struct learner_row *row = learner_table_row(table, slot);
        if (!row->live || row->touched == (uint32_t)number)
            continue;
        learner_cut_touch(cut, t, slot);
        learner_delta_touch(delta, t, slot, false);
        learner_optimizer_rest(updater, row->values, gather->places[t].width,
                               number);
    }
}

void learner_gather_apply(struct learner_gather *gather,
                          const struct learner_updater *updater,
                          struct learner_cut *cut,
                          struct learner_delta_cut *delta, uint64_t number,
                          int64_t event_ms)
{
    for (unsigned t = 0; t < gather->model->table_count; t++) {
        apply_table(gather, t, updater, cut, delta, number);
        if (updater->every_row)
            apply_rest(gather, t, updater, cut, delta, number);
    }
    if (gather->admission)
        learner_admission_keep(gather->admission);
    learner_eviction_advance(&gather->eviction, gather->tables, number,
                             event_ms);
}
