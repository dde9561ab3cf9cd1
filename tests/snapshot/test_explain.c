/* SPDX-License-Identifier: Apache-2.0 */
/* What libinterest tells of a score: the score without each behavior, several
 * users in one call, the hash of the history that counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "snapshot/interest.h"
#include "tests/snapshot/fixture.h"

enum { N = 5, T = 12 };

struct bench {
    struct fixture fixture;
    struct snapshot_publisher *publisher;
    struct interest_model *model;
    struct interest_scorer *scorer;
};

static void open_bench(struct bench *bench, const char *folder,
                       const char *stream)
{
    struct base_error error;
    struct snapshot_manifest manifest;
    struct snapshot_announcement said;
    fixture_init(&bench->fixture, 3, 100);
    bench->publisher = fixture_publisher(folder);
    struct snapshot_content content = fixture_content(&bench->fixture);
    fixture_manifest(&bench->fixture, &manifest);
    manifest.stream_json = strdup(stream);
    if (snapshot_publisher_put(bench->publisher, &content, &manifest, &said,
                               &error))
        fail_msg("%s", error.text);
    snapshot_manifest_fini(&manifest);
    assert_int_equal(interest_open(folder, &bench->model, NULL), 0);
    assert_int_equal(
        interest_scorer_open(bench->model, 100, 100, &bench->scorer, NULL), 0);
}

static void close_bench(struct bench *bench)
{
    interest_scorer_close(bench->scorer);
    interest_close(bench->model);
    snapshot_publisher_free(bench->publisher);
    fixture_fini(&bench->fixture);
}

static struct interest_request ask(const struct fixture_request *request)
{
    return (struct interest_request){
        .profile = request->profile,
        .history = request->history,
        .history_size = request->history_size,
        .items = request->items,
        .candidates = request->candidates,
        .context = request->context,
    };
}

/* without[i][t] is the score of a request that was built without t. */
static void expect_left_out(struct bench *bench)
{
    struct fixture_request request, less;
    float probability[N], attention[N * T], without[N * T];
    float plain[N], weights[N * T], expected[N];
    struct interest_version version;
    fixture_request(&bench->fixture, 1, T, N, &request);
    struct interest_request asked = ask(&request);
    assert_int_equal(interest_explain(bench->scorer, &asked, probability,
                                      attention, without, &version, NULL), 0);
    assert_true(version.version == 1);
    assert_int_equal(interest_score(bench->scorer, &asked, plain, weights,
                                    NULL, NULL), 0);
    assert_memory_equal(probability, plain, sizeof plain);
    assert_memory_equal(attention, weights, sizeof weights);
    for (unsigned t = 0; t < T; t++) {
        less = request;
        less.history_size = T - 1;
        memmove(less.history + 2 * t, less.history + 2 * (t + 1),
                2 * (T - 1 - t) * sizeof *less.history);
        asked = ask(&less);
        assert_int_equal(interest_score(bench->scorer, &asked, expected, NULL,
                                        NULL, NULL), 0);
        for (unsigned i = 0; i < N; i++)
            assert_memory_equal(&without[i * T + t], &expected[i],
                                sizeof *expected);
    }
    assert_memory_not_equal(without, expected, sizeof expected);
}

static void test_without(void **state)
{
    struct bench bench;
    open_bench(&bench, *state, "{}");
    expect_left_out(&bench);
    close_bench(&bench);
}

/* Where only the newest 7 count an older one moves up; the oldest of 12 could
 * not count either way. */
static void test_without_of_many(void **state)
{
    struct bench bench;
    struct fixture_request request;
    float probability[N], without[N * T];
    open_bench(&bench, *state,
               "{\"history_max\":7,\"negative_keep\":0.5}");
    expect_left_out(&bench);
    fixture_request(&bench.fixture, 1, T, N, &request);
    struct interest_request asked = ask(&request);
    assert_int_equal(interest_explain(bench.scorer, &asked, probability, NULL,
                                      without, NULL, NULL), 0);
    for (unsigned i = 0; i < N; i++) {
        assert_memory_equal(&without[i * T], &probability[i], sizeof(float));
        assert_memory_equal(&without[i * T + T - 8], &probability[i],
                            sizeof(float));
        assert_memory_not_equal(&without[i * T + T - 7], &probability[i],
                                sizeof(float));
    }
    close_bench(&bench);
}

