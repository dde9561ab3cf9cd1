/* SPDX-License-Identifier: Apache-2.0 */
/* DeepFM's second order (Guo 2017): with v_f the embeddings of x's fields,
 * all E wide, one behind the other in x (the pooled history's fields too),
 *   1/2 sum_d [ (sum_f v_fd)^2 - sum_f v_fd^2 ]
 * is added to extra. d v_fd = dmargin (sum_f v_fd - v_fd). */
#include <string.h>

#include "learner/net.h"

/* sum (E) over the fields of x (X) */
static void add_fields(float *sum, const float *x, size_t X, size_t E)
{
    memset(sum, 0, E * sizeof *sum);
    for (size_t f = 0; f < X; f += E)
        for (size_t d = 0; d < E; d++)
            sum[d] += x[f + d];
}

void learner_factor_forward(struct learner_net *net,
                            const struct learner_range *rows)
{
    const struct learner_model *model = net->model;
    size_t E = model->embedding[0], X = model->X;
    float sum[LEARNER_DIMENSION_MAX];
    for (size_t i = rows->sample; i < rows->sample + rows->samples; i++) {
        const float *x = net->x + i * model->ldX;
        float squares = 0;
        add_fields(sum, x, X, E);
        for (size_t d = 0; d < E; d++)
            squares += sum[d] * sum[d];
        for (size_t j = 0; j < X; j++)
            squares -= x[j] * x[j];
        net->extra[i] += 0.5f * squares;
    }
}

void learner_factor_backward(struct learner_net *net,
                             const struct learner_range *rows)
{
    const struct learner_model *model = net->model;
    size_t E = model->embedding[0], X = model->X;
    float sum[LEARNER_DIMENSION_MAX];
    for (size_t i = rows->sample; i < rows->sample + rows->samples; i++) {
        const float *x = net->x + i * model->ldX;
        float *dx = net->dx + i * model->ldX, d = net->dmargin[i];
        add_fields(sum, x, X, E);
        for (size_t f = 0; f < X; f += E)
            for (size_t j = 0; j < E; j++)
                dx[f + j] += d * (sum[j] - x[f + j]);
    }
}
