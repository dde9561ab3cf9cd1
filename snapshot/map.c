/* SPDX-License-Identifier: Apache-2.0 */
/* Persistent tables; see map.h. */
#include "snapshot/map.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "snapshot/row.h"

enum { PAGE = 64 };

/* keys (count), then rows (count, size); NULL is an empty one. */
struct bucket {
    uint64_t count;
    uint64_t keys[];
};

struct page {
    struct bucket *buckets[PAGE];
};

struct snapshot_map {
    enum snapshot_dtype dtype;
    size_t width, size; /* values and bytes of a row */
    uint64_t rows, bytes;
    uint64_t buckets;
    uint64_t pages, capacity; /* of root, used and allocated */
    struct page **root;       /* OWNS the array */
};

/* ---- buckets ------------------------------------------------------------- */

static size_t bucket_bytes(const struct snapshot_map *map, uint64_t count)
{
    return sizeof(struct bucket) + count * (sizeof(uint64_t) + map->size);
}

static uint8_t *row_at(const struct snapshot_map *map, struct bucket *bucket,
                       uint64_t at)
{
    return (uint8_t *)(bucket->keys + bucket->count) + at * map->size;
}

/* Its place in the bucket, or -1. */
static int64_t find(const struct bucket *bucket, uint64_t key)
{
    for (uint64_t i = 0; bucket && i < bucket->count; i++)
        if (bucket->keys[i] == key)
            return (int64_t)i;
    return -1;
}

static struct bucket *new_bucket(const struct snapshot_map *map,
                                 uint64_t count)
{
    struct bucket *bucket = malloc(bucket_bytes(map, count));
    if (bucket)
        bucket->count = count;
    return bucket;
}

/* The largest power of two that is not above the number of buckets. */
static uint64_t half_of(uint64_t buckets)
{
    return 1ull << (63 - __builtin_clzll(buckets));
}

static uint64_t address(const struct snapshot_map *map, uint64_t key)
{
    uint64_t hash = base_random_mix(key), half = half_of(map->buckets);
    uint64_t at = hash & (2 * half - 1);
    return at < map->buckets ? at : at & (half - 1);
}

static struct bucket **slot_of(const struct snapshot_map *map, uint64_t at)
{
    return &map->root[at / PAGE]->buckets[at % PAGE];
}

static bool has_page(const struct snapshot_map *map, uint64_t number,
                     const struct page *page)
{
    return map && number < map->pages && map->root[number] == page;
}

static bool has_bucket(const struct snapshot_map *map, uint64_t at,
                       const struct bucket *bucket)
{
    return map && at < map->buckets && *slot_of(map, at) == bucket;
}

/* ---- copying a path ------------------------------------------------------ */

static enum base_status no_memory(struct base_error *error)
{
    return base_fail(error, BASE_SYSTEM, "no memory for rows");
}

/* Puts `fresh` (TAKES; may be NULL) in the place of bucket `at`, whose page
 * must be the map's own. */
static void replace(struct snapshot_map *map, const struct snapshot_map *old,
                    uint64_t at, struct bucket *fresh)
{
    struct bucket **slot = slot_of(map, at), *before = *slot;
    map->bytes += fresh ? bucket_bytes(map, fresh->count) : 0;
    map->bytes -= before ? bucket_bytes(map, before->count) : 0;
    if (!has_bucket(old, at, before))
        free(before);
    *slot = fresh;
}

static bool own_page(struct snapshot_map *map, const struct snapshot_map *old,
                     uint64_t at)
{
    uint64_t number = at / PAGE;
    if (!has_page(old, number, map->root[number]))
        return true;
    struct page *page = malloc(sizeof *page);
    if (!page)
        return false;
    *page = *map->root[number];
    map->root[number] = page;
    return true;
}

/* A bucket of the map's own with the same rows, to be written to; NULL without
 * memory. */
