/* SPDX-License-Identifier: Apache-2.0 */
/* Growing table of rows; see table.h.
 *
 * Rows lie in slabs; behind a slab's rows stands a bit for each, set where
 * the slot was given back. The lowest free slot is the next to be used. */
#include "learner/table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "learner/index.h"
#include "learner/model.h"
#include "learner/optimizer.h"

struct learner_table {
    struct learner_table_config config;
    unsigned slab_bits; /* rows of a slab = 1 << slab_bits */
    size_t stride;
    uint32_t slots, rows; /* slots - rows are free */
    uint8_t **slabs;
    uint32_t *free_slots; /* [slab] how many */
    uint32_t lowest_free; /* no slab before it has a free slot */
    uint32_t slab_count, slab_room;
    void (*before)(void *self, uint32_t slot);
    void *before_self;
    void (*gone)(void *self, uint32_t slot);
    void *gone_self;
    struct learner_index index;
};

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

/* Bits of the slab's free slots. */
static uint64_t *free_bits(const struct learner_table *table, uint32_t slab)
{
    return (uint64_t *)(void *)(table->slabs[slab] +
                                (table->stride << table->slab_bits));
}

static size_t bits_size(const struct learner_table *table)
{
    return (((size_t)1 << table->slab_bits) + 63) / 64 * sizeof(uint64_t);
}

static enum base_status grow_lists(struct learner_table *table,
                                   struct base_error *error)
{
    uint32_t room = table->slab_room ? table->slab_room * 2 : 4;
    uint8_t **slabs = realloc(table->slabs, room * sizeof *slabs);
    if (slabs)
        table->slabs = slabs;
    uint32_t *counts =
        slabs ? realloc(table->free_slots, room * sizeof *counts) : NULL;
    if (!counts)
        return base_fail(error, BASE_SYSTEM, "table: no memory for %u slabs",
                         room);
    table->free_slots = counts;
    table->slab_room = room;
    return BASE_OK;
}

/* Makes sure that slot `table->slots` has memory. Fresh memory is zero, and
 * the system gives its pages one by one as rows come. */
