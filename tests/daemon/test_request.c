/* SPDX-License-Identifier: Apache-2.0 */
/* Ranking requests against a published model: ids, groups, order, and errors
 * that name the field. */
#include "daemon/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/snapshot/fixture.h"

static struct interest_model *model, *multi;
static struct rank_request request;
static struct base_error error;

static enum base_status parse(const char *text)
{
    return rank_request_parse(model, text, strlen(text), &request, &error);
}

static uint64_t id(int group, unsigned field, const char *value)
{
    return interest_id(model, group, field, value, strlen(value));
}

static void test_good(void **state)
{
    (void)state;
    assert_int_equal(
        parse("{\"profile\":{\"gender\":\"f\"},\"context\":{\"pid\":3},"
              "\"behaviors\":[{\"goods\":\"a\",\"cate\":1},{\"cate\":\"2\"}],"
              "\"candidates\":[{\"cate\":\"1\",\"goods\":7},"
              "{\"goods\":null},{\"goods\":\"b\"}]}"),
        BASE_OK);
    const struct interest_request *ids = &request.ids;
    assert_true(ids->profile[0] == id(0, 0, "f"));
    assert_true(ids->context[0] == id(2, 0, "3"));
    assert_int_equal(ids->history_size, 2);
    assert_true(ids->history[0] == id(1, 0, "a"));
    assert_true(ids->history[1] == id(1, 1, "1"));
    assert_true(ids->history[2] == 0);
    assert_true(ids->history[3] == id(1, 1, "2"));
    assert_int_equal(ids->candidates, 3);
    assert_true(ids->items[0] == id(1, 0, "7"));
    assert_true(ids->items[1] == id(1, 1, "1"));
    assert_true(ids->items[2] == 0 && ids->items[3] == 0);
    assert_string_equal(request.candidates[2], "{\"goods\":\"b\"}");
    rank_request_fini(&request);
    rank_request_fini(&request);
}

/* Ids that are known, as a user's sequence has them; texts for printing. */
static void test_ids(void **state)
{
    (void)state;
    assert_int_equal(
        parse("{\"behaviors\":[{\"goods\":{\"id\":\"00000000000000ff\"}}],"
              "\"candidates\":[{}]}"),
        BASE_OK);
    assert_true(request.ids.history[0] == 255);
    assert_string_equal(request.behaviors[0],
                        "{\"goods\":{\"id\":\"00000000000000ff\"}}");
    rank_request_fini(&request);
    static const char *const bad[] = {
        "{}", "{\"id\":255}", "{\"id\":\"ff\"}",
        "{\"id\":\"00000000000000fg\"}", "{\"id\":\"00000000000000FF\"}",
        "{\"id\":\"00000000000000ff\",\"a\":1}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[200];
        snprintf(text, sizeof text, "{\"candidates\":[{},{\"goods\":%s}]}",
                 bad[i]);
        assert_int_equal(parse(text), BASE_DATA);
        assert_non_null(strstr(error.text, "candidates[1]: an id must be"));
    }
}

/* Fields that are hours come from the request's time, unless given. */
static void test_time(void **state)
{
    (void)state;
    assert_int_equal(parse("{\"time_ms\":18000001,\"candidates\":[{}]}"),
                     BASE_OK);
    assert_true(request.ids.context[0] == id(2, 0, "5"));
    assert_true(request.ids.profile[0] == 0);
    rank_request_fini(&request);
    assert_int_equal(parse("{\"time_ms\":18000001,\"context\":{\"pid\":7},"
                           "\"candidates\":[{}]}"),
                     BASE_OK);
    assert_true(request.ids.context[0] == id(2, 0, "7"));
    rank_request_fini(&request);
    assert_int_equal(parse("{\"time_ms\":18000001,\"context\":{\"pid\":null},"
                           "\"candidates\":[{}]}"),
                     BASE_OK);
    assert_true(request.ids.context[0] == 0);
    rank_request_fini(&request);
    assert_int_equal(parse("{\"time_ms\":\"now\",\"candidates\":[{}]}"),
                     BASE_DATA);
    assert_non_null(strstr(error.text, "time_ms must be milliseconds"));
}

