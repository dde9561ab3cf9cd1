/* SPDX-License-Identifier: Apache-2.0 */
/* True ends; see ends.h. `phase` says whose the question is: IDLE and ANSWERED
 * the caller's, ASKED the helper's; it changes under the mutex. */
#include "ingest/ends.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

enum { TIMEOUT_MS = 6000 };

enum phase { IDLE, ASKED, ANSWERED };

struct ingest_ends {
    rd_kafka_t *handle;
    const struct ingest_config *config;
    const struct ingest_position *positions;
    int event_fd;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t asked;
    enum phase phase;
    bool stopping;
    unsigned *slots, count;
    int64_t *ends;
    int64_t asked_ms;
    enum base_status status;
    struct base_error error;
};

static void answer(struct ingest_ends *ends)
{
    ends->asked_ms = base_monotonic_ms();
    ends->status = ingest_kafka_offsets(
        ends->handle, ends->config, ends->positions, ends->slots, ends->count,
        RD_KAFKA_OFFSET_END, TIMEOUT_MS, ends->ends, &ends->error);
}

static void *run(void *argument)
{
    struct ingest_ends *ends = argument;
    pthread_mutex_lock(&ends->mutex);
    while (!ends->stopping) {
        if (ends->phase != ASKED) {
            pthread_cond_wait(&ends->asked, &ends->mutex);
            continue;
        }
        pthread_mutex_unlock(&ends->mutex);
        answer(ends);
        pthread_mutex_lock(&ends->mutex);
        ends->phase = ANSWERED;
        uint64_t one = 1;
        if (write(ends->event_fd, &one, sizeof one) < 0)
            continue; /* full counter: the reader is awake anyway */
    }
    pthread_mutex_unlock(&ends->mutex);
    return NULL;
}

enum base_status ingest_ends_new(rd_kafka_t *handle,
                                 const struct ingest_config *config,
                                 const struct ingest_position *positions,
                                 unsigned slots, int event_fd,
                                 struct ingest_ends **ends,
                                 struct base_error *error)
{
    struct ingest_ends *made = calloc(1, sizeof *made);
    unsigned *list = calloc(slots + 1, sizeof *list);
    int64_t *offsets = calloc(slots + 1, sizeof *offsets);
    if (!made || !list || !offsets)
        goto no_memory;
    *made = (struct ingest_ends){.handle = handle, .config = config,
                                 .positions = positions, .slots = list,
                                 .event_fd = event_fd, .ends = offsets};
    pthread_mutex_init(&made->mutex, NULL);
    pthread_cond_init(&made->asked, NULL);
    if (pthread_create(&made->thread, NULL, run, made))
        goto no_memory;
    *ends = made;
    return BASE_OK;

no_memory:
    free(made);
    free(list);
    free(offsets);
    return base_fail(error, BASE_SYSTEM, "ends: no memory or thread");
}

void ingest_ends_free(struct ingest_ends *ends)
{
    if (!ends)
        return;
    pthread_mutex_lock(&ends->mutex);
    ends->stopping = true;
    pthread_cond_signal(&ends->asked);
    pthread_mutex_unlock(&ends->mutex);
    pthread_join(ends->thread, NULL);
    pthread_mutex_destroy(&ends->mutex);
    pthread_cond_destroy(&ends->asked);
    free(ends->slots);
    free(ends->ends);
    free(ends);
}

bool ingest_ends_ask(struct ingest_ends *ends, const unsigned *slots,
                     unsigned count)
{
    pthread_mutex_lock(&ends->mutex);
    bool idle = ends->phase == IDLE;
    if (idle) {
        memcpy(ends->slots, slots, count * sizeof *slots);
        ends->count = count;
        ends->phase = ASKED;
        pthread_cond_signal(&ends->asked);
    }
    pthread_mutex_unlock(&ends->mutex);
    return idle;
}

bool ingest_ends_answered(struct ingest_ends *ends,
                          struct ingest_ends_answer *out)
{
    pthread_mutex_lock(&ends->mutex);
    bool there = ends->phase == ANSWERED;
    pthread_mutex_unlock(&ends->mutex);
    if (there)
        *out = (struct ingest_ends_answer){
            .slots = ends->slots, .ends = ends->ends, .count = ends->count,
            .asked_ms = ends->asked_ms, .status = ends->status,
            .error = ends->error};
    return there;
}

void ingest_ends_done(struct ingest_ends *ends)
{
    pthread_mutex_lock(&ends->mutex);
    ends->phase = IDLE;
    pthread_mutex_unlock(&ends->mutex);
}
