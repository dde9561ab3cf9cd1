/* SPDX-License-Identifier: Apache-2.0 */
/* The persistent map against a dumb array: after any deltas every generation
 * still reads as it did, a successor shares what was not touched, and all of it
 * is freed once (run it under AddressSanitizer too). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/random.h"
#include "snapshot/map.h"

enum { WIDTH = 3, KEYS_MAX = 6000, GENERATIONS = 40 };

/* keys ascend from 0; row i is (key, stamp, 1). */
struct plain {
    uint64_t count, keys[KEYS_MAX];
    float stamp[KEYS_MAX];
};

struct delta {
    struct snapshot_table table;
    uint64_t keys[KEYS_MAX], gone[KEYS_MAX];
    float values[KEYS_MAX * WIDTH];
};

static float of_key(uint64_t key)
{
    return (float)(key >> 40);
}

static void add(struct delta *delta, uint64_t key, float stamp)
{
    uint64_t at = delta->table.rows++;
    delta->keys[at] = key;
    delta->values[at * WIDTH] = of_key(key);
    delta->values[at * WIDTH + 1] = stamp;
    delta->values[at * WIDTH + 2] = 1;
}

static struct delta *new_delta(void)
{
    struct delta *delta = calloc(1, sizeof *delta);
    assert_non_null(delta);
    delta->table = (struct snapshot_table){
        .dtype = SNAPSHOT_F32, .dimension = WIDTH, .keys = delta->keys,
        .values = (const uint8_t *)delta->values, .gone = delta->gone};
    return delta;
}

static void expect(const struct snapshot_map *map, const struct plain *plain)
{
    float row[WIDTH];
    assert_true(snapshot_map_rows(map) == plain->count);
    for (uint64_t i = 0; i < plain->count; i++) {
        snapshot_map_read(map, plain->keys[i], row);
        assert_true(snapshot_map_has(map, plain->keys[i]));
        assert_true(row[0] == of_key(plain->keys[i]) &&
                    row[1] == plain->stamp[i] && row[2] == 1);
    }
    for (uint64_t i = 0; i < 100; i++) { /* none of them: the OOV row */
        uint64_t key = base_random_u64(5, 5, 5, i) | 1;
        snapshot_map_read(map, key, row);
        assert_false(snapshot_map_has(map, key));
        assert_true(row[0] == 0 && row[1] == plain->stamp[0]);
    }
}

/* Even keys only: odd ones are never there. */
static uint64_t draw_key(uint64_t seed, uint64_t i)
{
    return base_random_u64(seed, 1, 2, i) & ~1ull;
}

