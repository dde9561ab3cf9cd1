/* SPDX-License-Identifier: Apache-2.0 */
/* Each optimizer against its textbook formula in double, and the properties
 * that its bits rest on. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "learner/optimizer.h"

enum { N = 77, STEPS = 500 };

static struct learner_updater updater;

static const enum learner_optimizer kinds[] = {
    LEARNER_ADAM, LEARNER_ADAGRAD, LEARNER_ROW_ADAGRAD, LEARNER_FTRL,
    LEARNER_SGD};
enum { KINDS = 5 };

static struct learner_model_config configure(enum learner_optimizer optimizer)
{
    struct learner_model_config config;
    learner_model_config_default(&config);
    config.optimizer = optimizer;
    return config;
}

static float gradient(unsigned step, unsigned i)
{
    float unit = base_random_unit(base_random_u64(1, 2, step, i));
    return (unit - 0.4f) * (i % 5 == 0 ? 1e-6f : 3.0f);
}

/* Textbook, in double: a row of n weights w with states a and b. */
struct textbook {
    double w[N], a[N], b[N];
};

static void adam(struct textbook *row, const float *g, unsigned t, double lr)
{
    double rate = lr * sqrt(1 - pow(0.999, t)) / (1 - pow(0.9, t));
    for (unsigned i = 0; i < N; i++) {
        double x = (double)g[i];
        row->a[i] = 0.9 * row->a[i] + 0.1 * x;
        row->b[i] = 0.999 * row->b[i] + 0.001 * x * x;
        row->w[i] -= rate * row->a[i] / (sqrt(row->b[i]) + 1e-8);
    }
}

static void adagrad(struct textbook *row, const float *g, double lr)
{
    for (unsigned i = 0; i < N; i++) {
        row->a[i] += pow((double)g[i], 2);
        row->w[i] -= lr * (double)g[i] / (sqrt(row->a[i]) + 1e-10);
    }
}

static void row_adagrad(struct textbook *row, const float *g, double lr)
{
    double mean = 0;
    for (unsigned i = 0; i < N; i++)
        mean += pow((double)g[i], 2) / N;
    row->a[0] += mean;
    for (unsigned i = 0; i < N; i++)
        row->w[i] -= lr * (double)g[i] / (sqrt(row->a[0]) + 1e-10);
}

/* McMahan 2013, algorithm 1, as it stands there. */
static void ftrl(struct textbook *row, const float *g,
                 const struct learner_model_config *config)
{
    double alpha = (double)config->ftrl_alpha, l1 = (double)config->ftrl_l1;
    for (unsigned i = 0; i < N; i++) {
        double x = (double)g[i], n = row->b[i];
        double sigma = (sqrt(n + x * x) - sqrt(n)) / alpha;
        row->a[i] += x - sigma * row->w[i];
        row->b[i] = n + x * x;
        double z = row->a[i], sign = z < 0 ? -1 : 1;
        row->w[i] = fabs(z) <= l1
                        ? 0
                        : -(z - sign * l1) /
                              (((double)config->ftrl_beta +
                                sqrt(row->b[i])) / alpha +
                               (double)config->ftrl_l2);
    }
}

static void textbook(struct textbook *row, const float *g, unsigned t,
                     const struct learner_model_config *config)
{
    double lr = (double)config->learning_rate;
    switch (config->optimizer) {
    case LEARNER_ADAM: adam(row, g, t, lr); break;
    case LEARNER_ADAGRAD: adagrad(row, g, lr); break;
    case LEARNER_ROW_ADAGRAD: row_adagrad(row, g, lr); break;
    case LEARNER_FTRL: ftrl(row, g, config); break;
    case LEARNER_SGD:
        for (unsigned i = 0; i < N; i++)
            row->w[i] -= lr * (double)g[i];
    }
}

static void rows_follow_the_formula(void **state)
{
    (void)state;
    for (unsigned k = 0; k < KINDS; k++) {
        struct learner_model_config config = configure(kinds[k]);
        struct textbook row = {0};
        float values[3 * N] = {0}, g[N];
        config.ftrl_l1 = 0.5f;
        config.ftrl_l2 = 0.25f;
        learner_optimizer_init(&updater, &config);
        for (unsigned i = 0; i < N && kinds[k] != LEARNER_FTRL; i++)
            row.w[i] = (double)(values[i] = 0.01f * (float)i - 0.3f);
        for (unsigned t = 1; t <= STEPS; t++) {
            for (unsigned i = 0; i < N; i++)
                g[i] = gradient(t, i);
            textbook(&row, g, t, &config);
            learner_optimizer_row(&updater, values, g, N, t);
            for (unsigned i = 0; i < N; i++)
                assert_true(fabs((double)values[i] - row.w[i]) < 2e-5);
        }
        size_t size = learner_optimizer_row_state(&config, N);
        for (unsigned i = 0; i < N && size > 1; i++)
            assert_true(fabs((double)values[N + i] - row.a[i]) <
                        1e-4 * (1 + fabs(row.a[i])));
        for (size_t i = N + size; i < 3 * N; i++)
            assert_true(values[i] == 0.0f); /* no state behind the state */
    }
}

