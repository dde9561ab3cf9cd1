/* SPDX-License-Identifier: Apache-2.0 */
/* The ring alone and between two threads: order, nothing lost or doubled,
 * full and empty, time-outs that end, closing while a side sleeps. Meant to
 * be run under the thread sanitizer too. Nothing is asserted about time. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/ring.h"

enum { ITEMS = 20000 };

static struct base_ring *new_ring(size_t capacity)
{
    struct base_ring *ring = NULL;
    struct base_error error;
    assert_int_equal(base_ring_new(&ring, capacity, &error), BASE_OK);
    return ring;
}

static void *item(uintptr_t number)
{
    return (void *)number;
}

static void test_one_thread(void **state)
{
    (void)state;
    static const struct {
        size_t asked, made;
    } sizes[] = {{0, 2}, {1, 2}, {2, 2}, {3, 4}, {100, 128}, {128, 128}};
    for (unsigned s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        struct base_ring *ring = new_ring(sizes[s].asked);
        assert_null(base_ring_pop(ring, 0));
        assert_null(base_ring_pop(ring, 2));
        /* Thrice around, so that indices wrap. */
        for (uintptr_t round = 0; round < 3; round++) {
            for (uintptr_t i = 1; i <= sizes[s].made; i++) {
                assert_true(base_ring_push(ring, item(i), 0));
                assert_int_equal(base_ring_size(ring), i);
            }
            assert_false(base_ring_push(ring, item(99), 0));
            assert_false(base_ring_push(ring, item(99), 2));
            for (uintptr_t i = 1; i <= sizes[s].made; i++)
                assert_ptr_equal(base_ring_pop(ring, -1), item(i));
            assert_null(base_ring_pop(ring, 0));
        }
        base_ring_free(ring);
    }
    base_ring_free(NULL);
}

static void test_closed(void **state)
{
    (void)state;
    struct base_ring *ring = new_ring(4);
    assert_true(base_ring_push(ring, item(1), 0));
    assert_true(base_ring_push(ring, item(2), 0));
    assert_false(base_ring_closed(ring));
    base_ring_close(ring);
    base_ring_close(ring);
    assert_true(base_ring_closed(ring));
    assert_false(base_ring_push(ring, item(3), 0));
    assert_false(base_ring_push(ring, item(3), -1));
    /* What is inside comes out; then NULL at once, whatever the time-out. */
    assert_ptr_equal(base_ring_pop(ring, -1), item(1));
    assert_ptr_equal(base_ring_pop(ring, 0), item(2));
    assert_null(base_ring_pop(ring, -1));
    assert_null(base_ring_pop(ring, 1000000));
    base_ring_free(ring);
}

struct pair {
    struct base_ring *ring;
    int push_ms, pop_ms;
    unsigned yield_push, yield_pop; /* rest after so many items, 0: never */
    uintptr_t pushed, popped;
    bool in_order;
};

/* Pushes 1, 2, ... until ITEMS or the ring is closed. */
static void *push_all(void *argument)
{
    struct pair *pair = argument;
    uintptr_t next = 1;
    while (next <= ITEMS) {
        if (base_ring_push(pair->ring, item(next), pair->push_ms))
            next++;
        else if (base_ring_closed(pair->ring))
            break;
        if (pair->yield_push && next % pair->yield_push == 0)
            sched_yield();
    }
    pair->pushed = next - 1;
    return NULL;
}

/* Pops until the ring is closed and empty. */
static void *pop_all(void *argument)
{
    struct pair *pair = argument;
    pair->in_order = true;
    for (;;) {
        void *got = base_ring_pop(pair->ring, pair->pop_ms);
        if (!got) {
            /* Closed, then looked once more: nothing can have come since. */
            if (base_ring_closed(pair->ring) &&
                !(got = base_ring_pop(pair->ring, 0)))
                return NULL;
            if (!got)
                continue;
        }
        pair->in_order &= got == item(++pair->popped);
        if (pair->yield_pop && pair->popped % pair->yield_pop == 0)
            sched_yield();
    }
}

static void run_pair(struct pair *pair, size_t capacity)
{
    pthread_t pusher, popper;
    pair->ring = new_ring(capacity);
    assert_int_equal(pthread_create(&pusher, NULL, push_all, pair), 0);
    assert_int_equal(pthread_create(&popper, NULL, pop_all, pair), 0);
    assert_int_equal(pthread_join(pusher, NULL), 0);
    base_ring_close(pair->ring);
    assert_int_equal(pthread_join(popper, NULL), 0);
    assert_int_equal(pair->pushed, ITEMS);
    assert_int_equal(pair->popped, ITEMS);
    assert_true(pair->in_order);
    assert_int_equal(base_ring_size(pair->ring), 0);
    base_ring_free(pair->ring);
}

static void test_two_threads(void **state)
{
    (void)state;
    static const struct pair kinds[] = {
        {.push_ms = -1, .pop_ms = -1},
        {.push_ms = -1, .pop_ms = -1, .yield_push = 7},
        {.push_ms = -1, .pop_ms = -1, .yield_pop = 5},
        {.push_ms = 1, .pop_ms = 1, .yield_push = 3, .yield_pop = 11},
        {.push_ms = 0, .pop_ms = 1},
        {.push_ms = 1, .pop_ms = 0},
    };
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct pair pair = kinds[i];
        run_pair(&pair, 2);
        pair = kinds[i];
        run_pair(&pair, 1024);
    }
}

static void *pop_forever(void *ring)
{
    return base_ring_pop(ring, -1);
}

static void *push_forever(void *ring)
{
    return base_ring_push(ring, item(9), -1) ? ring : NULL;
}

/* Closing wakes a side that would sleep for ever, whether it sleeps already
 * or is about to. */
static void test_close_wakes(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 300; round++) {
        struct base_ring *empty = new_ring(2), *full = new_ring(2);
        pthread_t popper, pusher;
        void *result;
        assert_true(base_ring_push(full, item(1), 0));
        assert_true(base_ring_push(full, item(2), 0));
        assert_int_equal(pthread_create(&popper, NULL, pop_forever, empty), 0);
        assert_int_equal(pthread_create(&pusher, NULL, push_forever, full), 0);
        for (unsigned i = 0; i < round % 20; i++)
            sched_yield();
        base_ring_close(empty);
        base_ring_close(full);
        assert_int_equal(pthread_join(popper, &result), 0);
        assert_null(result);
        assert_int_equal(pthread_join(pusher, &result), 0);
        assert_null(result);
        assert_int_equal(base_ring_size(full), 2);
        base_ring_free(empty);
        base_ring_free(full);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_thread),
        cmocka_unit_test(test_closed),
        cmocka_unit_test(test_two_threads),
        cmocka_unit_test(test_close_wakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
