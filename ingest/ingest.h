/* SPDX-License-Identifier: Apache-2.0 */
/* Ingest's boundary: from Kafka topics to committed state and journal.
 *
 * Two threads of its own: `ingest` polls librdkafka, decodes and merges the
 * partitions in event-time order; `store` runs the state machine inside the
 * LMDB write transaction and commits state, offsets, journal and ledger
 * together. A short-lived helper asks brokers for true ends. Everything the
 * store must do for others (trim marks, outbox rows) comes as a message. */
#ifndef INGEST_INGEST_H
#define INGEST_INGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"
#include "ingest/reason.h"
#include "learner/learner.h"

enum {
    INGEST_PATH_MAX = 128, /* a field path in a record, with its NUL */
    INGEST_PROPERTIES_MAX = 64,
    INGEST_PARTITIONS_MAX = 1024, /* of both topics together */
    INGEST_BOUNDS_MAX = 64,       /* of a bucket transform */
    INGEST_FOLLOWERS_MAX = 15,    /* readers of the journal beside the main */
};

/* Also the order in which topics are read and shown. */
enum ingest_topic { INGEST_IMPRESSIONS, INGEST_CLICKS, INGEST_TOPICS };
enum ingest_framing { INGEST_PLAIN, INGEST_CONFLUENT };
/* Which partitions are read: all there are, or those that the consumer group
 * of property group.id gives this process; see group.h. */
enum ingest_assignment { INGEST_ASSIGN_ALL, INGEST_ASSIGN_GROUP };
enum ingest_label_mode { INGEST_LABEL_WINDOW, INGEST_LABEL_FNW };

/* What a field's id is made of: the value at its path, or a number derived
 * from it, whose id is learner_id_of_int(). Days and hours are UTC. */
enum ingest_transform_kind {
    INGEST_TRANSFORM_NONE,
    INGEST_TRANSFORM_HOUR,    /* of a time: hour of the day, 0 .. 23 */
    INGEST_TRANSFORM_WEEKDAY, /* of a time: 0 = Monday .. 6 = Sunday */
    INGEST_TRANSFORM_BUCKET,  /* of a number: how many bounds are <= it */
};
struct ingest_transform {
    enum ingest_transform_kind kind;
    unsigned bound_count;
    double bounds[INGEST_BOUNDS_MAX]; /* strictly ascending, within +-2^53 */
};

/* Paths of one topic's record. An empty path: not there. A field that
 * continues a multi-hot run has the path of the run's first. */
struct ingest_mapping {
    char event_id[INGEST_PATH_MAX];   /* impression: required; click: may be
        empty, then (impression, user, item, time) identify it */
    char impression[INGEST_PATH_MAX]; /* click: the impression it answers */
    char user[INGEST_PATH_MAX];
    char time[INGEST_PATH_MAX];
    /* Impression, may be empty: what a ranker logged of the history that it
     * scored with (a long, or 16 hex digits; hash and length, or neither), and
     * the version's number. */
    char served_hash[INGEST_PATH_MAX];
    char served_length[INGEST_PATH_MAX];
    char served_version[INGEST_PATH_MAX];
    char fields[LEARNER_FIELDS_MAX][INGEST_PATH_MAX]; /* by schema field;
        clicks use the item fields only */
};

struct ingest_topic_config {
    char name[250];
    enum ingest_framing framing;
    /* PLAIN: the pinned writer schema, an .avsc file. CONFLUENT: a folder
     * with <id>.avsc files; the schema registry joins here. */
    char schema[1024];
    /* An .avsc file whose fields the mapping names, with defaults for what a
     * writer lacks and aliases for what it calls otherwise; "": none. */
    char reader_schema[1024];
    struct ingest_mapping mapping;
};

struct ingest_property {
    char name[128];
    char value[4096]; /* a private key, too */
};

