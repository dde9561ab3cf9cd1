/* SPDX-License-Identifier: Apache-2.0 */
/* The state machine: join, labels, sequences, journal and ledger, all inside
 * one LMDB write transaction (the store, store.h). A deterministic function
 * of the order of events given to it. Role: store, but for the readers at
 * the end. */
#ifndef INGEST_STATE_H
#define INGEST_STATE_H

#include "base/status.h"
#include "ingest/event.h"
#include "ingest/ingest.h"
#include "learner/learner.h"

struct ingest_state;

/* Opens or makes the LMDB environment in config->folder, checks the stream
 * configuration's hash and format version, verifies blocks, rebuilds the
 * indexes. BASE_CORRUPT with what and where. */
enum base_status ingest_state_open(const struct ingest_config *config,
                                   struct ingest_state **state,
                                   struct base_error *error) BASE_MUST_CHECK;
void ingest_state_free(struct ingest_state *state);

/* Where the partitions resume. */
struct ingest_position {
    uint8_t topic;
    int32_t partition;
    int64_t next;  /* last applied + 1; -1: never read, start at earliest */
    int64_t start; /* first offset ever read */
    int64_t own_ms, apply_ms; /* INT64_MIN at first */
    int64_t anchor_offset, anchor_ms; /* last applied record; -1: none */
    uint32_t anchor_crc;
};
/* Positions of all partitions known so far; BORROWS until the next call. */
const struct ingest_position *ingest_state_positions(struct ingest_state *state,
                                                     unsigned *count);
/* Key of the last applied event (order fields of ingest_event only). */
void ingest_state_last(struct ingest_state *state, struct ingest_event *last);

/* Stored epoch; 0 at first. */
uint64_t ingest_state_epoch(const struct ingest_state *state);
/* "" at first. A cluster id is stored with the next commit. */
const char *ingest_state_cluster(struct ingest_state *state);

/* begin (once), apply any number of events, commit: full sync. An error of
 * apply or commit other than BASE_AGAIN is fatal: nothing uncommitted may
 * leave the process. BASE_AGAIN of apply: the journal is at its cap, or very
 * many windows closed in this transaction, and the event is not applied:
 * commit, trim, begin, and apply the same event again. */
enum base_status ingest_state_begin(struct ingest_state *state,
                                    struct base_error *error) BASE_MUST_CHECK;
enum base_status ingest_state_set_cluster(struct ingest_state *state,
                                          const char *cluster_id,
                                          struct base_error *error)
    BASE_MUST_CHECK;
/* First offset of a partition never read before (its low watermark). */
enum base_status ingest_state_start_partition(struct ingest_state *state,
                                              uint8_t topic, int32_t partition,
                                              int64_t first_offset,
                                              struct base_error *error)
    BASE_MUST_CHECK;
enum base_status ingest_state_apply(struct ingest_state *state,
                                    const struct ingest_event *event,
                                    struct base_error *error) BASE_MUST_CHECK;
/* Partition `partition` of both topics stops for cause: its pending
 * impressions leave as `unlabelled`, its waiting clicks as `organic`; recorded
 * as a decision with `reason`. */
enum base_status ingest_state_stop_partition(struct ingest_state *state,
                                             int32_t partition,
                                             const char *reason,
                                             struct base_error *error)
    BASE_MUST_CHECK;
/* Partition `partition` of both topics is another group member's: what waits of
 * it leaves as in a stop; recorded as a decision "revoked" where anything did.
 */
enum base_status ingest_state_revoke_partition(struct ingest_state *state,
                                               int32_t partition,
                                               struct base_error *error)
    BASE_MUST_CHECK;
/* An operator lets a stopped partition go on: `to` is what is read next, of the
 * same log (start -1) or of another one that begins at `start`. What waits of
 * its number leaves as in a stop; range and place are a decision "skipped",
 * the ledger's rule 3 and 4 hold. BASE_USAGE: it would be read twice. */
struct ingest_skip {
    uint8_t topic;
    int32_t partition;
    int64_t start, to;
};
enum base_status ingest_state_skip(struct ingest_state *state,
                                   const struct ingest_skip *skip,
                                   struct base_error *error) BASE_MUST_CHECK;
/* The offsets are another cluster's from now on: set_cluster, as a decision. */
enum base_status ingest_state_accept_cluster(struct ingest_state *state,
                                             const char *cluster_id,
                                             struct base_error *error)
    BASE_MUST_CHECK;
/* Numbers of the newest request to forget, and of the newest that is done; 0:
 * none. */
uint64_t ingest_state_forgets(const struct ingest_state *state);
uint64_t ingest_state_forgets_done(const struct ingest_state *state);
/* These users are forgotten (forget.h), each a decision and a journal record,
 * in their order; one of nobody (user 0) is a mark, nothing else. */
