/* SPDX-License-Identifier: Apache-2.0 */
/* A few threads that run the jobs of one phase of a step together. A job is a
 * number; which thread takes it is left to chance, so a job may only write
 * what no other job of the same phase touches. learner_pool_run() returns
 * when all are done: that is the barrier between phases.
 *
 * One caller at a time; it works too. Workers spin for some microseconds
 * after a phase, because the next one follows at once, and sleep then. */
#ifndef LEARNER_POOL_H
#define LEARNER_POOL_H

#include "base/status.h"

struct learner_pool; /* OWNS its threads */

/* `threads` counts the caller; 1 makes no thread. */
enum base_status learner_pool_new(unsigned threads, struct learner_pool **pool,
                                  struct base_error *error) BASE_MUST_CHECK;
void learner_pool_free(struct learner_pool *pool);

typedef void learner_pool_job(void *self, unsigned job);
/* job(self, i) for i in [0, jobs) */
void learner_pool_run(struct learner_pool *pool, learner_pool_job *job,
                      void *self, unsigned jobs);

#endif