static int by_key(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void begin(struct plain *plain, uint64_t rows, struct delta *delta)
{
    memset(plain, 0, sizeof *plain);
    plain->count = rows;
    for (uint64_t i = 1; i < rows; i++)
        plain->keys[i] = draw_key(9, i);
    qsort(plain->keys, rows, sizeof *plain->keys, by_key);
    for (uint64_t i = 0; i < rows; i++)
        add(delta, plain->keys[i], plain->stamp[i] = 0.5f);
}

/* Some rows change, some go, some come; a function of the seed. */
static void step(struct plain *plain, uint64_t seed, unsigned share,
                 uint64_t come, struct delta *delta)
{
    static struct plain next;
    uint64_t fresh[KEYS_MAX], taken = 0;
    for (uint64_t i = 0; i < come; i++)
        fresh[i] = draw_key(1000 + seed, i);
    qsort(fresh, come, sizeof *fresh, by_key);
    next.count = 0;
    for (uint64_t i = 0; i <= plain->count; i++) {
        while (taken < come &&
               (i == plain->count || fresh[taken] < plain->keys[i])) {
            next.keys[next.count] = fresh[taken];
            next.stamp[next.count++] = (float)seed;
            add(delta, fresh[taken++], (float)seed);
        }
        if (i == plain->count)
            break;
        uint64_t dice = base_random_u64(seed, 3, 4, i) % share;
        if (i > 0 && dice == 1) {
            delta->gone[delta->table.gone_count++] = plain->keys[i];
            continue;
        }
        next.keys[next.count] = plain->keys[i];
        next.stamp[next.count] = dice == 0 || i == 0 ? (float)seed
                                                     : plain->stamp[i];
        if (dice == 0 || i == 0)
            add(delta, plain->keys[i], (float)seed);
        next.count++;
    }
    *plain = next;
}

/* All generations at once: each is what it was; then they go in order. */
static void test_generations(void **state)
{
    static struct plain plain[GENERATIONS];
    struct snapshot_map *map[GENERATIONS];
    struct delta *delta = new_delta();
    (void)state;
    begin(&plain[0], 100, delta);
    assert_int_equal(snapshot_map_build(&delta->table, &map[0], NULL), 0);
    for (unsigned g = 1; g < GENERATIONS; g++) {
        free(delta);
        delta = new_delta();
        plain[g] = plain[g - 1];
        step(&plain[g], g, 20, g < 20 ? 100 : 0, delta); /* grow, then less */
        assert_int_equal(snapshot_map_begin(map[g - 1], &map[g], NULL), 0);
        assert_int_equal(
            snapshot_map_apply(map[g], map[g - 1], &delta->table, NULL), 0);
    }
    for (unsigned g = 0; g < GENERATIONS; g++)
        expect(map[g], &plain[g]);
    for (unsigned g = 0; g < GENERATIONS; g++) {
        expect(map[g], &plain[g]);
        snapshot_map_free(map[g], g + 1 < GENERATIONS ? map[g + 1] : NULL);
    }
    free(delta);
}

/* Several deltas into one successor; it, not what it began from, is freed. */
static void test_abandoned(void **state)
{
    static struct plain plain, after;
    struct snapshot_map *map, *next;
    struct delta *delta = new_delta();
    (void)state;
    begin(&plain, 1000, delta);
    assert_int_equal(snapshot_map_build(&delta->table, &map, NULL), 0);
    assert_int_equal(snapshot_map_begin(map, &next, NULL), 0);
    after = plain;
    for (unsigned g = 1; g < 10; g++) {
        free(delta);
        delta = new_delta();
        step(&after, g, 10, 300, delta);
        assert_int_equal(snapshot_map_apply(next, map, &delta->table, NULL),
                         0);
    }
    expect(next, &after);
    expect(map, &plain);
    delta->gone[0] = 3; /* is not there */
    delta->table.gone_count = 1;
    assert_int_equal(snapshot_map_apply(next, map, &delta->table, NULL),
                     BASE_CORRUPT);
    snapshot_map_free(next, map);
    expect(map, &plain);
    snapshot_map_free(map, NULL);
    free(delta);
}

/* Without a predecessor deltas are taken in place: a new reader's way. */
static void test_in_place(void **state)
{
    static struct plain plain;
    struct snapshot_map *map;
    struct delta *delta = new_delta();
    (void)state;
    begin(&plain, 1, delta);
    assert_int_equal(snapshot_map_build(&delta->table, &map, NULL), 0);
    for (unsigned g = 1; g < 30; g++) {
        free(delta);
        delta = new_delta();
        step(&plain, g, 8, 150, delta);
        assert_int_equal(snapshot_map_apply(map, NULL, &delta->table, NULL),
                         0);
        expect(map, &plain);
    }
    snapshot_map_free(map, NULL);
    free(delta);
}

/* A chain may begin with next to nothing: one delta brings thousands of times
 * what was there. */
static void test_flood(void **state)
{
    static struct plain plain, after;
    struct snapshot_map *map, *next;
    struct delta *delta = new_delta();
    (void)state;
    begin(&plain, 1, delta);
    assert_int_equal(snapshot_map_build(&delta->table, &map, NULL), 0);
    free(delta);
    delta = new_delta();
    after = plain;
    step(&after, 1, 8, KEYS_MAX - 1, delta);
    assert_int_equal(snapshot_map_begin(map, &next, NULL), 0);
    assert_int_equal(snapshot_map_apply(next, map, &delta->table, NULL), 0);
    expect(next, &after);
    expect(map, &plain);
    snapshot_map_free(next, map);
    assert_int_equal(snapshot_map_apply(map, NULL, &delta->table, NULL), 0);
    expect(map, &after);
    snapshot_map_free(map, NULL);
    free(delta);
}

/* A delta of one row copies one bucket, its page and the root, however large
 * the table is. */
static void test_sharing(void **state)
{
    static struct plain plain;
    struct snapshot_map *map, *next;
    struct delta *delta = new_delta();
    (void)state;
    begin(&plain, 5000, delta);
    assert_int_equal(snapshot_map_build(&delta->table, &map, NULL), 0);
    assert_true(snapshot_map_own(map, NULL) > 5000 * (8 + WIDTH * 4));
    delta->table.rows = 1; /* the OOV row */
    assert_int_equal(snapshot_map_begin(map, &next, NULL), 0);
    assert_true(snapshot_map_own(next, map) < 1000);
    assert_int_equal(snapshot_map_apply(next, map, &delta->table, NULL), 0);
    uint64_t own = snapshot_map_own(next, map);
    assert_true(own < snapshot_map_own(map, NULL) / 50);
    assert_true(snapshot_map_bytes(next) >= snapshot_map_own(map, next) + own);
    snapshot_map_free(map, next);
    expect(next, &plain);
    snapshot_map_free(next, NULL);
    free(delta);
}

/* Keys made to meet in one bucket are refused, not searched through. */
static void test_meeting_keys(void **state)
{
    struct snapshot_map *map;
    struct base_error error;
    struct delta *delta = new_delta(), *more = new_delta();
    (void)state;
    uint64_t found = 0;
    add(delta, 0, 1);
    assert_int_equal(snapshot_map_build(&delta->table, &map, NULL), 0);
    for (uint64_t key = 2; found < KEYS_MAX; key += 2)
        if ((base_random_mix(key) & 1023) == 77) {
            add(more, key, 1);
            found++;
        }
    assert_int_equal(snapshot_map_apply(map, NULL, &more->table, &error),
                     BASE_CORRUPT);
    assert_non_null(strstr(error.text, "meet in one bucket"));
    snapshot_map_free(map, NULL);
    memmove(more->keys + 1, more->keys, (KEYS_MAX - 1) * sizeof *more->keys);
    more->keys[0] = 0;
    assert_int_equal(snapshot_map_build(&more->table, &map, &error),
                     BASE_CORRUPT);
    free(delta);
    free(more);
}

static void test_other_rows(void **state)
{
    struct snapshot_map *map;
    struct base_error error;
    struct delta *delta = new_delta();
    (void)state;
    add(delta, 0, 1);
    assert_int_equal(snapshot_map_build(&delta->table, &map, NULL), 0);
    delta->table.dtype = SNAPSHOT_F16;
    assert_int_equal(snapshot_map_apply(map, NULL, &delta->table, &error),
                     BASE_CORRUPT);
    assert_non_null(strstr(error.text, "3 of F16; before they were 3 of F32"));
    snapshot_map_free(map, NULL);
    free(delta);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generations),
        cmocka_unit_test(test_abandoned),
        cmocka_unit_test(test_in_place),
        cmocka_unit_test(test_flood),
        cmocka_unit_test(test_sharing),
        cmocka_unit_test(test_meeting_keys),
        cmocka_unit_test(test_other_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