struct ingest_config {
    char folder[1024]; /* LMDB environment */
    char file[1024];   /* of the configuration, for messages; "": not known */
    struct learner_schema schema;
    struct ingest_transform transforms[LEARNER_FIELDS_MAX]; /* by field */
    /* The group's name as the user knows it: "profile", "item", "context" or
     * a name of the user's own; such groups stand among the context fields.
     * Empty: the name of its learner_group. */
    char groups[LEARNER_FIELDS_MAX][LEARNER_NAME_MAX];
    struct ingest_topic_config topics[2]; /* impressions, clicks */
    char announcement_topic[250];         /* empty: none */
    char model_name[64];
    unsigned property_count; /* librdkafka properties, ours have precedence
                                where a promise depends on them */
    struct ingest_property properties[INGEST_PROPERTIES_MAX];
    enum ingest_assignment assignment;
    uint32_t event_max; /* bytes of a record's value */
    /* Schema registry of both topics, where their framing is CONFLUENT; "":
     * none, <id>.avsc come from each topic's own folder. */
    char registry_url[1024];
    char registry_user[250], registry_password[250];
    char registry_folder[1024]; /* where fetched schemas are kept for good */

    /* Bit i: field i of the schema is not used by the published model, which
     * rankers score with. */
    uint64_t served_fields_off;

    enum ingest_label_mode label_mode;
    int64_t window_ms, lateness_ms, skew_ms;
    uint32_t history_max;   /* N */
    uint32_t history_slack; /* >= 64 */
    int64_t history_ttl_ms; /* 0: none */
    uint64_t pending_max;
    uint64_t waiting_clicks_max; /* 0: bounded by event time only */
    uint64_t remembered_max;     /* newest events of a topic whose ids are
                                    remembered; 0: likewise */
    double negative_keep;   /* 1: no down-sampling; window mode */
    uint32_t idle_ms;       /* 100 */
    char decisions[1024];   /* file of recorded decisions to take as input */

    uint32_t commit_events, commit_ms; /* commit by size or time */
    uint64_t map_bytes;                /* cap of the LMDB map, which grows */
    uint64_t map_start_bytes;          /* 0: 1 GiB */
    uint64_t disk_reserve_bytes;       /* intake waits below; 0: never */
    uint64_t journal_max_bytes;
    bool journal_keep;                 /* never trim (audits, tests) */
    uint64_t dead_letter_max_bytes;    /* oldest go first, counted */
    uint32_t flush_ms; /* timed batch end when the trainer is idle; 0: never */
    uint32_t batch_size;
};

/* Whether the field stands in a group of the user's own. */
bool ingest_own_group(const struct ingest_config *config, unsigned field);

struct ingest_partition_status {
    uint8_t topic;
    int32_t partition;
    int64_t start, next, high; /* high: broker's end, -1 unknown */
    int64_t own_ms;
    uint64_t before; /* offsets consumed of former logs: before + next - start
                        is the sum of the buckets */
    uint64_t buckets[INGEST_BUCKET_COUNT];
    bool stopped;
    char stop_reason[200];
    /* Of the topic that made the pair stop: what is lost is [lost_from,
     * lost_to), -1 where that is not known. -1 and -1 of all others. */
    int64_t lost_from, lost_to;
    char resume[96]; /* arguments of `interestd skip` for the stopped */
    bool away; /* it is another member's of the group, and not read here */
    int64_t transaction_ms; /* how long an open transaction has held it up;
                               0: none does */
};

/* Users that were forgotten. Of all requests that were not done when the newest
 * came, names none. All fields 8 bytes: it is stored. */
struct ingest_forget_status {
    uint64_t serial; /* of the newest request in the state; 0: there was none */
    uint64_t done;   /* of the newest with nothing left to do */
    uint64_t purge;  /* 1: old versions and leftovers go at once */
    uint64_t first, position; /* their journal records: [first, position) */
    uint64_t users, sequences;
    uint64_t impressions, clicks; /* that waited */
    uint64_t offsets;             /* of these, into bucket `forgotten` */
    uint64_t remembered;          /* ids of events that did not wait any more */
    uint64_t letters;             /* dead letters */
};

