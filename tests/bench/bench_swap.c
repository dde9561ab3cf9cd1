/* SPDX-License-Identifier: Apache-2.0 */
/* bench_swap [CALLS] [ROWS] [TOUCHED] [SWAP_MS]: what a swap does to a score's
 * latency. One scoring thread on the last processor; the follower, and a
 * process that publishes a delta every SWAP_MS, on the first. The same number
 * of calls without and with swaps, on the seeds' features with ROWS rows in
 * each of seven tables, TOUCHED rows a table changed by each delta; 20
 * candidates, 30 behaviors. The last line is JSON. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/random.h"
#include "snapshot/interest.h"
#include "tests/snapshot/chain.h"

enum { CANDIDATES = 20, HISTORY = 30, REQUESTS = 256 };

struct request {
    uint64_t profile[2], context[2];
    uint64_t history[HISTORY * 3], items[CANDIDATES * 3];
};

struct bench {
    const char *folder;
    struct interest_model *model;
    struct request *requests; /* (REQUESTS) */
    unsigned calls;
    uint32_t *ns; /* (calls) */
    uint64_t versions;
};

static void pin(long processor)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)processor, &set);
    (void)sched_setaffinity(0, sizeof set, &set);
}

static long last_processor(void)
{
    return sysconf(_SC_NPROCESSORS_ONLN) - 1;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t any(const struct fixture *fixture, unsigned table, uint64_t n)
{
    return fixture->keys[table][base_random_below(
        base_random_u64(1, 2, table, n), fixture->rows)];
}

static void draw(const struct fixture *fixture, struct request *requests)
{
    uint64_t n = 0;
    for (unsigned r = 0; r < REQUESTS; r++) {
        struct request *one = &requests[r];
        for (unsigned i = 0; i < 2; i++) {
            one->profile[i] = any(fixture, i, n++);
            one->context[i] = any(fixture, 5 + i, n++);
        }
        for (unsigned i = 0; i < HISTORY * 3; i++)
            one->history[i] = any(fixture, 2 + i % 3, n++);
        for (unsigned i = 0; i < CANDIDATES * 3; i++)
            one->items[i] = any(fixture, 2 + i % 3, n++);
    }
}

/* The publisher's process: a delta every swap_ms until it is killed. */
static void publish(const char *folder, struct fixture *fixture,
                    uint64_t touched, unsigned swap_ms)
{
    struct snapshot_publisher *publisher = fixture_publisher(folder);
    fixture_publish(publisher, fixture);
    for (uint64_t seed = 1;; seed++) {
        int64_t due_ms = base_monotonic_ms() + swap_ms;
        struct chain_change change;
        chain_change(fixture, seed, touched, &change);
        chain_publish_delta(publisher, &change);
        chain_change_fini(&change);
        int64_t left_ms = due_ms - base_monotonic_ms();
        if (left_ms > 0)
            usleep((unsigned)left_ms * 1000);
    }
}

static void *score(void *self)
{
    struct bench *bench = self;
    struct interest_scorer *scorer;
    struct interest_version version;
    float probability[CANDIDATES];
    uint64_t last = 0;
    pin(last_processor());
    bench->versions = 0;
    if (interest_scorer_open(bench->model, HISTORY, CANDIDATES, &scorer, NULL))
        return NULL;
    for (unsigned i = 0; i < bench->calls + 1000; i++) {
        const struct request *one =
            &bench->requests[base_random_mix(i) % REQUESTS];
        struct interest_request request = {
            .profile = one->profile, .history = one->history,
            .history_size = HISTORY, .items = one->items,
            .candidates = CANDIDATES, .context = one->context};
        uint64_t start = now_ns();
        if (interest_score(scorer, &request, probability, NULL, &version,
                           NULL))
            break;
        uint64_t took = now_ns() - start;
        bench->versions += version.version != last;
        last = version.version;
        if (i >= 1000) /* warm by now */
            bench->ns[i - 1000] =
                took < UINT32_MAX ? (uint32_t)took : UINT32_MAX;
    }
    interest_scorer_close(scorer);
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

struct outcome {
    double p50_us, p99_us, p999_us, max_us;
    uint64_t versions;
};

static struct outcome run(struct bench *bench)
{
    pthread_t thread;
    pthread_create(&thread, NULL, score, bench);
    pthread_join(thread, NULL);
    qsort(bench->ns, bench->calls, sizeof *bench->ns, by_value);
    return (struct outcome){
        .p50_us = bench->ns[bench->calls / 2] / 1e3,
        .p99_us = bench->ns[bench->calls / 100 * 99] / 1e3,
        .p999_us = bench->ns[bench->calls / 1000 * 999] / 1e3,
        .max_us = bench->ns[bench->calls - 1] / 1e3,
        .versions = bench->versions};
}

static void print(const char *name, const struct outcome *outcome)
{
    printf("\"%s\": {\"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, "
           "\"max_us\": %.1f, \"versions\": %llu}, ",
           name, outcome->p50_us, outcome->p99_us, outcome->p999_us,
           outcome->max_us, (unsigned long long)outcome->versions);
}

static pid_t start_publisher(const char *folder, uint64_t rows,
                             uint64_t touched, unsigned swap_ms,
                             struct request *requests)
{
    struct fixture fixture;
    fixture_init_full(&fixture, 1, rows);
    draw(&fixture, requests);
    pid_t child = fork();
    if (child == 0)
        publish(folder, &fixture, touched, swap_ms);
    fixture_fini(&fixture);
    return child;
}

static int measure(struct bench *bench, uint64_t rows, pid_t child)
{
    struct interest_error error = {0};
    struct interest_state state;
    while (interest_open(bench->folder, &bench->model, &error) ==
           INTEREST_NO_MODEL)
        usleep(100000);
    if (!bench->model) {
        fprintf(stderr, "bench_swap: %s\n", error.text);
        return 1;
    }
    kill(child, SIGSTOP);
    struct outcome still = run(bench);
    kill(child, SIGCONT);
    interest_follow(bench->model, NULL, NULL); /* inherits the pinning */
    struct outcome swapping = run(bench);
    kill(child, SIGSTOP);
    struct outcome again = run(bench);
    interest_get_state(bench->model, &state);
    printf("{\"calls\": %u, \"rows\": %llu, ", bench->calls,
           (unsigned long long)rows);
    print("still", &still);
    print("swapping", &swapping);
    print("still_again", &again);
    printf("\"bytes\": %llu, \"deltas\": %llu, \"resyncs\": %llu, "
           "\"errors\": %llu, \"p999_ratio\": %.2f}\n",
           (unsigned long long)state.bytes, (unsigned long long)state.deltas,
           (unsigned long long)state.resyncs, (unsigned long long)state.errors,
           swapping.p999_us / (still.p999_us < again.p999_us
                                   ? still.p999_us
                                   : again.p999_us));
    interest_close(bench->model);
    return 0;
}

int main(int argc, char **argv)
{
    struct bench bench = {
        .calls = argc > 1 ? (unsigned)atoi(argv[1]) : 100000};
    uint64_t rows = argc > 2 ? strtoull(argv[2], NULL, 10) : 100000;
    uint64_t touched = argc > 3 ? strtoull(argv[3], NULL, 10) : 1000;
    unsigned swap_ms = argc > 4 ? (unsigned)atoi(argv[4]) : 1000;
    void *folder;
    if (bench.calls < 1000 || rows < 2 || fixture_folder(&folder)) {
        fprintf(stderr,
                "usage: bench_swap [CALLS] [ROWS] [TOUCHED] [SWAP_MS]\n");
        return 64;
    }
    bench.folder = folder;
    bench.ns = calloc(bench.calls, sizeof *bench.ns);
    bench.requests = calloc(REQUESTS, sizeof *bench.requests);
    if (!bench.ns || !bench.requests)
        return 71;
    pin(0);
    pid_t child = start_publisher(folder, rows, touched, swap_ms,
                                  bench.requests);
    int status = child > 0 ? measure(&bench, rows, child) : 71;
    if (child > 0) {
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    free(bench.ns);
    free(bench.requests);
    fixture_remove(&folder);
    return status;
}
