/* SPDX-License-Identifier: Apache-2.0 */
/* The unique rows of one batch; see gather.h.
 *
 * Unique ids are found through a small open-addressing map per table. Its
 * cells carry the number of the batch that wrote them, so it is never
 * cleared. */
#include "learner/gather.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"

enum { AHEAD = 8 }; /* rows under way while one is looked at */

struct cell {
    uint64_t key;
    uint32_t at;    /* into the unique rows */
    uint32_t epoch; /* of the batch that wrote it */
};

struct learner_gather_table {
    struct cell *cells;
    uint32_t mask;
    uint32_t epoch;
    uint32_t count, room; /* U_t */
    unsigned dimension;
    uint64_t *keys;
    uint32_t *slots;
    uint32_t *occurrences;
    uint8_t *created;
    float *rows, *drows;
};

enum base_status learner_gather_init(struct learner_gather *gather,
                                     const struct learner_schema *schema,
                                     struct learner_table *const *tables,
                                     struct base_error *error)
{
    *gather = (struct learner_gather){.schema = schema, .tables = tables};
    gather->parts = calloc(schema->table_count, sizeof *gather->parts);
    if (!gather->parts)
        return base_fail(error, BASE_SYSTEM, "gather: no memory");
    for (unsigned t = 0; t < schema->table_count; t++)
        gather->parts[t].dimension = schema->tables[t].dimension;
    return BASE_OK;
}

static void free_part(struct learner_gather_table *part)
{
    free(part->cells);
    free(part->keys);
    free(part->slots);
    free(part->occurrences);
    free(part->created);
    free(part->rows);
    free(part->drows);
}

void learner_gather_fini(struct learner_gather *gather)
{
    for (unsigned t = 0; gather->parts && t < gather->schema->table_count;
         t++)
        free_part(&gather->parts[t]);
    free(gather->parts);
    free(gather->index);
    free(gather->history_index);
    *gather = (struct learner_gather){0};
}

/* ---- room ---------------------------------------------------------------- */

static enum base_status reserve_part(struct learner_gather_table *part,
                                     size_t ids, struct base_error *error)
{
    if (ids <= part->room)
        return BASE_OK;
    uint32_t room = part->room ? part->room : 256;
    while (room < ids)
        room *= 2;
    unsigned dimension = part->dimension;
    uint32_t epoch = part->epoch;
    free_part(part);
    *part = (struct learner_gather_table){
        .epoch = epoch,
        .dimension = dimension,
        .mask = 2 * room - 1,
        .cells = calloc(2 * (size_t)room, sizeof *part->cells),
        .keys = malloc(room * sizeof *part->keys),
        .slots = malloc(room * sizeof *part->slots),
        .occurrences = malloc(room * sizeof *part->occurrences),
        .created = malloc(room),
        .rows = aligned_alloc(64, (size_t)room * dimension * 4),
        .drows = aligned_alloc(64, (size_t)room * dimension * 4),
    };
    if (!part->cells || !part->keys || !part->slots || !part->occurrences ||
        !part->created || !part->rows || !part->drows)
        return base_fail(error, BASE_SYSTEM,
                         "gather: no memory for %u rows of a batch", room);
    part->room = room;
    return BASE_OK;
}

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

static enum base_status reserve(struct learner_gather *gather, size_t samples,
                                size_t behaviors, struct base_error *error)
{
    const struct learner_schema *schema = gather->schema;
    size_t ids[LEARNER_TABLES_MAX] = {0};
    for (unsigned j = 0; j < schema->field_count; j++) {
        ids[schema->fields[j].table] += samples;
        if (schema->fields[j].group == LEARNER_ITEM)
            ids[schema->fields[j].table] += behaviors;
    }
    enum base_status status =
        reserve_index(&gather->index, &gather->index_room,
                      samples * schema->field_count, error);
    if (!status)
        status = reserve_index(&gather->history_index, &gather->history_room,
                               behaviors * schema->item_count, error);
    for (unsigned t = 0; !status && t < schema->table_count; t++)
        status = reserve_part(&gather->parts[t], ids[t], error);
    return status;
}

/* ---- find ---------------------------------------------------------------- */

/* Place of `key` among the unique rows, where room was reserved. */
static uint32_t place(struct learner_gather_table *part,
                      const struct learner_table *table, uint64_t key)
{
    uint32_t i = (uint32_t)base_random_mix(key) & part->mask;
    struct cell *cell = &part->cells[i];
    while (cell->epoch == part->epoch) {
        if (cell->key == key) {
            part->occurrences[cell->at]++;
            return cell->at;
        }
        i = (i + 1) & part->mask;
        cell = &part->cells[i];
    }
    uint32_t at = part->count++;
    *cell = (struct cell){key, at, part->epoch};
    part->keys[at] = key;
    part->occurrences[at] = 1;
    part->created[at] = 0;
    learner_table_prefetch(table, key);
    return at;
}

