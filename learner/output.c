/* SPDX-License-Identifier: Apache-2.0 */
/* From the last layer to probabilities, the loss and its gradient in the
 * margin, with the output layer's weights; see net.h. Runs alone, over the
 * whole batch. */
#include <string.h>

#include "learner/net.h"

void learner_net_logits(struct learner_net *net)
{
    const struct learner_layer *last = &net->layer[1];
    if (net->model->has_mlp)
        net->kernels->gemm(net->logit, 16, last->f, last->ld, net->pack.m2, 16,
                           net->samples, last->out, 16, net->pack.m2_bias);
}

static float margin_of(const struct learner_net *net, size_t i)
{
    const struct learner_model *model = net->model;
    if (!model->has_mlp)
        return net->extra[i];
    float margin = net->logit[i * 16] - net->logit[i * 16 + 1];
    if (model->has_first_order || model->has_wide)
        margin += net->extra[i];
    return margin;
}

/* margin (B), 0 up to the next whole vector; p = sigma(margin), which is
 * softmax(logits)[0] where there is nothing but the logits. Returns that
 * length. */
static size_t take_margins(struct learner_net *net)
{
    size_t B = net->samples, whole = (B + 15u) & ~(size_t)15;
    for (size_t i = 0; i < B; i++)
        net->margin[i] = margin_of(net, i);
    for (size_t i = B; i < whole; i++)
        net->margin[i] = 0;
    memcpy(net->p, net->margin, whole * sizeof *net->p);
    net->kernels->sigmoid(net->p, whole);
    return whole;
}

void learner_net_probability(struct learner_net *net, float *probability)
{
    take_margins(net);
    memcpy(probability, net->p, net->samples * sizeof *probability);
}

/* Ktena et al., RecSys 2019: the fake negative weighted loss. */
static float weight_of_sample(uint8_t kind, float p)
{
    switch ((enum learner_sample_kind)kind) {
    case LEARNER_FNW_NEGATIVE: return (1 - p) * (1 + p);
    case LEARNER_FNW_POSITIVE: return 1 + p;
    case LEARNER_WINDOW: break;
    }
    return 1;
}

/* ln x for 0 < x < 1 by Newton's method on e^y = x. */
static float logarithm(const struct learner_kernels *kernels, float x)
{
    float y = 0, power[16] = {0};
    for (unsigned i = 0; i < 64; i++) {
        power[0] = y;
        kernels->exponential(power, 16);
        y += 2 * (x - power[0]) / (x + power[0]);
    }
    return y;
}

/* y (n) -= softplus(c + x) + rest */
static void subtract(const struct learner_kernels *kernels, float *y,
                     const float *x, size_t n, float c, float rest)
{
    float in[16], out[16];
    for (size_t i = 0; i < n; i += 16) {
        for (size_t j = 0; j < 16; j++)
            in[j] = c + x[i + j];
        kernels->softplus(out, in, 16);
        for (size_t j = 0; j < 16; j++)
            y[i + j] -= out[j] + rest;
    }
}

/* plus, minus (whole): the losses of a negative and of a positive. With m the
 * margin, -ln p = softplus(-m); with an epsilon e added to p,
 * -ln(p + e) = softplus(-m) - softplus(c - m) - ln(1 + e),
 * c = ln e - ln(1 + e). Leaves -m in margin. */
static void take_losses(struct learner_net *net, size_t whole)
{
    const struct learner_kernels *kernels = net->kernels;
    float e = net->model->config.probability_epsilon, c = 0, rest = 0;
    if (e > 0) {
        float one[16] = {logarithm(kernels, e)}, out[16];
        kernels->softplus(out, one, 16);
        rest = out[0];
        c = one[0] - rest;
    }
    kernels->softplus(net->plus, net->margin, whole);
    if (e > 0)
        subtract(kernels, net->plus, net->margin, whole, c, rest);
    for (size_t i = 0; i < whole; i++)
        net->margin[i] = -net->margin[i];
    kernels->softplus(net->minus, net->margin, whole);
    if (e > 0)
        subtract(kernels, net->minus, net->margin, whole, c, rest);
}

/* Gradient of a sample's loss in its margin; not = 1 - p. */
static float slope_of(float p, float not, uint8_t label, float epsilon)
{
    if (epsilon > 0)
        return label ? -not * (p / (p + epsilon))
                     : p * (not / (not + epsilon));
    return p - (label ? 1.0f : 0.0f);
}

static double take_slopes(struct learner_net *net, const uint8_t *label,
                          const uint8_t *kind, size_t whole)
{
    const struct learner_model_config *config = &net->model->config;
    float share = config->loss_scale / (float)config->batch_size;
    float epsilon = config->probability_epsilon;
    double loss = 0;
    if (epsilon > 0) /* margin holds -m: sigma gives 1 - p without loss */
        net->kernels->sigmoid(net->margin, whole);
    for (size_t i = 0; i < net->samples; i++) {
        float weight = weight_of_sample(kind[i], net->p[i]);
        float slope =
            slope_of(net->p[i], net->margin[i], label[i], epsilon);
        net->dmargin[i] = weight * slope * share;
        loss += (double)weight * (label[i] ? net->minus[i] : net->plus[i]);
    }
    return loss * config->loss_scale / config->batch_size;
}

double learner_net_loss(struct learner_net *net, const uint8_t *label,
                        const uint8_t *kind)
{
    const struct learner_kernels *kernels = net->kernels;
    const struct learner_layer *last = &net->layer[1];
    size_t whole = take_margins(net);
    take_losses(net, whole);
    double loss = take_slopes(net, label, kind, whole);
    if (!net->model->has_mlp)
        return loss;
    for (size_t i = 0; i < net->samples; i++) {
        net->dlogit[i * 16] = net->dmargin[i];
        net->dlogit[i * 16 + 1] = -net->dmargin[i];
    }
    kernels->gemm_tn(net->dm2, 16, last->f, last->ld, net->dlogit, 16,
                     last->out, net->samples, 16, net->pack.zero);
    memset(net->dm2_bias, 0, 16 * sizeof *net->dm2_bias);
    kernels->column_sum(net->dm2_bias, net->dlogit, 16, net->samples, 16);
    return loss;
}
