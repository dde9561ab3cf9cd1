/* SPDX-License-Identifier: Apache-2.0 */
/* The worker pool: every job exactly once, a phase ends when all are done,
 * thousands of phases in a row, with pauses in which the workers sleep. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "learner/pool.h"

enum { JOBS = 37 };

struct count {
    unsigned done[JOBS]; /* each written by one job of a phase */
    unsigned sum[JOBS];
};

static void mark(void *self, unsigned job)
{
    struct count *count = self;
    count->done[job]++;
}

/* Reads what the phase before wrote in other jobs. */
static void add_up(void *self, unsigned job)
{
    struct count *count = self;
    count->sum[job] = 0;
    for (unsigned i = 0; i < JOBS; i++)
        count->sum[job] += count->done[i];
}

static void rest(void)
{
    struct timespec pause = {0, 2000000};
    nanosleep(&pause, NULL);
}

static void every_job_once_and_in_phases(void **state)
{
    (void)state;
    for (unsigned threads = 1; threads <= 4; threads++) {
        struct learner_pool *pool;
        struct count count;
        memset(&count, 0, sizeof count);
        assert_int_equal(learner_pool_new(threads, &pool, NULL), 0);
        for (unsigned phase = 1; phase <= 2000; phase++) {
            learner_pool_run(pool, mark, &count, JOBS);
            learner_pool_run(pool, add_up, &count, JOBS);
            for (unsigned i = 0; i < JOBS; i++) {
                assert_int_equal(count.done[i], phase);
                assert_int_equal(count.sum[i], phase * JOBS);
            }
            if (phase % 500 == 0)
                rest();
        }
        learner_pool_free(pool);
    }
}

static void few_jobs_or_none(void **state)
{
    (void)state;
    struct learner_pool *pool;
    struct count count;
    memset(&count, 0, sizeof count);
    assert_int_equal(learner_pool_new(3, &pool, NULL), 0);
    learner_pool_run(pool, mark, &count, 0);
    assert_int_equal(count.done[0], 0);
    learner_pool_run(pool, mark, &count, 1);
    learner_pool_run(pool, mark, &count, 2);
    assert_int_equal(count.done[0], 2);
    assert_int_equal(count.done[1], 1);
    learner_pool_free(pool);
    learner_pool_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_job_once_and_in_phases),
        cmocka_unit_test(few_jobs_or_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
