/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of waiting events; see pending.h. A block is `tail` (being filled, in
 * memory, written whole at each commit), then sealed, then retiring. */
#include "ingest/pending.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "ingest/digest.h"

enum {
    SLOT_BITS = 9,
    HEAD = 16,
    WORDS = INGEST_PENDING_BLOCK / 64,
    BITS_SIZE = (2 * WORDS + 1) * 8,
};

struct ingest_pending_block {
    uint64_t number;
    uint64_t bits[2 * WORDS]; /* resolved, then clicked */
    uint32_t count, resolved;
    bool dirty, sealed;
    struct ingest_pending_block *next_dirty, *next_retiring;
    /* Why it cannot be dropped: an id that is still remembered. */
    int32_t blocker_partition;
    int64_t blocker_ms; /* until its own_ms is above this */
};

static size_t stride(const struct ingest_pending *pending)
{
    return sizeof(struct ingest_waiting) + 8 * (size_t)pending->id_count;
}

static struct ingest_pending_block *
block_at(const struct ingest_pending *pending, uint64_t number)
{
    uint64_t *found = base_map_get(pending->blocks, number);
    return found ? (struct ingest_pending_block *)(uintptr_t)*found : NULL;
}

static bool bit(const struct ingest_pending_block *block, unsigned kind,
                unsigned slot)
{
    return block->bits[kind * WORDS + slot / 64] >> (slot % 64) & 1;
}

static void set_bit(struct ingest_pending *pending,
                    struct ingest_pending_block *block, unsigned kind,
                    unsigned slot)
{
    block->bits[kind * WORDS + slot / 64] |= (uint64_t)1 << (slot % 64);
    if (!block->dirty) {
        block->dirty = true;
        block->next_dirty = pending->dirty;
        pending->dirty = block;
    }
}

enum { RESOLVED, CLICKED };

static int64_t remembered_until(const struct ingest_pending *pending,
                                const struct ingest_waiting *waiting)
{
    int64_t until;
    if (__builtin_add_overflow(waiting->event_ms, pending->lateness_ms,
                               &until))
        return INT64_MAX;
    return until;
}

/* Whether the event is of the newest whose ids are remembered: refs are dense
 * in the order of application. */
static bool is_recent(const struct ingest_pending *pending, uint64_t ref)
{
    uint64_t next = pending->tail_number << SLOT_BITS |
                    (pending->tail ? pending->tail->count : 0);
    return pending->remembered_max == 0 ||
           next - ref <= pending->remembered_max;
}

/* ---- life ---------------------------------------------------------------- */

enum base_status ingest_pending_init(struct ingest_pending *pending,
                                     struct ingest_store *store,
                                     const struct ingest_ledger *ledger,
                                     uint8_t topic, uint32_t id_count,
                                     int64_t lateness_ms,
                                     struct base_error *error)
{
    bool impressions = topic == INGEST_IMPRESSIONS;
    *pending = (struct ingest_pending){
        .store = store,
        .ledger = ledger,
        .blocks_db = impressions ? INGEST_DB_IMPRESSIONS : INGEST_DB_CLICKS,
        .bits_db = impressions ? INGEST_DB_IMPRESSION_BITS
                               : INGEST_DB_CLICK_BITS,
        .topic = topic,
        .id_count = id_count,
        .lateness_ms = lateness_ms};
    pending->tail_value =
        malloc(HEAD + INGEST_PENDING_BLOCK * stride(pending));
    if (!pending->tail_value)
        return base_fail(error, BASE_SYSTEM, "pending: no memory");
    enum base_status status = base_map_new(&pending->index, 0, error);
    return status ? status : base_map_new(&pending->blocks, 0, error);
}

void ingest_pending_fini(struct ingest_pending *pending)
{
    size_t cursor = 0;
    uint64_t number, address;
    if (pending->blocks)
        while (base_map_next(pending->blocks, &cursor, &number, &address))
            free((void *)(uintptr_t)address);
    base_map_free(pending->blocks);
    base_map_free(pending->index);
    ingest_timers_fini(&pending->timers);
    free(pending->tail_value);
    *pending = (struct ingest_pending){0};
}

