/* SPDX-License-Identifier: Apache-2.0 */
/* The index against a plain list of (hash, slot): growth, removal, hashes that
 * crowd one line or one tag. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/random.h"
#include "learner/index.h"

enum { SLOTS = 40000 };

static uint64_t hashes[SLOTS]; /* of slot i + 1; 0: not in the index */

static uint64_t hash_of(const void *self, uint32_t slot)
{
    assert_ptr_equal(self, hashes);
    return hashes[slot - 1];
}

static void prefetch(const void *self, uint32_t slot)
{
    (void)self;
    (void)slot;
}

static struct learner_index make(void)
{
    return (struct learner_index){
        .hash = hash_of, .prefetch = prefetch, .self = hashes};
}

/* Whether `slot` is among those that may have the hash; *probes counts. */
static bool found(const struct learner_index *index, uint64_t hash,
                  uint32_t slot, unsigned *probes)
{
    struct learner_index_probe probe;
    learner_index_begin(index, hash, &probe);
    uint32_t next;
    while ((next = learner_index_next(&probe))) {
        ++*probes;
        if (next == slot)
            return true;
    }
    return false;
}

static void insert(struct learner_index *index, uint32_t slot, uint64_t hash)
{
    struct base_error error;
    assert_int_equal(learner_index_reserve(index, hash, &error), BASE_OK);
    hashes[slot - 1] = hash;
    learner_index_insert(index, hash, slot);
}

static void take_out(struct learner_index *index, uint32_t slot)
{
    learner_index_remove(index, hashes[slot - 1], slot);
    hashes[slot - 1] = 0;
}

/* Inserts all, removes and inserts at random, and looks for all slots. */
static unsigned exercise(uint64_t (*make_hash)(uint64_t), uint32_t slots)
{
    struct learner_index index = make();
    unsigned probes = 0;
    assert_false(found(&index, make_hash(1), 1, &probes));
    for (uint32_t slot = 1; slot <= slots; slot++)
        insert(&index, slot, make_hash(slot));
    for (uint32_t i = 0; i < 2 * slots; i++) {
        uint64_t bits = base_random_u64(1, 2, 3, i);
        uint32_t slot = 1 + (uint32_t)(bits % slots);
        if (hashes[slot - 1])
            take_out(&index, slot);
        else
            insert(&index, slot, make_hash(slot));
    }
    unsigned inside = 0;
    for (uint32_t slot = 1; slot <= slots; slot++) {
        unsigned seen = 0;
        bool in = hashes[slot - 1] != 0;
        assert_true(found(&index, make_hash(slot), slot, &seen) == in);
        inside += in;
        probes += in ? seen : 0;
    }
    assert_true(inside > slots / 4 && inside < slots);
    for (uint32_t slot = 1; slot <= slots; slot++)
        if (hashes[slot - 1])
            take_out(&index, slot);
    /* Nothing is left of all the passing by: every line is empty. */
    size_t entries = (size_t)1 << index.depth;
    for (size_t i = 0; i < entries; i++) {
        assert_int_equal(index.directory[i]->used, 0);
        for (unsigned line = 0; line < LEARNER_INDEX_LINES; line++)
            assert_int_equal(index.directory[i]->lines[line].passed, 0);
    }
    learner_index_clear(&index);
    assert_int_equal(learner_index_bytes(&index), 0);
    return probes / inside;
}

static uint64_t random_hash(uint64_t i)
{
    return base_random_mix(i * UINT64_C(0x9e3779b97f4a7c15));
}

/* All in one line, and one tag. */
static uint64_t crowded_hash(uint64_t i)
{
    return random_hash(i) << 16 | 0x0105;
}

/* Tags 0 and 1, which the index does not tell apart, next to 0x80 and 0xff. */
static uint64_t edge_hash(uint64_t i)
{
    static const uint64_t tags[] = {0x00, 0x01, 0x80, 0x81, 0xff, 0xfe};
    return (random_hash(i) & ~UINT64_C(0xff00)) | tags[i % 6] << 8;
}

static void random_hashes(void **state)
{
    (void)state;
    assert_true(exercise(random_hash, SLOTS) == 1);
}

static void hashes_that_crowd_one_line(void **state)
{
    (void)state;
    exercise(crowded_hash, 2000);
    exercise(crowded_hash, 6000); /* split by their high bits */
}

static void tags_at_the_edges(void **state)
{
    (void)state;
    exercise(edge_hash, 5000);
}

/* A line of the directory's entries of one block, wherever it was split. */
static void memory_follows_the_slots(void **state)
{
    (void)state;
    struct learner_index index = make();
    double worst = 0;
    for (uint32_t slot = 1; slot <= SLOTS; slot++) {
        insert(&index, slot, random_hash(slot));
        double bytes = (double)learner_index_bytes(&index) / slot;
        if (slot > 3000)
            worst = bytes > worst ? bytes : worst;
    }
    assert_true(worst > 10 && worst < 13.5);
    assert_true(index.blocks >= SLOTS / LEARNER_INDEX_FULL);
    learner_index_clear(&index);
    for (uint32_t slot = 1; slot <= SLOTS; slot++)
        hashes[slot - 1] = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_hashes),
        cmocka_unit_test(hashes_that_crowd_one_line),
        cmocka_unit_test(tags_at_the_edges),
        cmocka_unit_test(memory_follows_the_slots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
