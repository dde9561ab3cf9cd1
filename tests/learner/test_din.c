/* SPDX-License-Identifier: Apache-2.0 */
/* DIN's tuned step against a plain double-precision implementation, that one
 * against finite differences, and the step's promises: same bits for any
 * number of threads, no trace of a rejected batch, statistics. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "learner/kernel.h"
#include "learner/model.h"
#include "tests/learner/din_reference.h"

/* max |a - b| <= limit max |b| */
static void assert_near(const char *name, const float *a, const double *b,
                        size_t size, double limit)
{
    double far = 0, top = 0;
    for (size_t i = 0; i < size; i++) {
        double d = fabs(a[i] - b[i]);
        assert_true(!isnan(d));
        far = d > far ? d : far;
        top = fabs(b[i]) > top ? fabs(b[i]) : top;
    }
    if (far > limit * top)
        fail_msg("%s: off by %g, largest %g", name, far, top);
}

static size_t size_of(const struct learner_tensor *tensor)
{
    return (size_t)tensor->shape[0] * tensor->shape[1];
}

static const struct learner_tensor *named(const struct din_case *c,
                                          enum learner_tensor_name name)
{
    return learner_tensor(c->model, (unsigned)c->model->place[name]);
}

/* Softmax sees no shift, so this gradient is rounding noise around 0. */
static bool is_noise(const struct learner_model *model, unsigned i)
{
    return model->config.attention_softmax && (int)i == model->place[TENSOR_ATTENTION_2_BIAS];
}

static void compare_gradients(const struct din_case *c,
                              const struct din_reference *r, double limit)
{
    const struct learner_schema *schema = &c->model->schema;
    for (unsigned i = 0; i < learner_tensor_count(c->model); i++) {
        const struct learner_tensor *tensor = learner_tensor(c->model, i);
        if (!is_noise(c->model, i))
            assert_near(tensor->name, c->ddense + tensor->offset,
                        r->ddense + tensor->offset, size_of(tensor), limit);
    }
    for (unsigned t = 0; t < schema->table_count; t++)
        assert_near(schema->tables[t].name, c->drows[t], r->drows[t],
                    (size_t)c->row_count[t] * schema->tables[t].dimension,
                    limit);
}

/* Prediction, loss, gradients and statistics of one case. */
static void compare(const struct din_case_spec *spec)
{
    struct din_case c;
    struct din_reference r;
    din_case_init(&c, spec);
    din_reference_init(&r, &c);
    din_case_predict(&c, 1);
    din_reference_forward(&r, true);
    assert_near("p", c.probability, r.p, c.batch.samples, 2e-6);
    size_t size = learner_dense_size(c.model);
    float *before = din_case_memory(size);
    memcpy(before, c.dense, size * sizeof *before);
    din_case_train(&c, 1);
    din_reference_forward(&r, false);
    din_reference_backward(&r);
    assert_true(c.output.finite);
    assert_true(fabs(c.output.loss - r.loss) <= 2e-6 * r.loss);
    compare_gradients(&c, &r, 2e-5);
    for (unsigned i = 0; i < learner_tensor_count(c.model); i++) {
        const struct learner_tensor *tensor = learner_tensor(c.model, i);
        unsigned statistic =
            i - (unsigned)c.model->place[TENSOR_MLP_0_MEAN];
        for (size_t j = 0; j < size_of(tensor); j++) {
            float old = before[tensor->offset + j];
            double want = old;
            if (!tensor->trained)
                want = 0.99 * old + 0.01 * (statistic % 2
                                                ? r.variance[statistic / 2][j]
                                                : r.mean[statistic / 2][j]);
            assert_true(fabs(c.dense[tensor->offset + j] - want) <=
                        (tensor->trained ? 0 : 1e-6));
        }
    }
    free(before);
    din_reference_fini(&r);
    din_case_fini(&c);
}

static void agrees_with_reference(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 8; bits++) {
        struct din_case_spec spec = din_case_small();
        spec.activation = bits & 1 ? LEARNER_PRELU : LEARNER_DICE;
        spec.softmax = bits & 2;
        spec.fnw = bits & 4;
        spec.seed = 10 + bits;
        compare(&spec);
    }
}

