/* SPDX-License-Identifier: Apache-2.0 */
/* Swapping versions while four threads score: each call sees one version from
 * start to end, no thread waits for a load, old versions are freed, and a
 * call allocates nothing. Run it under ThreadSanitizer too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "snapshot/interest.h"
#include "tests/snapshot/chain.h"

/* ---- allocations, counted ------------------------------------------------ */

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define COUNTED 1
static atomic_size_t allocations;
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size)
{
    atomic_fetch_add(&allocations, 1);
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    atomic_fetch_add(&allocations, 1);
    return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    atomic_fetch_add(&allocations, 1);
    return __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    atomic_fetch_add(&allocations, 1);
    return __libc_memalign(alignment, size);
}
#endif

/* ---- the model folder ---------------------------------------------------- */

enum { THREADS = 4, CANDIDATES = 20, KINDS = 3, VERSIONS = 60 };

struct bench {
    struct fixture kinds[KINDS]; /* the last has other widths */
    struct snapshot_publisher *publisher;
    struct interest_model *model;
    struct fixture_request request;
    float expected[KINDS][CANDIDATES];
    /* Of a chain of deltas: by version, known before it is published. */
    float (*chain)[CANDIDATES];
    atomic_ullong known; /* .. up to this version */
    atomic_bool stop;
    atomic_uint wrong;
};

struct worker {
    struct bench *bench;
    pthread_t thread;
    atomic_uint changes; /* versions that this thread saw come */
};

static void open_bench(struct bench *bench, const char *folder)
{
    struct interest_error error;
    memset(bench, 0, sizeof *bench);
    fixture_init(&bench->kinds[0], 1, 300);
    fixture_init(&bench->kinds[1], 2, 300);
    fixture_init_with(&bench->kinds[2], 3, 300, 48, LEARNER_PRELU);
    bench->publisher = fixture_publisher(folder);
    fixture_publish(bench->publisher, &bench->kinds[0]);
    fixture_request(&bench->kinds[0], 5, 30, CANDIDATES, &bench->request);
    for (unsigned i = 0; i < KINDS; i++)
        fixture_score(&bench->kinds[i], &bench->request, bench->expected[i]);
    if (interest_open(folder, &bench->model, &error))
        fail_msg("%s", error.text);
}

static void close_bench(struct bench *bench)
{
    interest_close(bench->model);
    snapshot_publisher_free(bench->publisher);
    for (unsigned i = 0; i < KINDS; i++)
        fixture_fini(&bench->kinds[i]);
}

static struct interest_request ask(const struct bench *bench)
{
    return (struct interest_request){
        .profile = bench->request.profile,
        .history = bench->request.history,
        .history_size = bench->request.history_size,
        .items = bench->request.items,
        .candidates = bench->request.candidates,
        .context = bench->request.context,
    };
}

/* The fixture's position (1, 2, 3), or the version of a chain, says which
 * weights must have scored. */
static bool is_right(const struct bench *bench,
                     const struct interest_version *version, const float *got)
{
    if (bench->chain)
        return version->version <= atomic_load(&bench->known) &&
               memcmp(got, bench->chain[version->version],
                      sizeof bench->chain[0]) == 0;
    return version->position >= 1 && version->position <= KINDS &&
           memcmp(got, bench->expected[version->position - 1],
                  sizeof bench->expected[0]) == 0;
}

static void *score_on(void *self)
{
    struct worker *worker = self;
    struct bench *bench = worker->bench;
    struct interest_request request = ask(bench);
    struct interest_scorer *scorer;
    struct interest_version version;
    uint64_t last = 0;
    if (interest_scorer_open(bench->model, 30, CANDIDATES, &scorer, NULL)) {
        atomic_fetch_add(&bench->wrong, 1);
        return NULL;
    }
    while (!atomic_load(&bench->stop)) {
        float got[CANDIDATES];
        int status =
            interest_score(scorer, &request, got, NULL, &version, NULL);
        if (status || version.version < last ||
            !is_right(bench, &version, got))
            atomic_fetch_add(&bench->wrong, 1);
        if (version.version > last)
            atomic_fetch_add(&worker->changes, 1);
        last = version.version;
    }
    interest_scorer_close(scorer);
    return NULL;
}

static bool all_saw(struct worker *workers, unsigned changes)
{
    for (unsigned i = 0; i < THREADS; i++)
        if (atomic_load(&workers[i].changes) < changes)
            return false;
    return true;
}

/* Old versions that are still in memory. */
static uint64_t count_waiting(const struct bench *bench)
{
    struct interest_state state;
    interest_get_state(bench->model, &state);
    return state.waiting;
}

