/* SPDX-License-Identifier: Apache-2.0 */
/* Every kernel, in every instruction set that this machine has, against the
 * same in double precision written without a thought for speed; AVX2 against
 * AVX-512 bit for bit; and rows that do not feel their neighbours. */
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
#include "learner/kernel.h"
#include "learner/learner.h"

enum { SIZE = 1 << 17 };

static const char *const names[] = {"plain", "avx2", "avx512"};

/* Shapes (m,k,n) of products: remainders of rows, one row, one inner index,
 * the widths of the default model. */
static const size_t shapes[][3] = {
    {1, 1, 16},   {2, 3, 16},    {3, 5, 32},   {5, 7, 48},  {6, 54, 80},
    {7, 9, 64},   {8, 16, 80},   {9, 80, 48},  {11, 1, 96}, {13, 17, 112},
    {31, 54, 80}, {32, 40, 208}, {96, 54, 80}, {97, 80, 48}, {128, 200, 80},
    {0, 4, 16},   {4, 0, 16},
};

static float *slab(uint64_t seed, float limit)
{
    float *memory = aligned_alloc(64, SIZE * sizeof *memory);
    assert_non_null(memory);
    for (size_t i = 0; i < SIZE; i++)
        memory[i] =
            limit * (2 * base_random_unit(base_random_u64(seed, 0, i, 0)) - 1);
    return memory;
}

static size_t wide(size_t width)
{
    return (width + 15) / 16 * 16;
}

/* |a - b| <= limit times the sum of |terms| */
static void near(double a, double b, double size, double limit)
{
    if (!(fabs(a - b) <= limit * size + 1e-30))
        fail_msg("%.9g is not %.9g (terms of size %g)", a, b, size);
}

/* c = start + a b, or start + a^T b */
static void check_product(const float *c, const float *start,
                          size_t start_step, const float *a, bool turned,
                          const float *b, const size_t shape[3], size_t lda)
{
    size_t m = shape[0], k = shape[1], n = shape[2];
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = start[i * start_step + j], size = fabs(sum);
            for (size_t l = 0; l < k; l++) {
                double term = (double)(turned ? a[l * lda + i]
                                              : a[i * lda + l]) *
                              b[l * n + j];
                sum += term;
                size += fabs(term);
            }
            near(c[i * n + j], sum, size, 1e-6);
        }
}

static void products_are_right(void **state)
{
    (void)state;
    float *a = slab(1, 1), *b = slab(2, 1), *old = slab(3, 1), *c = slab(4, 1);
    for (unsigned s = 0; s < sizeof names / sizeof names[0]; s++) {
        const struct learner_kernels *kernels = learner_kernels_find(names[s]);
        for (size_t i = 0; kernels && i < sizeof shapes / sizeof shapes[0];
             i++) {
            const size_t *shape = shapes[i];
            size_t m = shape[0], k = shape[1], n = shape[2];
            size_t lda = wide(k) + 16, ldt = wide(m) + 16;
            kernels->gemm(c, n, a, lda, b, n, m, k, n, old);
            check_product(c, old, 0, a, false, b, shape, lda);
            memcpy(c, old, m * n * sizeof *c);
            kernels->gemm(c, n, a, lda, b, n, m, k, n, NULL);
            check_product(c, old, n, a, false, b, shape, lda);
            kernels->gemm_tn(c, n, a, ldt, b, n, m, k, n, old);
            check_product(c, old, 0, a, true, b, shape, ldt);
            memcpy(c, old, m * n * sizeof *c);
            c[m * n] = 42; /* not ours to write */
            kernels->gemm_tn(c, n, a, ldt, b, n, m, k, n, NULL);
            check_product(c, old, n, a, true, b, shape, ldt);
            assert_true(c[m * n] == 42);
        }
    }
    free(a), free(b), free(old), free(c);
}

/* A sweep of arguments, with the ends. */
static float argument(size_t i)
{
    static const float ends[] = {0, -0.0f, 1e-30f, -1e-30f, 80, -80, 86.9f,
                                 -86.9f, 200, -200, INFINITY, -INFINITY};
    size_t count = sizeof ends / sizeof ends[0];
    return i < count ? ends[i] : ((float)i - 2048) * 0.01f;
}