static void dense_steps_are_rows_but_for_row_wise_adagrad(void **state)
{
    (void)state;
    for (unsigned k = 0; k < KINDS; k++) {
        struct learner_model_config config = configure(kinds[k]);
        float values[3 * N] = {0}, w[N] = {0}, a[N] = {0}, b[N] = {0}, g[N];
        float *slabs[] = {a, b};
        static struct learner_updater rows;
        learner_optimizer_init(&updater, &config);
        if (kinds[k] == LEARNER_ROW_ADAGRAD)
            config.optimizer = LEARNER_ADAGRAD;
        learner_optimizer_init(&rows, &config);
        for (unsigned t = 1; t <= 20; t++) {
            for (unsigned i = 0; i < N; i++)
                g[i] = gradient(t, i);
            learner_optimizer_row(&rows, values, g, N, t);
            learner_optimizer_dense(&updater, w, slabs, g, N, t);
        }
        assert_memory_equal(w, values, sizeof w);
        assert_memory_equal(a, values + N, sizeof a);
        assert_memory_equal(b, values + 2 * N, sizeof b);
        assert_int_equal(learner_optimizer_dense_states(&config) * N,
                         learner_optimizer_row_state(&config, N));
    }
}

/* Weights whose sum of gradients stays within l1 are exactly 0. */
static void ftrl_is_sparse(void **state)
{
    (void)state;
    struct learner_model_config config = configure(LEARNER_FTRL);
    float values[3 * N] = {0}, g[N];
    unsigned zeros = 0;
    config.ftrl_l1 = 4;
    learner_optimizer_init(&updater, &config);
    for (unsigned t = 1; t <= 100; t++) {
        for (unsigned i = 0; i < N; i++) /* noise, and a signal in a third */
            g[i] = base_random_unit(base_random_u64(7, 8, t, i)) - 0.5f +
                   (i % 3 == 0 ? 0.4f : 0);
        learner_optimizer_row(&updater, values, g, N, t);
    }
    for (unsigned i = 0; i < N; i++) {
        zeros += values[i] == 0.0f;
        if (i % 3 == 0)
            assert_true(values[i] < -0.1f);
        assert_true((values[i] == 0.0f) == (fabsf(values[N + i]) <= 4));
    }
    assert_true(zeros > N / 3);
}

/* Gradients whose squares vanish or sum to infinity leave weights finite. */
static void extreme_gradients_leave_weights_finite(void **state)
{
    (void)state;
    const float sizes[] = {1e-45f, 1e-30f, 1e-20f, 0x1p60f, -0x1p60f};
    for (unsigned k = 0; k < KINDS; k++)
        for (unsigned s = 0; s < 5; s++) {
            struct learner_model_config config = configure(kinds[k]);
            float values[3 * N] = {0}, g[N];
            config.ftrl_beta = 0;
            learner_optimizer_init(&updater, &config);
            for (unsigned i = 0; i < N; i++)
                g[i] = i % 7 ? sizes[s] : 0;
            for (unsigned t = 1; t <= 600; t++)
                learner_optimizer_row(&updater, values, g, N, t);
            for (unsigned i = 0; i < N; i++)
                assert_true(isfinite(values[i]));
        }
}

static void no_gradient_from_the_start_moves_nothing(void **state)
{
    (void)state;
    for (unsigned k = 0; k < KINDS; k++) {
        struct learner_model_config config = configure(kinds[k]);
        float values[3 * N] = {0}, g[N] = {0}, before[3 * N];
        for (unsigned i = 0; i < N && kinds[k] != LEARNER_FTRL; i++)
            values[i] = gradient(5, i);
        memcpy(before, values, sizeof before);
        learner_optimizer_init(&updater, &config);
        learner_optimizer_row(&updater, values, g, N, 1);
        assert_memory_equal(values, before, sizeof before);
    }
}

/* A stretch alone, or among others, in any split: the same bits. */
static void bits_do_not_depend_on_the_split(void **state)
{
    (void)state;
    for (unsigned k = 0; k < KINDS; k++) {
        struct learner_model_config config = configure(kinds[k]);
        float w1[N], a1[N] = {0}, b1[N] = {0}, g[N];
        float w2[N], a2[N] = {0}, b2[N] = {0};
        float *slabs[] = {a1, b1};
        learner_optimizer_init(&updater, &config);
        for (unsigned i = 0; i < N; i++)
            w1[i] = w2[i] = gradient(999, i);
        for (unsigned t = 1; t <= 50; t++) {
            for (unsigned i = 0; i < N; i++)
                g[i] = gradient(t, i);
            learner_optimizer_dense(&updater, w1, slabs, g, N, t);
            for (unsigned i = 0, n; i < N; i += n) {
                float *parts[] = {a2 + i, b2 + i};
                n = 1 + (i + t) % 9;
                n = n < N - i ? n : N - i;
                learner_optimizer_dense(&updater, w2 + i, parts, g + i, n, t);
            }
            assert_memory_equal(w1, w2, sizeof w1);
            assert_memory_equal(a1, a2, sizeof a1);
            assert_memory_equal(b1, b2, sizeof b1);
        }
    }
}

