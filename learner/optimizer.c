/* SPDX-License-Identifier: Apache-2.0 */
/* The optimizers; see optimizer.h. Compiled once for the baseline instruction
 * set and element-wise, so the bits depend neither on vector width nor on
 * threads. */
#include "learner/optimizer.h"

#include <math.h>

static const float B1 = 0.9f, B2 = 0.999f, EPSILON = 1e-8f;
static const float ADAGRAD_EPSILON = 1e-10f;

/* ---- what the configuration says ----------------------------------------- */

size_t learner_optimizer_row_state(const struct learner_model_config *config,
                                   size_t W)
{
    switch (config->optimizer) {
    case LEARNER_ADAM:
    case LEARNER_FTRL: return 2 * W;
    case LEARNER_ADAGRAD: return W;
    case LEARNER_ROW_ADAGRAD: return 1;
    case LEARNER_SGD: break;
    }
    return 0;
}

unsigned
learner_optimizer_dense_states(const struct learner_model_config *config)
{
    switch (config->optimizer) {
    case LEARNER_ADAM:
    case LEARNER_FTRL: return 2;
    case LEARNER_ADAGRAD:
    case LEARNER_ROW_ADAGRAD: return 1;
    case LEARNER_SGD: break;
    }
    return 0;
}

void learner_optimizer_init(struct learner_updater *updater,
                            const struct learner_model_config *config)
{
    updater->kind = config->optimizer;
    updater->every_row =
        config->adam_every_row && config->optimizer == LEARNER_ADAM;
    updater->rate = updater->learning_rate = config->learning_rate;
    updater->decay = (double)config->rate_decay;
    updater->decay_samples =
        config->rate_decay == 1.0f ? 0 : config->rate_decay_samples;
    updater->decays = 0;
    updater->alpha = config->ftrl_alpha;
    updater->beta = config->ftrl_beta;
    updater->l1 = config->ftrl_l1;
    updater->l2 = config->ftrl_l2;
    double power1 = 1.0, power2 = 1.0;
    for (unsigned i = 0; i < LEARNER_ADAM_STEPS; i++) {
        power1 *= 0.9;
        power2 *= 0.999;
        updater->above[i] = sqrtf((float)(1.0 - power2));
        updater->below[i] = (float)(1.0 - power1);
    }
}

/* base^n by squares: a function of n alone, wherever a run was resumed. */
static double power(double base, uint64_t n)
{
    double result = 1.0;
    for (; n; n >>= 1, base *= base)
        if (n & 1)
            result *= base;
    return result;
}

void learner_optimizer_seek(struct learner_updater *updater,
                            uint64_t position)
{
    if (!updater->decay_samples)
        return;
    uint64_t decays = position / updater->decay_samples;
    if (decays == updater->decays)
        return;
    updater->decays = decays;
    updater->rate = (float)((double)updater->learning_rate *
                            power(updater->decay, decays));
}

float learner_optimizer_rate(const struct learner_updater *updater, uint64_t t)
{
    size_t i = t < LEARNER_ADAM_STEPS ? t - 1 : LEARNER_ADAM_STEPS - 1;
    return updater->rate * updater->above[i] / updater->below[i];
}

/* ---- one step ------------------------------------------------------------ */

static void adam(float *restrict w, float *restrict m, float *restrict v,
                 const float *restrict g, size_t n, float rate)
{
    for (size_t i = 0; i < n; i++) {
        m[i] = B1 * m[i] + (1.0f - B1) * g[i];
        v[i] = B2 * v[i] + (1.0f - B2) * (g[i] * g[i]);
        w[i] -= rate * m[i] / (sqrtf(v[i]) + EPSILON);
    }
}

static void adagrad(float *restrict w, float *restrict sum,
                    const float *restrict g, size_t n, float rate)
{
    for (size_t i = 0; i < n; i++) {
        sum[i] += g[i] * g[i];
        w[i] -= rate * g[i] / (sqrtf(sum[i]) + ADAGRAD_EPSILON);
    }
}

static void row_adagrad(float *restrict w, float *restrict sum,
                        const float *restrict g, size_t n, float rate)
{
    float squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += g[i] * g[i];
    *sum += squares / (float)n;
    float divisor = sqrtf(*sum) + ADAGRAD_EPSILON;
    for (size_t i = 0; i < n; i++)
        w[i] -= rate * g[i] / divisor;
}

/* s is written as g^2 / (sqrt(n + g^2) + sqrt(n)) / alpha, which is the same
 * and does not cancel. */
static void ftrl(const struct learner_updater *updater, float *restrict w,
                 float *restrict z, float *restrict sum,
                 const float *restrict g, size_t n)
{
    float alpha = updater->alpha, beta = updater->beta;
    float l1 = updater->l1, l2 = updater->l2;
    for (size_t i = 0; i < n; i++) {
        float square = g[i] * g[i], before = sqrtf(sum[i]);
        sum[i] += square;
        float after = sqrtf(sum[i]);
        float s = square > 0 ? square / (after + before) / alpha : 0;
        z[i] += g[i] - s * w[i];
        float over = z[i] > l1 ? z[i] - l1 : z[i] < -l1 ? z[i] + l1 : 0;
        float divisor = (beta + after) / alpha + l2; /* 0 where g^2 is */
        w[i] = over == 0 || divisor == 0 ? 0 : -over / divisor;
    }
}

static void sgd(float *restrict w, const float *restrict g, size_t n,
                float rate)
{
    for (size_t i = 0; i < n; i++)
        w[i] -= rate * g[i];
}

void learner_optimizer_row(const struct learner_updater *updater,
                           float *values, const float *g, size_t W, uint64_t t)
{
    float *state = values + W;
    switch (updater->kind) {
    case LEARNER_ADAM:
        adam(values, state, state + W, g, W,
             learner_optimizer_rate(updater, t));
        break;
    case LEARNER_ADAGRAD: adagrad(values, state, g, W, updater->rate); break;
    case LEARNER_ROW_ADAGRAD:
        row_adagrad(values, state, g, W, updater->rate);
        break;
    case LEARNER_FTRL:
        ftrl(updater, values, state, state + W, g, W);
        break;
    case LEARNER_SGD: sgd(values, g, W, updater->rate); break;
    }
}

void learner_optimizer_dense(const struct learner_updater *updater, float *w,
                             float *const *state, const float *g, size_t n,
                             uint64_t t)
{
    switch (updater->kind) {
    case LEARNER_ADAM:
        adam(w, state[0], state[1], g, n, learner_optimizer_rate(updater, t));
        break;
    case LEARNER_ADAGRAD:
    case LEARNER_ROW_ADAGRAD:
        adagrad(w, state[0], g, n, updater->rate);
        break;
    case LEARNER_FTRL: ftrl(updater, w, state[0], state[1], g, n); break;
    case LEARNER_SGD: sgd(w, g, n, updater->rate); break;
    }
}

void learner_optimizer_rest(const struct learner_updater *updater,
                            float *values, size_t W, uint64_t t)
{
    float *restrict w = values, *restrict m = values + W,
          *restrict v = values + 2 * W;
    float rate = learner_optimizer_rate(updater, t);
    for (size_t i = 0; i < W; i++) {
        m[i] = B1 * m[i];
        v[i] = B2 * v[i];
        w[i] -= rate * m[i] / (sqrtf(v[i]) + EPSILON);
    }
}