static void functions_are_right(void **state)
{
    (void)state;
    enum { N = 4096 };
    float *x = slab(1, 1), *y = slab(1, 1);
    for (unsigned s = 0; s < sizeof names / sizeof names[0]; s++) {
        const struct learner_kernels *kernels = learner_kernels_find(names[s]);
        if (!kernels)
            continue;
        for (size_t i = 0; i < N; i++)
            x[i] = y[i] = argument(i);
        kernels->sigmoid(y, N);
        for (size_t i = 0; i < N; i++) {
            double want = 1 / (1 + exp(-(double)x[i]));
            /* beyond 87 it stays at e^-87 */
            near(y[i], want, fmax(want, 2e-38), 4e-7);
        }
        memcpy(y, x, N * sizeof *y);
        kernels->exponential(y, N);
        for (size_t i = 0; i < N; i++) {
            double want = exp(fmin(87, fmax(-87, x[i])));
            near(y[i], want, want, 3e-7);
        }
        kernels->softplus(y, x, N);
        for (size_t i = 0; i < N; i++) {
            double want = x[i] > 40 ? x[i] : log1p(exp(x[i]));
            if (isinf(x[i]) && x[i] > 0)
                assert_true(y[i] == INFINITY);
            else
                near(y[i], want, fmax(want, 2e-38), 4e-7);
        }
        for (size_t i = 0; i < 16; i++)
            x[i] = y[i] = NAN;
        kernels->sigmoid(y, 16);
        kernels->softplus(y + 16, x, 16);
        for (size_t i = 0; i < 32; i++)
            assert_true(isnan(y[i]));
    }
    free(x), free(y);
}

struct data {
    float *a, *b, *c, *d, *e, *v, *w;
};

static struct data data_new(void)
{
    return (struct data){slab(1, 1), slab(2, 1), slab(3, 1), slab(4, 1),
                         slab(5, 1), slab(6, 1), slab(7, 1)};
}

static void data_free(struct data *t)
{
    free(t->a), free(t->b), free(t->c), free(t->d), free(t->e);
    free(t->v), free(t->w);
}

/* Sums over rows and columns; (m,n) with leading dimension ld. */
static void check_sums(const struct learner_kernels *kernels, size_t m,
                       size_t n, size_t ld)
{
    struct data t = data_new(), o = data_new();
    kernels->column_sum(t.c, t.a, ld, m, n);
    kernels->weighted_sum(t.d, t.a, ld, m, n, t.v);
    kernels->row_dot(t.e, t.a, ld, m, n, t.w, 0.25f);
    for (size_t j = 0; j < n; j++) {
        double sum = o.c[j], weighted = o.d[j];
        for (size_t i = 0; i < m; i++) {
            sum += o.a[i * ld + j];
            weighted += (double)o.a[i * ld + j] * o.v[i];
        }
        near(t.c[j], sum, (double)m + 1, 1e-6);
        near(t.d[j], weighted, (double)m + 1, 1e-6);
    }
    for (size_t i = 0; i < m; i++) {
        double dot = 0.25;
        for (size_t j = 0; j < n; j++)
            dot += (double)o.a[i * ld + j] * o.w[j];
        near(t.e[i], dot, (double)n, 1e-6);
    }
    kernels->row_spread(t.b, ld, m, n, t.v, t.w);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++)
            near(t.b[i * ld + j],
                 o.b[i * ld + j] + (double)o.v[i] * o.w[j], 2, 1e-6);
    assert_true(ld == n || t.b[n] == o.b[n]);
    data_free(&t), data_free(&o);
}

static void check_pairs(const struct learner_kernels *kernels, size_t m,
                        size_t n, size_t ld)
{
    struct data t = data_new(), o = data_new();
    kernels->pair_rows(t.c, t.v, t.a, ld, m, n);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            float k = o.a[i * ld + j];
            assert_true(t.c[2 * i * ld + j] == k);
            assert_true(t.c[(2 * i + 1) * ld + j] == o.v[j] * k);
        }
    kernels->pair_rows_backward(t.w, t.e, t.d, t.v, t.b, ld, m, n);
    for (size_t j = 0; j < n; j++) {
        double sum = o.w[j];
        for (size_t i = 0; i < m; i++) {
            size_t at = i * ld + j;
            double first = o.d[2 * i * ld + j];
            double second = o.d[(2 * i + 1) * ld + j];
            sum += second * o.b[at];
            near(t.e[at], o.e[at] + first + second * o.v[j], 3, 1e-6);
        }
        near(t.w[j], sum, (double)m + 1, 1e-6);
    }
    data_free(&t), data_free(&o);
}