static enum base_status grow_slabs(struct learner_table *table,
                                   struct base_error *error)
{
    enum base_status status = BASE_OK;
    if (table->slots >> table->slab_bits < table->slab_count)
        return BASE_OK;
    if (table->slab_count == table->slab_room)
        status = grow_lists(table, error);
    if (status)
        return status;
    size_t bytes = (table->stride << table->slab_bits) + bits_size(table);
    uint8_t *slab = calloc(1, bytes);
    if (!slab)
        return base_fail(error, BASE_SYSTEM,
                         "table: no memory for slab %u of %zu bytes",
                         table->slab_count, bytes);
    table->free_slots[table->slab_count] = 0;
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

static uint64_t hash_of_slot(const void *self, uint32_t slot)
{
    return hash(learner_table_row(self, slot)->key);
}

static void prefetch_slot(const void *self, uint32_t slot)
{
    __builtin_prefetch(&learner_table_row(self, slot)->key);
}

uint32_t learner_table_find(const struct learner_table *table, uint64_t key)
{
    struct learner_index_probe probe;
    uint32_t slot;
    if (key == 0)
        return 0;
    learner_index_begin(&table->index, hash(key), &probe);
    while ((slot = learner_index_next(&probe)))
        if (learner_table_row(table, slot)->key == key)
            return slot;
    return 0;
}

void learner_table_prefetch(const struct learner_table *table, uint64_t key)
{
    learner_index_prefetch(&table->index, hash(key));
}

uint32_t learner_table_guess(const struct learner_table *table, uint64_t key)
{
    struct learner_index_probe probe;
    if (key == 0)
        return 0;
    learner_index_begin(&table->index, hash(key), &probe);
    uint32_t slot = learner_index_next(&probe);
    const char *row = (const char *)learner_table_row(table, slot);
    for (size_t i = 0; i < table->stride && i < 256; i += 64)
        __builtin_prefetch(row + i);
    return slot;
}

/* No slot at first: none at all. Another key's row: its tag was the same. */
uint32_t learner_table_settle(const struct learner_table *table, uint64_t key,
                              uint32_t guess)
{
    if (!guess || learner_table_row(table, guess)->key == key)
        return guess;
    return learner_table_find(table, key);
}

/* ---- create and remove --------------------------------------------------- */

/* The lowest free slot; there is one. */
static uint32_t take_free(struct learner_table *table)
{
    while (!table->free_slots[table->lowest_free])
        table->lowest_free++;
    uint32_t slab = table->lowest_free, word = 0;
    uint64_t *bits = free_bits(table, slab);
    while (!bits[word])
        word++;
    uint32_t bit = (uint32_t)__builtin_ctzll(bits[word]);
    bits[word] &= bits[word] - 1;
    table->free_slots[slab]--;
    return (slab << table->slab_bits) + word * 64 + bit;
}

static void put_free(struct learner_table *table, uint32_t slot)
{
    uint32_t slab = slot >> table->slab_bits;
    uint32_t within = slot & ((1u << table->slab_bits) - 1);
    free_bits(table, slab)[within / 64] |= UINT64_C(1) << within % 64;
    table->free_slots[slab]++;
    if (slab < table->lowest_free)
        table->lowest_free = slab;
}

enum base_status learner_table_create(struct learner_table *table,
                                      uint64_t key, uint32_t *slot,
                                      struct base_error *error)
{
    *slot = learner_table_find(table, key);
    if (*slot || key == 0)
        return BASE_OK;
    enum base_status status =
        learner_index_reserve(&table->index, hash(key), error);
    if (status)
        return status;
    if (table->rows < table->slots) {
        *slot = take_free(table);
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
    learner_index_insert(&table->index, hash(key), *slot);
    table->rows++;
    return BASE_OK;
}

static void empty_slot(struct learner_table *table, uint32_t slot)
{
    struct learner_row *row = learner_table_row(table, slot);
    BASE_ASSERT(slot && slot < table->slots && row->live);
    if (table->before)
        table->before(table->before_self, slot);
    learner_index_remove(&table->index, hash(row->key), slot);
    memset(row, 0, table->stride);
    table->rows--;
}

void learner_table_remove(struct learner_table *table, uint32_t slot)
{
    if (table->gone)
        table->gone(table->gone_self, slot);
    empty_slot(table, slot);
    put_free(table, slot);
}

void learner_table_undo(struct learner_table *table, uint32_t slot,
                        uint32_t slots)
{
    empty_slot(table, slot);
    if (slot < slots) {
        put_free(table, slot);
        return;
    }
    BASE_ASSERT(slot + 1 == table->slots);
    table->slots = slot;
}

void learner_table_watch(struct learner_table *table,
                         void (*before)(void *self, uint32_t slot),
                         void *self)
{
    table->before = before;
    table->before_self = self;
}

void learner_table_on_remove(struct learner_table *table,
                             void (*gone)(void *self, uint32_t slot),
                             void *self)
{
    table->gone = gone;
    table->gone_self = self;
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
    made->index = (struct learner_index){
        .hash = hash_of_slot, .prefetch = prefetch_slot, .self = made};
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
    learner_index_clear(&table->index);
    for (uint32_t i = 0; i < table->slab_count; i++) {
        memset(free_bits(table, i), 0, bits_size(table));
        table->free_slots[i] = 0;
    }
    table->slots = table->rows = table->lowest_free = 0;
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
        status = learner_index_reserve(&table->index, hash(row->key), error);
    if (status)
        return status;
    memcpy(learner_table_row(table, slot), row, table->stride);
    table->slots++;
    if (!row->live) {
        put_free(table, slot);
        return BASE_OK;
    }
    if (slot)
        learner_index_insert(&table->index, hash(row->key), slot);
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
    return sizeof *table + table->slots * table->stride +
           table->slab_count * bits_size(table) +
           table->slab_room *
               (sizeof *table->slabs + sizeof *table->free_slots) +
           learner_index_bytes(&table->index);
}