/* More behaviors than any model was trained with: the newest. */
static void test_long_history(void **state)
{
    enum { ALL = 1500, USED = 1024 };
    char *text = malloc(ALL * 24 + 100), last[8];
    size_t used = (size_t)sprintf(text, "{\"candidates\":[{}],\"behaviors\":[");
    (void)state;
    for (int i = 0; i < ALL; i++)
        used +=
            (size_t)sprintf(text + used, "%s{\"cate\":%d}", i ? "," : "", i);
    strcpy(text + used, "]}");
    assert_int_equal(parse(text), BASE_OK);
    assert_int_equal(request.ids.history_size, USED);
    snprintf(last, sizeof last, "%d", ALL - USED);
    assert_true(request.ids.history[1] == id(1, 1, last));
    assert_true(request.ids.history[2 * USED - 1] == id(1, 1, "1499"));
    rank_request_fini(&request);
    free(text);
}

static void test_parts_may_be_left_out(void **state)
{
    (void)state;
    assert_int_equal(parse("{\"candidates\":[{}]}"), BASE_OK);
    assert_int_equal(request.ids.history_size, 0);
    assert_true(request.ids.profile[0] == 0);
    assert_non_null(request.ids.context);
    rank_request_fini(&request);
}

static const struct {
    const char *json, *text;
} bad[] = {
    {"", "request: line 1, column 0"},
    {"{\"candidates\":[{}]", "request: line 1, column"},
    {"{\"candidates\":[{}],\"candidates\":[]}", "request: line 1, column"},
    {"[]", "request: must be a JSON object"},
    {"{}", "request: candidates must be a list of at least one"},
    {"{\"candidates\":[]}", "request: candidates must be a list of at least"},
    {"{\"candidates\":3}", "request: candidates must be a list of at least"},
    {"{\"candidates\":[3]}", "request: candidates[0] must be an object"},
    {"{\"user\":1,\"candidates\":[{}]}", "request: no \"user\" there"},
    {"{\"candidates\":[{},{\"good\":1}]}",
     "request: candidates[1]: the model has no item field \"good\""},
    {"{\"candidates\":[{}],\"profile\":{\"goods\":1}}",
     "request: profile: the model has no profile field \"goods\""},
    {"{\"candidates\":[{}],\"context\":{\"pid\":1.5}}",
     "request: context: field \"pid\" must be a string or an integer"},
    {"{\"candidates\":[{}],\"behaviors\":{}}",
     "request: behaviors must be a list"},
    {"{\"candidates\":[{}],\"behaviors\":[{\"cate\":[]}]}",
     "request: behaviors[0]: field \"cate\" must be a string or an integer"},
    {"{\"candidates\":[{}],\"profile\":[]}",
     "request: profile must be an object"},
};

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(parse(bad[i].json), BASE_DATA);
        if (strncmp(error.text, bad[i].text, strlen(bad[i].text)) != 0)
            assert_string_equal(error.text, bad[i].text);
        assert_null(request.ids.items);
    }
}

