/* SPDX-License-Identifier: Apache-2.0 */
/* Every gradient of the product's own code against central differences of its
 * own loss, in double precision (learner_double): for each case of
 * golden_lines, which says what operators it is there for, every trained
 * tensor and every table, in one direction through all its elements and at a
 * sample of single elements.
 *
 * Five-point differences, relative error below 1e-6. Where a step crosses the
 * kink of a ReLU a smaller step does not, so the best of four sizes counts;
 * a wrong gradient is wrong with each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/random.h"
#include "tests/learner/golden.h"

enum { ELEMENTS = 6 };
static const double TOLERANCE = 1e-6;
/* Gradients below this are compared to within TOLERANCE x this: what is left
 * of a loss near 1 after a difference of two. */
static const double LEAST = 1e-6;

struct probe {
    struct golden_case *c;
    struct learner_step *step;
    double *values;         /* of one tensor, perturbed and put back */
    const double *gradient; /* of it */
    double *start, *way;    /* (size) */
    size_t size;
    double largest; /* max |gradient| */
};

static double loss(struct probe *probe)
{
    struct golden_case *c = probe->c;
    struct base_error error;
    assert_int_equal(
        learner_step_train(probe->step, &c->input, &c->output, &error), 0);
    return c->output.loss;
}

static double loss_at(struct probe *probe, double distance)
{
    for (size_t i = 0; i < probe->size; i++)
        probe->values[i] = probe->start[i] + distance * probe->way[i];
    double at = loss(probe);
    memcpy(probe->values, probe->start, probe->size * sizeof(double));
    return at;
}

static double slope(struct probe *probe, double h)
{
    double near = loss_at(probe, h) - loss_at(probe, -h);
    double far = loss_at(probe, 2 * h) - loss_at(probe, -2 * h);
    return (8 * near - far) / (12 * h);
}

/* Of the gradient along probe->way; `least` keeps the error of an element
 * that hardly matters from being divided by nothing. */
static double relative_error(struct probe *probe, double least)
{
    static const double sizes[] = {1e-3, 1e-4, 1e-5, 1e-6};
    double along = 0, best = INFINITY;
    for (size_t i = 0; i < probe->size; i++)
        along += probe->gradient[i] * probe->way[i];
    for (size_t i = 0; i < 4 && !(best < TOLERANCE); i++) {
        double difference = slope(probe, sizes[i]);
        double top = fmax(least, fmax(fabs(along), fabs(difference)));
        double error = fabs(along - difference);
        best = fmin(best, top > 0 ? error / top : error);
    }
    return best;
}

static bool check_direction(struct probe *probe, const char *name)
{
    for (size_t i = 0; i < probe->size; i++) {
        double u = base_random_unit(base_random_u64(1, 2, i, 0));
        probe->way[i] = (probe->gradient[i] < 0 ? -1 : 1) * (0.5 + u) /
                        sqrt((double)probe->size);
    }
    double error = relative_error(probe, LEAST);
    if (error < TOLERANCE)
        return true;
    fprintf(stderr, "%s: off by %.2g along a direction\n", name, error);
    return false;
}

static bool check_element(struct probe *probe, const char *name, size_t at)
{
    memset(probe->way, 0, probe->size * sizeof(double));
    probe->way[at] = 1;
    double error = relative_error(probe, 1e-3 * probe->largest + LEAST);
    if (error < TOLERANCE)
        return true;
    fprintf(stderr, "%s[%zu]: %.9g, off by %.2g\n", name, at,
            (double)probe->gradient[at], error);
    return false;
}

/* The gradient moves while losses are taken: it is copied first. */
static bool check_tensor(struct probe *probe, const char *name, double *values,
                         const double *gradient, size_t size)
{
    double *memory = calloc(3 * size + 1, sizeof *memory);
    assert_non_null(memory);
    probe->start = memory;
    probe->way = memory + size;
    double *kept = memory + 2 * size;
    memcpy(probe->start, values, size * sizeof *values);
    loss(probe);
    memcpy(kept, gradient, size * sizeof *kept);
    probe->values = values;
    probe->gradient = kept;
    probe->size = size;
    probe->largest = 0;
    for (size_t i = 0; i < size; i++)
        probe->largest = fmax(probe->largest, fabs(kept[i]));
    bool right = check_direction(probe, name);
    for (size_t i = 0; i < ELEMENTS && i < size; i++) {
        uint64_t bits = base_random_u64(3, 4, i, size);
        size_t at = size <= ELEMENTS ? i : base_random_below(bits, size);
        right &= check_element(probe, name, at);
    }
    free(memory);
    return right;
}

static void gradients_are_slopes(void **state)
{
    const char *name = *state;
    struct golden_case c;
    struct base_error error;
    golden_open(&c, name);
    /* what fnw weighs a sample with is held constant: not a slope */
    memset(c.kind, LEARNER_WINDOW, c.batch.samples);
    struct probe probe = {.c = &c};
    assert_int_equal(learner_step_new(c.model, 1, &probe.step, &error), 0);
    bool right = true;
    for (unsigned i = 0; i < learner_tensor_count(c.model); i++) {
        const struct learner_tensor *tensor = learner_tensor(c.model, i);
        if (tensor->trained)
            right &= check_tensor(&probe, tensor->name,
                                  c.dense + tensor->offset,
                                  c.ddense + tensor->offset,
                                  golden_size(tensor));
    }
    for (unsigned t = 0; t < c.tables; t++)
        right &= check_tensor(&probe, learner_model_table(c.model, t)->name,
                              c.rows[t], c.drows[t], golden_rows_size(&c, t));
    assert_true(right);
    assert_true(c.output.finite);
    learner_step_free(probe.step);
    golden_close(&c);
}

/* An argument chooses cases, as "din*". */
int main(int count, char **arguments)
{
    if (count > 1)
        cmocka_set_test_filter(arguments[1]);
    struct CMUnitTest tests[GOLDEN_CASES] = {0};
    for (unsigned i = 0; i < GOLDEN_CASES; i++) {
        tests[i].name = golden_lines[i].name;
        tests[i].test_func = gradients_are_slopes;
        tests[i].initial_state = (void *)(uintptr_t)golden_lines[i].name;
    }
    return cmocka_run_group_tests_name("gradient", tests, NULL, NULL);
}
