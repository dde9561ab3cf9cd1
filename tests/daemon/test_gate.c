/* SPDX-License-Identifier: Apache-2.0 */
/* The gate's rules, case by case: each side of each bound, and figures that
 * are not defined. */
#include "daemon/gate.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct daemon_gate_config config = {
    .samples = 100,
    .auc_drop = 0.0625,
    .calibration_min = 0.5,
    .calibration_max = 2,
    .norm_factor = 2,
};

#define N ((double)NAN)
#define I ((double)INFINITY)

/* samples, AUC, calibration, norm, forced */
static const struct {
    const char *what;
    bool has_last;
    struct snapshot_judged last, next;
    enum daemon_gate_reason reason;
    const char *text; /* part of it */
} cases[] = {
    {"first", false, {0}, {100, N, N, 5, false}, DAEMON_GATE_PASSED, ""},
    {"first, poor",
     false,
     {0},
     {100, 0.1, 9, 5, false},
     DAEMON_GATE_PASSED,
     ""},
    {"first, small",
     false,
     {0},
     {99, 0.9, 1, 5, false},
     DAEMON_GATE_SAMPLES,
     "99 samples trained; publish.gate_samples wants 100"},
    {"small before all but finite",
     true,
     {500, 0.9, 1, 1, false},
     {99, 0.1, 9, 50, false},
     DAEMON_GATE_SAMPLES,
     "99 samples"},
    {"not finite",
     false,
     {0},
     {99, 0.9, 1, N, false},
     DAEMON_GATE_NOT_FINITE,
     "not finite"},
    {"infinite",
     true,
     {500, 0.9, 1, 1, false},
     {500, 0.9, 1, I, false},
     DAEMON_GATE_NOT_FINITE,
     "not finite"},
    {"the same",
     true,
     {500, 0.75, 1, 4, false},
     {500, 0.75, 1, 4, false},
     DAEMON_GATE_PASSED,
     ""},
    {"AUC just within",
     true,
     {500, 0.75, 1, 4, false},
     {600, 0.6875, 1, 4, false},
     DAEMON_GATE_PASSED,
     ""},
    {"AUC fell",
     true,
     {500, 0.75, 1, 4, false},
     {600, 0.6874, 1, 4, false},
     DAEMON_GATE_AUC,
     "from 0.7500 to 0.6874; publish.gate_auc_drop is 0.0625"},
    {"AUC rose",
     true,
     {500, 0.5, 1, 4, false},
     {600, 0.99, 1, 4, false},
     DAEMON_GATE_PASSED,
     ""},
    {"AUC new",
     true,
     {500, N, 1, 4, false},
     {600, 0.1, 1, 4, false},
     DAEMON_GATE_PASSED,
     ""},
    {"AUC gone",
     true,
     {500, 0.9, 1, 4, false},
     {600, N, 1, 4, false},
     DAEMON_GATE_PASSED,
     ""},
    {"calibration at its bounds",
     true,
     {500, 0.75, 1, 4, false},
     {600, 0.75, 2, 4, false},
     DAEMON_GATE_PASSED,
     ""},
    {"too high",
     true,
     {500, 0.75, 1, 4, false},
     {600, 0.75, 2.01, 4, false},
     DAEMON_GATE_CALIBRATION,
     "from 1.0000 to 2.0100; publish.gate_calib"},
    {"too low",
     true,
     {500, 0.75, 1.9, 4, false},
     {600, 0.75, 0.49, 4, false},
     DAEMON_GATE_CALIBRATION,
     "to 0.4900"},
    {"zero",
     true,
     {500, 0.75, 1, 4, false},
     {600, 0.75, 0, 4, false},
     DAEMON_GATE_CALIBRATION,
     "to 0.0000"},
    {"out, on the way back",
     true,
     {500, 0.75, 4, 4, false},
     {600, 0.75, 3, 4, false},
     DAEMON_GATE_PASSED,
     ""},
    {"out as before",
     true,
     {500, 0.75, 4, 4, false},
     {600, 0.75, 4, 4, false},
     DAEMON_GATE_PASSED,
     ""},
    {"out, on the other side, worse",
     true,
     {500, 0.75, 4, 4, false},
     {600, 0.75, 0.2, 4, false},
     DAEMON_GATE_CALIBRATION,
     "to 0.2000"},
    {"calibration new",
     true,
     {500, 0.75, N, 4, false},
     {600, 0.75, 9, 4, false},
     DAEMON_GATE_PASSED,
     ""},
    {"calibration gone",
     true,
     {500, 0.75, 1, 4, false},
     {600, 0.75, N, 4, false},
     DAEMON_GATE_PASSED,
     ""},
    {"norm just within",
     true,
     {500, 0.75, 1, 4, false},
     {600, 0.75, 1, 8, false},
     DAEMON_GATE_PASSED,
     ""},
    {"norm grew",
     true,
     {500, 0.75, 1, 4, false},
     {600, 0.75, 1, 8.01, false},
     DAEMON_GATE_NORM,
     "from 4 to 8.01; publish.gate_norm_factor is 2"},
    {"norm shrank",
     true,
     {500, 0.75, 1, 4, false},
     {600, 0.75, 1, 0.1, false},
     DAEMON_GATE_PASSED,
     ""},
    {"no matrices",
     true,
     {500, 0.75, 1, 0, false},
     {600, 0.75, 1, 0, false},
     DAEMON_GATE_PASSED,
     ""},
    {"norm not known",
     true,
     {500, 0.75, 1, N, false},
     {600, 0.75, 1, 99, false},
     DAEMON_GATE_PASSED,
     ""},
};

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[200] = "before";
        enum daemon_gate_reason reason = daemon_gate_judge(
            &config, cases[i].has_last ? &cases[i].last : NULL, &cases[i].next,
            text, sizeof text);
        if (reason != cases[i].reason || !strstr(text, cases[i].text) ||
            (reason == DAEMON_GATE_PASSED) != !text[0])
            fail_msg("%s: %s, \"%s\"", cases[i].what, daemon_gate_words[reason],
                     text);
    }
}

/* The longest texts are whole, or cut with their end. */
static void test_text_is_bounded(void **state)
{
    const struct snapshot_judged last = {1, 1e300, 1, 1, false};
    const struct snapshot_judged next = {UINT64_MAX, -1e300, 1, 1, false};
    char text[16];
    (void)state;
    memset(text, 'x', sizeof text);
    assert_int_equal(daemon_gate_judge(&config, &last, &next, text, 8),
                     DAEMON_GATE_AUC);
    assert_string_equal(text, "AUC fel");
    assert_int_equal(text[8], 'x');
}

static void test_words(void **state)
{
    (void)state;
    for (unsigned i = 0; i < DAEMON_GATE_REASONS; i++)
        for (unsigned k = 0; k < i; k++)
            assert_string_not_equal(daemon_gate_words[i], daemon_gate_words[k]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases),
                                       cmocka_unit_test(test_text_is_bounded),
                                       cmocka_unit_test(test_words)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
