/* SPDX-License-Identifier: Apache-2.0 */
/* Activations over columns of a layer; see activation.h. */
#include "learner/activation.h"

#include <math.h>
#include <string.h>

#define MOMENTUM 0.99f

void learner_activation_scale(float *scale, const float *variance, size_t n,
                              float epsilon)
{
    for (size_t j = 0; j < n; j++)
        scale[j] = 1.0f / sqrtf(variance[j] + epsilon);
}

void learner_activation_move(float *moving, const float *batch, size_t n)
{
    for (size_t j = 0; j < n; j++)
        moving[j] = MOMENTUM * moving[j] + (1.0f - MOMENTUM) * batch[j];
}

static void sigmoid(const struct learner_kernels *kernels, float *y, float *p,
                    const float *x, size_t ld, size_t m, size_t n)
{
    for (size_t i = 0; i < m; i++) {
        memcpy(y + i * ld, x + i * ld, n * sizeof *y);
        kernels->sigmoid(y + i * ld, n);
        if (p != y)
            memcpy(p + i * ld, y + i * ld, n * sizeof *p);
    }
}

void learner_activation_forward(const struct learner_kernels *kernels,
                                const struct learner_activation_layer *layer,
                                bool statistics, float *y, float *p,
                                const float *x, size_t m, size_t column,
                                size_t n)
{
    size_t c = column, ld = layer->ld;
    switch (layer->kind) {
    case LEARNER_PRELU:
    case LEARNER_RELU:
        kernels->prelu(y + c, x + c, ld, m, n, layer->alpha + c);
        return;
    case LEARNER_SIGMOID:
        sigmoid(kernels, y + c, p + c, x + c, ld, m, n);
        return;
    case LEARNER_DICE:
        break;
    }
    if (statistics) {
        kernels->column_statistics(layer->mean + c, layer->variance + c,
                                   x + c, ld, m, n);
        learner_activation_scale(layer->scale + c, layer->variance + c, n,
                                 layer->epsilon);
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
    switch (layer->kind) {
    case LEARNER_PRELU:
    case LEARNER_RELU:
        kernels->prelu_backward(d + c, dalpha + c, x + c, ld, m, n,
                                layer->alpha + c);
        break;
    case LEARNER_SIGMOID:
        for (size_t i = 0; i < m; i++)
            kernels->sigmoid_backward(d + i * ld + c, p + i * ld + c, n);
        break;
    case LEARNER_DICE:
        kernels->dice_backward(d + c, dalpha + c, x + c, p + c, ld, m, n,
                               layer->mean + c, layer->scale + c,
                               layer->alpha + c);
        break;
    }
}
