/* SPDX-License-Identifier: Apache-2.0 */
/* Given decisions between records: where each belongs, and which of them a
 * state that goes on has already. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "ingest/letter.h"
#include "ingest/repeat.h"

static void add(struct ingest_repeats *repeats, int64_t apply_ms,
                const char *behind)
{
    const struct ingest_repeat_line line = {
        .kind = INGEST_DECISION_STOPPED,
        .at = {.topic = INGEST_CLICKS, .partition = 3, .offset = 9,
               .own_ms = behind ? apply_ms : INT64_MIN,
               .apply_ms = apply_ms},
        .text = "clicks/3: a reason",
        .behind = behind};
    assert_null(ingest_repeats_add(repeats, &line));
}

/* A time that timers have reached, before any record of it. */
static struct ingest_event reached(int64_t apply_ms)
{
    return (struct ingest_event){.partition = INT32_MIN, .offset = -1,
                                 .own_ms = INT64_MIN, .apply_ms = apply_ms};
}

static void test_a_commit_amid_timers_loses_no_place(void **state)
{
    (void)state;
    struct ingest_repeats repeats = {0};
    struct ingest_event last = reached(INT64_MIN);
    add(&repeats, INT64_MIN, NULL); /* before anything */
    add(&repeats, 100, "impressions/3@1");
    add(&repeats, 300, "impressions/3@2");
    assert_int_equal(repeats.count, 3);
    assert_int_equal(ingest_repeats_done(&repeats, &last), 0);
    last = reached(200);
    assert_int_equal(ingest_repeats_done(&repeats, &last), 2);
    last = reached(300);
    assert_int_equal(ingest_repeats_done(&repeats, &last), 2);
    last = reached(301);
    assert_int_equal(ingest_repeats_done(&repeats, &last), 3);
    ingest_repeats_fini(&repeats);
}

static void test_a_decision_amid_timers_keeps_its_time(void **state)
{
    (void)state;
    struct ingest_repeats repeats = {0};
    char text[INGEST_BEHIND_TEXT];
    struct ingest_event last = reached(200);
    ingest_repeat_place(&last, text);
    assert_string_equal(text, ""); /* its line names no record */
    add(&repeats, 100, "impressions/3@1");
    add(&repeats, 200, NULL);
    last = reached(150);
    assert_int_equal(ingest_repeats_done(&repeats, &last), 1);
    last = reached(200);
    assert_int_equal(ingest_repeats_done(&repeats, &last), 2);
    ingest_repeats_fini(&repeats);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_commit_amid_timers_loses_no_place),
        cmocka_unit_test(test_a_decision_amid_timers_keeps_its_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