static void agrees_at_default_widths(void **state)
{
    (void)state;
    struct din_case_spec spec = din_case_default();
    compare(&spec);
}

/* Groups of the largest size, histories longer than a tile, one sample. */
static void agrees_at_the_edges(void **state)
{
    (void)state;
    struct din_case_spec spec = din_case_small();
    spec.groups = 2, spec.group_max = 64, spec.history_max = 250;
    spec.seed = 77;
    compare(&spec);
    spec = din_case_small();
    spec.profile = 0, spec.context = 0, spec.item = 1;
    compare(&spec);
    spec = din_case_small();
    spec.history_max = 0; /* nobody has a history */
    compare(&spec);
    spec = din_case_small();
    spec.shards = 20; /* more shards than groups */
    compare(&spec);
}

static double loss_at(struct din_reference *r, double *parameter, double value)
{
    double old = *parameter;
    *parameter = value;
    din_reference_forward(r, false);
    *parameter = old;
    return r->loss;
}

static void check_differences(struct din_reference *r, const char *name,
                              double *parameter, const double *gradient,
                              size_t size)
{
    const double h = 1e-5;
    double far = 0, top = 1e-12;
    for (size_t i = 0; i < size; i++) {
        double x = parameter[i];
        double up = loss_at(r, &parameter[i], x + h);
        double down = loss_at(r, &parameter[i], x - h);
        double d = fabs((up - down) / (2 * h) - gradient[i]);
        far = d > far ? d : far;
        top = fabs(gradient[i]) > top ? fabs(gradient[i]) : top;
    }
    /* 1e-11: what the loss's own rounding leaves of a gradient of 0 */
    if (far > 1e-6 * top && far > 1e-11)
        fail_msg("%s: off by %g, largest %g", name, far, top);
}

/* The reference's gradients are the slopes of the reference's loss. */
static void reference_has_the_slopes(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 8; bits++) {
        struct din_case_spec spec = din_case_small();
        spec.activation = bits & 1 ? LEARNER_PRELU : LEARNER_DICE;
        spec.softmax = bits & 2;
        spec.fnw = bits & 4;
        spec.groups = 4;
        struct din_case c;
        struct din_reference r;
        din_case_init(&c, &spec);
        din_reference_init(&r, &c);
        r.authors = bits == 2 || bits == 3;
        r.padded = 7;
        din_reference_forward(&r, false);
        din_reference_backward(&r);
        r.fixed_weight = malloc(c.batch.samples * sizeof(double));
        memcpy(r.fixed_weight, r.weight, c.batch.samples * sizeof(double));
        for (unsigned i = 0; i < learner_tensor_count(c.model); i++) {
            const struct learner_tensor *tensor = learner_tensor(c.model, i);
            if (tensor->trained)
                check_differences(&r, tensor->name, r.dense + tensor->offset,
                                  r.ddense + tensor->offset, size_of(tensor));
        }
        for (unsigned t = 0; t < c.model->schema.table_count; t++)
            check_differences(&r, c.model->schema.tables[t].name, r.rows[t],
                              r.drows[t],
                              (size_t)c.row_count[t] *
                                  c.model->schema.tables[t].dimension);
        free(r.fixed_weight);
        din_reference_fini(&r);
        din_case_fini(&c);
    }
}

static void assert_same(const float *a, const float *b, size_t size)
{
    assert_memory_equal(a, b, size * sizeof *a);
}

/* Everything a step writes, for the same input. */
static void assert_same_results(const struct din_case *a,
                                const struct din_case *b)
{
    size_t size = learner_dense_size(a->model);
    assert_same(a->probability, b->probability, a->batch.samples);
    assert_true(a->output.loss == b->output.loss);
    assert_same(a->ddense, b->ddense, size);
    assert_same(a->dense, b->dense, size);
    for (unsigned t = 0; t < a->model->schema.table_count; t++)
        assert_same(a->drows[t], b->drows[t],
                    (size_t)a->row_count[t] *
                        a->model->schema.tables[t].dimension);
}