static enum base_status make_block(struct ingest_pending *pending,
                                   uint64_t number,
                                   struct ingest_pending_block **block,
                                   struct base_error *error)
{
    struct ingest_pending_block *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "pending: no memory");
    made->number = number;
    if (base_map_put(pending->blocks, number, (uint64_t)(uintptr_t)made,
                     error)) {
        free(made);
        return BASE_SYSTEM;
    }
    *block = made;
    return BASE_OK;
}

/* Full: from now on it is read from the store and may retire. */
static void seal(struct ingest_pending *pending,
                 struct ingest_pending_block *block)
{
    block->sealed = true;
    block->blocker_ms = INT64_MIN;
    if (block->resolved == block->count) {
        block->next_retiring = pending->retiring;
        pending->retiring = block;
    }
}

/* ---- load ---------------------------------------------------------------- */

static enum base_status check_bits(uint64_t number, struct ingest_bytes bits,
                                   struct base_error *error)
{
    if (bits.size == BITS_SIZE &&
        base_get_u64((const uint8_t *)bits.data + BITS_SIZE - 8) ==
            ingest_digest_64(bits.data, BITS_SIZE - 8, number))
        return BASE_OK;
    return base_fail(error, BASE_CORRUPT,
                     "pending: the bits of block %llu do not verify",
                     (unsigned long long)number);
}

static enum base_status load_bits(struct ingest_pending *pending,
                                  struct ingest_pending_block *block,
                                  struct ingest_bytes key,
                                  struct base_error *error)
{
    struct ingest_bytes bits;
    enum base_status status =
        ingest_store_get(pending->store, pending->bits_db, key, &bits, error);
    if (status || !bits.data)
        return status;
    if (check_bits(block->number, bits, error))
        return error->status;
    memcpy(block->bits, bits.data, sizeof block->bits);
    for (unsigned i = 0; i < WORDS; i++)
        block->resolved +=
            (uint32_t)__builtin_popcountll(block->bits[RESOLVED + i]);
    return BASE_OK;
}

static enum base_status push_timer(struct ingest_pending *pending,
                                   const struct ingest_waiting *waiting,
                                   uint64_t ref, struct base_error *error)
{
    struct ingest_timer timer = {.due_ms = waiting->due_ms,
                                 .user = waiting->user,
                                 .event_ms = waiting->event_ms,
                                 .ref = ref,
                                 .partition = waiting->partition};
    return ingest_timers_push(&pending->timers, &timer, error);
}

static enum base_status check_block(uint8_t topic, size_t step,
                                    uint64_t number, struct ingest_bytes value,
                                    struct base_error *error)
{
    const uint8_t *data = value.data;
    size_t count = value.size < HEAD ? 0 : base_get_u16(data + 2);
    if (value.size != HEAD + count * step || count == 0 ||
        count > INGEST_PENDING_BLOCK ||
        base_get_u16(data) != INGEST_PENDING_FORMAT ||
        base_get_u32(data + 4) != step ||
        base_get_u64(data + 8) !=
            ingest_digest_64(data + HEAD, value.size - HEAD, number))
        return base_fail(error, BASE_CORRUPT,
                         "pending: block %llu of %s does not verify",
                         (unsigned long long)number,
                         topic == INGEST_IMPRESSIONS ? "impressions"
                                                     : "clicks");
    return BASE_OK;
}