/* A row without a gradient under adam_every_row: a gradient of zeros. */
static void rest_is_a_step_without_gradient(void **state)
{
    (void)state;
    struct learner_model_config config = configure(LEARNER_ADAM);
    float one[3 * N] = {0}, two[3 * N], g[N], zero[N] = {0};
    learner_optimizer_init(&updater, &config);
    for (unsigned i = 0; i < N; i++)
        g[i] = gradient(3, i);
    learner_optimizer_row(&updater, one, g, N, 1);
    memcpy(two, one, sizeof two);
    for (unsigned t = 2; t < 30; t++) {
        learner_optimizer_row(&updater, one, zero, N, t);
        learner_optimizer_rest(&updater, two, N, t);
    }
    assert_memory_equal(one, two, sizeof one);
    assert_true(fabsf(one[1]) > 0.001f * 1.5f); /* momentum moved it on */
}

static void adam_rates_match_the_powers(void **state)
{
    (void)state;
    struct learner_model_config config = configure(LEARNER_ADAM);
    config.learning_rate = 0.002f;
    learner_optimizer_init(&updater, &config);
    const unsigned steps[] = {1, 2, 3, 10, 100, 1000, 10000, 20000};
    for (unsigned i = 0; i < 8; i++) {
        double t = steps[i];
        double exact =
            0.002 * sqrt(1.0 - pow(0.999, t)) / (1.0 - pow(0.9, t));
        double rate = (double)learner_optimizer_rate(&updater, steps[i]);
        assert_true(fabs(rate / exact - 1.0) < 1e-5);
    }
    /* Constant from the table's end on, and there equal to the rate. */
    float last = learner_optimizer_rate(&updater, 20000);
    assert_true(last == learner_optimizer_rate(&updater, UINT64_C(1) << 40));
    assert_true(fabs((double)last / 0.002 - 1.0) < 1e-6);
}

static float rate_at(uint64_t position)
{
    learner_optimizer_seek(&updater, position);
    return updater.rate;
}

static void the_rate_decays_by_position_alone(void **state)
{
    (void)state;
    struct learner_model_config config = configure(LEARNER_SGD);
    config.learning_rate = 0.1f;
    config.rate_decay = 0.5f;
    config.rate_decay_samples = 1000;
    learner_optimizer_init(&updater, &config);
    assert_true(rate_at(0) == 0.1f && rate_at(999) == 0.1f);
    assert_true(rate_at(1000) == 0.05f && rate_at(3999) == 0.0125f);
    assert_true(rate_at(128) == 0.1f); /* an earlier checkpoint */
    float w[N], g[N];
    for (unsigned i = 0; i < N; i++) {
        w[i] = 1;
        g[i] = (float)i;
    }
    learner_optimizer_seek(&updater, 2000);
    learner_optimizer_row(&updater, w, g, N, 1);
    for (unsigned i = 0; i < N; i++)
        assert_true(w[i] == 1 - 0.025f * (float)i);
    /* Whatever was asked before, and close to the power. */
    config.rate_decay = 0.997f;
    learner_optimizer_init(&updater, &config);
    for (uint64_t k = 0; k < 3000; k += 7) {
        float rate = rate_at(k * 1000);
        assert_true(rate_at((k + 9) * 1000) < rate || k > 2500);
        assert_true(rate_at(k * 1000) == rate);
        double exact = (double)0.1f * pow((double)0.997f, (double)k);
        assert_true(fabs((double)rate - exact) < 1e-6 * exact);
    }
    /* 1, or no number of samples: never. */
    config.rate_decay = 1;
    learner_optimizer_init(&updater, &config);
    assert_true(rate_at(UINT64_C(1) << 40) == 0.1f);
    config.rate_decay = 0.5f;
    config.rate_decay_samples = 0;
    learner_optimizer_init(&updater, &config);
    assert_true(rate_at(UINT64_C(1) << 40) == 0.1f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_follow_the_formula),
        cmocka_unit_test(dense_steps_are_rows_but_for_row_wise_adagrad),
        cmocka_unit_test(ftrl_is_sparse),
        cmocka_unit_test(extreme_gradients_leave_weights_finite),
        cmocka_unit_test(no_gradient_from_the_start_moves_nothing),
        cmocka_unit_test(bits_do_not_depend_on_the_split),
        cmocka_unit_test(rest_is_a_step_without_gradient),
        cmocka_unit_test(adam_rates_match_the_powers),
        cmocka_unit_test(the_rate_decays_by_position_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
