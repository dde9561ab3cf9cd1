/* SPDX-License-Identifier: Apache-2.0 */
/* The index of a table's file against a linear search, and its check against
 * every kind of damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "snapshot/index.h"

enum { ROWS = 3000 };

struct fixture {
    uint64_t keys[ROWS];
    uint64_t capacity;
    uint32_t *index;
};

static void make(struct fixture *fixture)
{
    fixture->keys[0] = 0;
    for (uint64_t i = 1; i < ROWS; i++)
        fixture->keys[i] = fixture->keys[i - 1] + 1 +
                           base_random_u64(1, 2, 3, i) % (1ull << 50);
    fixture->capacity = snapshot_index_capacity(ROWS);
    fixture->index = calloc(fixture->capacity, sizeof *fixture->index);
    assert_non_null(fixture->index);
    snapshot_index_build(fixture->index, fixture->capacity, fixture->keys,
                         ROWS);
}

static void test_capacity(void **state)
{
    (void)state;
    assert_int_equal(snapshot_index_capacity(1), 16);
    assert_int_equal(snapshot_index_capacity(8), 16);
    assert_int_equal(snapshot_index_capacity(9), 32);
    assert_int_equal(snapshot_index_capacity(1 << 20), 1 << 21);
}

static void test_find(void **state)
{
    struct fixture fixture;
    (void)state;
    make(&fixture);
    for (uint32_t i = 0; i < ROWS; i++)
        assert_int_equal(snapshot_index_find(fixture.index,
                                             fixture.capacity - 1,
                                             fixture.keys, fixture.keys[i]),
                         i);
    for (uint64_t i = 1; i < ROWS; i++) {
        uint64_t absent = fixture.keys[i] - 1;
        if (absent == fixture.keys[i - 1])
            continue;
        assert_int_equal(snapshot_index_find(fixture.index,
                                             fixture.capacity - 1,
                                             fixture.keys, absent),
                         0);
    }
    free(fixture.index);
}

static void test_check(void **state)
{
    struct fixture fixture;
    (void)state;
    make(&fixture);
    uint32_t *index = fixture.index;
    uint64_t capacity = fixture.capacity;
    assert_true(snapshot_index_check(index, capacity, fixture.keys, ROWS));
    assert_false(snapshot_index_check(index, capacity - 1, fixture.keys, ROWS));
    assert_false(snapshot_index_check(index, capacity, fixture.keys, ROWS - 1));
    assert_false(snapshot_index_check(index, 8, fixture.keys, 1));
    for (uint64_t at = 0; at < capacity; at += 7) {
        uint32_t kept = index[at];
        index[at] = ROWS + 1; /* no such row */
        assert_false(snapshot_index_check(index, capacity, fixture.keys, ROWS));
        index[at] = kept ? 0 : 5; /* one lost; one twice */
        assert_false(snapshot_index_check(index, capacity, fixture.keys, ROWS));
        if (kept) {
            index[at] = kept == ROWS ? 1 : kept + 1; /* another's place */
            assert_false(
                snapshot_index_check(index, capacity, fixture.keys, ROWS));
        }
        index[at] = kept;
    }
    assert_true(snapshot_index_check(index, capacity, fixture.keys, ROWS));
    free(index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_capacity),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