enum base_status ingest_pending_view_open(uint8_t topic, uint32_t id_count,
                                          struct ingest_bytes key,
                                          struct ingest_bytes value,
                                          struct ingest_bytes bits,
                                          struct ingest_pending_view *view,
                                          struct base_error *error)
{
    *view = (struct ingest_pending_view){
        .stride = sizeof(struct ingest_waiting) + 8 * (size_t)id_count};
    if (key.size != 8)
        return base_fail(error, BASE_CORRUPT, "pending: a key of %zu bytes",
                         key.size);
    uint64_t number = base_get_u64_be(key.data);
    if (check_block(topic, view->stride, number, value, error) ||
        (bits.data && check_bits(number, bits, error)))
        return error->status;
    view->events = (const uint8_t *)value.data + HEAD;
    view->count = base_get_u16((const uint8_t *)value.data + 2);
    if (bits.data)
        memcpy(view->bits, bits.data, sizeof view->bits);
    return BASE_OK;
}

bool ingest_pending_view_at(const struct ingest_pending_view *view,
                            unsigned slot, struct ingest_waiting *waiting,
                            bool *clicked)
{
    memcpy(waiting, view->events + slot * view->stride, sizeof *waiting);
    *clicked = view->bits[CLICKED * WORDS + slot / 64] >> slot % 64 & 1;
    return !(view->bits[RESOLVED * WORDS + slot / 64] >> slot % 64 & 1);
}

struct each {
    enum base_status (*call)(void *self, const struct ingest_waiting *waiting,
                             uint64_t ref, struct base_error *error);
    void *self;
};

static enum base_status load_events(struct ingest_pending *pending,
                                    struct ingest_pending_block *block,
                                    const uint8_t *events, struct each each,
                                    struct base_error *error)
{
    enum base_status status = BASE_OK;
    struct ingest_waiting waiting;
    for (unsigned slot = 0; !status && slot < block->count; slot++) {
        memcpy(&waiting, events + slot * stride(pending), sizeof waiting);
        if (waiting.id == 0) /* forgotten */
            continue;
        uint64_t ref = block->number << SLOT_BITS | slot;
        status = base_map_put(pending->index, waiting.id, ref, error);
        if (status || bit(block, RESOLVED, slot))
            continue;
        pending->open++;
        status = push_timer(pending, &waiting, ref, error);
        if (!status && each.call)
            status = each.call(each.self, &waiting, ref, error);
    }
    return status;
}

static enum base_status load_block(struct ingest_pending *pending,
                                   struct ingest_bytes key,
                                   struct ingest_bytes value, struct each each,
                                   struct base_error *error)
{
    struct ingest_pending_block *block = NULL;
    uint64_t number = base_get_u64_be(key.data);
    enum base_status status = check_block(pending->topic, stride(pending),
                                          number, value, error);
    if (status || (status = make_block(pending, number, &block, error)))
        return status;
    block->count = base_get_u16((const uint8_t *)value.data + 2);
    status = load_bits(pending, block, key, error);
    if (!status)
        status = load_events(pending, block,
                             (const uint8_t *)value.data + HEAD, each, error);
    if (status)
        return status;
    pending->tail_number = number + 1;
    if (block->count == INGEST_PENDING_BLOCK) {
        seal(pending, block);
    } else { /* only the last block is not full */
        pending->tail = block;
        pending->tail_number = number;
        memcpy(pending->tail_value, value.data, value.size);
    }
    return BASE_OK;
}

enum base_status ingest_pending_load(
    struct ingest_pending *pending,
    enum base_status (*each)(void *self, const struct ingest_waiting *waiting,
                             uint64_t ref, struct base_error *error),
    void *self, struct base_error *error)
{
    struct ingest_cursor cursor;
    enum base_status status = ingest_cursor_open(
        pending->store, NULL, pending->blocks_db, &cursor, error);
    if (!status)
        status = ingest_cursor_move(&cursor, INGEST_MOVE_FIRST, error);
    while (!status && cursor.key.data) {
        status = load_block(pending, cursor.key, cursor.value,
                            (struct each){each, self}, error);
        if (!status)
            status = ingest_cursor_move(&cursor, INGEST_MOVE_NEXT, error);
    }
    ingest_cursor_close(&cursor);
    return status;
}

