/* SPDX-License-Identifier: Apache-2.0 */
/* Dice, PReLU, sigmoid, ReLU: values against the formula in double precision, gradients
 * against finite differences of that formula (through mean and variance), in
 * every instruction set; blocks of columns; the moving statistics. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "learner/activation.h"

enum { B = 23, LD = 48 };

static const char *const names[] = {"plain", "avx2", "avx512"};

struct data {
    _Alignas(64) float x[B * LD], y[B * LD], p[B * LD], d[B * LD];
    _Alignas(64) float g[B * LD]; /* gradient of y */
    _Alignas(64) float alpha[LD], dalpha[LD];
    _Alignas(64) float mean[LD], variance[LD], scale[LD];
};

static float uniform(uint64_t at)
{
    return 2 * base_random_unit(base_random_u64(3, 0, at, 0)) - 1;
}

static struct learner_activation_layer start(struct data *t,
                                             enum learner_activation kind)
{
    memset(t, 0, sizeof *t);
    for (unsigned i = 0; i < B * LD; i++) {
        t->x[i] = uniform(i) + 0.3f;
        t->g[i] = t->d[i] = uniform(10000 + i);
    }
    for (unsigned j = 0; j < LD; j++) {
        t->alpha[j] = uniform(20000 + j);
        t->mean[j] = uniform(30000 + j);
        t->variance[j] = uniform(40000 + j) + 1.1f;
    }
    return (struct learner_activation_layer){
        .kind = kind, .ld = LD, .alpha = t->alpha, .epsilon = 1e-8f, .mean = t->mean,
        .variance = t->variance, .scale = t->scale};
}

/* y of one cell of a column x (B), by the formula. */
static double formula(enum learner_activation kind, const double *x, unsigned i,
                      double alpha, double mean, double variance)
{
    if (kind == LEARNER_PRELU)
        return fmax(0, x[i]) + alpha * fmin(0, x[i]);
    if (kind == LEARNER_RELU)
        return fmax(0, x[i]);
    if (kind == LEARNER_SIGMOID)
        return 1 / (1 + exp(-x[i]));
    double p = 1 / (1 + exp(-(x[i] - mean) / sqrt(variance + 1e-8)));
    return p * x[i] + alpha * (1 - p) * x[i];
}

static void statistics(const double *x, double *mean, double *variance)
{
    *mean = *variance = 0;
    for (unsigned i = 0; i < B; i++)
        *mean += x[i] / B;
    for (unsigned i = 0; i < B; i++)
        *variance += (x[i] - *mean) * (x[i] - *mean) / B;
}

/* sum over the column of g y: its slopes are what backward gives. */
static double column_loss(const struct data *t, enum learner_activation kind,
                          const double *x, unsigned j, double alpha)
{
    double mean, variance, sum = 0;
    statistics(x, &mean, &variance);
    for (unsigned i = 0; i < B; i++)
        sum += t->g[i * LD + j] * formula(kind, x, i, alpha, mean, variance);
    return sum;
}

static void check_column(const struct data *t, enum learner_activation kind,
                         unsigned j)
{
    const double h = 1e-5;
    double x[B], mean, variance;
    for (unsigned i = 0; i < B; i++)
        x[i] = t->x[i * LD + j];
    statistics(x, &mean, &variance);
    for (unsigned i = 0; i < B; i++) {
        double y = formula(kind, x, i, t->alpha[j], mean, variance);
        assert_true(fabs(t->y[i * LD + j] - y) < 1e-6);
        double old = x[i];
        x[i] = old + h;
        double up = column_loss(t, kind, x, j, t->alpha[j]);
        x[i] = old - h;
        double down = column_loss(t, kind, x, j, t->alpha[j]);
        x[i] = old;
        assert_true(fabs(t->d[i * LD + j] - (up - down) / (2 * h)) < 5e-6);
    }
    double slope = (column_loss(t, kind, x, j, t->alpha[j] + h) -
                    column_loss(t, kind, x, j, t->alpha[j] - h)) / (2 * h);
    if (kind == LEARNER_DICE || kind == LEARNER_PRELU)
        assert_true(fabs(t->dalpha[j] - 1 - slope) < 2e-5);
    if (kind == LEARNER_DICE) {
        assert_true(fabs(t->mean[j] - mean) < 1e-6);
        assert_true(fabs(t->variance[j] - variance) < 1e-6);
    }
}

