/* SPDX-License-Identifier: Apache-2.0 */
/* Controls: who may, what is understood, what is called; every answer is one
 * JSON object. */
#include "daemon/control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "daemon/config.h"
#include "ingest/ingest.h"

#define TOKEN "correct-horse-battery"
#define GOOD "Bearer " TOKEN

static char called[64];
static bool publishes;

static void do_pause(void *self, bool paused)
{
    (void)self;
    strcat(called, paused ? "pause " : "resume ");
}

static void do_checkpoint(void *self)
{
    (void)self;
    strcat(called, "checkpoint ");
}

static bool do_publish(void *self, bool force)
{
    (void)self;
    strcat(called, force ? "force " : "publish ");
    return publishes;
}

static struct ingest_config ingest;
static struct learner_forget forgotten[8];

static uint64_t do_forget(void *self, const struct learner_forget *forgets,
                          unsigned count, bool purge)
{
    (void)self;
    strcat(called, purge ? "purge " : "forget ");
    assert_true(count <= 8);
    memcpy(forgotten, forgets, count * sizeof *forgets);
    return count;
}

static uint64_t do_rollback(void *self, const char *version, bool learner)
{
    (void)self;
    strcat(called, learner ? "learner " : "rollback ");
    assert_true(version[0] == 'v');
    return strcmp(version, "v1-9") == 0 ? 0 : 7;
}

static const struct daemon_control_hooks hooks = {
    NULL, &ingest, do_pause, do_checkpoint, do_publish, do_forget,
    do_rollback};

/* The code; what was called is in `called`. */
static unsigned ask(const struct daemon_control_hooks *to, const char *token,
                    const struct daemon_control_request *request)
{
    struct daemon_control_answer answer;
    called[0] = '\0';
    daemon_control_answer(to, token, request, &answer);
    json_t *root = json_loads(answer.text, JSON_REJECT_DUPLICATES, NULL);
    assert_true(json_is_object(root));
    const char *key = answer.code < 300 ? "effect" : "error";
    assert_true(json_string_length(json_object_get(root, key)) > 0);
    json_decref(root);
    return answer.code;
}

static const struct {
    const char *name, *force, *body;
    unsigned arguments, code;
    const char *called;
} requests[] = {
    {"pause", NULL, "", 0, 200, "pause "},
    {"resume", NULL, "{}", 0, 200, "resume "},
    {"checkpoint", NULL, " {} ", 0, 202, "checkpoint "},
    {"publish", NULL, "", 0, 202, "publish "},
    {"publish", "0", "", 1, 202, "publish "},
    {"publish", "1", "", 1, 202, "force "},
    {"publish", NULL, "{\"force\":true}", 0, 202, "force "},
    {"publish", NULL, "{\"force\":false}", 0, 202, "publish "},
    {"publish", "1", "{\"force\":false}", 1, 202, "force "},
    {"publish", "2", "", 1, 400, ""},
    {"forget", NULL, "{\"users\":[\"ann\",\"12\"]}", 0, 202, "forget "},
    {"forget", NULL, "{\"ids\":[\"00000000000000ff\"],\"purge\":true}", 0, 202,
     "purge "},
    {"rollback", NULL, "{\"version\":\"v1-2\"}", 0, 202, "rollback "},
    {"rollback", NULL, "{\"version\":\"v1-2\",\"learner\":true}", 0, 202,
     "learner "},
    {"rollback", NULL, "{\"version\":\"v1-9\"}", 0, 409, "rollback "},
    {"rollback", NULL, "{\"version\":\"v1-2\"}", 1, 400, ""},
    {"rollback", NULL, "{\"version\":\"../v1-2\"}", 0, 400, ""},
    {"rollback", NULL, "{\"version\":\"v1-2\",\"learner\":1}", 0, 400, ""},
    {"rollback", NULL, "{\"version\":\"v1-2\",\"all\":1}", 0, 400, ""},
    {"rollback", NULL, "{\"version\":2}", 0, 400, ""},
    {"rollback", NULL, "", 0, 400, ""},
    {"forget", NULL, "", 0, 400, ""},
    {"forget", NULL, "{}", 0, 400, ""},
    {"forget", NULL, "{\"users\":[]}", 0, 400, ""},
    {"forget", NULL, "{\"users\":\"ann\"}", 0, 400, ""},
    {"forget", NULL, "{\"users\":[\"\"]}", 0, 400, ""},
    {"forget", NULL, "{\"users\":[7]}", 0, 400, ""},
    {"forget", NULL, "{\"users\":[\"a\\u0000b\"]}", 0, 400, ""},
    {"forget", NULL, "{\"ids\":[\"ann \\\" \"]}", 0, 400, ""},
    {"forget", NULL, "{\"users\":[\"ann\"],\"all\":true}", 0, 400, ""},
    {"forget", NULL, "{\"users\":[\"ann\"],\"purge\":1}", 0, 400, ""},
    {"forget", "1", "{\"users\":[\"ann\"]}", 1, 400, ""},
    {"publish", "", "", 1, 400, ""},
    {"publish", "11", "", 1, 400, ""},
    {"publish", "1", "", 2, 400, ""},
    {"publish", NULL, "", 1, 400, ""},
    {"publish", NULL, "{\"force\":1}", 0, 400, ""},
    {"publish", NULL, "{\"force\":true,\"force\":true}", 0, 400, ""},
    {"publish", NULL, "{\"force\":true,\"more\":1}", 0, 400, ""},
    {"publish", NULL, "{\"farce\":true}", 0, 400, ""},
    {"publish", NULL, "[]", 0, 400, ""},
    {"publish", NULL, "{", 0, 400, ""},
    {"publish", NULL, "force=1", 0, 400, ""},
    {"publish", NULL, "\xff\xfe", 0, 400, ""},
    {"pause", "1", "", 1, 400, ""},
    {"pause", NULL, "{\"force\":true}", 0, 400, ""},
    {"rollforward", NULL, "", 0, 404, ""},
    {"", NULL, "", 0, 404, ""},
    {"pause/", NULL, "", 0, 404, ""},
    {"PAUSE", NULL, "", 0, 404, ""},
};

