/* SPDX-License-Identifier: Apache-2.0 */
/* Sequences against a plain sorted array, and damaged values. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "ingest/sequence.h"

enum { ITEMS = 2, CAPACITY = 5, ADDS = 40 };

struct behavior {
    int64_t ms;
    uint32_t ordinal;
    uint64_t ids[ITEMS];
};

static int by_time(const void *a, const void *b)
{
    const struct behavior *x = a, *y = b;
    if (x->ms != y->ms)
        return x->ms < y->ms ? -1 : 1;
    return x->ordinal < y->ordinal ? -1 : 1;
}

static struct ingest_sequence make(void)
{
    struct ingest_sequence sequence;
    struct base_error error;
    assert_int_equal(
        ingest_sequence_init(&sequence, ITEMS, CAPACITY, &error), BASE_OK);
    ingest_sequence_clear(&sequence, 7);
    return sequence;
}

static void add(struct ingest_sequence *sequence, int64_t ms, uint64_t item)
{
    uint64_t ids[ITEMS] = {item, item + 1};
    ingest_sequence_add(sequence, ms, ids);
}

static void keeps_the_latest_in_order(void **unused)
{
    struct behavior all[ADDS];
    (void)unused;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct ingest_sequence sequence = make();
        unsigned kept = 0;
        for (uint32_t i = 0; i < ADDS; i++) {
            int64_t ms = (int64_t)base_random_below(
                base_random_u64(seed, 0, i, 0), 20);
            all[kept++] = (struct behavior){ms, i, {i, i + 1}};
            add(&sequence, ms, i);
            qsort(all, kept, sizeof *all, by_time);
            if (kept > CAPACITY)
                memmove(all, all + 1, --kept * sizeof *all);
            assert_int_equal(sequence.count, kept);
            assert_int_equal(sequence.next_ordinal, i + 1);
            assert_int_equal(sequence.dropped, i + 1 - kept);
            assert_int_equal(sequence.last_ms, all[kept - 1].ms);
            for (uint32_t k = 0; k < kept; k++) {
                struct behavior one;
                ingest_sequence_at(&sequence, k, &one.ms, &one.ordinal,
                                   one.ids);
                assert_int_equal(one.ms, all[k].ms);
                assert_int_equal(one.ordinal, all[k].ordinal);
                assert_memory_equal(one.ids, all[k].ids, sizeof one.ids);
            }
        }
        ingest_sequence_fini(&sequence);
    }
}

static void history_is_strictly_before(void **unused)
{
    struct ingest_sequence sequence = make();
    uint64_t ids[CAPACITY * ITEMS];
    bool cut;
    (void)unused;
    add(&sequence, 10, 100); /* ordinal 0 */
    add(&sequence, 30, 300); /* 1 */
    add(&sequence, 20, 200); /* 2 */
    add(&sequence, 30, 301); /* 3 */
    assert_int_equal(
        ingest_sequence_history(&sequence, 30, 4, 0, 5, ids, &cut), 2);
    assert_int_equal(ids[0], 100);
    assert_int_equal(ids[2], 200);
    assert_false(cut);
    /* What was applied later is not seen, though its time is earlier. */
    assert_int_equal(
        ingest_sequence_history(&sequence, 31, 2, 0, 5, ids, &cut), 2);
    assert_int_equal(ids[0], 100);
    assert_int_equal(ids[2], 300);
    /* The latest, when there are more; equal times by ordinal. */
    assert_int_equal(
        ingest_sequence_history(&sequence, 31, 4, 0, 2, ids, &cut), 2);
    assert_int_equal(ids[0], 300);
    assert_int_equal(ids[2], 301);
    /* Time to live includes its own edge. */
    assert_int_equal(
        ingest_sequence_history(&sequence, 31, 4, 11, 5, ids, &cut), 3);
    assert_int_equal(
        ingest_sequence_history(&sequence, 31, 4, 10, 5, ids, &cut), 2);
    ingest_sequence_fini(&sequence);
}

