/* SPDX-License-Identifier: Apache-2.0 */
/* libinterest through its public header: scores are the learner's, bit for
 * bit; versions are followed; what is wrong is refused with words. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <cmocka.h>

#include "base/file.h"
#include "snapshot/current.h"
#include "snapshot/interest.h"
#include "tests/snapshot/fixture.h"

static struct interest_model *open_model(const char *folder)
{
    struct interest_model *model;
    struct interest_error error;
    if (interest_open(folder, &model, &error))
        fail_msg("%s", error.text);
    return model;
}

static struct interest_scorer *open_scorer(struct interest_model *model)
{
    struct interest_scorer *scorer;
    struct interest_error error;
    if (interest_scorer_open(model, 100, 500, &scorer, &error))
        fail_msg("%s", error.text);
    return scorer;
}

static struct interest_request outer(const struct fixture_request *request)
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

/* Twelve requests score as the fixture does without files. */
static void expect_scores_of(struct interest_scorer *scorer,
                             const struct fixture *fixture)
{
    static const uint32_t lengths[] = {0, 1, 2, 17, 64, 100};
    static const uint32_t candidates[] = {1, 2, 16, 33, 100, 500};
    static float expected[500], got[500];
    struct interest_error error;
    for (unsigned i = 0; i < 12; i++) {
        struct fixture_request request;
        fixture_request(fixture, i, lengths[i % 6], candidates[(i + i / 6) % 6],
                        &request);
        struct interest_request asked = outer(&request);
        fixture_score(fixture, &request, expected);
        if (interest_score(scorer, &asked, got, NULL, NULL, &error))
            fail_msg("%s", error.text);
        assert_memory_equal(got, expected,
                            request.candidates * sizeof *got);
    }
}

static void test_scores(void **state)
{
    struct fixture fixture;
    fixture_init(&fixture, 3, 700);
    struct snapshot_publisher *publisher = fixture_publisher(*state);
    struct snapshot_announcement said = fixture_publish(publisher, &fixture);
    struct interest_model *model = open_model(*state);
    struct interest_scorer *scorer = open_scorer(model);
    struct interest_version version;
    interest_get_version(model, &version);
    assert_true(version.epoch == said.epoch && version.version == 1);
    assert_true(version.position == 3);
    assert_true(version.newest_event_ms == 1500000000000);
    assert_true(version.created_ms == said.created_ms);
    assert_string_equal(version.name, said.folder_name);
    expect_scores_of(scorer, &fixture);
    interest_scorer_close(scorer);
    interest_close(model);
    snapshot_publisher_free(publisher);
    fixture_fini(&fixture);
}

/* The attention of a behavior depends on the candidate and not on the other
 * candidates. */
static void test_attention(void **state)
{
    struct fixture fixture;
    struct fixture_request request;
    struct interest_error error;
    static float probability[20], all[20 * 30], one[30];
    fixture_init(&fixture, 3, 100);
    struct snapshot_publisher *publisher = fixture_publisher(*state);
    fixture_publish(publisher, &fixture);
    struct interest_model *model = open_model(*state);
    struct interest_scorer *scorer = open_scorer(model);
    fixture_request(&fixture, 1, 30, 20, &request);
    struct interest_request asked = outer(&request);
    assert_int_equal(interest_score(scorer, &asked, probability, all, NULL,
                                    &error),
                     INTEREST_OK);
    bool differ = false;
    for (unsigned i = 0; i < 20; i++) {
        float alone;
        asked.items = request.items + 2 * i;
        asked.candidates = 1;
        assert_int_equal(interest_score(scorer, &asked, &alone, one, NULL,
                                        &error),
                         INTEREST_OK);
        assert_memory_equal(one, all + 30 * i, sizeof one);
        assert_memory_equal(&alone, &probability[i], sizeof alone);
        differ |= memcmp(one, all, sizeof one) != 0;
    }
    assert_true(differ);
    interest_scorer_close(scorer);
    interest_close(model);
    snapshot_publisher_free(publisher);
    fixture_fini(&fixture);
}

static void refuse(struct interest_model *model, int expected,
                   const char *complaint)
{
    struct interest_error error = {0};
    struct interest_version before, after;
    int changed = 7;
    interest_get_version(model, &before);
    int status = interest_refresh(model, &changed, &error);
    if (status != expected || !strstr(error.text, complaint))
        fail_msg("status %d, '%s' does not say '%s'", status, error.text,
                 complaint);
    assert_int_equal(changed, 0);
    interest_get_version(model, &after);
    assert_memory_equal(&before, &after, sizeof after);
}