static struct bucket *own_bucket(struct snapshot_map *map,
                                 const struct snapshot_map *old, uint64_t at)
{
    if (!own_page(map, old, at))
        return NULL;
    struct bucket *bucket = *slot_of(map, at);
    if (!has_bucket(old, at, bucket))
        return bucket;
    struct bucket *fresh = new_bucket(map, bucket->count);
    if (fresh) {
        memcpy(fresh, bucket, bucket_bytes(map, bucket->count));
        replace(map, old, at, fresh);
    }
    return fresh;
}

static void copy_row(const struct snapshot_map *map, struct bucket *to,
                     uint64_t place, const struct bucket *from, uint64_t at)
{
    to->keys[place] = from->keys[at];
    memcpy(row_at(map, to, place), row_at(map, (struct bucket *)from, at),
           map->size);
}

static enum base_status add_row(struct snapshot_map *map,
                                const struct snapshot_map *old, uint64_t at,
                                const struct snapshot_table *delta, uint64_t i,
                                struct base_error *error)
{
    struct bucket *bucket = *slot_of(map, at);
    uint64_t count = bucket ? bucket->count : 0;
    if (count == SNAPSHOT_MAP_BUCKET)
        return base_fail(error, BASE_CORRUPT,
                         "%d keys meet in one bucket: they are no hashes",
                         SNAPSHOT_MAP_BUCKET);
    struct bucket *fresh = new_bucket(map, count + 1);
    if (!fresh || !own_page(map, old, at)) {
        free(fresh);
        return no_memory(error);
    }
    for (uint64_t j = 0; j < count; j++)
        copy_row(map, fresh, j, bucket, j);
    fresh->keys[count] = delta->keys[i];
    snapshot_table_pack(delta, i, row_at(map, fresh, count));
    replace(map, old, at, fresh);
    map->rows++;
    return BASE_OK;
}

static enum base_status put_row(struct snapshot_map *map,
                                const struct snapshot_map *old,
                                const struct snapshot_table *delta, uint64_t i,
                                struct base_error *error)
{
    uint64_t at = address(map, delta->keys[i]);
    int64_t place = find(*slot_of(map, at), delta->keys[i]);
    if (place < 0)
        return add_row(map, old, at, delta, i, error);
    struct bucket *bucket = own_bucket(map, old, at);
    if (!bucket)
        return no_memory(error);
    snapshot_table_pack(delta, i, row_at(map, bucket, (uint64_t)place));
    return BASE_OK;
}

static enum base_status remove_row(struct snapshot_map *map,
                                   const struct snapshot_map *old,
                                   uint64_t key, struct base_error *error)
{
    uint64_t at = address(map, key), used = 0;
    const struct bucket *bucket = *slot_of(map, at);
    if (find(bucket, key) < 0)
        return base_fail(error, BASE_CORRUPT,
                         "key %016llx is said to be gone, but was not there",
                         (unsigned long long)key);
    struct bucket *fresh = NULL;
    if (bucket->count > 1)
        fresh = new_bucket(map, bucket->count - 1);
    if ((bucket->count > 1 && !fresh) || !own_page(map, old, at)) {
        free(fresh);
        return no_memory(error);
    }
    for (uint64_t i = 0; fresh && i < bucket->count; i++)
        if (bucket->keys[i] != key)
            copy_row(map, fresh, used++, bucket, i);
    replace(map, old, at, fresh);
    map->rows--;
    return BASE_OK;
}

/* ---- growing ------------------------------------------------------------- */

/* Room for bucket number `at` in the root. */
static bool add_page(struct snapshot_map *map, uint64_t at)
{
    if (at / PAGE < map->pages)
        return true;
    if (map->pages == map->capacity) {
        uint64_t capacity = map->capacity + map->capacity / 4 + 8;
        struct page **root =
            reallocarray(map->root, capacity, sizeof *root);
        if (!root)
            return false;
        map->root = root;
        map->capacity = capacity;
    }
    map->root[map->pages] = calloc(1, sizeof(struct page));
    if (!map->root[map->pages])
        return false;
    map->pages++;
    map->bytes += sizeof(struct page);
    return true;
}

/* The rows of bucket `from` whose hash has `bit` as `set` says; *made NULL
 * where there are none. */