enum base_status ingest_state_forget(struct ingest_state *state,
                                     const struct learner_forget *forgets,
                                     unsigned count,
                                     struct base_error *error) BASE_MUST_CHECK;
/* Request `serial` is what was just forgotten, and `purge` was asked for: it is
 * to be finished, after a restart too, until done. */
enum base_status ingest_state_forget_asked(struct ingest_state *state,
                                           uint64_t serial, bool purge,
                                           struct base_error *error)
    BASE_MUST_CHECK;
enum base_status ingest_state_forget_done(struct ingest_state *state,
                                          uint64_t serial,
                                          struct base_error *error)
    BASE_MUST_CHECK;
/* End of the newest closed batch, and of the journal. */
uint64_t ingest_state_batch_end(const struct ingest_state *state);
uint64_t ingest_state_journal_end(const struct ingest_state *state);
/* False while the journal is at its cap. */
bool ingest_state_has_room(const struct ingest_state *state);
/* Ends the open batch here where at least one sample waits in it. */
enum base_status ingest_state_end_batch(struct ingest_state *state,
                                        struct base_error *error)
    BASE_MUST_CHECK;
/* Samples in the open batch, and since when (monotonic ms; 0: none). */
uint32_t ingest_state_open_samples(const struct ingest_state *state,
                                   int64_t *oldest_ms);
/* Journal before `position` may go: at most 100 blocks a call. */
enum base_status ingest_state_trim(struct ingest_state *state,
                                   uint64_t position,
                                   struct base_error *error) BASE_MUST_CHECK;
/* Decisions on records (floored, clamped, ..) below `next` of their partition
 * in `begins` may go: their records are in no log any more. Looks at a few
 * hundred from the serial *at on, which becomes UINT64_MAX behind the last;
 * *gone is how many went. What an operator decided stays. */
enum base_status
ingest_state_trim_decisions(struct ingest_state *state,
                            const struct ingest_position *begins,
                            unsigned count, uint64_t *at, uint64_t *gone,
                            struct base_error *error) BASE_MUST_CHECK;
enum base_status ingest_state_commit(struct ingest_state *state,
                                     struct base_error *error) BASE_MUST_CHECK;

/* Outbox and epoch, within a begun transaction. Rows are opaque bytes. */
enum base_status ingest_state_outbox_put(struct ingest_state *state,
                                         uint64_t epoch, uint64_t version,
                                         const void *row, size_t size,
                                         struct base_error *error)
    BASE_MUST_CHECK;
enum base_status ingest_state_outbox_sent(struct ingest_state *state,
                                          uint64_t epoch, uint64_t version,
                                          struct base_error *error)
    BASE_MUST_CHECK;
/* Oldest unsent row: BASE_AGAIN when none. *row OWNS: free it. */
enum base_status ingest_state_outbox_next(struct ingest_state *state,
                                          uint64_t *epoch, uint64_t *version,
                                          void **row, size_t *size,
                                          struct base_error *error)
    BASE_MUST_CHECK;
/* Whether it is announced, not only waiting to be. */
bool ingest_state_outbox_announced(struct ingest_state *state, uint64_t epoch,
                                   uint64_t version);
enum base_status ingest_state_set_epoch(struct ingest_state *state,
                                        uint64_t epoch,
                                        struct base_error *error)
    BASE_MUST_CHECK;

/* Counters as of the last commit, for ingest_get_status. Any thread. */
void ingest_state_status(struct ingest_state *state,
                         struct ingest_status *status);

/* ---- journal reader: role train, own LMDB read transactions -------------- */

struct ingest_journal;
enum base_status ingest_journal_new(struct ingest_state *state,
                                    struct ingest_journal **journal,
                                    struct base_error *error) BASE_MUST_CHECK;
void ingest_journal_free(struct ingest_journal *journal);
/* Looks whether a batch can start at `position`, and goes there: BASE_DATA
 * says from where on the journal is kept. */
enum base_status ingest_journal_seek(struct ingest_journal *journal,
                                     uint64_t position,
                                     struct base_error *error) BASE_MUST_CHECK;
/* The running hash where it stands after a seek to a position above 0. */
void ingest_journal_hash(const struct ingest_journal *journal,
                         uint64_t hash[2]);
/* The first position where a batch can start; BASE_AGAIN: none. */
enum base_status ingest_journal_begin(struct ingest_journal *journal,
                                      uint64_t *position,
                                      struct base_error *error)
    BASE_MUST_CHECK;
/* learner_source.next: the batch that starts at `position`. BASE_AGAIN when
 * it is not committed yet (waits for a commit up to timeout_ms). Verifies
 * block hashes; BASE_CORRUPT names the block. */
enum base_status ingest_journal_next(struct ingest_journal *journal,
                                     uint64_t position, int timeout_ms,
                                     struct learner_batch *batch,
                                     struct base_error *error) BASE_MUST_CHECK;

#endif