static void publish_with(struct snapshot_publisher *publisher,
                         struct fixture *fixture, const char *stream)
{
    struct base_error error;
    struct snapshot_manifest manifest;
    struct snapshot_announcement said;
    struct snapshot_content content = fixture_content(fixture);
    fixture_manifest(fixture, &manifest);
    manifest.stream_json = strdup(stream);
    if (snapshot_publisher_put(publisher, &content, &manifest, &said, &error))
        fail_msg("%s", error.text);
    snapshot_manifest_fini(&manifest);
}

#define TRANSFORMS(bounds)                                                     \
    "{\"pid\":{\"transform\":\"hour\"},\"cate\":{\"transform\":\"none\"},"      \
    "\"goods\":{\"transform\":\"weekday\"},\"gender\":{\"transform\":"         \
    "\"bucket\",\"bounds\":[" bounds "]}}"

/* Days of the week and buckets of test_stream. */
static void check_derived(const struct interest_model *model)
{
    static const struct {
        double value;
        const char *bucket;
    } ages[] = {{-1e300, "0"}, {17.9, "0"}, {18, "1"},  {24, "1"},
                {24.5, "2"},   {59, "2"},   {60, "3"}, {1e300, "3"}};
    const int64_t day = 86400000;
    assert_int_equal(interest_field_transform(model, 0, 0), INTEREST_BUCKET);
    assert_int_equal(interest_field_transform(model, 1, 0), INTEREST_WEEKDAY);
    assert_int_equal(interest_field_transform(model, 1, 1), INTEREST_VALUE);
    assert_int_equal(interest_field_transform(model, 2, 0), INTEREST_HOUR);
    assert_int_equal(interest_field_transform(model, 2, 1), INTEREST_VALUE);
    for (size_t i = 0; i < sizeof ages / sizeof ages[0]; i++)
        assert_true(interest_bucket_id(model, 0, 0, ages[i].value) ==
                    interest_id(model, 0, 0, ages[i].bucket, 1));
    assert_true(interest_bucket_id(model, 0, 0, (double)NAN) == 0);
    assert_true(interest_bucket_id(model, 1, 0, 1) == 0);
    /* 1970-01-01 was a Thursday, 2026-11-22 is a Sunday. */
    assert_true(interest_time_id(model, 1, 0, 0) ==
                interest_id(model, 1, 0, "3", 1));
    assert_true(interest_time_id(model, 1, 0, -1) ==
                interest_id(model, 1, 0, "2", 1));
    assert_true(interest_time_id(model, 1, 0, -4 * day) ==
                interest_id(model, 1, 0, "6", 1));
    assert_true(interest_time_id(model, 1, 0, 1795305600000) ==
                interest_id(model, 1, 0, "6", 1));
}

/* What the manifest says of the stream: no more behaviors than training had,
 * the odds of what was thinned out, and fields that are hours. */
static void test_stream(void **state)
{
    enum { N = 7, T = 30, KEPT = 10 };
    struct fixture fixture;
    struct fixture_request request, newest;
    struct interest_error error;
    float raw[N], got[N], attention[N * T], expected[N * KEPT];
    fixture_init(&fixture, 3, 100);
    struct snapshot_publisher *publisher = fixture_publisher(*state);
    publish_with(publisher, &fixture,
                 "{\"history_max\":10,\"negative_keep\":0.25,"
                 "\"transforms\":" TRANSFORMS("18,24.5,60") "}");
    struct interest_model *model = open_model(*state);
    struct interest_scorer *scorer = open_scorer(model);
    fixture_request(&fixture, 1, T, N, &request);
    newest = request;
    newest.history_size = KEPT;
    memcpy(newest.history, request.history + 2 * (T - KEPT),
           2 * KEPT * sizeof *newest.history);
    fixture_score(&fixture, &newest, raw);
    struct interest_request asked = outer(&newest);
    assert_int_equal(interest_score(scorer, &asked, got, expected, NULL,
                                    &error), INTEREST_OK);
    asked = outer(&request);
    assert_int_equal(interest_score(scorer, &asked, got, attention, NULL,
                                    &error), INTEREST_OK);
    for (unsigned i = 0; i < N; i++) {
        double p = (double)raw[i], right = p / (p + (1 - p) / 0.25);
        assert_true(fabs((double)got[i] - right) < 1e-6);
        for (unsigned t = 0; t < T - KEPT; t++)
            assert_true(attention[i * T + t] == 0);
        assert_memory_equal(attention + i * T + T - KEPT, expected + i * KEPT,
                            KEPT * sizeof *expected);
    }
    assert_true(interest_time_id(model, 2, 0, 5 * 3600000 + 1) ==
                interest_id(model, 2, 0, "5", 1));
    assert_true(interest_time_id(model, 2, 0, -1) ==
                interest_id(model, 2, 0, "23", 2));
    assert_true(interest_time_id(model, 1, 1, 0) == 0);
    assert_true(interest_time_id(model, 2, 1, 0) == 0);
    check_derived(model);
    publish_with(publisher, &fixture, "{}");
    refuse(model, INTEREST_FORMAT, "its fields are not those");
    publish_with(publisher, &fixture,
                 "{\"transforms\":" TRANSFORMS("18,25,60") "}");
    refuse(model, INTEREST_FORMAT, "its fields are not those");
    interest_scorer_close(scorer);
    interest_close(model);
    snapshot_publisher_free(publisher);
    fixture_fini(&fixture);
}

