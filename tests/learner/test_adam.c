/* SPDX-License-Identifier: Apache-2.0 */
/* Adam against the textbook in double, and the properties its bits rest on. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "learner/adam.h"

enum { N = 77 };

static struct learner_adam adam;

static float gradient(unsigned step, unsigned i)
{
    float unit = base_random_unit(base_random_u64(1, 2, step, i));
    return (unit - 0.4f) * (i % 5 == 0 ? 1e-6f : 3.0f);
}

static void steps_follow_the_formula(void **state)
{
    (void)state;
    float w[N], m[N] = {0}, v[N] = {0}, g[N];
    double W[N], M[N] = {0}, V[N] = {0};
    learner_adam_init(&adam, 0.001f);
    for (unsigned i = 0; i < N; i++)
        W[i] = w[i] = 0.01f * (float)i - 0.3f;
    for (unsigned t = 1; t <= 500; t++) {
        double rate = 0.001 * sqrt(1.0 - pow(0.999, t)) / (1.0 - pow(0.9, t));
        for (unsigned i = 0; i < N; i++) {
            g[i] = gradient(t, i);
            M[i] = 0.9 * M[i] + 0.1 * (double)g[i];
            V[i] = 0.999 * V[i] + 0.001 * (double)g[i] * (double)g[i];
            W[i] -= rate * M[i] / (sqrt(V[i]) + 1e-8);
        }
        learner_adam_step(w, m, v, g, N, learner_adam_rate(&adam, t));
        for (unsigned i = 0; i < N; i++)
            assert_true(fabs((double)w[i] - W[i]) < 2e-5);
    }
}

static void rates_match_the_powers(void **state)
{
    (void)state;
    learner_adam_init(&adam, 0.002f);
    const unsigned steps[] = {1, 2, 3, 10, 100, 1000, 10000, 20000};
    for (unsigned i = 0; i < 8; i++) {
        double t = steps[i];
        double exact =
            0.002 * sqrt(1.0 - pow(0.999, t)) / (1.0 - pow(0.9, t));
        double rate = (double)learner_adam_rate(&adam, steps[i]);
        assert_true(fabs(rate / exact - 1.0) < 1e-5);
    }
    /* Constant from the table's end on, and there equal to the rate. */
    assert_true(learner_adam_rate(&adam, 20000) ==
                learner_adam_rate(&adam, UINT64_C(1) << 40));
    assert_true(fabs((double)learner_adam_rate(&adam, 20000) / 0.002 - 1.0) <
                1e-6);
}

/* A row alone, or among others, in any split: the same bits. */
static void bits_do_not_depend_on_the_split(void **state)
{
    (void)state;
    float w1[N], m1[N] = {0}, v1[N] = {0}, w2[N], m2[N] = {0}, v2[N] = {0};
    float g[N];
    learner_adam_init(&adam, 0.001f);
    for (unsigned i = 0; i < N; i++)
        w1[i] = w2[i] = gradient(999, i);
    for (unsigned t = 1; t <= 50; t++) {
        float rate = learner_adam_rate(&adam, t);
        for (unsigned i = 0; i < N; i++)
            g[i] = gradient(t, i);
        learner_adam_step(w1, m1, v1, g, N, rate);
        for (unsigned i = 0, n; i < N; i += n) {
            n = 1 + (i + t) % 9;
            n = n < N - i ? n : N - i;
            learner_adam_step(w2 + i, m2 + i, v2 + i, g + i, n, rate);
        }
        assert_memory_equal(w1, w2, sizeof w1);
        assert_memory_equal(m1, m2, sizeof m1);
        assert_memory_equal(v1, v2, sizeof v1);
    }
}

static void no_gradient_from_the_start_moves_nothing(void **state)
{
    (void)state;
    float w[N], m[N] = {0}, v[N] = {0}, g[N] = {0}, before[N];
    learner_adam_init(&adam, 0.001f);
    for (unsigned i = 0; i < N; i++)
        before[i] = w[i] = gradient(5, i);
    learner_adam_step(w, m, v, g, N, learner_adam_rate(&adam, 1));
    assert_memory_equal(w, before, sizeof w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_follow_the_formula),
        cmocka_unit_test(rates_match_the_powers),
        cmocka_unit_test(bits_do_not_depend_on_the_split),
        cmocka_unit_test(no_gradient_from_the_start_moves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
