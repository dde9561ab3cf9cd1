/* SPDX-License-Identifier: Apache-2.0 */
/* Dice and PReLU over columns of a layer; see activation.h. */
#include "learner/activation.h"

#include <math.h>

#define DICE_EPSILON 1e-8f
#define MOMENTUM 0.99f

void learner_activation_scale(float *scale, const float *variance, size_t n)
{
    for (size_t j = 0; j < n; j++)
        scale[j] = 1.0f / sqrtf(variance[j] + DICE_EPSILON);
}

void learner_activation_move(float *moving, const float *batch, size_t n)
{
    for (size_t j = 0; j < n; j++)
        moving[j] = MOMENTUM * moving[j] + (1.0f - MOMENTUM) * batch[j];
}

void learner_activation_forward(const struct learner_kernels *kernels,
                                const struct learner_activation_layer *layer,
                                bool statistics, float *y, float *p,
                                const float *x, size_t m, size_t column,
                                size_t n)
{
    size_t c = column, ld = layer->ld;
    if (layer->kind == LEARNER_PRELU) {
        kernels->prelu(y + c, x + c, ld, m, n, layer->alpha + c);
        return;
    }
    if (statistics) {
        kernels->column_statistics(layer->mean + c, layer->variance + c,
                                   x + c, ld, m, n);
        learner_activation_scale(layer->scale + c, layer->variance + c, n);
    }
    kernels->dice(y + c, p + c, x + c, ld, m, n, layer->mean + c,
                  layer->scale + c, layer->alpha + c);
}

void learner_activation_backward(const struct learner_kernels *kernels,
                                 const struct learner_activation_layer *layer,
                                 float *d, float *dalpha, const float *x,
                                 const float *p, size_t m, size_t column,
                                 size_t n)
{
    size_t c = column, ld = layer->ld;
    if (layer->kind == LEARNER_PRELU)
        kernels->prelu_backward(d + c, dalpha + c, x + c, ld, m, n,
                                layer->alpha + c);
    else
        kernels->dice_backward(d + c, dalpha + c, x + c, p + c, ld, m, n,
                               layer->mean + c, layer->scale + c,
                               layer->alpha + c);
}