static void test_fields_and_ids(void **state)
{
    struct fixture fixture;
    fixture_init(&fixture, 3, 4);
    struct snapshot_publisher *publisher = fixture_publisher(*state);
    fixture_publish(publisher, &fixture);
    struct interest_model *model = open_model(*state);
    assert_int_equal(interest_field_count(model, 0), 1);
    assert_int_equal(interest_field_count(model, 1), 2);
    assert_int_equal(interest_field_count(model, 2), 1);
    assert_int_equal(interest_field_count(model, 3), 0);
    assert_int_equal(interest_field_count(model, -1), 0);
    assert_string_equal(interest_field(model, 0, 0), "gender");
    assert_string_equal(interest_field(model, 1, 1), "cate");
    assert_string_equal(interest_field(model, 2, 0), "pid");
    assert_null(interest_field(model, 1, 2));
    assert_int_equal(interest_field_places(model, 1, 1), 1);
    assert_int_equal(interest_field_places(model, 1, 2), 0);
    assert_null(interest_field(model, 7, 0));
    uint64_t seed = learner_table_seed("goods");
    assert_true(interest_id(model, 1, 0, "42", 2) ==
                learner_id_of_int(seed, 42));
    assert_true(interest_id(model, 1, 0, "42", 2) == learner_id(seed, "42", 2));
    assert_true(interest_id(model, 1, 1, "42", 2) !=
                interest_id(model, 1, 0, "42", 2));
    assert_true(interest_id(model, 1, 0, NULL, 0) == 0);
    assert_true(interest_id(model, 1, 9, "42", 2) == 0);
    interest_close(model);
    snapshot_publisher_free(publisher);
    fixture_fini(&fixture);
}

static void test_arguments(void **state)
{
    struct fixture fixture;
    struct fixture_request request;
    struct interest_scorer *scorer;
    struct interest_error error;
    float probability[500];
    fixture_init(&fixture, 3, 4);
    struct snapshot_publisher *publisher = fixture_publisher(*state);
    fixture_publish(publisher, &fixture);
    struct interest_model *model = open_model(*state);
    assert_int_equal(interest_scorer_open(model, 4, 0, &scorer, &error),
                     INTEREST_LIMIT);
    assert_int_equal(interest_scorer_open(model, 1025, 1, &scorer, &error),
                     INTEREST_LIMIT);
    assert_int_equal(interest_scorer_open(model, 4, 2, &scorer, &error), 0);
    fixture_request(&fixture, 1, 5, 3, &request);
    struct interest_request asked = outer(&request);
    asked.history_size = 4;
    assert_int_equal(
        interest_score(scorer, &asked, probability, NULL, NULL, &error),
        INTEREST_LIMIT);
    assert_non_null(strstr(error.text, "3 candidates"));
    asked.candidates = 2;
    asked.history_size = 5;
    assert_int_equal(
        interest_score(scorer, &asked, probability, NULL, NULL, &error),
        INTEREST_LIMIT);
    asked.history_size = 4;
    assert_int_equal(
        interest_score(scorer, &asked, probability, NULL, NULL, NULL), 0);
    asked.items = NULL;
    assert_int_equal(
        interest_score(scorer, &asked, probability, NULL, NULL, &error),
        INTEREST_ARGUMENT);
    asked.candidates = 0;
    assert_int_equal(interest_score(scorer, &asked, NULL, NULL, NULL, &error),
                     0);
    asked.profile = NULL;
    assert_int_equal(
        interest_score(scorer, &asked, probability, NULL, NULL, &error),
        INTEREST_ARGUMENT);
    assert_int_equal(interest_score(NULL, &asked, probability, NULL, NULL,
                                    &error),
                     INTEREST_ARGUMENT);
    interest_scorer_close(scorer);
    interest_scorer_close(NULL);
    interest_close(model);
    interest_close(NULL);
    snapshot_publisher_free(publisher);
    fixture_fini(&fixture);
}