static void next_epoch(struct learner_gather_table *part)
{
    part->count = 0;
    if (++part->epoch)
        return;
    part->epoch = 1; /* once in 2^32 batches */
    for (uint32_t i = 0; part->cells && i <= part->mask; i++)
        part->cells[i].epoch = 0;
}

static void place_all(struct learner_gather *gather,
                      const struct learner_batch *batch, size_t behaviors)
{
    const struct learner_schema *schema = gather->schema;
    unsigned fields = schema->field_count, items = schema->item_count;
    for (size_t i = 0; i < behaviors; i++)
        for (unsigned j = 0; j < items; j++) {
            unsigned t = schema->fields[schema->profile_count + j].table;
            gather->history_index[i * items + j] =
                place(&gather->parts[t], gather->tables[t],
                      batch->history[i * items + j]);
        }
    for (size_t i = 0; i < batch->samples; i++)
        for (unsigned j = 0; j < fields; j++) {
            unsigned t = schema->fields[j].table;
            gather->index[i * fields + j] =
                place(&gather->parts[t], gather->tables[t],
                      batch->ids[i * fields + j]);
        }
}

static void pack(struct learner_gather_table *part,
                 const struct learner_table *table, uint32_t at)
{
    memcpy(part->rows + (size_t)at * part->dimension,
           learner_table_row(table, part->slots[at])->values,
           part->dimension * sizeof(float));
}

enum base_status learner_gather_find(struct learner_gather *gather,
                                     const struct learner_batch *batch,
                                     struct base_error *error)
{
    size_t behaviors = batch->groups ? batch->history_begin[batch->groups]
                                     : 0;
    enum base_status status =
        reserve(gather, batch->samples, behaviors, error);
    if (status)
        return status;
    for (unsigned t = 0; t < gather->schema->table_count; t++)
        next_epoch(&gather->parts[t]);
    place_all(gather, batch, behaviors);
    for (unsigned t = 0; t < gather->schema->table_count; t++) {
        struct learner_gather_table *part = &gather->parts[t];
        const struct learner_table *table = gather->tables[t];
        for (uint32_t i = 0; i < part->count; i++) {
            if (i + AHEAD < part->count)
                learner_table_prefetch_row(table, part->keys[i + AHEAD]);
            part->slots[i] = learner_table_find(table, part->keys[i]);
            pack(part, table, i);
        }
        gather->rows[t] = part->rows;
        gather->drows[t] = part->drows;
        gather->row_count[t] = part->count;
    }
    return BASE_OK;
}

/* ---- create, discard, apply ---------------------------------------------- */

enum base_status learner_gather_create(struct learner_gather *gather,
                                       struct base_error *error)
{
    for (unsigned t = 0; t < gather->schema->table_count; t++) {
        struct learner_gather_table *part = &gather->parts[t];
        for (uint32_t i = 0; i < part->count; i++) {
            if (part->slots[i] || part->keys[i] == 0)
                continue;
            if (learner_table_create(gather->tables[t], part->keys[i],
                                     &part->slots[i], error))
                return base_wrap(error, "table %s",
                                 gather->schema->tables[t].name);
            part->created[i] = 1;
            pack(part, gather->tables[t], i);
        }
    }
    return BASE_OK;
}

void learner_gather_discard(struct learner_gather *gather)
{
    for (unsigned t = 0; t < gather->schema->table_count; t++) {
        struct learner_gather_table *part = &gather->parts[t];
        for (uint32_t i = part->count; i-- > 0;)
            if (part->created[i])
                learner_table_remove(gather->tables[t], part->slots[i]);
        part->count = 0;
    }
}

static void fetch(const struct learner_table *table, uint32_t slot)
{
    const char *row = (const char *)learner_table_row(table, slot);
    for (size_t i = 0; i < learner_table_stride(table) && i < 256; i += 64)
        __builtin_prefetch(row + i, 1);
}

void learner_gather_apply(struct learner_gather *gather,
                          const struct learner_adam *adam,
                          struct learner_cut *cut, uint32_t number)
{
    for (unsigned t = 0; t < gather->schema->table_count; t++) {
        const struct learner_gather_table *part = &gather->parts[t];
        size_t E = part->dimension;
        for (uint32_t i = 0; i < part->count; i++) {
            struct learner_row *row =
                learner_table_row(gather->tables[t], part->slots[i]);
            if (i + AHEAD < part->count)
                fetch(gather->tables[t], part->slots[i + AHEAD]);
            learner_cut_touch(cut, t, part->slots[i]);
            row->step++;
            row->count += part->occurrences[i];
            row->touched = number;
            learner_adam_step(row->values, row->values + E,
                              row->values + 2 * E, part->drows + i * E, E,
                              learner_adam_rate(adam, row->step));
        }
    }
}
