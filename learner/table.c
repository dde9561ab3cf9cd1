/* SPDX-License-Identifier: Apache-2.0 */
/* Growing embedding table; see table.h.
 *
 * A shard's cells hold slot numbers, 0 = empty (the OOV row is not indexed);
 * linear probing from the hash's low bits, load at most 3/4, deletion by
 * backward shift. The shard is the hash's high byte. */
#include "learner/table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "learner/model.h"
#include "learner/optimizer.h"

struct shard {
    uint32_t *cells;
    uint32_t mask; /* capacity - 1 */
    uint32_t used;
};

struct learner_table {
    struct learner_table_config config;
    unsigned slab_bits; /* rows of a slab = 1 << slab_bits */
    size_t stride;
    uint32_t slots, rows;
    uint8_t **slabs;
    uint32_t slab_count, slab_room;
    uint32_t *free_slots; /* a stack; room for every slot */
    uint32_t free_count, free_room;
    void (*before)(void *self, uint32_t slot);
    void *before_self;
    struct shard shards[LEARNER_TABLE_SHARDS];
};

enum { SHARD_START = 8 };

/* ---- rows ---------------------------------------------------------------- */

struct learner_row *learner_table_row(const struct learner_table *table,
                                      uint32_t slot)
{
    uint32_t within = slot & ((1u << table->slab_bits) - 1);
    return (struct learner_row *)(void *)(table->slabs[slot >>
                                                       table->slab_bits] +
                                          within * table->stride);
}

uint32_t learner_table_run(const struct learner_table *table, uint32_t slot)
{
    uint32_t size = 1u << table->slab_bits;
    uint32_t left = size - (slot & (size - 1));
    return left < table->slots - slot ? left : table->slots - slot;
}

/* Makes sure that slot `table->slots` has memory. */
static enum base_status grow_slabs(struct learner_table *table,
                                   struct base_error *error)
{
    if (table->slots >> table->slab_bits < table->slab_count)
        return BASE_OK;
    if (table->slab_count == table->slab_room) {
        uint32_t room = table->slab_room ? table->slab_room * 2 : 4;
        uint8_t **slabs = realloc(table->slabs, room * sizeof *slabs);
        if (!slabs)
            return base_fail(error, BASE_SYSTEM, "table: no memory for %u "
                             "slabs", room);
        table->slabs = slabs;
        table->slab_room = room;
    }
    uint8_t *slab = calloc((size_t)1 << table->slab_bits, table->stride);
    if (!slab)
        return base_fail(error, BASE_SYSTEM,
                         "table: no memory for slab %u of %zu bytes",
                         table->slab_count,
                         table->stride << table->slab_bits);
    table->slabs[table->slab_count++] = slab;
    return BASE_OK;
}

static void init_row(const struct learner_table *table,
                     struct learner_row *row, uint64_t key)
{
    memset(row, 0, table->stride);
    row->key = key;
    row->live = 1;
    const struct learner_table_config *config = &table->config;
    for (unsigned i = 0; i < config->embedding; i++) {
        uint64_t bits = base_random_u64(config->seed, config->purpose, key, i);
        row->values[i] =
            (base_random_unit(bits) * 2.0f - 1.0f) * config->row_limit;
    }
}

/* ---- index --------------------------------------------------------------- */

static uint64_t hash(uint64_t key)
{
    return base_random_mix(key + 0x9e3779b97f4a7c15u);
}

static enum base_status grow_shard(struct learner_table *table,
                                   struct shard *shard,
                                   struct base_error *error)
{
    uint32_t capacity = shard->cells ? (shard->mask + 1) * 2 : SHARD_START;
    uint32_t *cells = calloc(capacity, sizeof *cells);
    if (!cells)
        return base_fail(error, BASE_SYSTEM,
                         "table: no memory for %u index cells", capacity);
    for (uint32_t i = 0; shard->cells && i <= shard->mask; i++) {
        if (!shard->cells[i])
            continue;
        uint64_t key = learner_table_row(table, shard->cells[i])->key;
        uint32_t to = (uint32_t)hash(key) & (capacity - 1);
        while (cells[to])
            to = (to + 1) & (capacity - 1);
        cells[to] = shard->cells[i];
    }
    free(shard->cells);
    shard->cells = cells;
    shard->mask = capacity - 1;
    return BASE_OK;
}

/* The cell of `key`, or the empty cell where it would go. The shard has
 * cells. */