static void test_explain_arguments(void **state)
{
    struct bench bench;
    struct fixture_request request;
    struct interest_error error;
    float probability[N], without[N * T];
    open_bench(&bench, *state, "{}");
    fixture_request(&bench.fixture, 1, T, N, &request);
    struct interest_request asked = ask(&request);
    assert_int_equal(interest_explain(bench.scorer, &asked, probability, NULL,
                                      NULL, NULL, &error),
                     INTEREST_ARGUMENT);
    asked.history_size = 0;
    assert_int_equal(interest_explain(bench.scorer, &asked, probability, NULL,
                                      NULL, NULL, &error), 0);
    asked.history_size = 101;
    assert_int_equal(interest_explain(bench.scorer, &asked, probability, NULL,
                                      without, NULL, &error),
                     INTEREST_LIMIT);
    asked.candidates = 0;
    asked.history_size = T;
    assert_int_equal(interest_explain(bench.scorer, &asked, NULL, NULL, NULL,
                                      NULL, &error), 0);
    close_bench(&bench);
}

static void test_users(void **state)
{
    enum { USERS = 4 };
    struct bench bench;
    struct fixture_request requests[USERS];
    struct interest_request asked[USERS];
    struct interest_version version;
    struct interest_error error;
    float got[2 + 7 + 0 + 30], expected[30];
    static const uint32_t sizes[USERS] = {2, 7, 0, 30};
    static const uint32_t lengths[USERS] = {0, 30, 4, 17};
    size_t at = 0;
    open_bench(&bench, *state, "{\"negative_keep\":0.5}");
    for (unsigned u = 0; u < USERS; u++) {
        fixture_request(&bench.fixture, u, lengths[u], sizes[u], &requests[u]);
        asked[u] = ask(&requests[u]);
    }
    assert_int_equal(interest_score_users(bench.scorer, asked, USERS, got,
                                          &version, &error), 0);
    for (unsigned u = 0; u < USERS; at += sizes[u++]) {
        assert_int_equal(interest_score(bench.scorer, &asked[u], expected,
                                        NULL, NULL, NULL), 0);
        assert_memory_equal(got + at, expected, sizes[u] * sizeof *got);
    }
    asked[3].history_size = 101;
    assert_int_equal(interest_score_users(bench.scorer, asked, USERS, got,
                                          &version, &error),
                     INTEREST_LIMIT);
    assert_memory_equal(error.text, "request 3: 30 candidates", 24);
    assert_int_equal(interest_score_users(bench.scorer, NULL, 0, NULL, NULL,
                                          &error), 0);
    close_bench(&bench);
}

/* The definition, as a value: rankers and daemon must agree over releases. */
static void test_history_hash(void **state)
{
    struct bench bench;
    struct interest_version version;
    const uint64_t history[] = {1, 2, 3, 4, 5, 6};
    struct interest_request asked = {.history = history, .history_size = 3};
    size_t length = 99;
    open_bench(&bench, *state, "{\"history_max\":2}");
    interest_get_version(bench.model, &version);
    assert_int_equal(version.history_max, 2);
    uint64_t hash =
        interest_history_hash(bench.model, &asked, &version, &length);
    assert_int_equal(length, 2);
    assert_true(hash == learner_history_hash(history + 2, 2, 2));
    assert_true(hash == 0x9852c26da1214c99u);
    asked.history_size = 0;
    assert_true(interest_history_hash(bench.model, &asked, &version,
                                      &length) == 0);
    assert_int_equal(length, 0);
    close_bench(&bench);
}

#define WITH_FOLDER(test) \
    cmocka_unit_test_setup_teardown(test, fixture_folder, fixture_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_without),
        WITH_FOLDER(test_without_of_many),
        WITH_FOLDER(test_explain_arguments),
        WITH_FOLDER(test_users),
        WITH_FOLDER(test_history_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