/* ---- events -------------------------------------------------------------- */

static enum base_status write_tail(struct ingest_pending *pending,
                                   struct base_error *error)
{
    uint8_t key[8], *head = pending->tail_value;
    size_t size = pending->tail->count * stride(pending);
    uint8_t *at = base_put_u16(head, INGEST_PENDING_FORMAT);
    at = base_put_u16(at, (uint16_t)pending->tail->count);
    at = base_put_u32(at, (uint32_t)stride(pending));
    base_put_u64(at, ingest_digest_64(head + HEAD, size, pending->tail_number));
    base_put_u64_be(key, pending->tail_number);
    pending->tail_dirty = false;
    return ingest_store_put(pending->store, pending->blocks_db,
                            (struct ingest_bytes){key, sizeof key},
                            (struct ingest_bytes){head, HEAD + size}, error);
}

static enum base_status seal_tail(struct ingest_pending *pending,
                                  struct base_error *error)
{
    enum base_status status = write_tail(pending, error);
    if (status)
        return status;
    seal(pending, pending->tail);
    pending->tail = NULL;
    pending->tail_number++;
    return BASE_OK;
}

enum base_status ingest_pending_add(struct ingest_pending *pending,
                                    const struct ingest_waiting *waiting,
                                    const uint64_t *ids, bool waits,
                                    uint64_t *ref, struct base_error *error)
{
    enum base_status status = BASE_OK;
    if (!pending->tail)
        status = make_block(pending, pending->tail_number, &pending->tail,
                            error);
    if (status)
        return status;
    struct ingest_pending_block *block = pending->tail;
    unsigned slot = block->count++;
    uint8_t *at = pending->tail_value + HEAD + slot * stride(pending);
    memcpy(at, waiting, sizeof *waiting);
    memcpy(at + sizeof *waiting, ids, 8 * (size_t)pending->id_count);
    pending->tail_dirty = true;
    *ref = block->number << SLOT_BITS | slot;
    status = base_map_put(pending->index, waiting->id, *ref, error);
    if (!status && waits) {
        pending->open++;
        status = push_timer(pending, waiting, *ref, error);
    } else if (!status) {
        set_bit(pending, block, RESOLVED, slot);
        block->resolved++;
    }
    if (!status && block->count == INGEST_PENDING_BLOCK)
        status = seal_tail(pending, error);
    return status;
}

/* The events of a block. BORROWS until the next write. */
static enum base_status events_of(struct ingest_pending *pending,
                                  uint64_t number, const uint8_t **events,
                                  struct base_error *error)
{
    uint64_t generation = ingest_store_generation(pending->store);
    if (pending->tail && number == pending->tail_number) {
        *events = pending->tail_value + HEAD;
        return BASE_OK;
    }
    if (!pending->cached || pending->cached_number != number ||
        pending->cached_generation != generation) {
        uint8_t key[8];
        struct ingest_bytes value;
        base_put_u64_be(key, number);
        enum base_status status = ingest_store_get(
            pending->store, pending->blocks_db,
            (struct ingest_bytes){key, sizeof key}, &value, error);
        if (status)
            return status;
        if (value.size != HEAD + INGEST_PENDING_BLOCK * stride(pending))
            return base_fail(error, BASE_BROKEN,
                             "pending: block %llu is not there",
                             (unsigned long long)number);
        pending->cached = value.data;
        pending->cached_number = number;
        pending->cached_generation = generation;
    }
    *events = pending->cached + HEAD;
    return BASE_OK;
}

enum base_status ingest_pending_get(struct ingest_pending *pending,
                                    uint64_t ref,
                                    struct ingest_waiting *waiting,
                                    uint64_t *ids, struct base_error *error)
{
    const uint8_t *events = NULL;
    enum base_status status =
        events_of(pending, ref >> SLOT_BITS, &events, error);
    if (status)
        return status;
    const uint8_t *at =
        events + (ref & (INGEST_PENDING_BLOCK - 1)) * stride(pending);
    memcpy(waiting, at, sizeof *waiting);
    if (ids)
        memcpy(ids, at + sizeof *waiting, 8 * (size_t)pending->id_count);
    return BASE_OK;
}

