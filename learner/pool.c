/* SPDX-License-Identifier: Apache-2.0 */
/* Phases of a step on several threads; see pool.h.
 *
 * Invariants:
 * 1. job, self and jobs change only while no worker is in a phase (busy is 0)
 *    and before `phase` counts up.
 * 2. A worker takes part in every phase exactly once; the phase ends when the
 *    last one has counted `busy` down. */
#include "learner/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

enum { SPINS = 4000 };

struct learner_pool {
    unsigned workers; /* without the caller */
    pthread_t *threads;
    pthread_mutex_t lock;
    pthread_cond_t begin, end;
    atomic_uint phase, next, busy;
    atomic_bool stop;
    learner_pool_job *job;
    void *self;
    unsigned jobs;
};

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void take_jobs(struct learner_pool *pool)
{
    unsigned job;
    while ((job = atomic_fetch_add(&pool->next, 1)) < pool->jobs)
        pool->job(pool->self, job);
}

/* Waits until the phase is no longer `seen`. */
static void await_phase(struct learner_pool *pool, unsigned seen)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&pool->phase) != seen)
            return;
        relax();
    }
    pthread_mutex_lock(&pool->lock);
    while (atomic_load(&pool->phase) == seen)
        pthread_cond_wait(&pool->begin, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

static void *work(void *argument)
{
    struct learner_pool *pool = argument;
    for (unsigned seen = 0;; seen++) {
        await_phase(pool, seen);
        if (atomic_load(&pool->stop))
            return NULL;
        take_jobs(pool);
        if (atomic_fetch_sub(&pool->busy, 1) == 1) {
            pthread_mutex_lock(&pool->lock);
            pthread_cond_signal(&pool->end);
            pthread_mutex_unlock(&pool->lock);
        }
    }
}

static void open_phase(struct learner_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->phase, 1);
    pthread_cond_broadcast(&pool->begin);
    pthread_mutex_unlock(&pool->lock);
}

void learner_pool_run(struct learner_pool *pool, learner_pool_job *job,
                      void *self, unsigned jobs)
{
    if (pool->workers == 0 || jobs <= 1) {
        for (unsigned i = 0; i < jobs; i++)
            job(self, i);
        return;
    }
    pool->job = job;
    pool->self = self;
    pool->jobs = jobs;
    atomic_store(&pool->next, 0);
    atomic_store(&pool->busy, pool->workers);
    open_phase(pool);
    take_jobs(pool);
    for (int i = 0; i < SPINS && atomic_load(&pool->busy); i++)
        relax();
    pthread_mutex_lock(&pool->lock);
    while (atomic_load(&pool->busy))
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
    atomic_store(&pool->stop, true);
    open_phase(pool);
    for (unsigned i = 0; i < pool->workers; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->end);
    pthread_cond_destroy(&pool->begin);
    pthread_mutex_destroy(&pool->lock);
    free(pool->threads);
    free(pool);
}
