/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer target of what a reader does with a table's file: the bytes are a
 * whole file of a base or delta (first byte even), or keys, gone keys and rows
 * that are put into a file of right form (odd). What is accepted is applied to
 * a map of known keys, and compared with a dumb list. Run with
 * -max_len=4096. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "snapshot/map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WIDTH = 2, KNOWN = 200, SMALL = 64 };

/* The base's keys are 0, 10, 20, ..: small steps meet them. */
static struct snapshot_map *make_base(void)
{
    static uint64_t keys[KNOWN];
    static float values[KNOWN * WIDTH];
    struct snapshot_table base = {.dtype = SNAPSHOT_F32, .dimension = WIDTH,
                                  .rows = KNOWN, .keys = keys,
                                  .values = (const uint8_t *)values};
    struct snapshot_map *map;
    for (uint64_t i = 0; i < KNOWN; i++)
        keys[i] = 10 * i;
    BASE_ASSERT(snapshot_map_build(&base, &map, NULL) == BASE_OK);
    return map;
}

static bool is_known(uint64_t key)
{
    return key % 10 == 0 && key < 10 * KNOWN;
}

/* Applied or not, the base is as it was. */
static void apply(const struct snapshot_table *delta)
{
    struct snapshot_map *base = make_base(), *next;
    struct base_error error;
    uint64_t rows = KNOWN;
    float row[WIDTH];
    bool right = true;
    BASE_ASSERT(snapshot_map_begin(base, &next, &error) == BASE_OK);
    for (uint64_t i = 0; i < delta->gone_count; i++) {
        right &= is_known(delta->gone[i]);
        rows--;
    }
    for (uint64_t i = 0; i < delta->rows; i++)
        rows += !is_known(delta->keys[i]);
    if (snapshot_map_apply(next, base, delta, &error)) {
        BASE_ASSERT(error.status == BASE_CORRUPT && error.text[0]);
    } else {
        BASE_ASSERT(right && snapshot_map_rows(next) == rows);
        for (uint64_t i = 0; i < delta->rows; i++) {
            BASE_ASSERT(snapshot_map_has(next, delta->keys[i]));
            snapshot_map_read(next, delta->keys[i], row);
            BASE_ASSERT(snapshot_floats_finite(row, WIDTH));
        }
        for (uint64_t i = 0; i < delta->gone_count; i++)
            BASE_ASSERT(!snapshot_map_has(next, delta->gone[i]));
    }
    snapshot_map_free(next, base);
    BASE_ASSERT(snapshot_map_rows(base) == KNOWN);
    for (uint64_t i = 0; i < KNOWN; i++)
        BASE_ASSERT(snapshot_map_has(base, 10 * i));
    snapshot_map_free(base, NULL);
}

static void take_file(const uint8_t *bytes, size_t size,
                      const struct snapshot_manifest *manifest)
{
    struct snapshot_table table;
    struct snapshot_map *map;
    struct base_error error;
    if (snapshot_table_parse(bytes, size, manifest, 0, &table, &error)) {
        BASE_ASSERT(error.status == BASE_CORRUPT && error.text[0]);
        return;
    }
    if (manifest->kind == SNAPSHOT_DELTA) {
        apply(&table);
    } else if (snapshot_map_build(&table, &map, &error) == BASE_OK) {
        for (uint64_t i = 0; i < table.rows; i++)
            BASE_ASSERT(snapshot_map_has(map, table.keys[i]));
        snapshot_map_free(map, NULL);
    }
    snapshot_table_fini(&table);
}

static size_t put_header(uint8_t *bytes, unsigned keys, unsigned gone)
{
    unsigned a = 8 * keys, b = a + 8 * gone, c = b + 4 * WIDTH * keys;
    int length = sprintf(
        (char *)bytes + 8,
        "{\"keys\":{\"dtype\":\"U64\",\"shape\":[%u],\"data_offsets\":[0,%u]},"
        "\"gone\":{\"dtype\":\"U64\",\"shape\":[%u],\"data_offsets\":[%u,%u]},"
        "\"rows\":{\"dtype\":\"F32\",\"shape\":[%u,%d],"
        "\"data_offsets\":[%u,%u]}}",
        keys, a, gone, a, b, keys, WIDTH, b, c);
    while (length % 8)
        bytes[8 + length++] = ' ';
    base_put_u64(bytes, (uint64_t)length);
    return 8 + (size_t)length;
}

/* Each byte is a step to the next key, or to the next that went. */
static void take_keys(const uint8_t *data, size_t size)
{
    struct snapshot_manifest *manifest = calloc(1, sizeof *manifest);
    uint8_t bytes[2048 + 40 * SMALL] = {0};
    unsigned keys = 1 + data[0] % SMALL, gone = data[1] % SMALL;
    uint64_t key = 0, went = 0;
    if (!manifest)
        return;
    uint8_t *at = bytes + put_header(bytes, keys, gone);
    for (unsigned i = 0; i < keys; i++, at += 8) {
        base_put_u64(at, key);
        key += 2 + i < size ? data[2 + i] : 10;
    }
    for (unsigned i = 0; i < gone; i++, at += 8) {
        went += 2 + keys + i < size ? data[2 + keys + i] : 10;
        base_put_u64(at, went);
    }
    at += 4 * WIDTH * keys;
    manifest->kind = SNAPSHOT_DELTA;
    manifest->tables[0].dimension = WIDTH;
    manifest->changed[0] = keys;
    manifest->gone[0] = gone;
    take_file(bytes, (size_t)(at - bytes), manifest);
    free(manifest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum snapshot_dtype dtypes[] = {SNAPSHOT_F32, SNAPSHOT_F16,
                                                 SNAPSHOT_I8};
    if (size < 8)
        return 0;
    if (data[0] % 2) {
        take_keys(data + 1, size - 1);
        return 0;
    }
    struct snapshot_manifest *manifest = calloc(1, sizeof *manifest);
    uint8_t *copy = malloc(size - 4); /* overreads are seen */
    if (manifest && copy) {
        memcpy(copy, data + 4, size - 4);
        manifest->kind = data[0] & 2 ? SNAPSHOT_DELTA : SNAPSHOT_BASE;
        manifest->row_dtype = dtypes[data[1] % 3];
        manifest->tables[0].dimension = WIDTH;
        manifest->rows[0] = manifest->changed[0] = 1 + data[2] % SMALL;
        manifest->gone[0] = data[3] % SMALL;
        take_file(copy, size - 4, manifest);
    }
    free(copy);
    free(manifest);
    return 0;
}