static void threads_do_not_change_a_bit(void **state)
{
    (void)state;
    struct din_case_spec spec = din_case_default();
    struct din_case one;
    din_case_init(&one, &spec);
    din_case_predict(&one, 1);
    din_case_train(&one, 1);
    for (unsigned threads = 2; threads <= 5; threads++) {
        struct din_case many;
        din_case_init(&many, &spec);
        din_case_predict(&many, threads);
        din_case_train(&many, threads);
        assert_same_results(&one, &many);
        din_case_fini(&many);
    }
    din_case_fini(&one);
}

/* A step that has seen other batches, larger and smaller, gives the same. */
static void the_past_does_not_change_a_bit(void **state)
{
    (void)state;
    struct din_case_spec spec = din_case_default();
    struct din_case fresh, used, other;
    din_case_init(&fresh, &spec);
    din_case_init(&used, &spec);
    spec.seed = 5, spec.groups = 90;
    din_case_init(&other, &spec);
    for (unsigned t = 0; t < other.model->schema.table_count; t++)
        other.rows[t][3] = NAN;
    struct learner_step *step;
    assert_int_equal(learner_step_new(used.model, 2, &step, NULL), 0);
    assert_int_equal(
        learner_step_train(step, &other.input, &other.output, NULL), 0);
    assert_false(other.output.finite);
    assert_int_equal(
        learner_step_predict(step, &used.input, used.probability, NULL), 0);
    assert_int_equal(learner_step_train(step, &used.input, &used.output, NULL),
                     0);
    learner_step_free(step);
    din_case_predict(&fresh, 1);
    din_case_train(&fresh, 1);
    assert_true(used.output.finite);
    assert_same_results(&fresh, &used);
    din_case_fini(&other);
    din_case_fini(&used);
    din_case_fini(&fresh);
}

/* Another number of shards is another order of sums: close, and the
 * prediction is equal. */
static void shards_change_only_rounding(void **state)
{
    (void)state;
    struct din_case_spec spec = din_case_default();
    struct din_case four, seven;
    struct din_reference r;
    din_case_init(&four, &spec);
    spec.shards = 7;
    din_case_init(&seven, &spec);
    din_case_predict(&four, 1);
    din_case_predict(&seven, 1);
    assert_same(four.probability, seven.probability, four.batch.samples);
    din_case_train(&four, 1);
    din_case_train(&seven, 1);
    assert_true(four.output.loss == seven.output.loss);
    din_reference_init(&r, &four);
    din_reference_forward(&r, false);
    din_reference_backward(&r);
    compare_gradients(&seven, &r, 2e-5);
    din_reference_fini(&r);
    din_case_fini(&seven);
    din_case_fini(&four);
}

static void reports_what_is_not_finite(void **state)
{
    (void)state;
    struct din_case_spec spec = din_case_small();
    struct din_case c;
    din_case_init(&c, &spec);
    size_t size = learner_dense_size(c.model);
    float *before = din_case_memory(size);
    unsigned table = c.model->schema.table_count - 1u;
    unsigned column = c.model->schema.field_count - 1u;
    c.rows[table][c.index[column] * c.model->schema.tables[table].dimension] =
        INFINITY;
    memcpy(before, c.dense, size * sizeof *before);
    din_case_train(&c, 1);
    assert_false(c.output.finite);
    assert_same(before, c.dense, size);
    free(before);
    din_case_fini(&c);
}

/* Finite gradients whose squares are not would leave Adam's second moment
 * infinite, and the weight stuck, for good. */
