/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the source, shared by its files and by nobody else:
 * opening.c (before the first record), intake.c (records in), doubt.c (are
 * they of our logs), handover.c (which of them are ours in a group), source.c
 * (events out, life). A slot is a partition of one
 * topic: topic * per_topic + number. Role ingest, but what the mutex guards. */
#ifndef INGEST_SOURCE_PARTS_H
#define INGEST_SOURCE_PARTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "ingest/decisions.h"
#include "ingest/decoder.h"
#include "ingest/ends.h"
#include "ingest/group.h"
#include "ingest/kafka.h"
#include "ingest/merge.h"
#include "ingest/registry.h"
#include "ingest/source.h"
#include "ingest/watch.h"

enum { INGEST_NUMBERS_MAX = INGEST_PARTITIONS_MAX / INGEST_TOPICS };

/* Why a partition stops. */
enum ingest_cause {
    INGEST_CAUSE_NONE,
    INGEST_CAUSE_RETENTION, /* the log begins at `at` now */
    INGEST_CAUSE_SHORT,     /* the log ends at `at`, before our place */
    INGEST_CAUSE_OTHER,     /* another record stands at our anchor */
    INGEST_CAUSE_FEWER,     /* its topic has only `at` partitions now */
    INGEST_CAUSE_CLUSTER,   /* the brokers are another cluster */
    INGEST_CAUSE_DAMAGE,    /* from our place to `at` no record can be read;
                               -1: where that ends is not known */
    INGEST_CAUSE_GAP,       /* behind a damaged batch it goes on at `at` */
};

struct ingest_slot {
    rd_kafka_queue_t *queue;
    int64_t next;      /* first offset not handed to the merge */
    unsigned failures; /* since the last good record */
    bool suspicious;   /* after a damaged batch a gap is a loss */
    bool examine;      /* the broker refused our offset */
    bool damaged;      /* its damage does not go; where does it end? */
    bool fetched;      /* a record since the last assignment */
    unsigned unreadable; /* checks in a row that could not read our anchor */
    int64_t gone;      /* the anchor that was last said to be gone */
    int64_t end;       /* as last answered; -1: not known */
    int64_t cached;    /* the end as the consumer saw it last */
    bool stall_said;
    bool parked;       /* until the registry has said what parked_schema is */
    uint32_t parked_schema;
    rd_kafka_message_t **held; /* [held_at, held_count) OWN; see parking.c */
    unsigned held_at, held_count, held_room;
    bool away;         /* not ours in the group */
    bool stop_pending; /* to be said to the store behind what it has */
    /* Not NONE: is read no further, and stops once what was read before the
     * loss has been handed over. */
    enum ingest_cause cause;
    int64_t cause_at;
    /* Under the mutex, for ingest_source_status(). */
    int64_t high;
    bool stopped;
    char stop_reason[200];
    int64_t lost_from, lost_to; /* of the slot that is the cause; else -1 */
    char resume[96];
    int64_t stalled_ms, stalled_at; /* since when (0: not) an open transaction
                                       holds it up, and where */
};

struct ingest_source {
    struct ingest_source_config wiring;
    const struct ingest_config *config;
    struct ingest_registry *registry; /* NULL: none is configured */
    struct ingest_decoder *decoders[INGEST_TOPICS];
    struct ingest_decisions *decisions;
    bool has_last;
    struct ingest_event last; /* handed over */
    char cluster[256];
    unsigned known_count;
    struct ingest_position *known; /* of the state */

    /* From the brokers' metadata on. */
    unsigned per_topic, slot_count;
    struct ingest_position *positions; /* by slot; next and anchors as handed
                                          over */
    struct ingest_slot *slots;
    unsigned former_count;
    struct ingest_slot *former; /* before it was opened once more; or NULL */
    unsigned fresh_count;
    struct ingest_position *fresh; /* never read before */
    unsigned *asking;
    struct ingest_merge *merge;
    rd_kafka_t *consumer, *helper;
    struct ingest_ends *ends;
    struct ingest_chunk *chunk; /* being filled */
    int64_t asked_ms, kept_house_ms, reassign_ms;
    int64_t now_ms, wall_ms; /* of this round */
    bool polled;
    bool reopen; /* there are more partitions, or others */

    /* Hand-over; see handover.c. By partition number. */
    struct ingest_group *group; /* NULL: all partitions are ours */
    uint64_t assignment;        /* that `owned` is of */
    bool held;                  /* nothing is handed over */
    bool owned[INGEST_NUMBERS_MAX];
    bool merged[INGEST_NUMBERS_MAX]; /* perhaps something waits of it */

    /* Doubt; see doubt.c. */
    _Atomic uint64_t doubts; /* any thread */
    uint64_t settled, asked_doubts;
    int64_t check_ms;
    struct ingest_watch *watch;
    char other_cluster[256]; /* "": still ours */

