/* SPDX-License-Identifier: Apache-2.0 */
/* libinterest: the ranker's library. Opens a published model, follows newer
 * versions and scores candidates. Needs no Kafka; installed as <interest.h>.
 *
 * Threads: an `interest_model` may be shared by all threads; an
 * `interest_scorer` belongs to one thread at a time. One scoring call sees one
 * version from start to end. After warm-up a call does not allocate.
 * Errors: functions return 0 or a positive interest_status and, where `error`
 * is given, a text that says what is wrong, where, and what to do. The model
 * that is current stays current on any error. */
#ifndef INTEREST_H
#define INTEREST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define INTEREST_API __attribute__((visibility("default")))

enum interest_status {
    INTEREST_OK = 0,
    INTEREST_NO_MODEL,  /* nothing published there yet; try again */
    INTEREST_CORRUPT,   /* does not verify; not loaded */
    INTEREST_ARGUMENT,  /* the call or request is wrong */
    INTEREST_LIMIT,     /* more candidates or behaviors than asked for */
    INTEREST_SYSTEM,    /* memory, descriptors, reading files */
    INTEREST_FORMAT     /* a newer or foreign format version */
};

struct interest_error {
    enum interest_status status;
    char text[1000];
};

struct interest_model;  /* a followed model folder */
struct interest_scorer; /* one thread's scratch */

struct interest_version {
    uint64_t epoch, version;
    uint64_t position;        /* journal position of the weights */
    int64_t newest_event_ms;  /* newest trained event */
    int64_t cut_ms;           /* wall clock when they were cut; 0: not said */
    int64_t created_ms;       /* wall clock of the publication */
    int64_t served_ms;        /* wall clock since when this process has it:
                                 less newest_event_ms it is the freshness */
    uint64_t generation;      /* 1 of the first one served here, then + 1 */
    uint32_t history_max;     /* the newest so many behaviors count; 0: all */
    char name[64];            /* folder name of the version */
};

/* How the model is doing, for export. Counts since interest_open. */
struct interest_state {
    struct interest_version version; /* as interest_get_version */
    uint64_t bytes;         /* weights in memory, of the served version */
    uint64_t waiting;       /* older versions not yet freed */
    uint64_t bases, deltas; /* loaded and applied */
    uint64_t resyncs;       /* of the bases: after the first one */
    uint64_t errors;        /* refreshes that failed */
    uint64_t errors_in_row; /* of these, since the last that did not */
    struct interest_error error; /* of the last that failed: why the version
                                    stayed; INTEREST_OK: none has */
    int64_t error_ms;            /* its wall clock */
    uint64_t announcements;      /* of this model, taken by interest_announce */
    uint64_t lost_announcements; /* named what did not appear in a minute */
    int64_t announced_ms;        /* wall clock of the last, heartbeats too */
};

/* Opens the version that CURRENT names in `folder`: walks back to the newest
 * base, verifies sizes and hashes of every file and of every delta after it,
 * parses nothing before that, recomputes the manifests' golden requests, then
 * serves. Files are copied into memory, none stays open. Memory: about 12
 * bytes a row more than its values, and while loading one table's file.
 * *model is the caller's, to be closed. */
INTEREST_API int interest_open(const char *folder,
                               struct interest_model **model,
                               struct interest_error *error);
/* All scorers are closed before. Ends following. */
INTEREST_API void interest_close(struct interest_model *model);

/* Looks at CURRENT (and at what was announced) and, where it names a newer
 * (epoch, version), loads, verifies and swaps it in: the deltas from the
 * served version on, sharing in memory what they do not touch, or, where they
 * do not lead there (a gap, a new chain), a base again. *changed (may be NULL)
 * says so. Any thread; two at a time wait for one another. Scoring threads go
 * on meanwhile. On an error the served version stays: also where CURRENT names
 * an older version, or the served one with another hash (INTEREST_CORRUPT).
 * INTEREST_NO_MODEL: announced, but not there yet. Try again later; a shared
 * file system may lag. */
INTEREST_API int interest_refresh(struct interest_model *model, int *changed,
                                  struct interest_error *error);

/* An inotify descriptor that becomes readable when CURRENT moves; -1 where
 * not available. BORROWED: do not close it. interest_refresh drains it. */
INTEREST_API int interest_descriptor(const struct interest_model *model);

/* How to follow. The functions (may be NULL) are called by the following
 * thread, between two loads; they must not close the model. */
struct interest_following {
    int poll_ms; /* look at least so often, where inotify sees nothing (network
                    file systems); 0: 1000 */
    void (*changed)(void *self, const struct interest_version *version);
    void (*failed)(void *self, const struct interest_error *error);
    void *self;
};

/* Starts a thread that refreshes when CURRENT moves, when an announcement was
 * handed in, and every poll_ms; after a failure it tries again after 20 ms,
 * then ever more seldom, up to 30 s. It loads, frees and swaps, so that no
 * scoring thread ever does. `how` may be NULL. */
INTEREST_API int interest_follow(struct interest_model *model,
                                 const struct interest_following *how,
                                 struct interest_error *error);

/* An announcement as it lies in Kafka (plain Avro, schemas/announcement.avsc):
 * of this model and newer than what is served, it is loaded at the next
 * refresh, at once where a thread follows, even before CURRENT is seen to
 * move. What is older, a heartbeat or of another model is counted or ignored.
 * INTEREST_ARGUMENT: no announcement. Any thread. */
