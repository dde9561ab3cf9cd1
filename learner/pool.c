/* SPDX-License-Identifier: Apache-2.0 */
/* Phases of a step on several threads; see pool.h.
 *
 * `ticket` holds (phase, jobs, next) in one word. A thread takes job `next` by
 * counting the word up with compare-and-swap.
 *
 * Invariants:
 * 1. A phase begins only when all jobs of the one before are done; so job and
 *    self, read after a job was taken, belong to that job's phase, and a
 *    worker that wakes late finds an exhausted ticket or the newest phase.
 * 2. `done` counts jobs of the running phase; nobody counts who took none. */
#include "learner/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

enum { SPINS = 4000, JOBS_MAX = 0xffff };

struct learner_pool {
    unsigned workers; /* without the caller */
    pthread_t *threads;
    pthread_mutex_t lock;
    pthread_cond_t begin, end;
    _Atomic uint64_t ticket; /* phase << 32 | jobs << 16 | next */
    atomic_uint done;
    atomic_bool stop;
    learner_pool_job *job;
    void *self;
};

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static unsigned jobs_of(uint64_t ticket)
{
    return (unsigned)(ticket >> 16) & JOBS_MAX;
}

static unsigned next_of(uint64_t ticket)
{
    return (unsigned)ticket & JOBS_MAX;
}

static bool exhausted(struct learner_pool *pool)
{
    uint64_t ticket = atomic_load(&pool->ticket);
    return next_of(ticket) >= jobs_of(ticket);
}

static void take_jobs(struct learner_pool *pool)
{
    uint64_t ticket = atomic_load(&pool->ticket);
    while (next_of(ticket) < jobs_of(ticket)) {
        if (!atomic_compare_exchange_weak(&pool->ticket, &ticket, ticket + 1))
            continue;
        pool->job(pool->self, next_of(ticket));
        if (atomic_fetch_add(&pool->done, 1) + 1 == jobs_of(ticket)) {
            pthread_mutex_lock(&pool->lock);
            pthread_cond_signal(&pool->end);
            pthread_mutex_unlock(&pool->lock);
        }
        ticket = atomic_load(&pool->ticket);
    }
}

static void await_jobs(struct learner_pool *pool)
{
    for (int i = 0; i < SPINS; i++) {
        if (!exhausted(pool))
            return;
        relax();
    }
    pthread_mutex_lock(&pool->lock);
    while (exhausted(pool) && !atomic_load(&pool->stop))
        pthread_cond_wait(&pool->begin, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

static void *work(void *argument)
{
    struct learner_pool *pool = argument;
    while (!atomic_load(&pool->stop)) {
        await_jobs(pool);
        take_jobs(pool);
    }
    return NULL;
}

static void open_phase(struct learner_pool *pool, unsigned jobs)
{
    uint64_t phase = (atomic_load(&pool->ticket) >> 32) + 1;
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->ticket, phase << 32 | (uint64_t)jobs << 16);
    pthread_cond_broadcast(&pool->begin);
    pthread_mutex_unlock(&pool->lock);
}

void learner_pool_run(struct learner_pool *pool, learner_pool_job *job,
                      void *self, unsigned jobs)
{
    BASE_ASSERT(jobs <= JOBS_MAX);
    if (pool->workers == 0 || jobs <= 1) {
        for (unsigned i = 0; i < jobs; i++)
            job(self, i);
        return;
    }
    pool->job = job;
    pool->self = self;
    atomic_store(&pool->done, 0);
    open_phase(pool, jobs);
    take_jobs(pool);
    for (int i = 0; i < SPINS && atomic_load(&pool->done) < jobs; i++)
        relax();
    if (atomic_load(&pool->done) == jobs)
        return;
    pthread_mutex_lock(&pool->lock);
    while (atomic_load(&pool->done) < jobs)
        pthread_cond_wait(&pool->end, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

enum base_status learner_pool_new(unsigned threads, struct learner_pool **pool,
                                  struct base_error *error)
{
    *pool = NULL;
    struct learner_pool *made = calloc(1, sizeof *made);
    pthread_t *handles = calloc(threads ? threads : 1, sizeof *handles);
    if (!made || !handles) {
        free(made);
        free(handles);
        return base_fail(error, BASE_SYSTEM, "worker pool: no memory");
    }
    made->threads = handles;
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->begin, NULL);
    pthread_cond_init(&made->end, NULL);
    while (made->workers + 1 < threads) {
        int failed = pthread_create(&made->threads[made->workers], NULL, work,
                                    made);
        if (failed) {
            learner_pool_free(made);
            return base_fail_errno(error, failed, "worker pool: thread");
        }
        made->workers++;
    }
    *pool = made;
    return BASE_OK;
}

void learner_pool_free(struct learner_pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->stop, true);
    pthread_cond_broadcast(&pool->begin);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->workers; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->end);
    pthread_cond_destroy(&pool->begin);
    pthread_mutex_destroy(&pool->lock);
    free(pool->threads);
    free(pool);
}