/* Membership in a consumer group. */
struct ingest_group_status {
    char state[16]; /* "joining", "revoking" or "member"; "": not in use */
    char error[200]; /* since the last assignment; "" while all is well */
    uint64_t numbers;     /* partition numbers that are ours, in both topics */
    uint64_t assignments; /* taken by this process */
    uint64_t losses;      /* times they were taken away unasked */
};

/* A further reader of the journal. */
struct ingest_follower_status {
    char name[LEARNER_NAME_MAX];
    uint64_t position;  /* it asked last for the batch that begins here */
    uint64_t kept_from; /* it may need the journal from here on */
    bool detached;
};

/* Served histories against those of the samples (skew.h), in this process. */
enum ingest_skew_kind {
    INGEST_SKEW_SHORTER, /* the ranker's is shorter */
    INGEST_SKEW_LONGER,
    INGEST_SKEW_CONTENT, /* as long, but other behaviors */
    INGEST_SKEW_KINDS
};
enum { INGEST_SKEW_VERSIONS = 16 };
struct ingest_skew_status {
    uint64_t compared; /* impressions */
    uint64_t mismatched[INGEST_SKEW_KINDS];
    unsigned version_count;
    struct ingest_skew_version {
        int64_t version;
        uint64_t compared, mismatched;
    } versions[INGEST_SKEW_VERSIONS]; /* the newest, newest first */
};

struct ingest_status {
    uint64_t events;        /* applied, since the state was made */
    uint64_t commits;
    uint64_t journal_end;   /* positions written */
    uint64_t batch_end;     /* end of the newest closed batch */
    uint64_t journal_begin; /* oldest kept position */
    uint64_t journal_bytes;
    uint64_t buckets[INGEST_BUCKET_COUNT]; /* of all partitions */
    uint64_t reasons[INGEST_REASON_COUNT];
    int64_t unaccounted;    /* offsets in no bucket; 0, or the daemon ends */
    uint64_t users, pending, history_cut, floored_records, clamped_records,
        late_labels_lost, dead_letters_dropped, decisions, crossed_partitions,
        evicted, evicted_clicks, waiting_clicks, damaged_sequences;
    uint64_t decisions_trimmed; /* their records have left Kafka; in this
                                   process */
    uint64_t ids; /* remembered or waiting, of both topics */
    uint64_t ids_forgotten; /* before their time, in this process */
    int64_t applied_ms;     /* apply_ms of the last applied event */
    int64_t lag_records;    /* sum of high - next; -1 unknown */
    uint64_t disk_free_bytes, disk_reserve_bytes; /* where the store lies */
    uint64_t disk_low;   /* 1: nothing is taken in for want of room */
    uint64_t disk_stops; /* times that happened, in this process */
    uint64_t map_used_bytes, map_bytes; /* used; of the map as it is now */
    uint64_t reader_slots;      /* of the store, all processes */
    uint64_t reader_lag_commits; /* of the oldest open view */
    uint64_t dead_readers;      /* slots freed after them, in this process */
    int64_t last_commit_us, max_commit_us;
    struct ingest_forget_status forget;
    struct ingest_skew_status skew;
    unsigned partition_count;
    struct ingest_partition_status partitions[INGEST_PARTITIONS_MAX];
    bool at_end;            /* every partition applied up to its true end */
    char broker_error[200]; /* last one, "" while all is well */
    bool broker_refuses;    /* it is about credentials or certificates */
    char registry_error[200]; /* of the schema registry, likewise */
    uint64_t registry_requests; /* of this process */
    uint64_t parked_partitions; /* wait for a schema of the registry */
    uint64_t features_cut;  /* elements of multi-hot arrays beyond their
                               places, decoded since the process started */
    struct ingest_group_status group;
    unsigned follower_count;
    struct ingest_follower_status followers[INGEST_FOLLOWERS_MAX];
};