INTEREST_API int interest_announce(struct interest_model *model,
                                   const void *bytes, size_t size,
                                   struct interest_error *error);

INTEREST_API void interest_get_version(const struct interest_model *model,
                                       struct interest_version *version);
INTEREST_API void interest_get_state(const struct interest_model *model,
                                     struct interest_state *state);

/* Feature fields of the model, in the order in which ids are given below: a
 * model may use a part of the stream's features only. `group` is 0 profile, 1
 * item, 2 context. NULL past the end of that group. BORROWS until
 * interest_close. The answers never change: a version with other fields is
 * refused by interest_refresh (INTEREST_FORMAT), since requests in the making
 * would not fit; close and open again. */
INTEREST_API const char *interest_field(const struct interest_model *model,
                                        int group, unsigned index);
INTEREST_API unsigned interest_field_count(const struct interest_model *model,
                                           int group);

/* A feature of several values (genres) takes a run of fields: `places` of the
 * first is the length of the run, of those that continue it 0; of any other
 * field 1. Its values' ids stand in any order in the run, INTEREST_ABSENT in
 * places that are not used; all of them absent: unknown. */
#define INTEREST_ABSENT UINT64_MAX
INTEREST_API unsigned interest_field_places(const struct interest_model *model,
                                            int group, unsigned index);

/* What training makes a field's id of. */
enum interest_transform {
    INTEREST_VALUE,   /* of the value: interest_id */
    INTEREST_HOUR,    /* of a time, UTC hour of the day: interest_time_id */
    INTEREST_WEEKDAY, /* of a time, UTC day of the week: interest_time_id */
    INTEREST_BUCKET   /* of a number's bucket: interest_bucket_id */
};
INTEREST_API enum interest_transform
interest_field_transform(const struct interest_model *model, int group,
                         unsigned index);

/* Id of a feature value of field (group, index): a string's UTF-8 bytes, or
 * the decimal digits of an integer (42 and "42" are the same). 0: unknown. */
INTEREST_API uint64_t interest_id(const struct interest_model *model, int group,
                                  unsigned index, const char *value,
                                  size_t size);

/* Id of a field that training derives from an event's time: what it has at
 * time_ms, milliseconds since 1970. 0 for a field that is no such thing. */
INTEREST_API uint64_t interest_time_id(const struct interest_model *model,
                                       int group, unsigned index,
                                       int64_t time_ms);

/* Id of a field that training derives from a number by its bounds (age). 0 for
 * a field that is no such thing, and where `value` is not a number. */
INTEREST_API uint64_t interest_bucket_id(const struct interest_model *model,
                                         int group, unsigned index,
                                         double value);

struct interest_request {
    const uint64_t *profile; /* (profile fields) ids; 0: unknown */
    const uint64_t *history; /* (history_size, item fields) oldest first */
    size_t history_size;
    const uint64_t *items;   /* (candidates, item fields) */
    size_t candidates;
    const uint64_t *context; /* (context fields) */
};

/* Scratch for requests up to these sizes. To be closed before the model. */
INTEREST_API int interest_scorer_open(const struct interest_model *model,
                                      size_t history_max, size_t candidates_max,
                                      struct interest_scorer **scorer,
                                      struct interest_error *error);
INTEREST_API void interest_scorer_close(struct interest_scorer *scorer);

/* probability (candidates): p(click), corrected where only a share of the
 * negatives was trained. Of the history the newest behaviors are used, as many
 * as training used. attention (candidates, history_size) or NULL: the weight
 * of each behavior, 0 where it was not used, and of a model without attention
 * (lr, base, wide_deep, pnn, deepfm). Where the model's Dice takes the
 * statistics of a batch (dice_statistics), the batch is the request: its
 * candidates' scores depend on each other. version (may be NULL) says which
 * version scored. */
INTEREST_API int interest_score(struct interest_scorer *scorer,
                                const struct interest_request *request,
                                float *probability, float *attention,
                                struct interest_version *version,
                                struct interest_error *error);

/* Several users in one call: probability has the candidates' of the first
 * request, then those of the second, .. ; one version scored all of them. The
 * error says which request it was. */
INTEREST_API int interest_score_users(struct interest_scorer *scorer,
                                      const struct interest_request *requests,
                                      size_t count, float *probability,
                                      struct interest_version *version,
                                      struct interest_error *error);

/* Why a score is what it is: probability and attention (may be NULL) as
 * interest_score; without (candidates, history_size): bit for bit the score
 * that the candidate gets in a request that never had that behavior. (Where
 * the history is longer than history_max an older one takes its place; leaving
 * out one that does not count changes nothing.) One version, history_size + 1
 * times the work. */
INTEREST_API int interest_explain(struct interest_scorer *scorer,
                                  const struct interest_request *request,
                                  float *probability, float *attention,
                                  float *without,
                                  struct interest_version *version,
                                  struct interest_error *error);

/* To be logged with a score, for the daemon to compare with the history that
 * training saw: the hash and *length (may be NULL) of the behaviors that
 * counted, `version` being what interest_score gave. XXH3-64 without seed over
 * their ids, each 8 bytes, little-endian, oldest first; of none: 0. */
INTEREST_API uint64_t interest_history_hash(
    const struct interest_model *model, const struct interest_request *request,
    const struct interest_version *version, size_t *length);

#ifdef __cplusplus
}
#endif
#endif