static void rejects_gradients_that_adam_cannot_square(void **state)
{
    (void)state;
    struct din_case_spec spec = din_case_small();
    struct din_case c;
    din_case_init(&c, &spec);
    size_t size = learner_dense_size(c.model);
    const struct learner_tensor *last = named(&c, TENSOR_MLP_2_WEIGHT);
    for (size_t i = 0; i < (size_t)last->shape[0] * last->shape[1]; i++)
        c.dense[last->offset + i] *= 1e22f;
    float *before = din_case_memory(size), largest = 0;
    memcpy(before, c.dense, size * sizeof *before);
    din_case_train(&c, 1);
    for (size_t i = 0; i < size; i++) {
        assert_true(isfinite(c.output.ddense[i]));
        largest = fmaxf(largest, fabsf(c.output.ddense[i]));
    }
    assert_true(isfinite(c.output.loss));
    assert_true(isinf(largest * largest));
    assert_false(c.output.finite);
    assert_same(before, c.dense, size);
    free(before);
    din_case_fini(&c);
}

static void set_tensor(struct din_case *c, enum learner_tensor_name name,
                       float value)
{
    const struct learner_tensor *tensor = named(c, name);
    for (size_t i = 0; i < (size_t)tensor->shape[0] * tensor->shape[1]; i++)
        c->dense[tensor->offset + i] = value;
}

/* A loss and gradients of 0, but activations whose variance is infinite: the
 * moving one would never come back. */
static void rejects_statistics_that_are_too_large(void **state)
{
    (void)state;
    struct din_case_spec spec = din_case_small();
    struct din_case c;
    din_case_init(&c, &spec);
    size_t size = learner_dense_size(c.model);
    float *before = din_case_memory(size);
    memset(c.label, 1, c.batch.samples);
    set_tensor(&c, TENSOR_MLP_0_BIAS, 1e20f);
    set_tensor(&c, TENSOR_MLP_2_WEIGHT, 0);
    set_tensor(&c, TENSOR_MLP_2_BIAS, -200);
    c.dense[named(&c, TENSOR_MLP_2_BIAS)->offset] = 200;
    memcpy(before, c.dense, size * sizeof *before);
    din_case_train(&c, 1);
    assert_true(isfinite(c.output.loss));
    for (size_t i = 0; i < size; i++)
        assert_true(c.output.ddense[i] == 0);
    assert_false(c.output.finite);
    assert_same(before, c.dense, size);
    free(before);
    din_case_fini(&c);
}

/* The probability of a sample must not feel its neighbours: each sample
 * alone, as a batch of one, gives the bits it has among the others. */
static void neighbours_do_not_change_a_bit(void **state)
{
    (void)state;
    struct din_case_spec spec = din_case_default();
    struct din_case c;
    din_case_init(&c, &spec);
    din_case_predict(&c, 1);
    struct learner_step *step;
    assert_int_equal(learner_step_new(c.model, 1, &step, NULL), 0);
    const struct learner_schema *schema = &c.model->schema;
    for (uint32_t g = 0; g < c.batch.groups; g++)
        for (uint32_t i = c.group_begin[g]; i < c.group_begin[g + 1]; i++) {
            const uint32_t group[2] = {0, 1};
            const uint32_t history[2] = {
                0, c.history_begin[g + 1] - c.history_begin[g]};
            struct learner_batch batch = {.samples = 1, .groups = 1,
                                          .group_begin = group,
                                          .history_begin = history};
            struct learner_step_input input = c.input;
            float p;
            input.batch = &batch;
            input.index += (size_t)i * schema->field_count;
            input.history_index +=
                (size_t)c.history_begin[g] * schema->item_count;
            assert_int_equal(learner_step_predict(step, &input, &p, NULL), 0);
            assert_same(&p, &c.probability[i], 1);
        }
    learner_step_free(step);
    din_case_fini(&c);
}

/* The weights of the start: within Glorot's limit, the same for the same
 * seed; others where the seed is another. */
