/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels in double precision: kernel_body.h with 16 lanes of double, but
 * for those that use exp or tanh, which are tuned to single precision there
 * and are libm's here. Takes the place of kernel.c in learner_double. */
#include "tests/learner/double.h"

#include "learner/kernel.h"
#include "learner/learner.h"

typedef struct {
    double q[16];
} V;

#define EACH(expression)              \
    V r;                              \
    for (int j = 0; j < 16; j++)      \
        r.q[j] = (expression);        \
    return r

static inline V v_load(const double *at)
{
    EACH(at[j]);
}

static inline void v_store(double *at, V a)
{
    memcpy(at, &a, sizeof a);
}

static inline V v_load_part(const double *at, size_t lanes)
{
    EACH((size_t)j < lanes ? at[j] : 0);
}

static inline void v_store_part(double *at, V a, size_t lanes)
{
    memcpy(at, &a, lanes * sizeof *at);
}

static inline V v_set(double x)
{
    EACH(x);
}

static inline V v_add(V a, V b)
{
    EACH(a.q[j] + b.q[j]);
}

static inline V v_sub(V a, V b)
{
    EACH(a.q[j] - b.q[j]);
}

static inline V v_mul(V a, V b)
{
    EACH(a.q[j] * b.q[j]);
}

static inline V v_div(V a, V b)
{
    EACH(a.q[j] / b.q[j]);
}

static inline V v_fma(V a, V b, V c)
{
    EACH(a.q[j] * b.q[j] + c.q[j]);
}

static inline V v_max(V a, V b)
{
    EACH(a.q[j] > b.q[j] ? a.q[j] : b.q[j]);
}

static inline V v_min(V a, V b)
{
    EACH(a.q[j] < b.q[j] ? a.q[j] : b.q[j]);
}

static inline V v_pick(V x, V a, V b)
{
    EACH(x.q[j] > 0 ? a.q[j] : b.q[j]);
}

/* Reached by the kernels replaced below only. */
static inline V v_power(V shifted)
{
    EACH(ldexp(1, (int)(shifted.q[j] - 0x1.8p23)));
}

static inline double v_sum(V a)
{
    double sum = 0;
    for (int j = 0; j < 16; j++)
        sum += a.q[j];
    return sum;
}

#define TILE_ROWS 2
#define TILE_VECTORS 1
#define KERNELS kernels_of_the_body
#define KERNELS_NAME "double"
#define KERNELS_ARITHMETIC "double"
extern const struct learner_kernels kernels_of_the_body;
#include "learner/kernel_body.h"

static double logistic(double x)
{
    return 1 / (1 + exp(-x));
}

static void exact_sigmoid(double *x, size_t n)
{
    for (size_t j = 0; j < n; j++)
        x[j] = logistic(x[j]);
}

static void exact_exponential(double *x, size_t n)
{
    for (size_t j = 0; j < n; j++)
        x[j] = exp(x[j]);
}

static void exact_softplus(double *y, const double *x, size_t n)
{
    for (size_t j = 0; j < n; j++)
        y[j] = fmax(x[j], 0) + log1p(exp(-fabs(x[j])));
}

static void exact_tangent(double *x, size_t n)
{
    for (size_t j = 0; j < n; j++)
        x[j] = tanh(x[j]);
}

static void exact_dice(double *y, double *p, const double *x, size_t ld,
                       size_t m, size_t n, const double *mean,
                       const double *scale, const double *alpha)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            double t = x[i * ld + j];
            double gate = logistic((t - mean[j]) * scale[j]);
            p[i * ld + j] = gate;
            y[i * ld + j] = t * (gate + alpha[j] * (1 - gate));
        }
}

static struct learner_kernels exact;

static void make(void)
{
    exact = kernels_of_the_body;
    exact.sigmoid = exact_sigmoid;
    exact.exponential = exact_exponential;
    exact.softplus = exact_softplus;
    exact.tangent = exact_tangent;
    exact.dice = exact_dice;
}

const struct learner_kernels *learner_kernels_get(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make);
    return &exact;
}

const struct learner_kernels *learner_kernels_find(const char *name)
{
    return strcmp(name, "double") == 0 ? learner_kernels_get() : NULL;
}

const char *learner_arithmetic(void)
{
    return "double";
}

const char *learner_kernels(void)
{
    return "double";
}
