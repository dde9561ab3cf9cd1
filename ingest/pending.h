/* SPDX-License-Identifier: Apache-2.0 */
/* Events that wait, and ids that are remembered: append-only blocks of 512
 * events with two bits each, resolved and clicked. Used twice: for
 * impressions, and for clicks (those that wait, and the ids of the others).
 *
 * 1. A block's content never changes once it is full; only its bits do. They
 *    have a record of their own, so that closing a window writes 136 bytes.
 * 2. A block goes when all in it is resolved and forgotten (rule: an id is
 *    remembered while it waits, or while own_ms of the partition that brought
 *    it is not above event_ms + lateness, if it is of the newest
 *    remembered_max events of its topic). The answer to "remembered?"
 *    follows the rule, whether or not the block is still there.
 * 3. Index and timers are in memory, rebuilt from the blocks at open. A ref
 *    is block number << 9 | slot; it grows in the order of application.
 *
 * Block (key: big-endian u64 number), format 1: u16 format, u16 count, u32
 * bytes of an event, u64 XXH3-64 of the events with the number as seed, then
 * the events: struct ingest_waiting and n x u64 ids.
 * Bits (same key): u64 resolved[8], u64 clicked[8], u64 XXH3-64.
 * Thread: store. It does not know the rules of joining. */
#ifndef INGEST_PENDING_H
#define INGEST_PENDING_H

#include "ingest/ledger.h"
#include "ingest/timer.h"

enum { INGEST_PENDING_BLOCK = 512, INGEST_PENDING_FORMAT = 1 };

/* Stored as it is, little-endian. */
struct ingest_waiting {
    uint64_t id; /* event id */
    uint64_t user;
    int64_t event_ms;
    int64_t due_ms; /* close of an impression; a click turns organic */
    int64_t offset;
    uint64_t link; /* impression: its fnw sample's position; click: the
                      impression it names */
    int32_t partition;
    uint32_t ordinal; /* impression: behaviors of the user it saw */
};
_Static_assert(sizeof(struct ingest_waiting) == 56, "stored layout");

struct ingest_pending_block;

struct ingest_pending {
    struct ingest_store *store;
    const struct ingest_ledger *ledger;
    enum ingest_db blocks_db, bits_db;
    uint8_t topic;
    uint32_t id_count; /* of each event */
    int64_t lateness_ms;
    uint64_t remembered_max; /* 0: none; set behind init */
    uint64_t forgotten;      /* ids that went before their time */
    uint64_t open; /* events not resolved */
    struct ingest_timers timers;
    struct base_map *index;  /* id -> ref, newest */
    struct base_map *blocks; /* number -> struct ingest_pending_block * */
    struct ingest_pending_block *dirty;    /* list: bits to write */
    struct ingest_pending_block *retiring; /* list: resolved, to forget */
    uint64_t tail_number;
    struct ingest_pending_block *tail;
    uint8_t *tail_value; /* OWNS; head and events of the tail */
    bool tail_dirty;
    /* The block read last, valid while the store's generation stands. */
    uint64_t cached_number, cached_generation;
    const uint8_t *cached;
};

enum base_status ingest_pending_init(struct ingest_pending *pending,
                                     struct ingest_store *store,
                                     const struct ingest_ledger *ledger,
                                     uint8_t topic, uint32_t id_count,
                                     int64_t lateness_ms,
                                     struct base_error *error) BASE_MUST_CHECK;
void ingest_pending_fini(struct ingest_pending *pending);
/* A stored block and its bits, outside of any transaction of ours: verified,
 * and its events one by one. BASE_CORRUPT where they do not verify. `bits` may
 * be missing (data NULL): nothing is resolved. */
struct ingest_pending_view {
    const uint8_t *events;
    size_t stride;
    unsigned count;
    uint64_t bits[2 * INGEST_PENDING_BLOCK / 64]; /* resolved, clicked */
};
enum base_status ingest_pending_view_open(uint8_t topic, uint32_t id_count,
                                          struct ingest_bytes key,
                                          struct ingest_bytes value,
                                          struct ingest_bytes bits,
                                          struct ingest_pending_view *view,
                                          struct base_error *error)
    BASE_MUST_CHECK;
/* False where the event waits no more. */
bool ingest_pending_view_at(const struct ingest_pending_view *view,
                            unsigned slot, struct ingest_waiting *waiting,
                            bool *clicked);

/* Verifies all blocks and rebuilds index and timers. For waiting events
 * `each` is called in the order of application. Within a transaction. */
enum base_status ingest_pending_load(
    struct ingest_pending *pending,
    enum base_status (*each)(void *self, const struct ingest_waiting *waiting,
                             uint64_t ref, struct base_error *error),
    void *self, struct base_error *error) BASE_MUST_CHECK;

/* Appends; with `waits` it gets a timer at due_ms, else it is resolved. */
enum base_status ingest_pending_add(struct ingest_pending *pending,
                                    const struct ingest_waiting *waiting,
                                    const uint64_t *ids, bool waits,
                                    uint64_t *ref,
                                    struct base_error *error) BASE_MUST_CHECK;
/* Copies an event; ids may be NULL. */
enum base_status ingest_pending_get(struct ingest_pending *pending,
                                    uint64_t ref,
                                    struct ingest_waiting *waiting,
                                    uint64_t *ids,
                                    struct base_error *error) BASE_MUST_CHECK;
/* True, and its ref, where an event with this id waits. */
bool ingest_pending_find(const struct ingest_pending *pending, uint64_t id,
                         uint64_t *ref);
enum base_status ingest_pending_remembers(struct ingest_pending *pending,
                                          uint64_t id, bool *remembered,
                                          struct base_error *error)
    BASE_MUST_CHECK;
bool ingest_pending_waits(const struct ingest_pending *pending, uint64_t ref);
bool ingest_pending_clicked(const struct ingest_pending *pending,
                            uint64_t ref);
void ingest_pending_click(struct ingest_pending *pending, uint64_t ref);
void ingest_pending_resolve(struct ingest_pending *pending, uint64_t ref);
/* Events of `users` (base_map, by user id) go, whether they wait or are
 * remembered: their slots are emptied, their ids no longer known. `each` is
 * called for each that waited, resolved already, with its former content.
 * *remembered counts the others. Reads all blocks. */
struct ingest_pending_forget {
    const struct base_map *users;
    void (*each)(void *self, const struct ingest_waiting *waiting);
    void *self;
    uint64_t waiting, remembered; /* out */
};
enum base_status ingest_pending_forget(struct ingest_pending *pending,
                                       struct ingest_pending_forget *forget,
                                       struct base_error *error)
    BASE_MUST_CHECK;
/* The waiting event that fires first; false where none waits. */
bool ingest_pending_first(struct ingest_pending *pending,
                          struct ingest_timer *timer);
/* The first waiting event with a ref not below `*ref`; for walks. */
bool ingest_pending_next(const struct ingest_pending *pending, uint64_t *ref);

/* Writes what changed and drops what is forgotten; before a commit. */
enum base_status ingest_pending_flush(struct ingest_pending *pending,
                                      struct base_error *error) BASE_MUST_CHECK;

#endif