    int event_fd;
    atomic_bool stopping, paused, starved;
    pthread_mutex_t mutex; /* guards what follows and parts of slots */
    bool at_end;
    uint64_t handed;
    unsigned parked; /* partitions */
    int64_t logged_ms; /* when trouble was last logged */
    char broker_error[200], watch_error[200];
    bool refused; /* and that is why: other errors only follow from it */
};

/* ---- opening.c ---------------------------------------------------------- */

/* Waits for brokers and topics, judges where we stand, assigns. */
enum base_status ingest_source_open(struct ingest_source *source,
                                    struct base_error *error) BASE_MUST_CHECK;
/* Assigns all partitions that go on, each at its own next offset. */
void ingest_source_assign(struct ingest_source *source);
/* A slot's log against where we stand; stops it where they do not fit. */
void ingest_source_judge_range(struct ingest_source *source, unsigned slot,
                               int64_t low, int64_t high);
/* Opens once more from where it stands, with the partitions there are now. */
enum base_status ingest_source_reopen(struct ingest_source *source,
                                      struct base_error *error) BASE_MUST_CHECK;
/* Lets go of brokers and partitions. */
void ingest_source_close(struct ingest_source *source);
/* Slots that go on, into source->asking; their number. */
unsigned ingest_source_active(struct ingest_source *source);
/* Sleeps until woken; false once asked to stop. */
bool ingest_source_rest(struct ingest_source *source, int milliseconds);
const char *ingest_source_topic(const struct ingest_source *source,
                                unsigned slot);

/* ---- source.c ----------------------------------------------------------- */

/* Behind all that was handed over: the number is another member's. *said is
 * false while the store has all chunks. */
enum base_status ingest_source_say_revoked(struct ingest_source *source,
                                           int32_t number, bool *said,
                                           struct base_error *error)
    BASE_MUST_CHECK;

/* ---- handover.c --------------------------------------------------------- */

/* While the source opens: acknowledges a revoke, and nothing more. */
void ingest_source_hear_group(struct ingest_source *source);
/* Hears the group, where there is one: holds, acknowledges, takes over. */
enum base_status
ingest_source_follow_group(struct ingest_source *source,
                           struct base_error *error) BASE_MUST_CHECK;

/* ---- doubt.c ------------------------------------------------------------ */

/* Perhaps these are other logs: nothing is handed over until they are known
 * to be ours. Any thread. */
void ingest_source_doubt(struct ingest_source *source);
bool ingest_source_in_doubt(const struct ingest_source *source);
/* Stops everything once the brokers are another cluster. */
void ingest_source_compare_cluster(struct ingest_source *source);
/* Takes the watch's answer, asks the next question when it is due. */
void ingest_source_look_after(struct ingest_source *source);

/* ---- parking.c ---------------------------------------------------------- */

/* Whether the record waits for its schema, and with it its partition. */
bool ingest_source_park(struct ingest_source *source, unsigned i,
                        const rd_kafka_message_t *message);
/* Partitions whose schema has become known go on. */
void ingest_source_unpark(struct ingest_source *source);
bool ingest_source_holds(const struct ingest_slot *slot);
/* TAKES the message where it does not fail. */
enum base_status ingest_source_hold(struct ingest_source *source, unsigned i,
                                    rd_kafka_message_t *message,
                                    struct base_error *error) BASE_MUST_CHECK;
/* Judges what is held, as far as it may go on. */
enum base_status
ingest_source_release(struct ingest_source *source, unsigned i,
                      struct base_error *error) BASE_MUST_CHECK;
void ingest_source_drop_held(struct ingest_slot *slot);

/* ---- intake.c ----------------------------------------------------------- */

/* Reads what there is room for; source->polled says whether there was any. */
enum base_status ingest_source_poll(struct ingest_source *source,
                                    struct base_error *error) BASE_MUST_CHECK;
/* What a record of slot i means; nothing where it parks its partition. */
enum base_status ingest_source_judge(struct ingest_source *source, unsigned i,
                                     const rd_kafka_message_t *message,
                                     struct base_error *error) BASE_MUST_CHECK;
/* Trouble with the brokers: kept for the status, logged now and then. */
void ingest_source_note(struct ingest_source *source, const char *text);
void ingest_source_all_well(struct ingest_source *source);
/* Lets the helper say what is wrong. */
void ingest_source_hear(struct ingest_source *source);
void ingest_source_on_log(const rd_kafka_t *handle, int level,
                          const char *facility, const char *text);
void ingest_source_on_error(rd_kafka_t *handle, int code, const char *text,
                            void *self);
/* Stops this partition number in both topics: clicks without their
 * impressions, or the other way round, would be labelled wrongly. What was
 * read before a loss is handed over first; of another log nothing is. */
void ingest_source_stop_pair(struct ingest_source *source, unsigned slot,
                             enum ingest_cause cause, int64_t at);
/* Stops that waited for that. */
void ingest_source_finish_stops(struct ingest_source *source);

#endif
