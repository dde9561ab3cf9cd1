/* SPDX-License-Identifier: Apache-2.0 */
/* Adam; see adam.h. Compiled once for the baseline instruction set and
 * element-wise, so its bits depend neither on vector width nor on threads. */
#include "learner/adam.h"

#include <math.h>

static const float B1 = 0.9f, B2 = 0.999f, EPSILON = 1e-8f;

void learner_adam_init(struct learner_adam *adam, float learning_rate)
{
    double power1 = 1.0, power2 = 1.0;
    for (unsigned i = 0; i < LEARNER_ADAM_RATES; i++) {
        power1 *= 0.9;
        power2 *= 0.999;
        adam->rate[i] = learning_rate * sqrtf((float)(1.0 - power2)) /
                        (float)(1.0 - power1);
    }
}

void learner_adam_step(float *restrict w, float *restrict m,
                       float *restrict v, const float *restrict g, size_t n,
                       float rate)
{
    for (size_t i = 0; i < n; i++) {
        m[i] = B1 * m[i] + (1.0f - B1) * g[i];
        v[i] = B2 * v[i] + (1.0f - B2) * (g[i] * g[i]);
        w[i] -= rate * m[i] / (sqrtf(v[i]) + EPSILON);
    }
}