static bool divide(const struct snapshot_map *map, const struct bucket *from,
                   uint64_t bit, bool set, struct bucket **made)
{
    uint64_t count = 0, used = 0;
    for (uint64_t i = 0; i < from->count; i++)
        count += ((base_random_mix(from->keys[i]) & bit) != 0) == set;
    *made = count ? new_bucket(map, count) : NULL;
    if (count && !*made)
        return false;
    for (uint64_t i = 0; i < from->count; i++)
        if (((base_random_mix(from->keys[i]) & bit) != 0) == set)
            copy_row(map, *made, used++, from, i);
    return true;
}

/* One bucket more: it takes its share of the rows of one other. */
static bool split(struct snapshot_map *map, const struct snapshot_map *old)
{
    uint64_t half = half_of(map->buckets), from = map->buckets - half;
    struct bucket *bucket = *slot_of(map, from), *stays = NULL, *goes = NULL;
    if (!add_page(map, map->buckets) || !own_page(map, old, from) ||
        !own_page(map, old, map->buckets))
        return false;
    if (bucket && (!divide(map, bucket, half, false, &stays) ||
                   !divide(map, bucket, half, true, &goes))) {
        free(stays);
        return false;
    }
    if (bucket)
        replace(map, old, from, stays);
    map->buckets++;
    replace(map, NULL, map->buckets - 1, goes);
    return true;
}

enum base_status snapshot_map_apply(struct snapshot_map *map,
                                    const struct snapshot_map *old,
                                    const struct snapshot_table *delta,
                                    struct base_error *error)
{
    enum base_status status = BASE_OK;
    if (delta->dtype != map->dtype || delta->dimension != map->width)
        return base_fail(error, BASE_CORRUPT,
                         "rows are %zu of %s; before they were %zu of %s",
                         delta->dimension, snapshot_dtype_name(delta->dtype),
                         map->width, snapshot_dtype_name(map->dtype));
    for (uint64_t i = 0; !status && i < delta->gone_count; i++)
        status = remove_row(map, old, delta->gone[i], error);
    /* It grows with each row: a delta may bring many times what was there. */
    for (uint64_t i = 0; !status && i < delta->rows; i++) {
        status = put_row(map, old, delta, i, error);
        while (!status && map->rows > map->buckets * SNAPSHOT_MAP_LOAD)
            if (!split(map, old))
                status = no_memory(error);
    }
    return status;
}

/* ---- a whole table ------------------------------------------------------- */

static struct snapshot_map *new_map(const struct snapshot_table *base)
{
    struct snapshot_map *map = calloc(1, sizeof *map);
    if (!map)
        return NULL;
    map->dtype = base->dtype;
    map->width = base->dimension;
    map->size = snapshot_row_size(base->dtype, base->dimension);
    map->rows = base->rows;
    map->buckets = base->rows / SNAPSHOT_MAP_LOAD + 1;
    map->capacity = (map->buckets + PAGE - 1) / PAGE;
    map->bytes = sizeof *map;
    map->root = calloc(map->capacity, sizeof *map->root);
    bool room = map->root != NULL;
    for (uint64_t i = 0; room && i < map->capacity; i++)
        room = add_page(map, i * PAGE);
    if (room)
        return map;
    snapshot_map_free(map, NULL);
    return NULL;
}

/* free_places (buckets): how many rows each will get. */
static enum base_status make_buckets(struct snapshot_map *map,
                                     const struct snapshot_table *base,
                                     uint16_t *free_places,
                                     struct base_error *error)
{
    for (uint64_t i = 0; i < base->rows; i++)
        if (++free_places[address(map, base->keys[i])] > SNAPSHOT_MAP_BUCKET)
            return base_fail(error, BASE_CORRUPT,
                             "%d keys meet in one bucket: they are no hashes",
                             SNAPSHOT_MAP_BUCKET);
    for (uint64_t at = 0; at < map->buckets; at++) {
        if (!free_places[at])
            continue;
        struct bucket *bucket = new_bucket(map, free_places[at]);
        if (!bucket)
            return no_memory(error);
        *slot_of(map, at) = bucket;
        map->bytes += bucket_bytes(map, bucket->count);
    }
    return BASE_OK;
}

