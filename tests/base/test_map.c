/* SPDX-License-Identifier: Apache-2.0 */
/* The map against an array that is searched from front to back, under random
 * puts, gets and removals of few keys, so that chains form and are repaired,
 * and of many keys, so that it grows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/map.h"
#include "base/random.h"

enum { MODEL_MAX = 4096 };

struct model {
    uint64_t keys[MODEL_MAX], values[MODEL_MAX];
    size_t size;
};

static struct base_map *new_map(uint64_t seed)
{
    struct base_map *map = NULL;
    struct base_error error;
    assert_int_equal(base_map_new(&map, seed, &error), BASE_OK);
    return map;
}

static void put(struct base_map *map, uint64_t key, uint64_t value)
{
    struct base_error error;
    assert_int_equal(base_map_put(map, key, value, &error), BASE_OK);
}

static size_t model_find(const struct model *model, uint64_t key)
{
    size_t i = 0;
    while (i < model->size && model->keys[i] != key)
        i++;
    return i;
}

static void model_put(struct model *model, uint64_t key, uint64_t value)
{
    size_t i = model_find(model, key);
    assert_in_range(i, 0, MODEL_MAX - 1);
    model->keys[i] = key;
    model->values[i] = value;
    model->size += i == model->size;
}

static bool model_remove(struct model *model, uint64_t key)
{
    size_t i = model_find(model, key);
    if (i == model->size)
        return false;
    model->size--;
    model->keys[i] = model->keys[model->size];
    model->values[i] = model->values[model->size];
    return true;
}

static void compare_get(const struct base_map *map, const struct model *model,
                        uint64_t key)
{
    const uint64_t *value = base_map_get(map, key);
    size_t i = model_find(model, key);
    if (i == model->size)
        assert_null(value);
    else
        assert_true(value && *value == model->values[i]);
}

/* Every pair once in the walk, and nothing else. */
static void compare_all(const struct base_map *map, const struct model *model)
{
    size_t cursor = 0, walked = 0;
    uint64_t key, value;
    bool *seen = calloc(model->size + 1, sizeof *seen);
    assert_non_null(seen);
    while (base_map_next(map, &cursor, &key, &value)) {
        size_t i = model_find(model, key);
        assert_in_range(i, 0, model->size - 1);
        assert_false(seen[i]);
        seen[i] = true;
        assert_int_equal(value, model->values[i]);
        walked++;
    }
    free(seen);
    assert_int_equal(walked, model->size);
    assert_int_equal(base_map_size(map), model->size);
    for (size_t i = 0; i < model->size; i++)
        compare_get(map, model, model->keys[i]);
}

/* Random steps over `keys` different keys, times `stride`. */
static void run_steps(uint64_t seed, uint64_t keys, uint64_t stride,
                      unsigned steps)
{
    struct base_map *map = new_map(seed);
    struct model *model = calloc(1, sizeof *model);
    assert_non_null(model);
    for (unsigned step = 0; step < steps; step++) {
        uint64_t bits = base_random_u64(seed, 1, step, 0);
        uint64_t key =
            base_random_below(base_random_u64(seed, 2, step, 0), keys) *
            stride;
        /* Filling and emptying take turns. */
        unsigned puts = step / 1000 % 2 ? 3 : 6;
        if (bits % 10 < puts) {
            put(map, key, bits);
            model_put(model, key, bits);
        } else if (bits % 10 < 8) {
            assert_int_equal(base_map_remove(map, key),
                             model_remove(model, key));
        } else {
            compare_get(map, model, key);
        }
        if (step % 500 == 0)
            compare_all(map, model);
    }
    compare_all(map, model);
    base_map_free(map);
    free(model);
}

static void test_against_array(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        run_steps(seed, 40, 1, 20000);   /* never grows, chains wrap */
        run_steps(seed, 300, 1, 20000);  /* grows twice */
        run_steps(seed, 4000, 1ull << 52, 10000);
    }
}

static void test_limits_of_keys(void **state)
{
    (void)state;
    static const uint64_t keys[] = {0, 1, UINT64_MAX, 1ull << 63};
    struct base_map *map = new_map(5);
    uint64_t any;
    size_t cursor = 0;
    assert_false(base_map_next(map, &cursor, &any, &any));
    for (unsigned i = 0; i < 4; i++) {
        assert_null(base_map_get(map, keys[i]));
        assert_false(base_map_remove(map, keys[i]));
        put(map, keys[i], ~keys[i]);
    }
    for (unsigned i = 0; i < 4; i++)
        assert_true(*base_map_get(map, keys[i]) == ~keys[i]);
    *base_map_get(map, 0) = 7; /* the address is the value's own */
    assert_int_equal(*base_map_get(map, 0), 7);
    put(map, 0, 8);
    assert_int_equal(*base_map_get(map, 0), 8);
    assert_int_equal(base_map_size(map), 4);
    base_map_free(map);
    base_map_free(NULL);
}

/* Two seeds place the same keys differently but hold the same. */
static void test_seed_and_growth(void **state)
{
    (void)state;
    struct base_map *one = new_map(1), *other = new_map(2);
    size_t start = base_map_bytes(one);
    for (uint64_t key = 0; key < 100000; key++) {
        put(one, key, key * 3);
        put(other, key, key * 3);
    }
    size_t cursor_one = 0, cursor_other = 0, different = 0;
    uint64_t key_one, key_other, value;
    for (unsigned i = 0; i < 1000; i++) {
        assert_true(base_map_next(one, &cursor_one, &key_one, &value));
        assert_int_equal(value, key_one * 3);
        assert_true(base_map_next(other, &cursor_other, &key_other, &value));
        different += key_one != key_other;
    }
    assert_true(different > 900);
    assert_true(base_map_bytes(one) > start);
    /* Load stays at most 3/4 and, grown by doubling, above 3/8. */
    assert_in_range(base_map_bytes(one), 100000 * 17 * 4 / 3, 100000 * 17 * 3);
    for (uint64_t key = 0; key < 100000; key++)
        assert_true(base_map_remove(one, key));
    assert_int_equal(base_map_size(one), 0);
    for (uint64_t key = 0; key < 100000; key += 997)
        assert_null(base_map_get(one, key));
    base_map_free(one);
    base_map_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_array),
        cmocka_unit_test(test_limits_of_keys),
        cmocka_unit_test(test_seed_and_growth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