/* Lists, one value, too many, none at all; numbers into buckets. */
static void test_multi(void **state)
{
    (void)state;
    struct interest_model *single = model;
    const uint64_t absent = INTEREST_ABSENT;
    model = multi;
    assert_int_equal(
        parse("{\"profile\":{\"gender\":30},\"context\":{\"tags\":\"x\"},"
              "\"behaviors\":[{\"goods\":1,\"genres\":[\"a\",null,\"b\"]}],"
              "\"candidates\":[{\"genres\":[1,2,3,4]},{\"genres\":[]},{},"
              "{\"genres\":null}]}"),
        BASE_OK);
    const struct interest_request *ids = &request.ids;
    assert_true(ids->profile[0] == id(0, 0, "2"));
    assert_true(ids->context[0] == id(2, 0, "x"));
    assert_true(ids->context[1] == absent);
    assert_true(ids->history[0] == id(1, 0, "1"));
    assert_true(ids->history[1] == id(1, 1, "a"));
    assert_true(ids->history[2] == id(1, 1, "b"));
    assert_true(ids->history[3] == absent);
    assert_true(ids->items[0] == 0);
    assert_true(ids->items[1] == id(1, 1, "1"));
    assert_true(ids->items[3] == id(1, 1, "3"));
    for (unsigned candidate = 1; candidate < 4; candidate++)
        for (unsigned place = 1; place < 4; place++)
            assert_true(ids->items[4 * candidate + place] == absent);
    rank_request_fini(&request);
    assert_int_equal(parse("{\"candidates\":[{\"genres.2\":1}]}"), BASE_DATA);
    assert_non_null(strstr(error.text, "no item field \"genres.2\""));
    assert_int_equal(parse("{\"candidates\":[{\"genres\":[[1]]}]}"), BASE_DATA);
    assert_non_null(strstr(error.text, "a string, an integer or a list"));
    assert_int_equal(parse("{\"candidates\":[{\"goods\":[1]}]}"), BASE_DATA);
    assert_non_null(strstr(error.text, "\"goods\" must be a string or an"));
    assert_int_equal(
        parse("{\"profile\":{\"gender\":\"30\"},\"candidates\":[{}]}"),
        BASE_DATA);
    assert_non_null(strstr(error.text, "\"gender\" must be a number"));
    assert_int_equal(
        parse("{\"profile\":{\"gender\":24.5},\"candidates\":[{}]}"), BASE_OK);
    assert_true(request.ids.profile[0] == id(0, 0, "1"));
    rank_request_fini(&request);
    assert_int_equal(
        parse("{\"profile\":{\"gender\":null},\"candidates\":[{}]}"), BASE_OK);
    assert_true(request.ids.profile[0] == 0);
    rank_request_fini(&request);
    model = single;
}

/* Publishes the fixture's weights, and opens them. */
static int publish(const char *folder, struct fixture *fixture,
                   const char *stream, struct interest_model **opened)
{
    struct interest_error why;
    struct snapshot_publisher *publisher = fixture_publisher(folder);
    struct snapshot_content content = fixture_content(fixture);
    struct snapshot_manifest manifest;
    struct snapshot_announcement said;
    fixture_manifest(fixture, &manifest);
    manifest.stream_json = strdup(stream);
    int status =
        snapshot_publisher_put(publisher, &content, &manifest, &said, &error);
    snapshot_manifest_fini(&manifest);
    snapshot_publisher_free(publisher);
    fixture_fini(fixture);
    return status ? status : interest_open(folder, opened, &why);
}

static int set_up(void **state)
{
    struct fixture fixture;
    char folder[300];
    if (fixture_folder(state))
        return 1;
    fixture_init(&fixture, 1, 20);
    snprintf(folder, sizeof folder, "%s/one", (char *)*state);
    int status =
        publish(folder, &fixture,
                "{\"transforms\":{\"pid\":{\"transform\":\"hour\"}}}", &model);
    fixture_init_multi(&fixture, 1, 20);
    snprintf(folder, sizeof folder, "%s/multi", (char *)*state);
    return status ? status
                  : publish(folder, &fixture,
                            "{\"transforms\":{\"gender\":{\"transform\":"
                            "\"bucket\",\"bounds\":[18,30]}}}",
                            &multi);
}

static int tear_down(void **state)
{
    interest_close(model);
    interest_close(multi);
    return fixture_remove(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_long_history),
        cmocka_unit_test(test_parts_may_be_left_out),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_multi),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
