/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the state machine, shared by state.c (life, transactions),
 * totals.c (totals, status), intervention.c (what operators do), users.c
 * (sequences) and join.c (the rules). Private to ingest.
 *
 * The stored record of totals (meta database, key "state") is struct
 * ingest_totals, format 1: when it changes, raise the format and convert at
 * open. Thread: store. */
#ifndef INGEST_JOIN_H
#define INGEST_JOIN_H

#include "ingest/early.h"
#include "ingest/feed.h"
#include "ingest/forget.h"
#include "ingest/journal.h"
#include "ingest/ledger.h"
#include "ingest/letter.h"
#include "ingest/pending.h"
#include "ingest/sequence.h"
#include "ingest/state.h"

enum {
    INGEST_STATE_FORMAT = 1,
    INGEST_REASONS_STORED = 32,
    /* After a quiet night one event closes millions of windows. They go in
     * several transactions, so that none needs the memory of all. */
    INGEST_FIRE_MAX = 65536,
};

struct ingest_totals {
    uint64_t hash; /* XXH3-64 of the rest */
    uint64_t format;
    uint64_t events, commits, history_cut, floored, clamped;
    uint64_t late_labels_lost, crossed, damaged, evicted, epoch;
    uint64_t reasons[INGEST_REASONS_STORED];
    struct ingest_journal_mark journal;
    struct ingest_letter_mark letters;
    /* Key of the last applied event; the smallest possible at first. */
    int64_t last_apply_ms, last_own_ms, last_offset;
    int32_t last_topic, last_partition;
    char cluster[128];
};
_Static_assert((int)INGEST_REASON_COUNT <= (int)INGEST_REASONS_STORED,
               "format 2 is due");

struct ingest_state {
    struct ingest_config config;
    struct ingest_store *store;
    struct ingest_ledger ledger;
    struct ingest_pending impressions, clicks;
    struct ingest_early early;
    struct ingest_journal_writer journal;
    struct ingest_feed feed;
    struct ingest_totals totals;
    struct ingest_forget_status forget;
    struct ingest_skew_status skew;
    bool broken; /* an error left half an event behind */
    uint32_t fired; /* timers of this transaction */
    /* The user of the last event, written back when another one comes. */
    struct ingest_sequence user;
    bool user_loaded, user_dirty;
    uint64_t *history; /* OWNS: (history_max, f), of one sample */
    int64_t readers_checked_ms; /* monotonic */
    uint64_t dead_readers;      /* slots freed */
    bool opened; /* feed and status_mutex are made */
    pthread_mutex_t status_mutex;
    struct ingest_status status; /* under status_mutex */
};

/* intervention.c. The decision that a partition is read that was not there
 * before. */
enum base_status ingest_state_note_start(struct ingest_state *state,
                                         uint8_t topic, int32_t partition,
                                         int64_t offset,
                                         struct base_error *error)
    BASE_MUST_CHECK;
/* state.c. Remembers that memory and disk no longer agree, where `status` is
 * an error other than BASE_AGAIN; returns it. */
enum base_status ingest_state_note(struct ingest_state *state,
                                   enum base_status status);
/* BASE_BROKEN where no transaction is begun, or an error ended it. */
enum base_status
ingest_state_check_begun(const struct ingest_state *state,
                         struct base_error *error) BASE_MUST_CHECK;

/* BASE_AGAIN where the journal, or the map under this transaction, has no room
 * for one more event or timer. */
enum base_status ingest_state_room(const struct ingest_state *state,
                                   struct base_error *error) BASE_MUST_CHECK;

/* totals.c. Within a transaction: reads or writes the record of totals; as at
 * first where there is none. */
enum base_status ingest_totals_load(struct ingest_state *state,
                                    struct base_error *error) BASE_MUST_CHECK;
enum base_status ingest_totals_put(struct ingest_state *state,
                                   struct base_error *error) BASE_MUST_CHECK;
/* The key of the last applied event moves to that of `event`, never back. */
void ingest_totals_advance(struct ingest_state *state,
                           const struct ingest_event *event);
/* The status that others see is that of the commit just made. */
void ingest_totals_publish(struct ingest_state *state, uint64_t users,
                           int64_t commit_us);

/* users.c */
enum base_status ingest_users_load(struct ingest_state *state, uint64_t user,
                                   struct base_error *error) BASE_MUST_CHECK;
enum base_status ingest_users_save(struct ingest_state *state,
                                   struct base_error *error) BASE_MUST_CHECK;
/* The user was seen in `partition`. */
enum base_status ingest_users_seen(struct ingest_state *state, uint64_t user,
                                   int32_t partition,
                                   struct base_error *error) BASE_MUST_CHECK;
/* A click in `partition` shows interest in the item `ids` (f). */
enum base_status ingest_users_behave(struct ingest_state *state, uint64_t user,
                                     int32_t partition, int64_t event_ms,
                                     const uint64_t *ids,
                                     struct base_error *error) BASE_MUST_CHECK;

/* No record of the user is left; *there says whether there was one. */
enum base_status ingest_users_forget(struct ingest_state *state, uint64_t user,
                                     bool *there,
                                     struct base_error *error) BASE_MUST_CHECK;

/* join.c. Timers first; BASE_AGAIN leaves the event unapplied. */
enum base_status ingest_join_fire(struct ingest_state *state, int64_t apply_ms,
                                  struct base_error *error) BASE_MUST_CHECK;
/* Puts the event's offset into its bucket, with all that follows. */
enum base_status ingest_join_apply(struct ingest_state *state,
                                   struct ingest_partition *partition,
                                   const struct ingest_event *event,
                                   struct base_error *error) BASE_MUST_CHECK;
/* Whether anything waits from partitions of this number. */
enum base_status ingest_join_waits(struct ingest_state *state,
                                   int32_t partition, bool *waits,
                                   struct base_error *error) BASE_MUST_CHECK;
/* All that waits from partitions of this number leaves now. */
enum base_status ingest_join_stop(struct ingest_state *state,
                                  int32_t partition,
                                  struct base_error *error) BASE_MUST_CHECK;

#endif
