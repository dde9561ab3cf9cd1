/* SPDX-License-Identifier: Apache-2.0 */
/* Hash map u64 -> u64; see map.h. An occupied cell has used[i] = 1. */
#include "base/map.h"

#include <stdlib.h>

#include "base/random.h"

struct cell {
    uint64_t key, value;
};

struct base_map {
    struct cell *cells;
    uint8_t *used;
    size_t mask; /* capacity - 1 */
    size_t size;
    uint64_t seed;
};

enum { START_CAPACITY = 64 };

static enum base_status allocate(struct base_map *map, size_t capacity,
                                 struct base_error *error)
{
    struct cell *cells = malloc(capacity * sizeof *cells);
    uint8_t *used = calloc(capacity, 1);
    if (!cells || !used) {
        free(cells);
        free(used);
        return base_fail(error, BASE_SYSTEM, "map: no memory for %zu cells",
                         capacity);
    }
    map->cells = cells;
    map->used = used;
    map->mask = capacity - 1;
    return BASE_OK;
}

enum base_status base_map_new(struct base_map **map, uint64_t seed,
                              struct base_error *error)
{
    struct base_map *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "map: no memory");
    made->seed = seed;
    if (allocate(made, START_CAPACITY, error)) {
        free(made);
        return BASE_SYSTEM;
    }
    *map = made;
    return BASE_OK;
}

void base_map_free(struct base_map *map)
{
    if (!map)
        return;
    free(map->cells);
    free(map->used);
    free(map);
}

size_t base_map_size(const struct base_map *map)
{
    return map->size;
}

size_t base_map_bytes(const struct base_map *map)
{
    return sizeof *map + (map->mask + 1) * (sizeof *map->cells + 1);
}

static size_t home(const struct base_map *map, uint64_t key)
{
    return base_random_mix(key ^ map->seed) & map->mask;
}

/* The cell of `key`, or the empty cell where it would go. */
static size_t find(const struct base_map *map, uint64_t key)
{
    size_t i = home(map, key);
    while (map->used[i] && map->cells[i].key != key)
        i = (i + 1) & map->mask;
    return i;
}

uint64_t *base_map_get(const struct base_map *map, uint64_t key)
{
    size_t i = find(map, key);
    return map->used[i] ? &map->cells[i].value : NULL;
}

static enum base_status grow(struct base_map *map, struct base_error *error)
{
    struct base_map old = *map;
    if (allocate(map, (old.mask + 1) * 2, error))
        return BASE_SYSTEM;
    for (size_t i = 0; i <= old.mask; i++) {
        if (!old.used[i])
            continue;
        size_t to = find(map, old.cells[i].key);
        map->cells[to] = old.cells[i];
        map->used[to] = 1;
    }
    free(old.cells);
    free(old.used);
    return BASE_OK;
}

enum base_status base_map_put(struct base_map *map, uint64_t key,
                              uint64_t value, struct base_error *error)
{
    size_t i = find(map, key);
    if (!map->used[i]) {
        if ((map->size + 1) * 4 > (map->mask + 1) * 3) {
            if (grow(map, error))
                return BASE_SYSTEM;
            i = find(map, key);
        }
        map->used[i] = 1;
        map->cells[i].key = key;
        map->size++;
    }
    map->cells[i].value = value;
    return BASE_OK;
}

bool base_map_remove(struct base_map *map, uint64_t key)
{
    size_t hole = find(map, key);
    if (!map->used[hole])
        return false;
    for (size_t i = (hole + 1) & map->mask; map->used[i];
         i = (i + 1) & map->mask) {
        size_t wish = home(map, map->cells[i].key);
        if (((i - wish) & map->mask) >= ((i - hole) & map->mask)) {
            map->cells[hole] = map->cells[i];
            hole = i;
        }
    }
    map->used[hole] = 0;
    map->size--;
    return true;
}

bool base_map_next(const struct base_map *map, size_t *cursor, uint64_t *key,
                   uint64_t *value)
{
    while (*cursor <= map->mask) {
        size_t i = (*cursor)++;
        if (map->used[i]) {
            *key = map->cells[i].key;
            *value = map->cells[i].value;
            return true;
        }
    }
    return false;
}