bool ingest_pending_waits(const struct ingest_pending *pending, uint64_t ref)
{
    const struct ingest_pending_block *block =
        block_at(pending, ref >> SLOT_BITS);
    return block && !bit(block, RESOLVED, ref & (INGEST_PENDING_BLOCK - 1));
}

bool ingest_pending_find(const struct ingest_pending *pending, uint64_t id,
                         uint64_t *ref)
{
    const uint64_t *found = base_map_get(pending->index, id);
    if (!found || !ingest_pending_waits(pending, *found))
        return false;
    *ref = *found;
    return true;
}

enum base_status ingest_pending_remembers(struct ingest_pending *pending,
                                          uint64_t id, bool *remembered,
                                          struct base_error *error)
{
    const uint64_t *found = base_map_get(pending->index, id);
    *remembered = false;
    if (!found)
        return BASE_OK;
    /* A click's memory does not depend on whether it waits. */
    if (pending->topic == INGEST_IMPRESSIONS &&
        ingest_pending_waits(pending, *found)) {
        *remembered = true;
        return BASE_OK;
    }
    if (!is_recent(pending, *found) && !ingest_pending_waits(pending, *found))
        return BASE_OK;
    struct ingest_waiting waiting;
    enum base_status status =
        ingest_pending_get(pending, *found, &waiting, NULL, error);
    if (!status)
        *remembered = ingest_ledger_own(pending->ledger, pending->topic,
                                        waiting.partition) <=
                      remembered_until(pending, &waiting);
    return status;
}

bool ingest_pending_clicked(const struct ingest_pending *pending,
                            uint64_t ref)
{
    const struct ingest_pending_block *block =
        block_at(pending, ref >> SLOT_BITS);
    return block && bit(block, CLICKED, ref & (INGEST_PENDING_BLOCK - 1));
}

void ingest_pending_click(struct ingest_pending *pending, uint64_t ref)
{
    struct ingest_pending_block *block = block_at(pending, ref >> SLOT_BITS);
    BASE_ASSERT(block);
    set_bit(pending, block, CLICKED, ref & (INGEST_PENDING_BLOCK - 1));
}

void ingest_pending_resolve(struct ingest_pending *pending, uint64_t ref)
{
    struct ingest_pending_block *block = block_at(pending, ref >> SLOT_BITS);
    unsigned slot = ref & (INGEST_PENDING_BLOCK - 1);
    BASE_ASSERT(block && !bit(block, RESOLVED, slot));
    set_bit(pending, block, RESOLVED, slot);
    block->resolved++;
    pending->open--;
    if (block->sealed && block->resolved == block->count) {
        block->next_retiring = pending->retiring;
        pending->retiring = block;
    }
}

bool ingest_pending_first(struct ingest_pending *pending,
                          struct ingest_timer *timer)
{
    const struct ingest_timer *first;
    while ((first = ingest_timers_first(&pending->timers)) != NULL) {
        if (ingest_pending_waits(pending, first->ref)) {
            *timer = *first;
            return true;
        }
        ingest_timers_pop(&pending->timers);
    }
    return false;
}

bool ingest_pending_next(const struct ingest_pending *pending, uint64_t *ref)
{
    unsigned slot = *ref & (INGEST_PENDING_BLOCK - 1);
    for (uint64_t number = *ref >> SLOT_BITS; number <= pending->tail_number;
         number++, slot = 0) {
        const struct ingest_pending_block *block = block_at(pending, number);
        while (block && slot < block->count && bit(block, RESOLVED, slot))
            slot++;
        if (block && slot < block->count) {
            *ref = number << SLOT_BITS | slot;
            return true;
        }
    }
    return false;
}

