/* SPDX-License-Identifier: Apache-2.0 */
/* Followers of the journal; see follower.h. */
#include "ingest/follower.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "ingest/state.h"

struct ingest_follower {
    struct ingest_followers *all; /* BORROWS */
    struct ingest_journal *journal; /* OWNS; its train thread */
    char name[LEARNER_NAME_MAX];
    _Atomic uint64_t asked;     /* position it read last from */
    _Atomic uint64_t kept_from; /* it may need the journal from here on */
    atomic_bool detached;
};

void ingest_followers_init(struct ingest_followers *followers)
{
    pthread_mutex_init(&followers->mutex, NULL);
    followers->count = 0;
}

void ingest_followers_fini(struct ingest_followers *followers)
{
    pthread_mutex_destroy(&followers->mutex);
}

static enum base_status attach(struct ingest_followers *followers,
                               struct ingest_follower *follower,
                               struct base_error *error)
{
    pthread_mutex_lock(&followers->mutex);
    bool room = followers->count < INGEST_FOLLOWERS_MAX;
    if (room)
        followers->list[followers->count++] = follower;
    pthread_mutex_unlock(&followers->mutex);
    return room ? BASE_OK
                : base_fail(error, BASE_LIMIT,
                            "journal: more than %d followers",
                            INGEST_FOLLOWERS_MAX);
}

static void take_out(struct ingest_followers *followers,
                     const struct ingest_follower *follower)
{
    pthread_mutex_lock(&followers->mutex);
    for (unsigned i = 0; i < followers->count; i++) {
        if (followers->list[i] != follower)
            continue;
        followers->count--;
        memmove(followers->list + i, followers->list + i + 1,
                (followers->count - i) * sizeof *followers->list);
        break;
    }
    pthread_mutex_unlock(&followers->mutex);
}

enum base_status ingest_followers_add(struct ingest_followers *followers,
                                      struct ingest_state *state,
                                      const char *name, uint64_t position,
                                      struct ingest_follower **follower,
                                      struct base_error *error)
{
    struct ingest_follower *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "journal: no memory");
    made->all = followers;
    size_t length = strnlen(name, sizeof made->name - 1);
    memcpy(made->name, name, length);
    atomic_store(&made->asked, position);
    atomic_store(&made->kept_from, position);
    /* Its mark stands before it looks whether the journal reaches so far. */
    enum base_status status = attach(followers, made, error);
    if (!status)
        status = ingest_journal_new(state, &made->journal, error);
    if (!status)
        status = ingest_journal_seek(made->journal, position, error);
    if (status) {
        ingest_follower_free(made);
        return base_wrap(error, "model %s", name);
    }
    *follower = made;
    return BASE_OK;
}

void ingest_follower_free(struct ingest_follower *follower)
{
    if (!follower)
        return;
    take_out(follower->all, follower);
    ingest_journal_free(follower->journal);
    free(follower);
}

uint64_t ingest_followers_oldest(struct ingest_followers *followers,
                                 uint64_t mark)
{
    pthread_mutex_lock(&followers->mutex);
    for (unsigned i = 0; i < followers->count; i++) {
        struct ingest_follower *follower = followers->list[i];
        uint64_t kept_from = atomic_load(&follower->kept_from);
        if (!atomic_load(&follower->detached) && kept_from < mark)
            mark = kept_from;
    }
    pthread_mutex_unlock(&followers->mutex);
    return mark;
}

bool ingest_followers_let_go(struct ingest_followers *followers, uint64_t mark)
{
    struct ingest_follower *last = NULL;
    uint64_t behind = mark;
    pthread_mutex_lock(&followers->mutex);
    for (unsigned i = 0; i < followers->count; i++) {
        struct ingest_follower *follower = followers->list[i];
        uint64_t kept_from = atomic_load(&follower->kept_from);
        if (!atomic_load(&follower->detached) && kept_from < behind) {
            behind = kept_from;
            last = follower;
        }
    }
    if (last) {
        atomic_store(&last->detached, true);
        base_log(BASE_LOG_WARN,
                 "event=shadow_detached name=%s position=%llu kept_from=%llu "
                 "main_kept_from=%llu hint=\"it cannot keep up; the journal "
                 "is full\"",
                 last->name, (unsigned long long)atomic_load(&last->asked),
                 (unsigned long long)behind, (unsigned long long)mark);
    }
    pthread_mutex_unlock(&followers->mutex);
    return last != NULL;
}

void ingest_followers_status(struct ingest_followers *followers,
                             struct ingest_status *status)
{
    pthread_mutex_lock(&followers->mutex);
    status->follower_count = followers->count;
    for (unsigned i = 0; i < followers->count; i++) {
        struct ingest_follower *from = followers->list[i];
        struct ingest_follower_status *to = &status->followers[i];
        memcpy(to->name, from->name, sizeof to->name);
        to->position = atomic_load(&from->asked);
        to->kept_from = atomic_load(&from->kept_from);
        to->detached = atomic_load(&from->detached);
    }
    pthread_mutex_unlock(&followers->mutex);
}

static enum base_status next_batch(void *self, uint64_t position,
                                   int timeout_ms, struct learner_batch *batch,
                                   struct base_error *error)
{
    struct ingest_follower *follower = self;
    atomic_store(&follower->asked, position);
    if (atomic_load(&follower->detached))
        return base_fail(error, BASE_STOPPED,
                         "journal: model %s was detached", follower->name);
    return ingest_journal_next(follower->journal, position, timeout_ms, batch,
                               error);
}

struct learner_source ingest_follower_source(struct ingest_follower *follower)
{
    return (struct learner_source){.self = follower, .next = next_batch};
}

void ingest_follower_trim(struct ingest_follower *follower, uint64_t position)
{
    uint64_t before = atomic_load(&follower->kept_from);
    while (position > before &&
           !atomic_compare_exchange_weak(&follower->kept_from, &before,
                                         position))
        ;
}

void ingest_follower_detach(struct ingest_follower *follower)
{
    atomic_store(&follower->detached, true);
}

bool ingest_follower_detached(const struct ingest_follower *follower)
{
    return atomic_load(&follower->detached);
}
