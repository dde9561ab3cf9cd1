/* SPDX-License-Identifier: Apache-2.0 */
/* The watch; see watch.h. `phase` says whose the question is: IDLE and
 * ANSWERED the caller's, ASKED the helper's; it changes under the mutex. */
#include "ingest/watch.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ingest/damage.h"
#include "ingest/topics.h"

enum phase { IDLE, ASKED, ANSWERED };

struct ingest_watch {
    struct ingest_watch_config wiring;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t asked;
    enum phase phase;
    bool ended;
    atomic_bool stopping;
    struct ingest_watch_answer answer;
    int64_t from; /* of a damage */
    /* By place in the question. */
    struct ingest_position *positions;
    unsigned *slots, *places; /* places: 0, 1, .. */
    enum ingest_anchor *anchors;
    int64_t *stable, *ends, *begins;
};

static enum base_status look(struct ingest_watch *watch,
                             struct base_error *error)
{
    const struct ingest_watch_config *wiring = &watch->wiring;
    unsigned count = watch->answer.count;
    if (ingest_topics_counts(wiring->helper, wiring->config,
                             watch->answer.partitions, error) ||
        ingest_anchor_check(wiring->helper, wiring->config, watch->positions,
                            count, INGEST_ANSWER_MS, &watch->stopping,
                            watch->anchors, error) ||
        ingest_kafka_offsets(wiring->helper, wiring->config, watch->positions,
                             watch->places, count, RD_KAFKA_OFFSET_END,
                             INGEST_ANSWER_MS, watch->ends, error) ||
        ingest_kafka_offsets(wiring->helper, wiring->config, watch->positions,
                             watch->places, count, RD_KAFKA_OFFSET_BEGINNING,
                             INGEST_ANSWER_MS, watch->begins, error))
        return error->status;
    return ingest_kafka_offsets(wiring->consumer, wiring->config,
                                watch->positions, watch->places, count,
                                RD_KAFKA_OFFSET_END, INGEST_ANSWER_MS,
                                watch->stable, error);
}

static void answer(struct ingest_watch *watch)
{
    struct ingest_watch_answer *answer = &watch->answer;
    answer->error = (struct base_error){.text = ""};
    answer->status =
        answer->damage
            ? ingest_damage_find_end(watch->wiring.helper,
                                     watch->wiring.config, watch->positions,
                                     watch->from, &watch->stopping,
                                     &answer->damage_end, &answer->error)
            : look(watch, &answer->error);
}

static void *run(void *argument)
{
    struct ingest_watch *watch = argument;
    pthread_mutex_lock(&watch->mutex);
    while (!watch->ended) {
        if (watch->phase != ASKED) {
            pthread_cond_wait(&watch->asked, &watch->mutex);
            continue;
        }
        pthread_mutex_unlock(&watch->mutex);
        answer(watch);
        pthread_mutex_lock(&watch->mutex);
        watch->phase = ANSWERED;
        uint64_t one = 1;
        if (write(watch->wiring.event_fd, &one, sizeof one) < 0)
            continue; /* full counter: the reader is awake anyway */
    }
    pthread_mutex_unlock(&watch->mutex);
    return NULL;
}

static void release(struct ingest_watch *watch)
{
    free(watch->positions);
    free(watch->slots);
    free(watch->places);
    free(watch->anchors);
    free(watch->stable);
    free(watch->ends);
    free(watch->begins);
    free(watch);
}

enum base_status ingest_watch_new(const struct ingest_watch_config *config,
                                  struct ingest_watch **watch,
                                  struct base_error *error)
{
    struct ingest_watch *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "watch: no memory");
    unsigned slots = config->slots + 1;
    made->wiring = *config;
    made->positions = calloc(slots, sizeof *made->positions);
    made->slots = calloc(slots, sizeof *made->slots);
    made->places = calloc(slots, sizeof *made->places);
    made->anchors = calloc(slots, sizeof *made->anchors);
    made->stable = calloc(slots, sizeof *made->stable);
    made->ends = calloc(slots, sizeof *made->ends);
    made->begins = calloc(slots, sizeof *made->begins);
    if (!made->positions || !made->slots || !made->places || !made->anchors ||
        !made->stable || !made->ends || !made->begins) {
        release(made);
        return base_fail(error, BASE_SYSTEM, "watch: no memory");
    }
    for (unsigned i = 0; i < slots; i++)
        made->places[i] = i;
    pthread_mutex_init(&made->mutex, NULL);
    pthread_cond_init(&made->asked, NULL);
    int code = pthread_create(&made->thread, NULL, run, made);
    if (code) {
        pthread_cond_destroy(&made->asked);
        pthread_mutex_destroy(&made->mutex);
        release(made);
        return base_fail_errno(error, code, "watch: thread");
    }
    *watch = made;
    return BASE_OK;
}

void ingest_watch_free(struct ingest_watch *watch)
{
    if (!watch)
        return;
    atomic_store(&watch->stopping, true);
    pthread_mutex_lock(&watch->mutex);
    watch->ended = true;
    pthread_cond_signal(&watch->asked);
    pthread_mutex_unlock(&watch->mutex);
    pthread_join(watch->thread, NULL);
    pthread_mutex_destroy(&watch->mutex);
    pthread_cond_destroy(&watch->asked);
    release(watch);
}

static bool begin(struct ingest_watch *watch)
{
    pthread_mutex_lock(&watch->mutex);
    bool idle = watch->phase == IDLE;
    pthread_mutex_unlock(&watch->mutex);
    return idle;
}

static void pass(struct ingest_watch *watch)
{
    pthread_mutex_lock(&watch->mutex);
    watch->phase = ASKED;
    pthread_cond_signal(&watch->asked);
    pthread_mutex_unlock(&watch->mutex);
}

bool ingest_watch_ask(struct ingest_watch *watch, uint64_t mark,
                      const struct ingest_position *positions,
                      const unsigned *slots, unsigned count)
{
    if (!begin(watch))
        return false;
    for (unsigned k = 0; k < count; k++) {
        watch->slots[k] = slots[k];
        watch->positions[k] = positions[slots[k]];
    }
    watch->answer =
        (struct ingest_watch_answer){.mark = mark, .count = count};
    pass(watch);
    return true;
}

bool ingest_watch_ask_damage(struct ingest_watch *watch,
                             const struct ingest_position *position,
                             unsigned slot, int64_t from)
{
    if (!begin(watch))
        return false;
    watch->slots[0] = slot;
    watch->positions[0] = *position;
    watch->from = from;
    watch->answer = (struct ingest_watch_answer){.damage = true, .count = 1};
    pass(watch);
    return true;
}

bool ingest_watch_busy(struct ingest_watch *watch)
{
    pthread_mutex_lock(&watch->mutex);
    bool busy = watch->phase == ASKED;
    pthread_mutex_unlock(&watch->mutex);
    return busy;
}

bool ingest_watch_answered(struct ingest_watch *watch,
                           struct ingest_watch_answer *answer)
{
    pthread_mutex_lock(&watch->mutex);
    bool there = watch->phase == ANSWERED;
    pthread_mutex_unlock(&watch->mutex);
    if (!there)
        return false;
    *answer = watch->answer;
    answer->slots = watch->slots;
    answer->positions = watch->positions;
    answer->anchors = watch->anchors;
    answer->stable = watch->stable;
    answer->ends = watch->ends;
    answer->begins = watch->begins;
    return true;
}

void ingest_watch_done(struct ingest_watch *watch)
{
    pthread_mutex_lock(&watch->mutex);
    watch->phase = IDLE;
    pthread_mutex_unlock(&watch->mutex);
}