static uint32_t find_cell(const struct learner_table *table,
                          const struct shard *shard, uint64_t key,
                          uint64_t hashed)
{
    uint32_t i = (uint32_t)hashed & shard->mask;
    while (shard->cells[i] &&
           learner_table_row(table, shard->cells[i])->key != key)
        i = (i + 1) & shard->mask;
    return i;
}

uint32_t learner_table_find(const struct learner_table *table, uint64_t key)
{
    if (key == 0)
        return 0;
    uint64_t hashed = hash(key);
    const struct shard *shard = &table->shards[hashed >> 56];
    if (!shard->cells)
        return 0;
    return shard->cells[find_cell(table, shard, key, hashed)];
}

void learner_table_prefetch(const struct learner_table *table, uint64_t key)
{
    uint64_t hashed = hash(key);
    const struct shard *shard = &table->shards[hashed >> 56];
    if (shard->cells)
        __builtin_prefetch(&shard->cells[(uint32_t)hashed & shard->mask]);
}

void learner_table_prefetch_row(const struct learner_table *table,
                                uint64_t key)
{
    uint64_t hashed = hash(key);
    const struct shard *shard = &table->shards[hashed >> 56];
    if (!shard->cells)
        return;
    const char *row = (const char *)learner_table_row(
        table, shard->cells[(uint32_t)hashed & shard->mask]);
    for (size_t i = 0; i < table->stride && i < 256; i += 64)
        __builtin_prefetch(row + i);
}

/* Room for one more key in its shard. */
static enum base_status reserve_cell(struct learner_table *table,
                                     uint64_t hashed,
                                     struct base_error *error)
{
    struct shard *shard = &table->shards[hashed >> 56];
    if (shard->cells && (uint64_t)(shard->used + 1) * 4 <=
                            (uint64_t)(shard->mask + 1) * 3)
        return BASE_OK;
    return grow_shard(table, shard, error);
}

static void index_slot(struct learner_table *table, uint64_t key,
                       uint32_t slot)
{
    uint64_t hashed = hash(key);
    struct shard *shard = &table->shards[hashed >> 56];
    shard->cells[find_cell(table, shard, key, hashed)] = slot;
    shard->used++;
}

static void unindex(struct learner_table *table, uint64_t key)
{
    uint64_t hashed = hash(key);
    struct shard *shard = &table->shards[hashed >> 56];
    uint32_t hole = find_cell(table, shard, key, hashed);
    for (uint32_t i = (hole + 1) & shard->mask; shard->cells[i];
         i = (i + 1) & shard->mask) {
        uint64_t other = learner_table_row(table, shard->cells[i])->key;
        uint32_t wish = (uint32_t)hash(other) & shard->mask;
        if (((i - wish) & shard->mask) >= ((i - hole) & shard->mask)) {
            shard->cells[hole] = shard->cells[i];
            hole = i;
        }
    }
    shard->cells[hole] = 0;
    shard->used--;
}

/* ---- create and remove --------------------------------------------------- */

enum base_status learner_table_create(struct learner_table *table,
                                      uint64_t key, uint32_t *slot,
                                      struct base_error *error)
{
    *slot = learner_table_find(table, key);
    if (*slot || key == 0)
        return BASE_OK;
    enum base_status status = reserve_cell(table, hash(key), error);
    if (status)
        return status;
    if (table->free_count) {
        *slot = table->free_slots[--table->free_count];
        if (table->before)
            table->before(table->before_self, *slot);
    } else {
        if (table->slots == UINT32_MAX)
            return base_fail(error, BASE_LIMIT, "table: 2^32 - 1 slots used");
        status = grow_slabs(table, error);
        if (status)
            return status;
        *slot = table->slots++;
    }
    init_row(table, learner_table_row(table, *slot), key);
    index_slot(table, key, *slot);
    table->rows++;
    return BASE_OK;
}

/* Without memory for the list the slot is only lost until a restart. */
static void push_free(struct learner_table *table, uint32_t slot)
{
    if (table->free_count == table->free_room) {
        uint32_t room = table->free_room ? table->free_room * 2 : 256;
        uint32_t *slots = realloc(table->free_slots, room * sizeof *slots);
        if (!slots)
            return;
        table->free_slots = slots;
        table->free_room = room;
    }
    table->free_slots[table->free_count++] = slot;
}

