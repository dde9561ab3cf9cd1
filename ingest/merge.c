/* SPDX-License-Identifier: Apache-2.0 */
/* K-way merge; see merge.h. Non-empty queues stand in a binary heap by their
 * first event. Empty ones stand in a list with the smallest key that they can
 * still bring (`bound`); two figures over that list, remade when it changes,
 * answer the usual question in constant time: the smallest bound, and up to
 * which receive time every one of them has been seen at its end. */
#include "ingest/merge.h"

#include <stdlib.h>
#include <string.h>

struct queue {
    struct ingest_event *events; /* ring of `capacity`, a power of two */
    int64_t *received;           /* monotonic ms, beside it */
    uint64_t *ids;               /* (capacity, ids) */
    unsigned capacity, head, count;
    uint64_t payload_bytes;
    /* Key of the next event at the least; own_ms and apply_ms of the last. */
    struct ingest_event bound;
    int64_t position; /* offset behind the last one read */
    int64_t asked_ms, end; /* newest answer; end -1: none */
    size_t decision;  /* next given decision that may concern us */
    bool stopped;
};

struct ingest_merge {
    unsigned slots, ids, depth;
    int64_t idle_ms;
    const struct ingest_decisions *decisions;
    struct queue *queues;
    unsigned *heap, heap_size; /* slots with events */
    struct ingest_event last;
    bool has_last;
    uint64_t size;
    bool dirty; /* the two figures below must be remade */
    struct ingest_event bound;
    bool has_empty;
    int64_t seen_ms; /* events received by then pass all empty queues */
};

static struct ingest_event *first(const struct queue *queue)
{
    return &queue->events[queue->head];
}

/* ---- heap --------------------------------------------------------------- */

static bool before(const struct ingest_merge *merge, unsigned a, unsigned b)
{
    return ingest_event_order(first(&merge->queues[a]),
                              first(&merge->queues[b])) < 0;
}