static void says_when_dropped_ones_may_miss(void **unused)
{
    struct ingest_sequence sequence = make();
    uint64_t ids[CAPACITY * ITEMS];
    bool cut;
    (void)unused;
    for (uint64_t i = 0; i < CAPACITY + 2; i++)
        add(&sequence, (int64_t)i, i);
    assert_int_equal(
        ingest_sequence_history(&sequence, 4, 9, 0, 3, ids, &cut), 2);
    assert_true(cut);
    assert_int_equal(
        ingest_sequence_history(&sequence, 9, 9, 0, 3, ids, &cut), 3);
    assert_false(cut);
    ingest_sequence_fini(&sequence);
}

static void value_comes_back(void **unused)
{
    struct ingest_sequence one = make(), other = make();
    (void)unused;
    for (uint64_t i = 0; i < CAPACITY + 3; i++)
        add(&one, (int64_t)(i * 7 % 5), i);
    one.partition = -3;
    one.flags = INGEST_SEQUENCE_CROSSED;
    size_t size = ingest_sequence_encode(&one);
    assert_int_equal(size, INGEST_SEQUENCE_HEAD + CAPACITY * (12 + 8 * ITEMS));
    assert_true(ingest_sequence_decode(&other, 7, one.value, size));
    assert_int_equal(ingest_sequence_encode(&other), size);
    assert_memory_equal(one.value, other.value, size);
    assert_int_equal(other.partition, -3);
    assert_int_equal(other.next_ordinal, CAPACITY + 3);
    assert_int_equal(other.dropped, 3);
    ingest_sequence_fini(&one);
    ingest_sequence_fini(&other);
}

static void smaller_capacity_keeps_the_newest(void **unused)
{
    struct ingest_sequence one = make(), small;
    struct base_error error;
    int64_t ms;
    uint32_t ordinal;
    uint64_t ids[ITEMS];
    (void)unused;
    for (uint64_t i = 0; i < CAPACITY; i++)
        add(&one, (int64_t)i, i);
    size_t size = ingest_sequence_encode(&one);
    assert_int_equal(ingest_sequence_init(&small, ITEMS, 2, &error), BASE_OK);
    assert_true(ingest_sequence_decode(&small, 7, one.value, size));
    assert_int_equal(small.count, 2);
    assert_int_equal(small.dropped, CAPACITY - 2);
    ingest_sequence_at(&small, 0, &ms, &ordinal, ids);
    assert_int_equal(ms, CAPACITY - 2);
    ingest_sequence_fini(&one);
    ingest_sequence_fini(&small);
}

static void any_damage_is_seen(void **unused)
{
    struct ingest_sequence one = make(), other = make();
    (void)unused;
    for (uint64_t i = 0; i < 3; i++)
        add(&one, (int64_t)i, i);
    size_t size = ingest_sequence_encode(&one);
    uint8_t *copy = malloc(size);
    assert_non_null(copy);
    for (size_t i = 0; i < size * 8; i++) {
        memcpy(copy, one.value, size);
        copy[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_false(ingest_sequence_decode(&other, 7, copy, size));
        assert_int_equal(other.count, 0);
        assert_false(other.present);
    }
    for (size_t shorter = 0; shorter < size; shorter++)
        assert_false(ingest_sequence_decode(&other, 7, one.value, shorter));
    /* Another user's record in its place. */
    assert_false(ingest_sequence_decode(&other, 8, one.value, size));
    free(copy);
    ingest_sequence_fini(&one);
    ingest_sequence_fini(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_the_latest_in_order),
        cmocka_unit_test(history_is_strictly_before),
        cmocka_unit_test(says_when_dropped_ones_may_miss),
        cmocka_unit_test(value_comes_back),
        cmocka_unit_test(smaller_capacity_keeps_the_newest),
        cmocka_unit_test(any_damage_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