static void test_no_model(void **state)
{
    struct interest_model *model;
    struct interest_error error;
    char path[1024];
    assert_int_equal(interest_open(*state, &model, &error),
                     INTEREST_NO_MODEL);
    assert_null(model);
    snprintf(path, sizeof path, "%s/absent", (char *)*state);
    assert_int_equal(interest_open(path, &model, &error), INTEREST_NO_MODEL);
    assert_non_null(strstr(error.text, "absent"));
    assert_int_equal(interest_open(NULL, &model, &error), INTEREST_ARGUMENT);
}

/* Following: the descriptor wakes, the new weights score, other widths are
 * taken up by an open scorer. */
static void test_follow(void **state)
{
    struct fixture first, second, wide;
    struct interest_error error;
    int changed = 7;
    fixture_init(&first, 3, 50);
    fixture_init(&second, 4, 60);
    fixture_init_with(&wide, 5, 60, 37, LEARNER_PRELU);
    struct snapshot_publisher *publisher = fixture_publisher(*state);
    fixture_publish(publisher, &first);
    struct interest_model *model = open_model(*state);
    struct interest_scorer *scorer = open_scorer(model);
    struct pollfd wake = {.fd = interest_descriptor(model), .events = POLLIN};
    assert_true(wake.fd >= 0);
    assert_int_equal(poll(&wake, 1, 0), 0);
    assert_int_equal(interest_refresh(model, &changed, &error), 0);
    assert_int_equal(changed, 0);
    struct fixture *next[] = {&second, &wide, &first};
    for (unsigned i = 0; i < 3; i++) {
        fixture_publish(publisher, next[i]);
        assert_int_equal(poll(&wake, 1, 5000), 1);
        assert_int_equal(interest_refresh(model, &changed, &error), 0);
        assert_int_equal(changed, 1);
        assert_int_equal(poll(&wake, 1, 0), 0);
        expect_scores_of(scorer, next[i]);
        struct interest_version version;
        interest_get_version(model, &version);
        assert_true(version.version == i + 2);
    }
    interest_scorer_close(scorer);
    interest_close(model);
    snapshot_publisher_free(publisher);
    fixture_fini(&first);
    fixture_fini(&second);
    fixture_fini(&wide);
}

static void test_older_and_other(void **state)
{
    struct fixture first, second;
    struct base_error error;
    struct snapshot_current old, new, other;
    fixture_init(&first, 3, 50);
    fixture_init(&second, 4, 60);
    struct snapshot_publisher *publisher = fixture_publisher(*state);
    fixture_publish(publisher, &first);
    assert_int_equal(snapshot_current_read(*state, &old, &error), 0);
    fixture_publish(publisher, &second);
    assert_int_equal(snapshot_current_read(*state, &new, &error), 0);
    struct interest_model *model = open_model(*state);
    struct interest_scorer *scorer = open_scorer(model);

    assert_int_equal(snapshot_current_write(*state, &old, &error), 0);
    refuse(model, INTEREST_CORRUPT, "older than the served");
    other = new;
    other.hash.high ^= 1;
    assert_int_equal(snapshot_current_write(*state, &other, &error), 0);
    refuse(model, INTEREST_CORRUPT, "another manifest hash");
    other = new;
    other.version++;
    snapshot_folder_print(other.epoch, other.version, other.name);
    assert_int_equal(snapshot_current_write(*state, &other, &error), 0);
    refuse(model, INTEREST_CORRUPT, other.name); /* no such folder */
    other.epoch--; /* a lower epoch with a higher version is older too */
    other.version += 100;
    snapshot_folder_print(other.epoch, other.version, other.name);
    assert_int_equal(snapshot_current_write(*state, &other, &error), 0);
    refuse(model, INTEREST_CORRUPT, "older than the served");
    expect_scores_of(scorer, &second);

    assert_int_equal(snapshot_current_write(*state, &new, &error), 0);
    int changed;
    assert_int_equal(interest_refresh(model, &changed, NULL), 0);
    assert_int_equal(changed, 0);
    interest_scorer_close(scorer);
    interest_close(model);
    snapshot_publisher_free(publisher);
    fixture_fini(&first);
    fixture_fini(&second);
}