static void sift_down(struct ingest_merge *merge, unsigned at)
{
    unsigned *heap = merge->heap;
    unsigned moving = heap[at];
    for (;;) {
        unsigned child = 2 * at + 1;
        if (child >= merge->heap_size)
            break;
        if (child + 1 < merge->heap_size &&
            before(merge, heap[child + 1], heap[child]))
            child++;
        if (!before(merge, heap[child], moving))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moving;
}

static void sift_up(struct ingest_merge *merge, unsigned at)
{
    unsigned *heap = merge->heap;
    unsigned moving = heap[at];
    while (at > 0 && before(merge, moving, heap[(at - 1) / 2])) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = moving;
}

static void heap_add(struct ingest_merge *merge, unsigned slot)
{
    merge->heap[merge->heap_size++] = slot;
    sift_up(merge, merge->heap_size - 1);
    merge->dirty = true;
}

static void heap_remove(struct ingest_merge *merge, unsigned slot)
{
    unsigned at = 0;
    while (merge->heap[at] != slot)
        at++;
    merge->heap[at] = merge->heap[--merge->heap_size];
    if (at < merge->heap_size) {
        sift_down(merge, at);
        sift_up(merge, at);
    }
    merge->dirty = true;
}

/* ---- life --------------------------------------------------------------- */

static bool allocate(struct queue *queue, unsigned capacity, unsigned ids)
{
    queue->events = calloc(capacity, sizeof *queue->events);
    queue->received = calloc(capacity, sizeof *queue->received);
    queue->ids = calloc((size_t)capacity * ids, sizeof *queue->ids);
    queue->capacity = capacity;
    return queue->events && queue->received && queue->ids;
}

static void start(struct queue *queue, const struct ingest_merge_start *from)
{
    queue->bound.topic = from->topic;
    queue->bound.partition = from->partition;
    queue->bound.offset = from->next;
    queue->bound.own_ms = from->own_ms > 0 ? from->own_ms : 0;
    queue->bound.apply_ms = from->apply_ms > 0 ? from->apply_ms : 0;
    queue->position = from->next;
    queue->end = -1;
}

enum base_status ingest_merge_new(const struct ingest_merge_config *config,
                                  struct ingest_merge **merge,
                                  struct base_error *error)
{
    struct ingest_merge *made = calloc(1, sizeof *made);
    if (!made)
        goto no_memory;
    made->slots = config->slots;
    made->ids = config->ids > 0 ? config->ids : 1;
    made->idle_ms = config->idle_ms;
    made->decisions = config->decisions;
    made->dirty = true;
    for (made->depth = 16; made->depth < config->depth;)
        made->depth *= 2;
    made->has_last = config->last != NULL;
    if (config->last)
        made->last = *config->last;
    made->queues = calloc(config->slots + 1, sizeof *made->queues);
    made->heap = calloc(config->slots + 1, sizeof *made->heap);
    if (!made->queues || !made->heap)
        goto no_memory;
    for (unsigned i = 0; i < config->slots; i++) {
        if (!allocate(&made->queues[i], made->depth, made->ids))
            goto no_memory;
        start(&made->queues[i], &config->starts[i]);
    }
    *merge = made;
    return BASE_OK;

no_memory:
    ingest_merge_free(made);
    return base_fail(error, BASE_SYSTEM, "merge: no memory for %u partitions",
                     config->slots);
}

static void drop(struct queue *queue)
{
    for (; queue->count > 0; queue->count--) {
        free((void *)first(queue)->payload);
        queue->head = (queue->head + 1) & (queue->capacity - 1);
    }
    queue->payload_bytes = 0;
}

void ingest_merge_free(struct ingest_merge *merge)
{
    if (!merge)
        return;
    for (unsigned i = 0; merge->queues && i < merge->slots; i++) {
        struct queue *queue = &merge->queues[i];
        drop(queue);
        free(queue->events);
        free(queue->received);
        free(queue->ids);
    }
    free(merge->queues);
    free(merge->heap);
    free(merge);
}

/* ---- in ----------------------------------------------------------------- */

unsigned ingest_merge_room(const struct ingest_merge *merge, unsigned slot)
{
    const struct queue *queue = &merge->queues[slot];
    if (queue->payload_bytes >= INGEST_MERGE_PAYLOADS)
        return 0;
    return queue->count < merge->depth ? merge->depth - queue->count : 0;
}

static bool grow(struct queue *queue, unsigned ids)
{
    struct queue wider = *queue;
    if (!allocate(&wider, 2 * queue->capacity, ids)) {
        free(wider.events);
        free(wider.received);
        free(wider.ids);
        return false;
    }
    for (unsigned i = 0; i < queue->count; i++) {
        unsigned from = (queue->head + i) & (queue->capacity - 1);
        wider.events[i] = queue->events[from];
        wider.received[i] = queue->received[from];
        memcpy(&wider.ids[(size_t)i * ids], &queue->ids[(size_t)from * ids],
               ids * sizeof *queue->ids);
    }
    wider.head = 0;
    free(queue->events);
    free(queue->received);
    free(queue->ids);
    *queue = wider;
    return true;
}

struct ingest_event *ingest_merge_reserve(struct ingest_merge *merge,
                                          unsigned slot, uint64_t **ids)
{
    struct queue *queue = &merge->queues[slot];
    if (queue->count == queue->capacity && !grow(queue, merge->ids))
        return NULL;
    unsigned at = (queue->head + queue->count) & (queue->capacity - 1);
    *ids = &queue->ids[(size_t)at * merge->ids];
    struct ingest_event *event = &queue->events[at];
    memset(event, 0, sizeof *event);
    event->topic = queue->bound.topic;
    event->partition = queue->bound.partition;
    return event;
}

/* The decision given for this offset, or NULL. */
static const struct ingest_decision *given(struct ingest_merge *merge,
                                           struct queue *queue,
                                           const struct ingest_event *event)
{
    if (!merge->decisions)
        return NULL;
    return ingest_decisions_find(merge->decisions, event->topic,
                                 event->partition, event->offset,
                                 &queue->decision);
}

enum ingest_reason ingest_merge_judge(struct ingest_merge *merge,
                                      unsigned slot, int64_t wall_ms)
{
    struct queue *queue = &merge->queues[slot];
    unsigned at = (queue->head + queue->count) & (queue->capacity - 1);
    struct ingest_event *event = &queue->events[at];
    if (event->kind == INGEST_EVENT_DEAD)
        return INGEST_REASON_NONE;
    const struct ingest_decision *decision = given(merge, queue, event);
    if (decision && (decision->kinds & INGEST_UNREGISTERED)) {
        event->decisions |= INGEST_UNREGISTERED;
        return INGEST_REASON_SCHEMA_UNKNOWN;
    }
    /* The decoder compared with Kafka's time already. */
    bool ahead = merge->decisions
                     ? decision && (decision->kinds & INGEST_AHEAD)
                     : event->event_ms - INGEST_FUTURE_MS >
                           wall_ms + INGEST_AHEAD_MS;
    if (ahead)
        event->decisions |= INGEST_AHEAD;
    return ahead ? INGEST_REASON_TIME : INGEST_REASON_NONE;
}

static int64_t stamp(const struct ingest_event *event)
{
    return event->kafka_ms > 0 && event->kafka_ms < event->event_ms
               ? event->kafka_ms
               : event->event_ms;
}

/* own_ms by the stamp, clamped by the given decision or by the clock. */
static void set_own(struct ingest_event *event,
                    const struct ingest_decision *decision, int64_t running,
                    int64_t wall_ms)
{
    event->own_ms = running;
    if (event->kind == INGEST_EVENT_DEAD)
        return;
    int64_t at = stamp(event);
    if (decision && (decision->kinds & INGEST_CLAMPED)) {
        at = decision->own_ms;
        event->decisions |= INGEST_CLAMPED;
    } else if (at > wall_ms + INGEST_AHEAD_MS) {
        at = wall_ms + INGEST_AHEAD_MS;
        event->decisions |= INGEST_CLAMPED;
    }
    if (at > running)
        event->own_ms = at;
}

static void set_apply(struct ingest_merge *merge, struct queue *queue,
                      struct ingest_event *event,
                      const struct ingest_decision *decision)
{
    event->apply_ms = queue->bound.apply_ms > event->own_ms
                          ? queue->bound.apply_ms
                          : event->own_ms;
    if (decision && (decision->kinds & INGEST_FLOORED)) {
        if (decision->apply_ms > event->apply_ms)
            event->apply_ms = decision->apply_ms;
        event->decisions |= INGEST_FLOORED;
    }
    /* Behind others of its queue it cannot be below what left. */
    if (queue->count == 0 && merge->has_last &&
        ingest_event_order(event, &merge->last) < 0) {
        event->apply_ms = merge->last.apply_ms + 1;
        event->decisions |= INGEST_FLOORED;
    }
}

void ingest_merge_push(struct ingest_merge *merge, unsigned slot,
                       int64_t received_ms, int64_t wall_ms)
{
    struct queue *queue = &merge->queues[slot];
    unsigned at = (queue->head + queue->count) & (queue->capacity - 1);
    struct ingest_event *event = &queue->events[at];
    const struct ingest_decision *decision = given(merge, queue, event);
    set_own(event, decision, queue->bound.own_ms, wall_ms);
    set_apply(merge, queue, event, decision);
    queue->bound.own_ms = event->own_ms;
    queue->bound.apply_ms = event->apply_ms;
    queue->bound.offset = event->offset + 1;
    if (queue->position <= event->offset)
        queue->position = event->offset + 1;
    queue->received[at] = received_ms;
    queue->payload_bytes += event->payload_size;
    queue->count++;
    merge->size++;
    if (queue->count == 1)
        heap_add(merge, slot);
}

void ingest_merge_reached(struct ingest_merge *merge, unsigned slot,
                          int64_t offset)
{
    struct queue *queue = &merge->queues[slot];
    if (offset > queue->position)
        queue->position = offset;
    merge->dirty = true;
}

void ingest_merge_answer(struct ingest_merge *merge, unsigned slot,
                         int64_t asked_ms, int64_t end)
{
    merge->queues[slot].asked_ms = asked_ms;
    merge->queues[slot].end = end;
    merge->dirty = true;
}

void ingest_merge_stop(struct ingest_merge *merge, unsigned slot)
{
    struct queue *queue = &merge->queues[slot];
    if (queue->stopped)
        return;
    if (queue->count > 0)
        heap_remove(merge, slot);
    merge->size -= queue->count;
    drop(queue);
    queue->stopped = true;
    merge->dirty = true;
}

bool ingest_merge_stopped(const struct ingest_merge *merge, unsigned slot)
{
    return merge->queues[slot].stopped;
}

/* ---- out ---------------------------------------------------------------- */

/* Events received by then may pass this empty queue. */
static int64_t seen_by(const struct ingest_merge *merge,
                       const struct queue *queue)
{
    if (queue->end < 0 || queue->position < queue->end)
        return INT64_MIN;
    return queue->asked_ms - merge->idle_ms;
}

static bool empty(const struct queue *queue)
{
    return queue->count == 0 && !queue->stopped;
}

static void survey(struct ingest_merge *merge)
{
    merge->dirty = false;
    merge->has_empty = false;
    merge->seen_ms = INT64_MAX;
    for (unsigned i = 0; i < merge->slots; i++) {
        const struct queue *queue = &merge->queues[i];
        if (!empty(queue))
            continue;
        int64_t seen = seen_by(merge, queue);
        if (seen < merge->seen_ms)
            merge->seen_ms = seen;
        if (!merge->has_empty ||
            ingest_event_order(&queue->bound, &merge->bound) < 0)
            merge->bound = queue->bound;
        merge->has_empty = true;
    }
}

static bool blocks(const struct ingest_merge *merge, const struct queue *queue,
                   const struct ingest_event *event, int64_t received_ms)
{
    return empty(queue) && seen_by(merge, queue) < received_ms &&
           ingest_event_order(&queue->bound, event) < 0;
}

static bool blocked(struct ingest_merge *merge,
                    const struct ingest_event *event, int64_t received_ms)
{
    if (merge->dirty)
        survey(merge);
    if (!merge->has_empty || received_ms <= merge->seen_ms ||
        ingest_event_order(event, &merge->bound) < 0)
        return false;
    for (unsigned i = 0; i < merge->slots; i++)
        if (blocks(merge, &merge->queues[i], event, received_ms))
            return true;
    return false;
}

const struct ingest_event *ingest_merge_peek(struct ingest_merge *merge)
{
    if (merge->heap_size == 0)
        return NULL;
    struct queue *queue = &merge->queues[merge->heap[0]];
    struct ingest_event *event = first(queue);
    if (blocked(merge, event, queue->received[queue->head]))
        return NULL;
    event->ids = &queue->ids[(size_t)queue->head * merge->ids];
    return event;
}

void ingest_merge_pop(struct ingest_merge *merge)
{
    struct queue *queue = &merge->queues[merge->heap[0]];
    struct ingest_event *event = first(queue);
    merge->last = *event;
    merge->has_last = true;
    queue->payload_bytes -= event->payload_size;
    free((void *)event->payload);
    merge->last.payload = NULL;
    merge->last.ids = NULL;
    queue->head = (queue->head + 1) & (queue->capacity - 1);
    queue->count--;
    merge->size--;
    if (queue->count == 0) {
        merge->heap[0] = merge->heap[--merge->heap_size];
        merge->dirty = true;
    }
    if (merge->heap_size > 0)
        sift_down(merge, 0);
}

unsigned ingest_merge_blockers(struct ingest_merge *merge, unsigned *slots,
                               int64_t *due_ms)
{
    *due_ms = INT64_MAX;
    if (merge->heap_size == 0)
        return 0;
    const struct queue *queue = &merge->queues[merge->heap[0]];
    const struct ingest_event *event = first(queue);
    int64_t received_ms = queue->received[queue->head];
    if (!blocked(merge, event, received_ms))
        return 0;
    unsigned count = 0;
    for (unsigned i = 0; i < merge->slots; i++)
        if (empty(&merge->queues[i]))
            slots[count++] = i;
    *due_ms = received_ms + merge->idle_ms;
    return count;
}

int64_t ingest_merge_position(const struct ingest_merge *merge, unsigned slot)
{
    return merge->queues[slot].position;
}

unsigned ingest_merge_count(const struct ingest_merge *merge, unsigned slot)
{
    return merge->queues[slot].count;
}

uint64_t ingest_merge_size(const struct ingest_merge *merge)
{
    return merge->size;
}
