/* SPDX-License-Identifier: Apache-2.0 */
/* SPSC ring; see ring.h. Items pass lock-free; the mutex is only taken to
 * sleep and to wake a sleeper. `head` is written by the consumer, `tail` by
 * the producer. A sleeper announces itself in `sleepers` before it looks
 * again, and the other side looks at `sleepers` after it has published, both
 * sequentially consistent: no wake-up is lost. */
#include "base/ring.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

struct base_ring {
    _Alignas(64) _Atomic size_t head;
    _Alignas(64) _Atomic size_t tail;
    _Alignas(64) _Atomic int sleepers;
    _Atomic bool closed;
    pthread_mutex_t mutex;
    pthread_cond_t moved;
    size_t mask;
    void **items;
};

enum base_status base_ring_new(struct base_ring **ring, size_t capacity,
                               struct base_error *error)
{
    size_t size = 2;
    while (size < capacity)
        size *= 2;
    struct base_ring *made = aligned_alloc(64, sizeof *made);
    void **items = calloc(size, sizeof *items);
    if (!made || !items) {
        free(made);
        free(items);
        return base_fail(error, BASE_SYSTEM, "ring: no memory for %zu items",
                         size);
    }
    *made = (struct base_ring){.mask = size - 1, .items = items};
    pthread_mutex_init(&made->mutex, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&made->moved, &monotonic);
    pthread_condattr_destroy(&monotonic);
    *ring = made;
    return BASE_OK;
}

void base_ring_free(struct base_ring *ring)
{
    if (!ring)
        return;
    pthread_mutex_destroy(&ring->mutex);
    pthread_cond_destroy(&ring->moved);
    free(ring->items);
    free(ring);
}

size_t base_ring_size(const struct base_ring *ring)
{
    /* head first: it never passes a tail that is read after it. */
    size_t head = atomic_load(&ring->head);
    return atomic_load(&ring->tail) - head;
}

static bool full(const struct base_ring *ring)
{
    return base_ring_size(ring) > ring->mask;
}

static bool empty(const struct base_ring *ring)
{
    return base_ring_size(ring) == 0;
}

static void wake(struct base_ring *ring)
{
    if (!atomic_load(&ring->sleepers))
        return;
    pthread_mutex_lock(&ring->mutex);
    pthread_cond_broadcast(&ring->moved);
    pthread_mutex_unlock(&ring->mutex);
}

/* Sleeps while blocked(ring), at most timeout_ms; false when still so. */
static bool wait_while(struct base_ring *ring,
                       bool (*blocked)(const struct base_ring *),
                       int timeout_ms)
{
    if (!blocked(ring))
        return true;
    if (timeout_ms == 0)
        return false;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&ring->mutex);
    atomic_fetch_add(&ring->sleepers, 1);
    int status = 0;
    while (blocked(ring) && !atomic_load(&ring->closed) &&
           status != ETIMEDOUT)
        status = timeout_ms < 0
                     ? pthread_cond_wait(&ring->moved, &ring->mutex)
                     : pthread_cond_timedwait(&ring->moved, &ring->mutex,
                                              &until);
    atomic_fetch_sub(&ring->sleepers, 1);
    pthread_mutex_unlock(&ring->mutex);
    return !blocked(ring);
}

bool base_ring_push(struct base_ring *ring, void *item, int timeout_ms)
{
    if (atomic_load(&ring->closed) || !wait_while(ring, full, timeout_ms) ||
        atomic_load(&ring->closed))
        return false;
    size_t tail = atomic_load(&ring->tail);
    ring->items[tail & ring->mask] = item;
    atomic_store(&ring->tail, tail + 1);
    wake(ring);
    return true;
}

void *base_ring_pop(struct base_ring *ring, int timeout_ms)
{
    if (!wait_while(ring, empty, timeout_ms))
        return NULL;
    size_t head = atomic_load(&ring->head);
    void *item = ring->items[head & ring->mask];
    atomic_store(&ring->head, head + 1);
    wake(ring);
    return item;
}

void base_ring_close(struct base_ring *ring)
{
    atomic_store(&ring->closed, true);
    pthread_mutex_lock(&ring->mutex);
    pthread_cond_broadcast(&ring->moved);
    pthread_mutex_unlock(&ring->mutex);
}

bool base_ring_closed(const struct base_ring *ring)
{
    return atomic_load(&ring->closed);
}
