/* SPDX-License-Identifier: Apache-2.0 */
/* bench_ranker [ROWS] [REPEATS]: how long a version takes to publish and to
 * open, and a request of 500 candidates with 100 behaviors to score, on the
 * seeds' features with ROWS rows in each of the seven tables. The last line is
 * JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/random.h"
#include "snapshot/interest.h"
#include "tests/snapshot/fixture.h"

enum { CANDIDATES = 500, HISTORY = 100 };

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static uint64_t any(const struct fixture *fixture, unsigned table, uint64_t n)
{
    return fixture->keys[table][base_random_below(
        base_random_u64(1, 2, table, n), fixture->rows)];
}

static int run(const char *folder, uint64_t rows, unsigned repeats)
{
    static uint64_t history[HISTORY * 3], items[CANDIDATES * 3];
    static float probability[CANDIDATES];
    struct fixture fixture;
    struct interest_model *model;
    struct interest_scorer *scorer;
    struct interest_error error;
    int64_t *us = calloc(repeats, sizeof *us);
    if (!us)
        return 71;
    fixture_init_full(&fixture, 1, rows);
    struct snapshot_publisher *publisher = fixture_publisher(folder);
    int64_t start = base_monotonic_us();
    fixture_publish(publisher, &fixture);
    int64_t publish_us = base_monotonic_us() - start;
    start = base_monotonic_us();
    int status = interest_open(folder, &model, &error);
    int64_t open_us = base_monotonic_us() - start;
    if (!status)
        status = interest_scorer_open(model, HISTORY, CANDIDATES, &scorer,
                                      &error);
    if (status) {
        fprintf(stderr, "bench_ranker: %s\n", error.text);
        return status;
    }
    uint64_t draws = 0;
    for (unsigned r = 0; r < repeats; r++) {
        uint64_t profile[2] = {any(&fixture, 0, draws),
                               any(&fixture, 1, draws + 1)};
        uint64_t context[2] = {any(&fixture, 5, draws + 2),
                               any(&fixture, 6, draws + 3)};
        draws += 4;
        for (unsigned i = 0; i < HISTORY * 3; i++)
            history[i] = any(&fixture, 2 + i % 3, draws++);
        for (unsigned i = 0; i < CANDIDATES * 3; i++)
            items[i] = any(&fixture, 2 + i % 3, draws++);
        struct interest_request request = {
            .profile = profile, .history = history, .history_size = HISTORY,
            .items = items, .candidates = CANDIDATES, .context = context};
        start = base_monotonic_us();
        status = interest_score(scorer, &request, probability, NULL, NULL,
                                &error);
        us[r] = base_monotonic_us() - start;
    }
    qsort(us, repeats, sizeof *us, by_value);
    printf("{\"rows\": %llu, \"publish_ms\": %.1f, \"open_ms\": %.1f, "
           "\"candidates\": %d, \"behaviors\": %d, \"score_p50_ms\": %.3f, "
           "\"score_p99_ms\": %.3f, \"kernels\": \"%s\"}\n",
           (unsigned long long)rows, (double)publish_us / 1000,
           (double)open_us / 1000, CANDIDATES, HISTORY,
           (double)us[repeats / 2] / 1000,
           (double)us[repeats * 99 / 100] / 1000, learner_kernels());
    interest_scorer_close(scorer);
    interest_close(model);
    snapshot_publisher_free(publisher);
    fixture_fini(&fixture);
    free(us);
    return status;
}

int main(int argc, char **argv)
{
    uint64_t rows = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000;
    unsigned repeats = argc > 2 ? (unsigned)atoi(argv[2]) : 200;
    void *folder;
    if (rows < 2 || repeats == 0 || fixture_folder(&folder)) {
        fprintf(stderr, "usage: bench_ranker [ROWS] [REPEATS]\n");
        return 64;
    }
    int status = run(folder, rows, repeats);
    fixture_remove(&folder);
    return status;
}
