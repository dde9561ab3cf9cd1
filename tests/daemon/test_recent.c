/* SPDX-License-Identifier: Apache-2.0 */
/* The newest verdicts: what is kept when there are many, holds counted as one,
 * ages in their buckets. */
#include "daemon/recent.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void pass(struct daemon_recent *recent, uint64_t version, bool delta,
                 bool forced, int64_t age_ms)
{
    const struct snapshot_announcement made = {.version = version,
                                               .created_ms = 100000,
                                               .newest_event_ms =
                                                   100000 - age_ms,
                                               .delta = delta};
    const struct snapshot_judged judged = {.auc = 0.5, .forced = forced};
    daemon_recent_passed(recent, &made, &judged);
}

static unsigned count_of(const struct daemon_recent *recent, uint64_t version)
{
    unsigned count = 0;
    for (unsigned i = 0; i < recent->count; i++)
        count += recent->verdict[i].version == version;
    return count;
}

/* A thousand deltas wash away neither a base, a forced one nor a hold. */
static void test_deltas_go_first(void **state)
{
    static struct daemon_recent recent;
    (void)state;
    pass(&recent, 1, false, false, 0);
    pass(&recent, 2, true, true, 0);
    daemon_recent_held(&recent, 5, 77, DAEMON_GATE_AUC, "worse");
    for (uint64_t i = 3; i < 1003; i++)
        pass(&recent, i, true, false, 0);
    assert_int_equal(recent.count, DAEMON_RECENT_KEPT);
    assert_int_equal(count_of(&recent, 1), 1);
    assert_int_equal(count_of(&recent, 2), 1);
    assert_int_equal(recent.verdict[2].verdict, DAEMON_GATE_AUC);
    assert_int_equal(recent.verdict[recent.count - 1].version, 1002);
    /* Of bases alone the oldest goes. */
    for (uint64_t i = 2000; i < 2100; i++)
        pass(&recent, i, false, false, 0);
    assert_int_equal(count_of(&recent, 1), 0);
    assert_int_equal(count_of(&recent, 2099), 1);
    assert_int_equal(recent.count, DAEMON_RECENT_KEPT);
}

static void test_holds_are_one(void **state)
{
    static struct daemon_recent recent;
    (void)state;
    daemon_recent_held(&recent, 1, 10, DAEMON_GATE_AUC, "first");
    daemon_recent_held(&recent, 2, 20, DAEMON_GATE_AUC, "second");
    assert_int_equal(recent.count, 1);
    assert_int_equal(recent.verdict[0].times, 2);
    assert_int_equal(recent.verdict[0].at_ms, 2);
    assert_int_equal(recent.verdict[0].position, 20);
    assert_string_equal(recent.verdict[0].text, "second");
    daemon_recent_held(&recent, 3, 30, DAEMON_GATE_NORM, "other");
    assert_int_equal(recent.count, 2);
    pass(&recent, 1, true, false, 0);
    daemon_recent_held(&recent, 4, 40, DAEMON_GATE_NORM, "again");
    assert_int_equal(recent.count, 4);
    assert_int_equal(recent.verdict[3].times, 1);
}

static void test_ages(void **state)
{
    static struct daemon_recent recent;
    uint64_t sum = 0;
    (void)state;
    pass(&recent, 1, true, false, -5); /* a clock ahead */
    pass(&recent, 2, true, false, 250);
    pass(&recent, 3, true, false, 251);
    pass(&recent, 4, true, false, 86400001);
    assert_int_equal(recent.fresh[0], 2);
    assert_int_equal(recent.fresh[1], 1);
    assert_int_equal(recent.fresh[DAEMON_FRESH_BUCKETS - 1], 1);
    for (unsigned i = 0; i < DAEMON_FRESH_BUCKETS; i++)
        sum += recent.fresh[i];
    assert_int_equal(sum, 4);
    for (unsigned i = 1; i < DAEMON_FRESH_BUCKETS - 1; i++)
        assert_true(daemon_fresh_bounds[i] > daemon_fresh_bounds[i - 1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deltas_go_first),
        cmocka_unit_test(test_holds_are_one),
        cmocka_unit_test(test_ages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