/* ---- forget -------------------------------------------------------------- */

/* An emptied slot: no id, remembered by nobody; the partition stays, for the
 * block retires by its clock. */
static void empty_slot(struct ingest_pending *pending, uint8_t *at)
{
    struct ingest_waiting waiting;
    memcpy(&waiting, at, sizeof waiting);
    waiting = (struct ingest_waiting){.event_ms = INT64_MIN,
                                      .due_ms = INT64_MIN,
                                      .partition = waiting.partition};
    memset(at, 0, stride(pending));
    memcpy(at, &waiting, sizeof waiting);
}

/* True where a slot was emptied. */
static bool forget_events(struct ingest_pending *pending,
                          struct ingest_pending_block *block, uint8_t *events,
                          struct ingest_pending_forget *forget)
{
    bool any = false;
    struct ingest_waiting waiting;
    for (unsigned slot = 0; slot < block->count; slot++) {
        uint8_t *at = events + slot * stride(pending);
        memcpy(&waiting, at, sizeof waiting);
        if (waiting.id == 0 || !base_map_get(forget->users, waiting.user))
            continue;
        uint64_t ref = block->number << SLOT_BITS | slot;
        const uint64_t *newest = base_map_get(pending->index, waiting.id);
        if (newest && *newest == ref)
            base_map_remove(pending->index, waiting.id);
        empty_slot(pending, at);
        any = true;
        if (bit(block, RESOLVED, slot)) {
            forget->remembered++;
            continue;
        }
        forget->waiting++;
        ingest_pending_resolve(pending, ref);
        forget->each(forget->self, &waiting);
    }
    return any;
}

static enum base_status forget_block(struct ingest_pending *pending,
                                     struct ingest_pending_block *block,
                                     uint8_t *value,
                                     struct ingest_pending_forget *forget,
                                     struct base_error *error)
{
    if (block == pending->tail) {
        if (forget_events(pending, block, pending->tail_value + HEAD, forget))
            pending->tail_dirty = true;
        return BASE_OK;
    }
    uint8_t key[8];
    const uint8_t *events = NULL;
    enum base_status status = events_of(pending, block->number, &events, error);
    if (status)
        return status;
    size_t size = HEAD + block->count * stride(pending);
    memcpy(value, events - HEAD, size);
    if (!forget_events(pending, block, value + HEAD, forget))
        return BASE_OK;
    base_put_u64(value + 8, ingest_digest_64(value + HEAD, size - HEAD,
                                             block->number));
    base_put_u64_be(key, block->number);
    return ingest_store_put(pending->store, pending->blocks_db,
                            (struct ingest_bytes){key, sizeof key},
                            (struct ingest_bytes){value, size}, error);
}

enum base_status ingest_pending_forget(struct ingest_pending *pending,
                                       struct ingest_pending_forget *forget,
                                       struct base_error *error)
{
    size_t cursor = 0;
    uint64_t number, address;
    enum base_status status = BASE_OK;
    uint8_t *value = malloc(HEAD + INGEST_PENDING_BLOCK * stride(pending));
    if (!value)
        return base_fail(error, BASE_SYSTEM, "pending: no memory");
    while (!status &&
           base_map_next(pending->blocks, &cursor, &number, &address))
        status = forget_block(
            pending, (struct ingest_pending_block *)(uintptr_t)address, value,
            forget, error);
    free(value);
    return status;
}

/* ---- flush --------------------------------------------------------------- */

/* Looks for an id of the block that is still remembered. */
static enum base_status find_blocker(struct ingest_pending *pending,
                                     struct ingest_pending_block *block,
                                     bool *found, struct base_error *error)
{
    struct ingest_waiting waiting;
    *found = false;
    for (unsigned slot = 0; slot < block->count; slot++) {
        enum base_status status =
            ingest_pending_get(pending, block->number << SLOT_BITS | slot,
                               &waiting, NULL, error);
        if (status)
            return status;
        int64_t until = remembered_until(pending, &waiting);
        if (ingest_ledger_own(pending->ledger, pending->topic,
                              waiting.partition) > until)
            continue;
        block->blocker_partition = waiting.partition;
        block->blocker_ms = until;
        *found = true;
        return BASE_OK;
    }
    return BASE_OK;
}