static void trains_as_the_formula(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 12; n++) {
        const struct learner_kernels *kernels =
            learner_kernels_find(names[n / 4]);
        enum learner_activation kind = (enum learner_activation)(n % 4);
        struct data t;
        struct learner_activation_layer layer = start(&t, kind);
        if (!kernels)
            continue;
        for (unsigned j = 0; j < LD; j++) {
            t.dalpha[j] = 1; /* backward adds */
            if (kind == LEARNER_RELU)
                t.alpha[j] = 0;
        }
        learner_activation_forward(kernels, &layer, true, t.y, t.p, t.x, B, 0,
                                   LD);
        learner_activation_backward(kernels, &layer, t.d, t.dalpha, t.x, t.p,
                                    B, 0, LD);
        for (unsigned j = 0; j < LD; j++)
            check_column(&t, kind, j);
    }
}

static void predicts_with_given_statistics(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 3; n++) {
        const struct learner_kernels *kernels = learner_kernels_find(names[n]);
        struct data t;
        struct learner_activation_layer layer = start(&t, LEARNER_DICE);
        if (!kernels)
            continue;
        learner_activation_scale(t.scale, t.variance, LD, 1e-8f);
        learner_activation_forward(kernels, &layer, false, t.y, t.y, t.x, B, 0,
                                   LD);
        for (unsigned i = 0; i < B * LD; i++) {
            double x = t.x[i], mean = t.mean[i % LD];
            double want = formula(LEARNER_DICE, &x, 0, t.alpha[i % LD], mean,
                                  t.variance[i % LD]);
            assert_true(fabs(t.y[i] - want) < 1e-6);
        }
    }
}

/* Two blocks of columns give the bits of one, and leave the rest alone. */
static void blocks_give_the_same_bits(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 4; n++) {
        enum learner_activation kind = (enum learner_activation)n;
        const struct learner_kernels *kernels = learner_kernels_get();
        struct data whole, cut;
        struct learner_activation_layer layer = start(&whole, kind);
        learner_activation_forward(kernels, &layer, true, whole.y, whole.p,
                                   whole.x, B, 0, LD);
        learner_activation_backward(kernels, &layer, whole.d, whole.dalpha,
                                    whole.x, whole.p, B, 0, LD);
        layer = start(&cut, kind);
        learner_activation_forward(kernels, &layer, true, cut.y, cut.p, cut.x,
                                   B, 16, 32);
        learner_activation_backward(kernels, &layer, cut.d, cut.dalpha, cut.x,
                                    cut.p, B, 16, 32);
        assert_true(cut.y[0] == 0 && cut.d[0] == cut.g[0]);
        learner_activation_forward(kernels, &layer, true, cut.y, cut.p, cut.x,
                                   B, 0, 16);
        learner_activation_backward(kernels, &layer, cut.d, cut.dalpha, cut.x,
                                    cut.p, B, 0, 16);
        assert_memory_equal(&whole, &cut, sizeof whole);
    }
}

/* A column of equal values: variance 0, everything stays finite. */
static void survives_a_constant_column(void **state)
{
    (void)state;
    struct data t;
    struct learner_activation_layer layer = start(&t, LEARNER_DICE);
    for (unsigned i = 0; i < B * LD; i++)
        t.x[i] = 0.75f;
    const struct learner_kernels *kernels = learner_kernels_get();
    learner_activation_forward(kernels, &layer, true, t.y, t.p, t.x, B, 0, LD);
    learner_activation_backward(kernels, &layer, t.d, t.dalpha, t.x, t.p, B, 0,
                                LD);
    for (unsigned i = 0; i < B * LD; i++) {
        assert_true(fabsf(t.p[i] - 0.5f) < 1e-6f);
        assert_true(isfinite(t.d[i]));
    }
}

static void moves_by_a_hundredth(void **state)
{
    (void)state;
    float moving[3] = {1, 0, -2}, batch[3] = {2, 5, -2};
    learner_activation_move(moving, batch, 3);
    assert_true(fabsf(moving[0] - 1.01f) < 1e-6f);
    assert_true(fabsf(moving[1] - 0.05f) < 1e-6f);
    assert_true(fabsf(moving[2] + 2) < 1e-6f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trains_as_the_formula),
        cmocka_unit_test(predicts_with_given_statistics),
        cmocka_unit_test(blocks_give_the_same_bits),
        cmocka_unit_test(survives_a_constant_column),
        cmocka_unit_test(moves_by_a_hundredth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
