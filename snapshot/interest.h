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
    int64_t created_ms;       /* wall clock of the publication */
    char name[64];            /* folder name of the version */
};

/* Opens the version that CURRENT names in `folder`: verifies sizes and hashes
 * of every file, parses nothing before that, recomputes the manifest's golden
 * requests, then serves. *model is the caller's, to be closed. */
INTEREST_API int interest_open(const char *folder,
                               struct interest_model **model,
                               struct interest_error *error);
INTEREST_API void interest_close(struct interest_model *model);

/* Looks at CURRENT and, where it names a newer (epoch, version), loads,
 * verifies and swaps it in. *changed (may be NULL) says so. One thread at a
 * time calls it (poll, or when the descriptor below is readable). Scoring
 * threads go on meanwhile. On an error the served version stays: also where
 * CURRENT names an older version, or the served one with another hash
 * (INTEREST_CORRUPT). Try again later; a shared file system may lag. */
INTEREST_API int interest_refresh(struct interest_model *model, int *changed,
                                  struct interest_error *error);

/* An inotify descriptor that becomes readable when CURRENT moves; -1 where
 * not available. BORROWED: do not close it. interest_refresh drains it. */
INTEREST_API int interest_descriptor(const struct interest_model *model);

INTEREST_API void interest_get_version(const struct interest_model *model,
                                       struct interest_version *version);

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

#ifdef __cplusplus
}
#endif
#endif