void learner_table_remove(struct learner_table *table, uint32_t slot)
{
    struct learner_row *row = learner_table_row(table, slot);
    BASE_ASSERT(slot && slot < table->slots && row->live);
    if (table->before)
        table->before(table->before_self, slot);
    unindex(table, row->key);
    memset(row, 0, table->stride);
    table->rows--;
    push_free(table, slot);
}

void learner_table_undo(struct learner_table *table, uint32_t slot,
                        uint32_t slots)
{
    learner_table_remove(table, slot);
    if (slot < slots)
        return;
    BASE_ASSERT(slot + 1 == table->slots);
    table->slots = slot;
    table->free_count--;
}

void learner_table_watch(struct learner_table *table,
                         void (*before)(void *self, uint32_t slot),
                         void *self)
{
    table->before = before;
    table->before_self = self;
}

/* ---- whole tables -------------------------------------------------------- */

void learner_table_configure(struct learner_table_config *config,
                             const struct learner_model *model,
                             unsigned table)
{
    const struct learner_model_config *from = &model->config;
    const struct learner_table_spec *spec = &model->tables[table];
    uint32_t embedding = model->embedding[table];
    float limit = from->row_limit;
    if (from->row_vocabulary)
        limit = sqrtf(6.0f /
                      ((float)from->row_vocabulary + (float)embedding));
    *config = (struct learner_table_config){
        .width = spec->dimension,
        .embedding = embedding,
        .state = (unsigned)learner_optimizer_row_state(from, spec->dimension),
        .seed = from->seed,
        .purpose = learner_table_seed(spec->name),
        .row_limit = limit,
    };
}

enum base_status learner_table_new(struct learner_table **table,
                                   const struct learner_table_config *config,
                                   struct base_error *error)
{
    struct learner_table *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "table: no memory");
    made->config = *config;
    made->stride = learner_row_stride(config->width + config->state);
    while ((made->stride << (made->slab_bits + 1)) <= LEARNER_TABLE_SLAB)
        made->slab_bits++;
    enum base_status status = grow_slabs(made, error);
    if (status) {
        learner_table_free(made);
        return status;
    }
    init_row(made, learner_table_row(made, 0), 0);
    made->slots = made->rows = 1;
    *table = made;
    return BASE_OK;
}

void learner_table_clear(struct learner_table *table)
{
    for (unsigned i = 0; i < LEARNER_TABLE_SHARDS; i++) {
        free(table->shards[i].cells);
        table->shards[i] = (struct shard){0};
    }
    table->slots = table->rows = table->free_count = 0;
}

void learner_table_free(struct learner_table *table)
{
    if (!table)
        return;
    learner_table_clear(table);
    for (uint32_t i = 0; i < table->slab_count; i++)
        free(table->slabs[i]);
    free(table->slabs);
    free(table->free_slots);
    free(table);
}

enum base_status learner_table_restore(struct learner_table *table,
                                       const struct learner_row *row,
                                       struct base_error *error)
{
    uint32_t slot = table->slots;
    if (slot == UINT32_MAX || (slot == 0) != (row->live && row->key == 0) ||
        (row->live && slot && learner_table_find(table, row->key)))
        return base_fail(error, BASE_CORRUPT,
                         "slot %u: key %016llx is misplaced or there twice",
                         slot, (unsigned long long)row->key);
    enum base_status status = grow_slabs(table, error);
    if (!status && slot && row->live)
        status = reserve_cell(table, hash(row->key), error);
    if (status)
        return status;
    memcpy(learner_table_row(table, slot), row, table->stride);
    table->slots++;
    if (!row->live) {
        push_free(table, slot);
        return BASE_OK;
    }
    if (slot)
        index_slot(table, row->key, slot);
    table->rows++;
    return BASE_OK;
}

unsigned learner_table_width(const struct learner_table *table)
{
    return table->config.width;
}

size_t learner_table_stride(const struct learner_table *table)
{
    return table->stride;
}

uint32_t learner_table_slots(const struct learner_table *table)
{
    return table->slots;
}

uint32_t learner_table_rows(const struct learner_table *table)
{
    return table->rows;
}

size_t learner_table_bytes(const struct learner_table *table)
{
    size_t bytes = sizeof *table + table->slots * table->stride +
                   table->slab_room * sizeof *table->slabs +
                   table->free_room * sizeof *table->free_slots;
    for (unsigned i = 0; i < LEARNER_TABLE_SHARDS; i++)
        if (table->shards[i].cells)
            bytes += (table->shards[i].mask + (size_t)1) * 4;
    return bytes;
}