/* Requests in the making must fit: other fields are refused, a fresh open
 * takes them. */
static void test_other_fields(void **state)
{
    struct fixture first, other;
    struct base_error error;
    fixture_init(&first, 3, 50);
    fixture_init(&other, 4, 50);
    strcpy(other.schema.fields[2].name, "shop");
    learner_model_free(other.model);
    assert_int_equal(learner_model_new(&other.schema, &other.config,
                                       &other.model, &error),
                     0);
    struct snapshot_publisher *publisher = fixture_publisher(*state);
    fixture_publish(publisher, &first);
    struct interest_model *model = open_model(*state);
    struct interest_scorer *scorer = open_scorer(model);
    fixture_publish(publisher, &other);
    refuse(model, INTEREST_FORMAT, "its fields are not those");
    expect_scores_of(scorer, &first);
    assert_string_equal(interest_field(model, 1, 1), "cate");
    interest_scorer_close(scorer);
    interest_close(model);
    model = open_model(*state);
    assert_string_equal(interest_field(model, 1, 1), "shop");
    interest_close(model);
    snapshot_publisher_free(publisher);
    fixture_fini(&first);
    fixture_fini(&other);
}

/* A version that is being served may be removed from the folder. */
static void test_removed_while_served(void **state)
{
    struct fixture fixture;
    struct snapshot_announcement said;
    char path[1024];
    fixture_init(&fixture, 3, 2000);
    struct snapshot_publisher *publisher = fixture_publisher(*state);
    said = fixture_publish(publisher, &fixture);
    struct interest_model *model = open_model(*state);
    struct interest_scorer *scorer = open_scorer(model);
    snprintf(path, sizeof path, "%s/%s", (char *)*state, said.folder_name);
    assert_int_equal(base_file_remove(path, NULL), 0);
    expect_scores_of(scorer, &fixture);
    interest_scorer_close(scorer);
    interest_close(model);
    snapshot_publisher_free(publisher);
    fixture_fini(&fixture);
}

/* Without descriptors nothing can be read; that passes, and so does the
 * error (fault 23). */
static void test_no_descriptors(void **state)
{
    struct fixture first, second;
    struct interest_error error;
    struct rlimit before, none;
    int changed;
    fixture_init(&first, 3, 50);
    fixture_init(&second, 4, 60);
    struct snapshot_publisher *publisher = fixture_publisher(*state);
    fixture_publish(publisher, &first);
    struct interest_model *model = open_model(*state);
    struct interest_scorer *scorer = open_scorer(model);
    fixture_publish(publisher, &second);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int status = interest_refresh(model, &changed, &error);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(status, INTEREST_SYSTEM);
    assert_int_equal(changed, 0);
    assert_non_null(strstr(error.text, "Too many open files"));
    expect_scores_of(scorer, &first);
    assert_int_equal(interest_refresh(model, &changed, &error), 0);
    assert_int_equal(changed, 1);
    expect_scores_of(scorer, &second);
    interest_scorer_close(scorer);
    interest_close(model);
    snapshot_publisher_free(publisher);
    fixture_fini(&first);
    fixture_fini(&second);
}

#define WITH_FOLDER(test) \
    cmocka_unit_test_setup_teardown(test, fixture_folder, fixture_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_scores),
        WITH_FOLDER(test_attention),
        WITH_FOLDER(test_stream),
        WITH_FOLDER(test_fields_and_ids),
        WITH_FOLDER(test_arguments),
        WITH_FOLDER(test_no_model),
        WITH_FOLDER(test_follow),
        WITH_FOLDER(test_older_and_other),
        WITH_FOLDER(test_other_fields),
        WITH_FOLDER(test_removed_while_served),
        WITH_FOLDER(test_no_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