static void test_swap_under_load(void **state)
{
    struct bench bench;
    struct worker workers[THREADS];
    struct interest_error error;
    open_bench(&bench, *state);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.bench = &bench};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, score_on,
                                        &workers[i]),
                         0);
    }
    for (unsigned i = 1; i < 2000 && !all_saw(workers, 12); i++) {
        int changed = 0;
        fixture_publish(bench.publisher, &bench.kinds[i % KINDS]);
        if (interest_refresh(bench.model, &changed, &error))
            fail_msg("%s", error.text);
        assert_int_equal(changed, 1);
    }
    assert_true(all_saw(workers, 12));
    atomic_store(&bench.stop, true);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);
    assert_int_equal(atomic_load(&bench.wrong), 0);
    /* nobody scores: the next look frees all but the current version */
    assert_int_equal(interest_refresh(bench.model, NULL, &error), 0);
    assert_int_equal(count_waiting(&bench), 0);
    close_bench(&bench);
}

/* The same with deltas, which share what they do not touch, taken in by the
 * library's thread. */
static void test_deltas_under_load(void **state)
{
    static float chain[VERSIONS + 1][CANDIDATES];
    struct bench bench;
    struct worker workers[THREADS];
    struct fixture *fixture = &bench.kinds[0];
    open_bench(&bench, *state);
    memcpy(chain[1], bench.expected[0], sizeof chain[1]);
    bench.chain = chain;
    atomic_store(&bench.known, 1);
    assert_int_equal(interest_follow(bench.model, NULL, NULL), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.bench = &bench};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, score_on,
                                        &workers[i]),
                         0);
    }
    for (unsigned i = 0; i < 6000 && !all_saw(workers, 1); i++)
        usleep(10000);
    for (uint64_t version = 2; version <= VERSIONS; version++) {
        struct chain_change change;
        chain_change(fixture, version, 30, &change);
        fixture_score(fixture, &bench.request, chain[version]);
        atomic_store(&bench.known, version);
        chain_publish_delta(bench.publisher, &change);
        chain_change_fini(&change);
    }
    struct interest_state known = {0};
    for (unsigned i = 0; i < 6000 && known.version.version < VERSIONS; i++) {
        usleep(10000);
        interest_get_state(bench.model, &known);
    }
    for (unsigned i = 0; i < 6000 && !all_saw(workers, 2); i++)
        usleep(10000);
    assert_true(known.version.version == VERSIONS);
    assert_true(all_saw(workers, 2)); /* the first, and the last */
    atomic_store(&bench.stop, true);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);
    assert_int_equal(atomic_load(&bench.wrong), 0);
    assert_true(known.errors == 0 && known.bases == 1 &&
                known.deltas == VERSIONS - 1);
    close_bench(&bench);
}

/* An idle scorer holds no old version. */
static void test_idle_scorer(void **state)
{
    struct bench bench;
    struct interest_scorer *scorer;
    float got[CANDIDATES];
    open_bench(&bench, *state);
    struct interest_request request = ask(&bench);
    assert_int_equal(
        interest_scorer_open(bench.model, 30, CANDIDATES, &scorer, NULL), 0);
    assert_int_equal(interest_score(scorer, &request, got, NULL, NULL, NULL),
                     0);
    for (unsigned i = 1; i < 4; i++) {
        fixture_publish(bench.publisher, &bench.kinds[i % KINDS]);
        assert_int_equal(interest_refresh(bench.model, NULL, NULL), 0);
        assert_int_equal(count_waiting(&bench), 0);
    }
    interest_scorer_close(scorer);
    close_bench(&bench);
}

static void test_no_allocation(void **state)
{
#ifdef COUNTED
    struct bench bench;
    struct interest_scorer *scorer;
    float got[CANDIDATES], attention[CANDIDATES * 30];
    open_bench(&bench, *state);
    struct interest_request request = ask(&bench);
    assert_int_equal(
        interest_scorer_open(bench.model, 30, CANDIDATES, &scorer, NULL), 0);
    assert_int_equal(
        interest_score(scorer, &request, got, attention, NULL, NULL), 0);
    fixture_publish(bench.publisher, &bench.kinds[1]); /* same widths */
    assert_int_equal(interest_refresh(bench.model, NULL, NULL), 0);
    size_t before = atomic_load(&allocations);
    assert_true(before > 0);
    for (unsigned i = 0; i < 100; i++) {
        request.candidates = 1 + i % CANDIDATES;
        request.history_size = i % 31;
        assert_int_equal(
            interest_score(scorer, &request, got, attention, NULL, NULL), 0);
    }
    assert_int_equal(atomic_load(&allocations), before);
    interest_scorer_close(scorer);
    close_bench(&bench);
#else
    (void)state; /* the sanitizer's allocator cannot be counted */
    skip();
#endif
}

#define WITH_FOLDER(test) \
    cmocka_unit_test_setup_teardown(test, fixture_folder, fixture_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_swap_under_load),
        WITH_FOLDER(test_deltas_under_load),
        WITH_FOLDER(test_idle_scorer),
        WITH_FOLDER(test_no_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
