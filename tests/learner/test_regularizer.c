/* SPDX-License-Identifier: Apache-2.0 */
/* Row regularizers: their factors by hand, the sum over a stream that each
 * promises, and the gradient of the penalty by finite differences. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "learner/regularizer.h"

static struct learner_model_config
configure(enum learner_regularizer regularizer)
{
    struct learner_model_config config;
    learner_model_config_default(&config);
    config.regularizer = regularizer;
    config.lambda = 0.25f;
    return config;
}

static void factors_by_hand(void **state)
{
    (void)state;
    const struct {
        enum learner_regularizer regularizer;
        uint32_t count, occurrences;
        float factor;
    } cases[] = {
        {LEARNER_L2, 1, 1, 0.25f},         {LEARNER_L2, 1000, 7, 0.25f},
        {LEARNER_MBA, 1, 1, 0.25f},        {LEARNER_MBA, 4, 1, 0.0625f},
        {LEARNER_MBA, 4, 3, 0.0625f},      {LEARNER_DIFACTO, 4, 1, 0.0625f},
        {LEARNER_DIFACTO, 4, 3, 0.1875f},  {LEARNER_DIFACTO, 8, 8, 0.25f},
        {LEARNER_L2, 9, 0, 0},             {LEARNER_MBA, 9, 0, 0},
        {LEARNER_DIFACTO, 9, 0, 0},        {LEARNER_MBA, 0, 0, 0},
        {LEARNER_REGULARIZER_NONE, 5, 2, 0}, {LEARNER_DROPOUT, 5, 2, 0},
        {LEARNER_FILTER, 5, 2, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct learner_model_config config = configure(cases[i].regularizer);
        assert_true(learner_regularizer_factor(&config, cases[i].count,
                                               cases[i].occurrences) ==
                    cases[i].factor);
    }
}

/* An id that occurs n times, m of them in each batch: MBA's factors add up to
 * lambda x (1/m + 1/2m + ..), DiFacto's to m times that, L2's grow with the
 * number of batches. */
static void frequent_ids_are_spared(void **state)
{
    (void)state;
    const enum learner_regularizer kinds[] = {LEARNER_L2, LEARNER_MBA,
                                              LEARNER_DIFACTO};
    for (unsigned k = 0; k < 3; k++)
        for (uint32_t m = 1; m <= 4; m++) {
            struct learner_model_config config = configure(kinds[k]);
            double sum = 0, expected = 0;
            for (uint32_t batch = 1; batch <= 50; batch++) {
                sum += (double)learner_regularizer_factor(&config, m * batch,
                                                          m);
                expected += k == 0   ? 0.25
                            : k == 1 ? 0.25 / (m * batch)
                                     : 0.25 / batch;
            }
            assert_true(fabs(sum - expected) < 1e-5);
        }
}

/* g gains the gradient of factor / 2 |w|^2. */
static void the_penalty_is_half_the_square(void **state)
{
    (void)state;
    enum { W = 19 };
    float w[W], g[W];
    for (unsigned i = 0; i < W; i++) {
        w[i] = 0.1f * (float)i - 0.7f;
        g[i] = (float)i;
    }
    learner_regularizer_add(g, w, W, 0.375f);
    for (unsigned i = 0; i < W; i++) {
        double x = (double)w[i], step = 1e-4;
        double up = 0.375 / 2 * (x + step) * (x + step);
        double down = 0.375 / 2 * (x - step) * (x - step);
        double slope = (up - down) / (2 * step);
        assert_true(fabs((double)g[i] - (double)i - slope) < 1e-5);
    }
}

static void two_of_them_admit(void **state)
{
    (void)state;
    for (int r = LEARNER_REGULARIZER_NONE; r <= LEARNER_MBA; r++) {
        struct learner_model_config config =
            configure((enum learner_regularizer)r);
        assert_true(learner_regularizer_admits(&config) ==
                    (r == LEARNER_FILTER || r == LEARNER_DIFACTO));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(factors_by_hand),
        cmocka_unit_test(frequent_ids_are_spared),
        cmocka_unit_test(the_penalty_is_half_the_square),
        cmocka_unit_test(two_of_them_admit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
