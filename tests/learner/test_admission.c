/* SPDX-License-Identifier: Apache-2.0 */
/* Admission against a map of counts: the k-th occurrence, batches taken back,
 * halving, and a state that survives saving. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/map.h"
#include "base/random.h"
#include "learner/admission.h"

enum { TABLE = 5, IDS = 64 };

static struct learner_admission *make(unsigned k)
{
    struct learner_admission *admission;
    struct base_error error;
    assert_int_equal(learner_admission_new(&admission, k, &error), BASE_OK);
    assert_int_equal(learner_admission_reserve(admission, IDS, &error),
                     BASE_OK);
    return admission;
}

static bool count(struct learner_admission *admission, uint64_t key,
                  uint32_t occurrences)
{
    return learner_admission_count(admission, TABLE, key, occurrences);
}

static void the_kth_occurrence_admits(void **state)
{
    (void)state;
    for (unsigned k = 1; k <= LEARNER_ADMISSION_MOST; k++) {
        struct learner_admission *admission = make(k);
        for (unsigned i = 1; i <= 40; i++) {
            assert_true(count(admission, 77, 1) == (i >= k));
            assert_int_equal(learner_admission_waiting(admission), i < k);
            learner_admission_keep(admission);
        }
        /* Many at once; and the table is part of the key. */
        assert_true(count(admission, 78, 1000000));
        assert_true(learner_admission_count(admission, 6, 77, 1) == (k == 1));
        learner_admission_free(admission);
    }
}

/* Random batches of a wide vocabulary, some of them rejected. */
static void counts_are_those_of_kept_batches(void **state)
{
    (void)state;
    struct learner_admission *admission = make(5);
    struct base_map *model;
    struct base_error error;
    unsigned differ = 0, asked = 0, waiting = 0;
    assert_int_equal(base_map_new(&model, 3, &error), BASE_OK);
    for (unsigned batch = 0; batch < 4000; batch++) {
        bool keep = base_random_u64(1, 1, 1, batch) >> 63;
        uint64_t keys[16], counts[16];
        for (unsigned i = 0; i < 16; i++) {
            uint64_t bits = base_random_u64(1, 2, batch / 2, i);
            keys[i] = 1 + 16 * (bits % 1000) + i; /* no id twice a batch */
            counts[i] = 1 + (bits >> 60) % 3;
            uint64_t *had = base_map_get(model, keys[i]);
            uint64_t has = (had ? *had : 0) + counts[i];
            differ += count(admission, keys[i], (uint32_t)counts[i]) !=
                      (has >= 5);
            asked++;
            counts[i] = has;
        }
        for (unsigned i = 0; i < 16 && keep; i++)
            assert_int_equal(base_map_put(model, keys[i], counts[i], &error),
                             BASE_OK);
        if (keep)
            learner_admission_keep(admission);
        else
            learner_admission_discard(admission);
    }
    /* Of 16,000 ids in 2^24 cells a handful share one. */
    assert_true(differ < asked / 500);
    size_t cursor = 0;
    uint64_t key, value;
    while (base_map_next(model, &cursor, &key, &value))
        waiting += value < 5;
    uint64_t counted = learner_admission_waiting(admission);
    assert_true(waiting > 1000);
    assert_true(counted <= waiting && counted + waiting / 100 > waiting);
    base_map_free(model);
    learner_admission_free(admission);
}

static uint8_t *save(const struct learner_admission *admission)
{
    uint8_t *bytes = malloc(learner_admission_size(admission));
    assert_non_null(bytes);
    learner_admission_save(admission, bytes);
    return bytes;
}

static void discard_restores_every_bit(void **state)
{
    (void)state;
    struct learner_admission *admission = make(3);
    for (uint64_t key = 1; key < IDS; key++)
        count(admission, key, (uint32_t)(key % 20));
    learner_admission_keep(admission);
    uint8_t *before = save(admission);
    uint64_t waiting = learner_admission_waiting(admission);
    for (uint64_t i = 0; i < IDS; i++) /* the same ids more than once too */
        count(admission, 1 + i % 40, 9);
    learner_admission_discard(admission);
    uint8_t *after = save(admission);
    assert_memory_equal(before, after, learner_admission_size(admission));
    assert_int_equal(learner_admission_waiting(admission), waiting);
    free(before);
    free(after);
    learner_admission_free(admission);
}