static void check_fold(const struct learner_kernels *kernels, size_t m,
                       size_t n, size_t ld)
{
    struct data t = data_new(), o = data_new();
    kernels->fold_rows(t.c, t.a, t.b, t.v, ld, m, n);
    kernels->fold_columns(t.d, t.a, t.b, t.v, ld, m, n);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            size_t at = i * ld + j;
            near(t.c[at], o.a[at] + (double)o.v[i] * o.b[at], 2, 1e-6);
            near(t.d[at], o.a[at] + (double)o.v[j] * o.b[at], 2, 1e-6);
        }
    assert_true(ld == n || (t.c[n] == o.c[n] && t.d[n] == o.d[n]));
    kernels->fold_columns_backward(t.e, t.a, t.w, o.c, t.b, t.v, ld, m, n);
    for (size_t j = 0; j < n; j++) {
        double sum = o.w[j];
        for (size_t i = 0; i < m; i++) {
            size_t at = i * ld + j;
            sum += (double)o.c[at] * o.b[at];
            near(t.e[at], o.e[at] + (double)o.c[at], 2, 1e-6);
            near(t.a[at], o.a[at] + (double)o.c[at] * o.v[j], 2, 1e-6);
        }
        near(t.w[j], sum, (double)m + 1, 1e-6);
    }
    data_free(&t), data_free(&o);
}

static void check_maps(const struct learner_kernels *kernels, size_t m,
                       size_t n, size_t ld)
{
    struct data t = data_new(), o = data_new();
    kernels->sigmoid_backward(t.a, t.b, m * ld / 16 * 16);
    kernels->output_backward(t.c, t.b, ld, m, n, t.v, t.w);
    kernels->affine(t.d, o.b, ld, m, n, t.v, t.w);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            size_t at = i * ld + j;
            double h = o.b[at], slope = h * (1 - h);
            near(t.a[at], o.a[at] * slope, 2, 1e-6);
            near(t.c[at], (double)o.v[i] * o.w[j] * slope, 2, 1e-6);
            near(t.d[at], h * o.v[j] + o.w[j], 2, 1e-6);
        }
    memcpy(t.a, o.a, SIZE * sizeof *t.a);
    kernels->affine_backward(t.a, t.v, t.w, o.b, ld, m, n, o.e);
    for (size_t j = 0; j < n; j++) {
        double dgamma = o.v[j], dbeta = o.w[j];
        for (size_t i = 0; i < m; i++) {
            size_t at = i * ld + j;
            dgamma += (double)o.a[at] * o.b[at];
            dbeta += o.a[at];
            near(t.a[at], (double)o.a[at] * o.e[j], 1, 1e-6);
        }
        near(t.v[j], dgamma, (double)m + 1, 1e-6);
        near(t.w[j], dbeta, (double)m + 1, 1e-6);
    }
    data_free(&t), data_free(&o);
}

static void rows_and_columns_are_right(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 7, 33, 100};
    for (unsigned s = 0; s < sizeof names / sizeof names[0]; s++) {
        const struct learner_kernels *kernels = learner_kernels_find(names[s]);
        for (unsigned i = 0; kernels && i < 5; i++)
            for (size_t n = 16; n <= 80; n += 32) {
                check_sums(kernels, sizes[i], n, n + 16);
                check_pairs(kernels, sizes[i], n, n);
                check_fold(kernels, sizes[i], n, n);
                check_maps(kernels, sizes[i], n, n + 16);
            }
    }
}