static void test_requests(void **state)
{
    (void)state;
    publishes = true;
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        const struct daemon_control_request request = {
            .name = requests[i].name,
            .authorization = GOOD,
            .force = requests[i].force,
            .arguments = requests[i].arguments,
            .body = requests[i].body,
            .body_size = strlen(requests[i].body)};
        unsigned code = ask(&hooks, TOKEN, &request);
        if (code != requests[i].code || strcmp(called, requests[i].called))
            fail_msg("%s force=%s %s: %u, called %s", requests[i].name,
                     requests[i].force, requests[i].body, code, called);
    }
    publishes = false;
    const struct daemon_control_request publish = {.name = "publish",
                                                   .authorization = GOOD};
    assert_int_equal(ask(&hooks, TOKEN, &publish), 409);
}

static void test_bodies_are_bounded(void **state)
{
    (void)state;
    char body[DAEMON_CONTROL_BODY_MAX];
    struct daemon_control_request request = {.name = "resume",
                                             .authorization = GOOD,
                                             .body = body,
                                             .body_size = sizeof body};
    memset(body, ' ', sizeof body);
    memcpy(body, "{}", 2);
    assert_int_equal(ask(&hooks, TOKEN, &request), 200);
    request.body_size++; /* what is beyond must not be read */
    assert_int_equal(ask(&hooks, TOKEN, &request), 413);
    memset(body, '[', sizeof body);
    request.body_size = sizeof body;
    assert_int_equal(ask(&hooks, TOKEN, &request), 400);
}

static void test_tokens(void **state)
{
    (void)state;
    static const char *const wrong[] = {NULL,
                                        "",
                                        "Bearer",
                                        "Bearer ",
                                        "Bearer correct-horse-batter",
                                        GOOD "y",
                                        GOOD " ",
                                        "Bearer  " TOKEN,
                                        "bearer " TOKEN,
                                        TOKEN,
                                        "Basic " TOKEN,
                                        "Bearer correct-horse-batterY",
                                        "Bearer Correct-horse-"
                                        "battery"};
    struct daemon_control_request request = {.name = "pause"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        request.authorization = wrong[i];
        assert_int_equal(ask(&hooks, TOKEN, &request), 401);
        assert_string_equal(called, "");
    }
    char text[5000] = "Bearer ", longest[DAEMON_TOKEN_MAX];
    memset(longest, 'k', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    strcat(text, longest);
    request.authorization = text;
    assert_int_equal(ask(&hooks, longest, &request), 200);
    strcat(text, "k"); /* equal in all that is compared, but longer */
    assert_int_equal(ask(&hooks, longest, &request), 401);
    memset(text + 7, 'k', sizeof text - 8);
    text[sizeof text - 1] = '\0';
    assert_int_equal(ask(&hooks, longest, &request), 401);
}

/* Off is off, for the right word too; and the empty one is never right. */
static void test_off(void **state)
{
    (void)state;
    struct daemon_control_request request = {.name = "pause",
                                             .authorization = GOOD};
    assert_int_equal(ask(&hooks, "", &request), 403);
    assert_int_equal(ask(NULL, TOKEN, &request), 403);
    request.authorization = "Bearer ";
    assert_int_equal(ask(&hooks, "", &request), 403);
    assert_string_equal(called, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests), cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_bodies_are_bounded), cmocka_unit_test(test_off)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
