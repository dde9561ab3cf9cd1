/* SPDX-License-Identifier: Apache-2.0 */
/* libinterest's own structs; see interest.h. How a version is swapped without
 * a stall:
 *
 *  1. `current` names the served version. A scoring call writes it into its
 *     scorer's `pinned`, then looks at `current` again and repeats where it
 *     has changed; at its end it clears `pinned`. No lock, no count.
 *  2. The refreshing thread exchanges `current` first, and only then looks at
 *     all `pinned`. So a version that is not current and in no `pinned` can
 *     never be taken up again. Such versions are freed by the refreshing
 *     thread, oldest first (snapshot/map.h): one that is pinned holds the
 *     later ones back, for one call.
 *  3. Shapes (schema, model) of all versions ever served live until close:
 *     few, small, and names and scratch point into them.
 *  4. All versions that a model serves have the same fields and transforms: a
 *     request in the making when a version is swapped fits to the next one.
 *  5. `refreshing` is held while one thread looks for a version, loads and
 *     frees; `lock` guards what is marked so and is never held while loading,
 *     freeing or scoring. Order: refreshing, lock. */
#ifndef SNAPSHOT_SERVING_H
#define SNAPSHOT_SERVING_H

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

#include "snapshot/chain.h"
#include "snapshot/generation.h"
#include "snapshot/interest.h"

/* What scratch depends on; shared by versions of equal configuration. */
struct interest_shape {
    struct interest_shape *next;
    struct learner_model *model; /* OWNS */
    uint64_t config_hash;
    struct snapshot_transform transforms[LEARNER_FIELDS_MAX]; /* of fields */
};

struct interest_served {
    struct interest_served *next; /* the one that was served after it */
    const struct interest_shape *shape;
    struct snapshot_generation generation;
    bool follows; /* the generation began from that of the one before */
    struct snapshot_current current;
    char model_name[SNAPSHOT_MODEL_NAME];
    float negative_keep;
    struct interest_version info;
};

struct interest_model {
    char folder[PATH_MAX];
    int descriptor; /* inotify, or -1 */
    _Atomic(struct interest_served *) current;
    _Atomic(const struct interest_shape *) shape; /* of current */
    pthread_mutex_t refreshing;
    struct interest_shape *shapes;  /* under refreshing */
    struct interest_served *oldest; /* under refreshing; not yet freed, up to
                                       current by `next` */
    pthread_mutex_t lock;
    struct interest_scorer *scorers;   /* under lock */
    struct interest_state state;       /* under lock */
    char model_name[SNAPSHOT_MODEL_NAME]; /* under lock */
    struct snapshot_current announced; /* under lock; version 0: none */
    struct interest_thread *thread;    /* follows; NULL: none */
};

/* ---- errors (interest.c) ------------------------------------------------- */

int interest_fail(struct interest_error *error, enum interest_status status,
                  const char *text);
/* In the words of the library. */
int interest_pass(struct interest_error *error, const struct base_error *from);

/* ---- versions (served.c); the refreshing thread's ------------------------ */

/* Loads `target`: from the served version where deltas lead there, else from a
 * base. */
enum base_status interest_served_load(struct interest_model *model,
                                      const struct snapshot_current *target,
                                      struct interest_served **served,
                                      struct base_error *error)
    BASE_MUST_CHECK;
/* `successor`: the version made after it; NULL where there is none. */
void interest_served_free(struct interest_served *served,
                          const struct interest_served *successor);
void interest_shapes_free(struct interest_shape *shapes);

/* ---- scorers (scorer.c) -------------------------------------------------- */

/* A scoring call is in this version. Under lock. */
bool interest_is_pinned(const struct interest_model *model,
                        const struct interest_served *served);

/* ---- the follower (follower.c) ------------------------------------------- */

/* Wakes it, where there is one. */
void interest_thread_wake(struct interest_model *model);
/* Ends it, where there is one. */
void interest_thread_stop(struct interest_model *model);

/* ---- announcements (announcement.c) -------------------------------------- */

/* What an announcement names. BASE_DATA: no such record. */
enum base_status interest_announcement_read(const void *bytes, size_t size,
                                            char name[SNAPSHOT_MODEL_NAME],
                                            struct snapshot_current *current,
                                            struct base_error *error)
    BASE_MUST_CHECK;

#endif