/* Everything once, into one slab of results. */
static void run_all(const struct learner_kernels *k, struct data *t)
{
    enum { M = 37, N = 80, LD = 96 };
    k->gemm(t->c, LD, t->a, LD, t->b, LD, M, 53, N, t->v);
    k->gemm_tn(t->d, LD, t->a, LD, t->b, LD, M, 71, N, NULL);
    k->sigmoid(t->c, M * LD);
    k->softplus(t->e, t->d, M * LD);
    k->sigmoid_backward(t->e, t->c, M * LD);
    k->weighted_sum(t->v, t->e, LD, M, N, t->w);
    k->column_sum(t->v, t->a, LD, M, N);
    k->row_dot(t->v + 128, t->c, LD, M, N, t->w, 0.5f);
    k->row_spread(t->a, LD, M, N, t->w, t->v);
    k->output_backward(t->b, t->c, LD, M, N, t->v, t->w);
    k->pair_rows(t->b + 8192, t->v, t->a, LD, M, N);
    k->pair_rows_backward(t->w, t->d, t->b, t->v, t->a, LD, M, N);
    k->fold_rows(t->b + 16384, t->a, t->c, t->v, LD, M, N);
    k->fold_columns(t->e + 16384, t->a, t->d, t->v, LD, M, N);
    k->fold_columns_backward(t->c, t->d, t->w, t->e, t->a, t->v, LD, M, N);
    k->affine(t->a + 8192, t->d, LD, M, N, t->v, t->w);
    k->affine_backward(t->a, t->w, t->v, t->d, LD, M, N, t->w + 256);
    float *mean = t->v + 512, *variance = t->v + 640, *alpha = t->w + 384;
    k->column_statistics(mean, variance, t->d, LD, M, N);
    k->dice(t->e, t->e + 8192, t->d, LD, M, N, mean, variance, alpha);
    k->dice_backward(t->c, t->w + 512, t->d, t->e + 8192, LD, M, N, mean,
                     variance, alpha);
    k->prelu(t->e + 16384, t->d, LD, M, N, alpha);
    k->prelu_backward(t->c + 8192, t->w + 640, t->d, LD, M, N, alpha);
    k->exponential(t->b, M * LD);
}

static void avx2_and_avx512_give_the_same_bits(void **state)
{
    (void)state;
    const struct learner_kernels *two = learner_kernels_find("avx2");
    const struct learner_kernels *five = learner_kernels_find("avx512");
    if (!two || !five)
        skip();
    assert_string_equal(two->arithmetic, five->arithmetic);
    assert_string_not_equal(two->arithmetic, learner_kernels_plain.arithmetic);
    struct data a = data_new(), b = data_new(), untouched = data_new();
    run_all(two, &a);
    run_all(five, &b);
    const float *of_a[] = {a.a, a.b, a.c, a.d, a.e, a.v, a.w};
    const float *of_b[] = {b.a, b.b, b.c, b.d, b.e, b.v, b.w};
    for (unsigned i = 0; i < 7; i++)
        assert_memory_equal(of_a[i], of_b[i], SIZE * sizeof(float));
    assert_memory_not_equal(a.c, untouched.c, 4096);
    data_free(&a), data_free(&b), data_free(&untouched);
}

/* Row i of a product of many rows has the bits of the row alone. */
static void rows_do_not_feel_neighbours(void **state)
{
    (void)state;
    float *a = slab(1, 1), *b = slab(2, 1);
    float *all = slab(3, 1), *one = slab(3, 1);
    for (unsigned s = 0; s < sizeof names / sizeof names[0]; s++) {
        const struct learner_kernels *kernels = learner_kernels_find(names[s]);
        if (!kernels)
            continue;
        enum { M = 29, K = 57, N = 208 };
        kernels->gemm(all, N, a, 64, b, N, M, K, N, b);
        for (size_t i = 0; i < M; i++) {
            kernels->gemm(one, N, a + i * 64, 64, b, N, 1, K, N, b);
            assert_memory_equal(one, all + i * N, N * sizeof *one);
            /* nor columns the panel they are computed in */
            kernels->gemm(one, N, a + i * 64, 64, b + 48, N, 1, K, 32, b + 48);
            assert_memory_equal(one, all + i * N + 48, 32 * sizeof *one);
        }
    }
    free(a), free(b), free(all), free(one);
}

static void finds_kernels_by_name(void **state)
{
    (void)state;
    assert_ptr_equal(learner_kernels_find("plain"), &learner_kernels_plain);
    assert_null(learner_kernels_find("abacus"));
    const struct learner_kernels *chosen = learner_kernels_get();
    assert_ptr_equal(learner_kernels_find(chosen->name), chosen);
    assert_string_equal(learner_kernels(), chosen->name);
    assert_string_equal(learner_arithmetic(), chosen->arithmetic);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_right),
        cmocka_unit_test(functions_are_right),
        cmocka_unit_test(rows_and_columns_are_right),
        cmocka_unit_test(avx2_and_avx512_give_the_same_bits),
        cmocka_unit_test(rows_do_not_feel_neighbours),
        cmocka_unit_test(finds_kernels_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