struct ingest;

/* Refuses, in the words of ingest_open and ingest_start, what they would:
 * schemas, librdkafka properties, given decisions. Opens no state, calls no
 * broker. Any thread. */
enum base_status ingest_check(const struct ingest_config *config,
                              struct base_error *error) BASE_MUST_CHECK;

enum base_status ingest_open(const struct ingest_config *config,
                             struct ingest **ingest,
                             struct base_error *error) BASE_MUST_CHECK;
/* Starts both threads. `failed` is called once, by the thread that ended. */
enum base_status ingest_start(struct ingest *ingest,
                              void (*failed)(void *self,
                                             const struct base_error *error),
                              void *self,
                              struct base_error *error) BASE_MUST_CHECK;
/* Stops polling, applies and commits what is handed over, joins. */
enum base_status ingest_stop(struct ingest *ingest, struct base_error *error);
void ingest_free(struct ingest *ingest);
void ingest_pause(struct ingest *ingest, bool paused); /* any thread */
void ingest_get_status(struct ingest *ingest, struct ingest_status *status);

/* The committed journal as the learner's source. Role train. */
struct learner_source ingest_source(struct ingest *ingest);
/* Says whether the trainer has nothing to do (for timed batch ends). */
void ingest_trainer_idle(struct ingest *ingest, bool idle);
/* Journal before `position` is no longer needed by the main model. Any
 * thread. */
void ingest_trim(struct ingest *ingest, uint64_t position);

/* Further readers of the same journal, for models trained beside the main one.
 * The journal is kept for each of them too, up to its cap: where it is full
 * and the main model has read all of it for a second, the follower whose mark
 * is furthest behind the main model's is detached (event=shadow_detached), so
 * that the cap never blocks the main model for a slower one's sake.
 *
 * `position` is where the follower goes on, and what it needs of the journal
 * until ingest_follower_trim says less. BASE_DATA where the journal does not
 * reach back so far or has no batch end there, BASE_LIMIT where there are
 * INGEST_FOLLOWERS_MAX. Any thread; before ingest_start, nothing of the
 * journal has gone since the run before. Freed before ingest_free. */
struct ingest_follower;
enum base_status ingest_follower_new(struct ingest *ingest, const char *name,
                                     uint64_t position,
                                     struct ingest_follower **follower,
                                     struct base_error *error) BASE_MUST_CHECK;
void ingest_follower_free(struct ingest_follower *follower); /* takes NULL */
/* Its batches, for one thread at a time. BASE_STOPPED once it is detached. */
struct learner_source ingest_follower_source(struct ingest_follower *follower);
/* As ingest_trim. Any thread. */
void ingest_follower_trim(struct ingest_follower *follower, uint64_t position);
/* The journal is no longer kept for it; for good. Any thread. */
void ingest_follower_detach(struct ingest_follower *follower);
bool ingest_follower_detached(const struct ingest_follower *follower);
/* First position from which a model that has read nothing can start: 0 while
 * the journal is whole, else its first batch end. BASE_AGAIN where it holds
 * none. Any thread. */
enum base_status ingest_follower_begin(struct ingest *ingest,
                                       uint64_t *position,
                                       struct base_error *error)
    BASE_MUST_CHECK;
/* Epoch kept in the state, and messages to the store thread: a version was
 * committed (its outbox row is written, then announced on Kafka, exactly one
 * announcement a version as seen by a reader that ignores older ones). */
uint64_t ingest_epoch(struct ingest *ingest);
struct ingest_announcement {
    char model_name[64];
    uint64_t epoch, version;
    char folder_name[64];
    char manifest_hash[33];
    uint64_t position;
    int64_t newest_event_ms, created_ms;
};
void ingest_announce(struct ingest *ingest,
                     const struct ingest_announcement *announcement);