static enum base_status drop_block(struct ingest_pending *pending,
                                   struct ingest_pending_block *block,
                                   struct base_error *error)
{
    uint8_t key[8];
    struct ingest_waiting waiting;
    for (unsigned slot = 0; slot < block->count; slot++) {
        uint64_t ref = block->number << SLOT_BITS | slot;
        enum base_status status =
            ingest_pending_get(pending, ref, &waiting, NULL, error);
        if (status)
            return status;
        const uint64_t *newest = base_map_get(pending->index, waiting.id);
        if (newest && *newest == ref)
            base_map_remove(pending->index, waiting.id);
        pending->forgotten += ingest_ledger_own(pending->ledger,
                                                pending->topic,
                                                waiting.partition) <=
                              remembered_until(pending, &waiting);
    }
    base_put_u64_be(key, block->number);
    enum base_status status =
        ingest_store_remove(pending->store, pending->blocks_db,
                            (struct ingest_bytes){key, sizeof key}, error);
    if (!status)
        status =
            ingest_store_remove(pending->store, pending->bits_db,
                                (struct ingest_bytes){key, sizeof key}, error);
    return status;
}

/* Drops a retiring block if nothing in it is remembered. */
static enum base_status retire(struct ingest_pending *pending,
                               struct ingest_pending_block *block, bool *gone,
                               struct base_error *error)
{
    bool blocked = block->blocker_ms != INT64_MIN &&
                   ingest_ledger_own(pending->ledger, pending->topic,
                                     block->blocker_partition) <=
                       block->blocker_ms;
    enum base_status status = BASE_OK;
    uint64_t last = block->number << SLOT_BITS | (INGEST_PENDING_BLOCK - 1);
    *gone = false;
    if (!is_recent(pending, last))
        blocked = false;
    else if (!blocked)
        status = find_blocker(pending, block, &blocked, error);
    if (status || blocked)
        return status;
    *gone = true;
    return drop_block(pending, block, error);
}

static enum base_status retire_all(struct ingest_pending *pending,
                                   struct base_error *error)
{
    struct ingest_pending_block **link = &pending->retiring;
    enum base_status status = BASE_OK;
    while (!status && *link) {
        struct ingest_pending_block *block = *link;
        bool gone;
        status = retire(pending, block, &gone, error);
        if (status)
            return status;
        if (!gone) {
            link = &block->next_retiring;
            continue;
        }
        *link = block->next_retiring;
        base_map_remove(pending->blocks, block->number);
        free(block);
    }
    return status;
}

static enum base_status write_bits(struct ingest_pending *pending,
                                   const struct ingest_pending_block *block,
                                   struct base_error *error)
{
    uint8_t key[8], value[BITS_SIZE];
    memcpy(value, block->bits, sizeof block->bits);
    base_put_u64(value + sizeof block->bits,
                 ingest_digest_64(value, sizeof block->bits, block->number));
    base_put_u64_be(key, block->number);
    return ingest_store_put(pending->store, pending->bits_db,
                            (struct ingest_bytes){key, sizeof key},
                            (struct ingest_bytes){value, sizeof value},
                            error);
}

enum base_status ingest_pending_flush(struct ingest_pending *pending,
                                      struct base_error *error)
{
    enum base_status status = BASE_OK;
    if (pending->tail && pending->tail_dirty)
        status = write_tail(pending, error);
    while (!status && pending->dirty) {
        struct ingest_pending_block *block = pending->dirty;
        pending->dirty = block->next_dirty;
        block->dirty = false;
        status = write_bits(pending, block, error);
    }
    return status ? status : retire_all(pending, error);
}