enum base_status snapshot_map_build(const struct snapshot_table *base,
                                    struct snapshot_map **map,
                                    struct base_error *error)
{
    uint16_t *free_places = NULL;
    enum base_status status = BASE_OK;
    *map = new_map(base);
    if (*map)
        free_places = calloc((*map)->buckets, sizeof *free_places);
    status = free_places ? make_buckets(*map, base, free_places, error)
                         : no_memory(error);
    for (uint64_t i = 0; !status && i < base->rows; i++) {
        uint64_t at = address(*map, base->keys[i]);
        struct bucket *bucket = *slot_of(*map, at);
        uint64_t place = --free_places[at];
        bucket->keys[place] = base->keys[i];
        snapshot_table_pack(base, i, row_at(*map, bucket, place));
    }
    free(free_places);
    if (status) {
        snapshot_map_free(*map, NULL);
        *map = NULL;
    }
    return status;
}

enum base_status snapshot_map_begin(const struct snapshot_map *old,
                                    struct snapshot_map **map,
                                    struct base_error *error)
{
    *map = malloc(sizeof **map);
    if (!*map)
        return no_memory(error);
    **map = *old;
    (*map)->capacity = old->pages + 8;
    (*map)->root = calloc((*map)->capacity, sizeof *(*map)->root);
    if (!(*map)->root) {
        free(*map);
        *map = NULL;
        return no_memory(error);
    }
    memcpy((*map)->root, old->root, old->pages * sizeof *old->root);
    return BASE_OK;
}

void snapshot_map_free(struct snapshot_map *map,
                       const struct snapshot_map *shared)
{
    if (!map)
        return;
    for (uint64_t number = 0; map->root && number < map->pages; number++) {
        struct page *page = map->root[number];
        if (has_page(shared, number, page))
            continue;
        for (uint64_t i = 0; i < PAGE; i++)
            if (!has_bucket(shared, number * PAGE + i, page->buckets[i]))
                free(page->buckets[i]);
        free(page);
    }
    free(map->root);
    free(map);
}

/* ---- reading ------------------------------------------------------------- */

uint64_t snapshot_map_rows(const struct snapshot_map *map)
{
    return map->rows;
}

uint64_t snapshot_map_bytes(const struct snapshot_map *map)
{
    return map->bytes + map->capacity * sizeof *map->root;
}

uint64_t snapshot_map_own(const struct snapshot_map *map,
                          const struct snapshot_map *shared)
{
    uint64_t bytes = sizeof *map + map->capacity * sizeof *map->root;
    for (uint64_t at = 0; at < map->pages * PAGE; at++) {
        const struct page *page = map->root[at / PAGE];
        const struct bucket *bucket = page->buckets[at % PAGE];
        if (has_page(shared, at / PAGE, page))
            continue;
        bytes += at % PAGE == 0 ? sizeof *page : 0;
        bytes += bucket && !has_bucket(shared, at, bucket)
                     ? bucket_bytes(map, bucket->count)
                     : 0;
    }
    return bytes;
}

bool snapshot_map_has(const struct snapshot_map *map, uint64_t key)
{
    return find(*slot_of(map, address(map, key)), key) >= 0;
}

void snapshot_map_read(const struct snapshot_map *map, uint64_t key,
                       float *floats)
{
    struct bucket *bucket = *slot_of(map, address(map, key));
    int64_t place = find(bucket, key);
    if (place < 0) {
        bucket = *slot_of(map, address(map, 0));
        place = find(bucket, 0);
    }
    snapshot_row_widen(map->dtype, map->width,
                       row_at(map, bucket, (uint64_t)place), floats);
}

void snapshot_map_keys(const struct snapshot_map *map, uint64_t *keys)
{
    for (uint64_t at = 0; at < map->buckets; at++) {
        const struct bucket *bucket = *slot_of(map, at);
        for (uint64_t i = 0; bucket && i < bucket->count; i++)
            *keys++ = bucket->keys[i];
    }
}