/* Source offsets as a JSON object {"topic/partition": next}; snprintf-like. */
size_t ingest_offsets_json(struct ingest *ingest, char *text, size_t size);

/* ---- forget (STATE g) ------------------------------------------------------
 *
 * The user whose id the producers write as `name`, with the rows of that id;
 * or the one whose id interestd prints as these 16 hex digits. BASE_USAGE where
 * a row of the id cannot be told from them. Any thread. */
enum base_status ingest_forget_name(const struct ingest_config *config,
                                    const char *name,
                                    struct learner_forget *forget,
                                    struct base_error *error) BASE_MUST_CHECK;
enum base_status ingest_forget_id(const struct ingest_config *config,
                                  const char *digits,
                                  struct learner_forget *forget,
                                  struct base_error *error) BASE_MUST_CHECK;
/* A message to the store thread: state, decisions and journal forget them in
 * one transaction; what is left of the journal, checkpoints and versions is
 * the caller's, until ingest_forget_done(). Returns the request's number,
 * which ingest_status.forget.serial reaches, unless this process is killed
 * first: then the request is lost. Any thread. */
uint64_t ingest_forget(struct ingest *ingest,
                       const struct learner_forget *forgets, unsigned count,
                       bool purge);
/* The journal moves on by one position, so that a checkpoint there is another
 * one. Any thread. */
void ingest_forget_mark(struct ingest *ingest);
void ingest_forget_done(struct ingest *ingest, uint64_t serial);
/* Whether a request is not done. Any thread; costs nothing. */
bool ingest_forget_open(const struct ingest *ingest);
/* The same on the state of a daemon that does not run: all but what only a
 * running one can do, which it then does. *status tells what was done.
 * BASE_UNAVAILABLE where a daemon has the state. */
enum base_status ingest_forget_offline(const struct ingest_config *config,
                                       const struct learner_forget *forgets,
                                       unsigned count, bool purge,
                                       struct ingest_forget_status *status,
                                       struct base_error *error)
    BASE_MUST_CHECK;

/* ---- resume: a partition that stopped for cause goes on -------------------
 *
 * Works on the state of a daemon that does not run; asks the brokers where the
 * logs begin and end and whether they are still those that were read. What is
 * done to each partition asked for:
 *
 * the log is the one that was read (its anchor is there, or has left it):
 *   earliest  nothing, or where the log begins now if that is further on
 *   latest    the log's end
 *   an offset from where we stand up to the log's end
 *   What is passed over counts in bucket `lost`.
 * the log is another one (another record at the anchor, an end before our
 * place, another cluster and no such anchor there):
 *   The partition's ledger begins again at the log's begin: start and next are
 *   the new log's, what was consumed before stays in the buckets and in
 *   `before`. earliest, latest or any offset of the new log is where it goes
 *   on; what lies before that counts in `lost`. A log that was cut short looks
 *   the same: earliest would read what is left of it a second time.
 *
 * Each move is a decision "skipped" in the transaction that makes it; pending
 * impressions and waiting clicks of the partition number leave as in a stop.
 * Event time of the partition number goes on from where it was. */
enum ingest_resume_from { INGEST_EARLIEST, INGEST_LATEST, INGEST_OFFSET };
struct ingest_resume {
    int32_t partition; /* -1: all */
    int topic;         /* enum ingest_topic; -1: both */
    enum ingest_resume_from from;
    int64_t offset; /* of INGEST_OFFSET */
    bool accept_cluster;
    bool yes; /* else nothing is changed */
};
/* Prints what is done and what is lost. BASE_UNAVAILABLE where a daemon has
 * the state, or no broker answers; BASE_USAGE where an offset would be read
 * twice or lies outside; BASE_CONFIG where cluster or partitions differ;
 * BASE_NO_INPUT without a state. Any thread. */
enum base_status ingest_resume(const struct ingest_config *config,
                               const struct ingest_resume *asked, FILE *out,
                               struct base_error *error) BASE_MUST_CHECK;

