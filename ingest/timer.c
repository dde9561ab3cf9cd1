/* SPDX-License-Identifier: Apache-2.0 */
/* The heap of timers; see timer.h. */
#include "ingest/timer.h"

#include <stdbool.h>
#include <stdlib.h>

enum { START_CAPACITY = 1024 };

static bool earlier(const struct ingest_timer *a, const struct ingest_timer *b)
{
    if (a->due_ms != b->due_ms)
        return a->due_ms < b->due_ms;
    if (a->partition != b->partition)
        return a->partition < b->partition;
    if (a->user != b->user)
        return a->user < b->user;
    if (a->event_ms != b->event_ms)
        return a->event_ms < b->event_ms;
    return a->ref < b->ref;
}

void ingest_timers_fini(struct ingest_timers *timers)
{
    free(timers->heap);
    *timers = (struct ingest_timers){0};
}

static enum base_status grow(struct ingest_timers *timers,
                             struct base_error *error)
{
    size_t capacity = timers->capacity ? timers->capacity * 2 : START_CAPACITY;
    struct ingest_timer *heap =
        realloc(timers->heap, capacity * sizeof *heap);
    if (!heap)
        return base_fail(error, BASE_SYSTEM, "timers: no memory for %zu",
                         capacity);
    timers->heap = heap;
    timers->capacity = capacity;
    return BASE_OK;
}

enum base_status ingest_timers_push(struct ingest_timers *timers,
                                    const struct ingest_timer *timer,
                                    struct base_error *error)
{
    if (timers->count == timers->capacity && grow(timers, error))
        return BASE_SYSTEM;
    size_t at = timers->count++;
    while (at > 0 && earlier(timer, &timers->heap[(at - 1) / 2])) {
        timers->heap[at] = timers->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    timers->heap[at] = *timer;
    return BASE_OK;
}

const struct ingest_timer *
ingest_timers_first(const struct ingest_timers *timers)
{
    return timers->count ? &timers->heap[0] : NULL;
}

void ingest_timers_pop(struct ingest_timers *timers)
{
    struct ingest_timer last = timers->heap[--timers->count];
    size_t at = 0, count = timers->count;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= count)
            break;
        if (child + 1 < count &&
            earlier(&timers->heap[child + 1], &timers->heap[child]))
            child++;
        if (!earlier(&timers->heap[child], &last))
            break;
        timers->heap[at] = timers->heap[child];
        at = child;
    }
    if (count)
        timers->heap[at] = last;
}