static void starts_as_configured(void **state)
{
    (void)state;
    struct din_case_spec spec = din_case_default();
    struct din_case c;
    din_case_init(&c, &spec);
    size_t size = learner_dense_size(c.model);
    float *again = din_case_memory(size);
    learner_model_start(c.model, c.dense);
    learner_model_start(c.model, again);
    assert_same(c.dense, again, size);
    size_t trained = 0;
    for (unsigned i = 0; i < learner_tensor_count(c.model); i++) {
        const struct learner_tensor *tensor = learner_tensor(c.model, i);
        const float *w = c.dense + tensor->offset;
        assert_int_equal(tensor->offset % 16, 0);
        float limit =
            sqrtf(6.0f / (float)(tensor->shape[0] + tensor->shape[1]));
        float top = 0;
        for (size_t j = 0; j < size_of(tensor); j++)
            top = fabsf(w[j]) > top ? fabsf(w[j]) : top;
        if (tensor->dimensions == 2) {
            assert_true(top <= limit);
            assert_true(top > 0.8f * limit);
        } else {
            float want = strstr(tensor->name, "gamma") ||
                         strstr(tensor->name, "variance");
            assert_true(w[0] == want && top == want);
        }
        trained += tensor->trained ? size_of(tensor) : 0;
    }
    assert_int_equal(trained, learner_dense_trained(c.model));
    c.model->config.seed++;
    learner_model_start(c.model, again);
    const struct learner_tensor *w = named(&c, TENSOR_MLP_0_WEIGHT);
    assert_memory_not_equal(c.dense + w->offset, again + w->offset, 64);
    free(again);
    din_case_fini(&c);
}

/* FNV-1a over what a prediction and two steps of one case leave behind. */
static uint64_t digest(void)
{
    struct din_case_spec spec = din_case_default();
    struct din_case c;
    uint64_t hash = 14695981039346656037u;
    din_case_init(&c, &spec);
    din_case_train(&c, 2);
    din_case_predict(&c, 2);
    din_case_train(&c, 1);
    const float *parts[] = {c.probability, c.dense, c.ddense, c.drows[2]};
    size_t dense = learner_dense_size(c.model);
    size_t sizes[] = {c.batch.samples, dense, dense,
                      (size_t)c.row_count[2] *
                          c.model->schema.tables[2].dimension};
    for (unsigned i = 0; i < 4; i++)
        for (size_t j = 0; j < sizes[i] * sizeof(float); j++) {
            hash ^= ((const uint8_t *)parts[i])[j];
            hash *= 1099511628211u;
        }
    din_case_fini(&c);
    return hash;
}

static char program[4096]; /* this test's own path */

/* The digest of another process that is forced to the named kernels. */
static uint64_t digest_under(const char *kernels)
{
    char command[4200], name[16];
    unsigned long long hash;
    snprintf(command, sizeof command, "INTERESTD_KERNELS=%s '%s' digest",
             kernels, program);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    assert_int_equal(fscanf(pipe, "%15s %llx", name, &hash), 2);
    assert_int_equal(pclose(pipe), 0);
    assert_string_equal(name, kernels);
    return hash;
}

static void instruction_sets_give_the_same_bits(void **state)
{
    (void)state;
    uint64_t plain = digest_under("plain");
    if (!learner_kernels_find("avx2") || !learner_kernels_find("avx512"))
        skip();
    uint64_t two = digest_under("avx2"), five = digest_under("avx512");
    assert_true(two == five);
    assert_true(two != plain); /* an arithmetic of its own */
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "digest") == 0) {
        printf("%s %llx\n", learner_kernels(), (unsigned long long)digest());
        return 0;
    }
    snprintf(program, sizeof program, "%s", argv[0]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_reference),
        cmocka_unit_test(agrees_at_default_widths),
        cmocka_unit_test(agrees_at_the_edges),
        cmocka_unit_test(reference_has_the_slopes),
        cmocka_unit_test(threads_do_not_change_a_bit),
        cmocka_unit_test(the_past_does_not_change_a_bit),
        cmocka_unit_test(instruction_sets_give_the_same_bits),
        cmocka_unit_test(shards_change_only_rounding),
        cmocka_unit_test(reports_what_is_not_finite),
        cmocka_unit_test(rejects_gradients_that_adam_cannot_square),
        cmocka_unit_test(rejects_statistics_that_are_too_large),
        cmocka_unit_test(neighbours_do_not_change_a_bit),
        cmocka_unit_test(starts_as_configured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