/* ---- inspect: what the state holds, as JSON lines for audits and tests ----
 *
 * Opens the store read-only, beside a running daemon or without one. A view
 * that is printed within a second is of one commit; a longer walk goes on in
 * newer commits, each entry as of one of them, so that it never keeps the
 * daemon's freed pages for long. Lines have no blanks, fields have this order, numbers are
 * decimal, ids, users and hashes are hex digits in strings (null: a place of a
 * multi-hot field that is not used):
 *
 * ledger, by topic (impressions first), then partition; only buckets and
 * reasons that are not 0, in the order of reason.h:
 *   {"topic":"impressions","partition":0,"start":0,"next":10,
 *    "buckets":{"positive":1,"negative":9}}
 *   with "before":5 after "next" where offsets of a former log are among them
 *   {"reasons":{"truncated":2}}
 *   {"totals":{"positive":1,"negative":9}}
 * sequences, ascending by user; behaviors oldest first:
 *   {"user":"00000000000000ff","partition":0,"next_ordinal":3,
 *    "behaviors":[[1700000000000,0,["%016x",...]],...]}
 * samples: the journal in its order; history oldest first, always whole:
 *   {"position":0,"user":"%016x","event_ms":1,"label":0,"kind":"window",
 *    "ids":["%016x",...],"history":[["%016x",...],...]}
 *   {"final":12,"label":1}
 *   {"forget":"%016x","rows":[[3,"%016x"],...]}
 *   {"batch_end":128}
 * A forget takes a position too; its rows are [table, key], user 0 is nobody.
 * with kind "window", "fnw_negative" or "fnw_positive".
 * waiting, impressions first, each in the order of application:
 *   {"topic":"impressions","partition":0,"offset":7,"id":"%016x",
 *    "user":"%016x","event_ms":1,"due_ms":2,"clicked":false}
 * decisions:
 *   {"topic":"clicks","partition":0,"offset":7,"kind":"floored+clamped",
 *    "own_ms":1,"apply_ms":2}
 * ("floored", "clamped", both, "ahead", "unregistered", "floored+ahead",
 * "floored+unregistered"),
 * where a stop ("stopped"), a hand-over to
 * another member of the group ("revoked"), a forget ("forget": user, rows), a resume
 * ("skipped", with what is lost) and a changed configuration or cluster
 * ("configuration") add "text". Stops, hand-overs and skips also say behind
 * which record they came, of which own_ms and apply_ms are:
 * "behind":"clicks/0@6"; without it they came before the first record of these
 * times.
 * dead letters:
 *   {"reason":"wire","topic":"clicks","partition":0,"offset":7,
 *    "kafka_ms":-1,"size":3,"bytes":"00ff7a"}
 * with "size" of the record's value and the bytes of it that were kept.
 * meta, one line:
 *   {"format":1,"events":1,"commits":1,"next_position":128,"batch_end":128,
 *    "journal_begin":0,"chain":"<32 hex digits, high half first>",
 *    "cluster":"","epoch":0}
 * fields, as configured when the state was last opened; a place of a
 * multi-hot field is a field, of which the first has "values":
 *   {"field":2,"name":"age","group":"profile","table":"age","path":"age",
 *    "transform":"bucket 18 25"}
 *   {"field":3,"name":"genres","group":"item","table":"genres",
 *    "path":"genres","values":6}
 *   {"field":4,"name":"genres.2",...,"path":"genres","continues":true}
 *
 * A value that does not verify is BASE_CORRUPT with its place; the lines
 * before it are printed. BASE_NO_INPUT where there is no state.
 * Any thread, but not in a process that has the state open.
 *
 * what, name */