/* Cells are halved at the end of the batch that reaches 2^26 occurrences. */
static void all_are_halved_at_fixed_counts(void **state)
{
    (void)state;
    struct learner_admission *admission = make(8);
    struct base_error error;
    assert_false(count(admission, 1, 7));
    learner_admission_keep(admission);
    count(admission, 2, LEARNER_ADMISSION_HALVING - 8);
    learner_admission_keep(admission); /* 2^26 - 1 by now */
    assert_true(count(admission, 1, 1));
    learner_admission_discard(admission); /* not halved: not counted */
    assert_true(count(admission, 1, 1));
    learner_admission_keep(admission); /* 8 -> 4, and 15 -> 7 */
    assert_int_equal(learner_admission_waiting(admission), 2);
    assert_false(count(admission, 1, 3));
    assert_true(count(admission, 2, 1));
    assert_int_equal(learner_admission_reserve(admission, 1000, &error),
                     BASE_OK);
    learner_admission_keep(admission);
    assert_true(count(admission, 1, 1)); /* and only once */
    learner_admission_free(admission);
}

/* Every cell by itself, the lowest of its bits too. */
static void a_half_is_rounded_down_in_every_cell(void **state)
{
    (void)state;
    enum { CELLS = 2000 };
    struct learner_admission *admission = make(8);
    struct base_error error;
    assert_int_equal(learner_admission_reserve(admission, CELLS + 1, &error),
                     BASE_OK);
    for (uint64_t key = 1; key <= CELLS; key++)
        count(admission, key, (uint32_t)(key % 15 + 1));
    learner_admission_keep(admission);
    uint8_t *before = save(admission);
    size_t size = learner_admission_size(admission);
    count(admission, 1, LEARNER_ADMISSION_HALVING);
    learner_admission_keep(admission);
    uint8_t *after = save(admission);
    unsigned differ = 0;
    for (size_t i = 8; i < size; i++) {
        uint8_t half = (uint8_t)(before[i] >> 1 & 0x77);
        differ += after[i] != half; /* that of key 1 alone */
    }
    assert_true(differ <= 1);
    free(before);
    free(after);
    learner_admission_free(admission);
}

static void a_saved_state_goes_on_alike(void **state)
{
    (void)state;
    struct learner_admission *one = make(6), *two = make(6);
    struct base_error error;
    for (uint64_t key = 1; key < IDS; key++)
        count(one, key, (uint32_t)(key % 9));
    count(one, 999, LEARNER_ADMISSION_HALVING - 100);
    learner_admission_keep(one);
    uint8_t *bytes = save(one);
    size_t size = learner_admission_size(one);
    assert_int_equal(learner_admission_load(two, bytes, size - 1, &error),
                     BASE_CORRUPT);
    assert_int_equal(learner_admission_load(two, bytes, size, &error),
                     BASE_OK);
    assert_int_equal(learner_admission_waiting(two),
                     learner_admission_waiting(one));
    for (unsigned batch = 0; batch < 8; batch++) { /* over the halving */
        for (uint64_t key = 1; key < IDS; key++)
            assert_true(count(one, key, 1) == count(two, key, 1));
        learner_admission_keep(one);
        learner_admission_keep(two);
    }
    free(bytes);
    learner_admission_free(one);
    learner_admission_free(two);
}

/* Counted while it goes on or all at once after a load: the same. */
static void waiting_ids_are_those_below_k(void **state)
{
    (void)state;
    for (unsigned k = 1; k <= LEARNER_ADMISSION_MOST; k++) {
        struct learner_admission *one = make(k);
        struct base_error error;
        for (uint64_t key = 1; key < IDS; key++)
            count(one, key, (uint32_t)(key % 16 + 1));
        learner_admission_keep(one);
        uint64_t waiting = learner_admission_waiting(one);
        assert_int_equal(waiting, k < 2 ? 0 : 4 * (k - 1) - 1);
        uint8_t *bytes = save(one);
        assert_int_equal(
            learner_admission_load(one, bytes, learner_admission_size(one),
                                   &error),
            BASE_OK);
        assert_int_equal(learner_admission_waiting(one), waiting);
        free(bytes);
        learner_admission_free(one);
    }
}

static void none_is_an_empty_state(void **state)
{
    (void)state;
    struct base_error error;
    assert_int_equal(learner_admission_size(NULL), 0);
    assert_int_equal(learner_admission_waiting(NULL), 0);
    learner_admission_save(NULL, NULL);
    assert_int_equal(learner_admission_load(NULL, NULL, 0, &error), BASE_OK);
    assert_int_equal(learner_admission_load(NULL, "x", 1, &error),
                     BASE_CORRUPT);
    learner_admission_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_kth_occurrence_admits),
        cmocka_unit_test(counts_are_those_of_kept_batches),
        cmocka_unit_test(discard_restores_every_bit),
        cmocka_unit_test(all_are_halved_at_fixed_counts),
        cmocka_unit_test(a_half_is_rounded_down_in_every_cell),
        cmocka_unit_test(a_saved_state_goes_on_alike),
        cmocka_unit_test(waiting_ids_are_those_below_k),
        cmocka_unit_test(none_is_an_empty_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