#define INGEST_INSPECT_LIST(X)                 \
    X(INGEST_INSPECT_LEDGER, "ledger")         \
    X(INGEST_INSPECT_SEQUENCES, "sequences")   \
    X(INGEST_INSPECT_SAMPLES, "samples")       \
    X(INGEST_INSPECT_WAITING, "waiting")       \
    X(INGEST_INSPECT_DECISIONS, "decisions")   \
    X(INGEST_INSPECT_DEAD_LETTERS, "dead-letters") \
    X(INGEST_INSPECT_META, "meta")             \
    X(INGEST_INSPECT_FIELDS, "fields")

enum ingest_inspect {
#define X(code, name) code,
    INGEST_INSPECT_LIST(X)
#undef X
    INGEST_INSPECT_COUNT
};

/* Prints `what` of the store in `folder` (ingest_config.folder). */
enum base_status ingest_inspect(const char *folder, enum ingest_inspect what,
                                FILE *out,
                                struct base_error *error) BASE_MUST_CHECK;
/* The sequence of one user, given as the producers write its id or as the 16
 * hex digits that stand for it: a line for each behavior with its time (UTC),
 * ordinal and ids, or with `json` one line as `sequences` has them, with
 * "dropped" (pushed out by newer ones) and "crossed" (seen in two partitions).
 * BASE_NO_USER where there is none. Any thread, as above. */
enum base_status ingest_inspect_sequence(const char *folder, const char *name,
                                         bool json, FILE *out,
                                         struct base_error *error)
    BASE_MUST_CHECK;
const char *ingest_inspect_name(enum ingest_inspect what);
/* INGEST_INSPECT_COUNT where `name` is none of the list. */
enum ingest_inspect ingest_inspect_named(const char *name);

/* ---- survey and copy: for fsck and backups --------------------------------
 *
 * Open the store read-only, as inspect. Any thread, but not in a process that
 * has the state open. */
struct ingest_survey {
    uint64_t events, commits, epoch, decisions;
    uint64_t journal_begin; /* oldest kept position */
    uint64_t batch_end, journal_end;
    uint64_t announced_epoch, announced_version; /* newest row of the outbox;
                                                    0: none */
    uint64_t used_bytes, sequences_bytes; /* of the file; of its pages */
    uint64_t reader_slots, reader_lag_commits; /* without this one */
};
/* BASE_CORRUPT where decisions or outbox contradict the record of totals. */
enum base_status ingest_survey(const char *folder,
                               struct ingest_survey *survey,
                               struct base_error *error) BASE_MUST_CHECK;
/* The journal's running hash at the batch end `position`, as
 * learner_batch.journal_hash. BASE_DATA where the journal does not reach back
 * so far or has no batch end there. */
enum base_status ingest_survey_hash(const char *folder, uint64_t position,
                                    uint64_t hash[2],
                                    struct base_error *error) BASE_MUST_CHECK;
/* Copies the newest commit into the empty folder `to`, durable; `compact`
 * leaves free pages out. While it copies, the daemon's file grows by what the
 * daemon writes. */
enum base_status ingest_backup(const char *folder, const char *to,
                               bool compact,
                               struct base_error *error) BASE_MUST_CHECK;
/* Whether the file is a usable schema of the registry's; the text says why
 * not. */
enum base_status ingest_survey_schema(const char *path,
                                      struct base_error *error)
    BASE_MUST_CHECK;

/* The committed journal, for reading only; not in a process that has the state
 * open. One thread. */
struct ingest_reading;
enum base_status ingest_reading_open(const char *folder,
                                     struct ingest_reading **reading,
                                     struct base_error *error) BASE_MUST_CHECK;
/* As learner_source.next; BASE_DATA where the journal does not reach back to
 * `position` any more, BASE_AGAIN behind what was committed at open. */
enum base_status ingest_reading_next(struct ingest_reading *reading,
                                     uint64_t position, int timeout_ms,
                                     struct learner_batch *batch,
                                     struct base_error *error) BASE_MUST_CHECK;
void ingest_reading_free(struct ingest_reading *reading);

#endif
