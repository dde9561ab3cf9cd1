/* SPDX-License-Identifier: Apache-2.0 */
/* Weights copied into padded, split and turned form; see pack.h. */
#include "learner/pack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "learner/activation.h"

enum base_status learner_slab_cut(float **slab,
                                  const struct learner_slot *slots,
                                  unsigned count, struct base_error *error)
{
    size_t total = 16;
    for (unsigned i = 0; i < count; i++)
        total += (slots[i].size + 15u) & ~(size_t)15;
    *slab = aligned_alloc(64, total * sizeof **slab);
    if (!*slab)
        return base_fail(error, BASE_SYSTEM, "no memory for %zu floats",
                         total);
    memset(*slab, 0, total * sizeof **slab);
    float *at = *slab;
    for (unsigned i = 0; i < count; i++) {
        *slots[i].at = at;
        at += (slots[i].size + 15u) & ~(size_t)15;
    }
    return BASE_OK;
}

static size_t max(size_t a, size_t b)
{
    return a > b ? a : b;
}

enum base_status learner_pack_init(struct learner_pack *pack,
                                   const struct learner_model *model,
                                   struct base_error *error)
{
    *pack = (struct learner_pack){0};
    size_t K = model->K, X = model->X, A0 = model->A0, A1 = model->A1;
    size_t M0 = model->M0, M1 = model->M1, ldK = model->ldK;
    size_t ldX = model->ldX, ldA0 = model->ldA0, ldA1 = model->ldA1;
    size_t ldM0 = model->ldM0, ldM1 = model->ldM1;
    size_t W = model->has_wide ? 3 * (size_t)model->D : 0;
    bool unit = model->has_unit;
    bool outer = model->config.attention == LEARNER_ATTENTION_OUTER && unit;
    size_t split = unit ? K : 0, product = outer ? 0 : split;
    size_t squared = outer ? K * K : 0;
    size_t widest = max(max(max(ldK, ldX), max(ldA0, ldA1)), max(ldM0, ldM1));
    widest = max(max(max(widest, model->ldD), model->ldU0), K * ldA0);
    widest = max(max(widest, A0 * ldK), 3 * model->ldD + 3 * model->ldH);
    const struct learner_slot slots[] = {
        {&pack->aq, split * ldA0}, {&pack->ak, split * ldA0},
        {&pack->ap, product * ldA0}, {&pack->ao, squared * ldA0},
        {&pack->a0_bias, ldA0}, {&pack->a1, A0 * ldA1},
        {&pack->a1_bias, ldA1}, {&pack->a2, ldA1},
        {&pack->gamma, ldX}, {&pack->beta, ldX},
        {&pack->m0, X * ldM0}, {&pack->m0_bias, ldM0},
        {&pack->m1, M0 * ldM1}, {&pack->m1_bias, ldM1},
        {&pack->m2, M1 * 16}, {&pack->m2_bias, 16},
        {&pack->wide, W},
        {&pack->alpha[0], ldM0}, {&pack->alpha[1], ldM1},
        {&pack->mean[0], ldM0}, {&pack->mean[1], ldM1},
        {&pack->variance[0], ldM0}, {&pack->variance[1], ldM1},
        {&pack->scale[0], ldM0}, {&pack->scale[1], ldM1},
        {&pack->zero, widest},
        {&pack->aq_turned, A0 * ldK}, {&pack->ak_turned, A0 * ldK},
        {&pack->ap_turned, A0 * ldK}, {&pack->a1_turned, A1 * ldA0},
        {&pack->ao_turned, outer ? K * A0 * ldK : 0},
        {&pack->m0_turned, M0 * ldX}, {&pack->m1_turned, M1 * ldM0},
        {&pack->m2_turned, 2 * ldM1},
    };
    return learner_slab_cut(&pack->slab, slots,
                            sizeof slots / sizeof slots[0], error);
}

void learner_pack_fini(struct learner_pack *pack)
{
    free(pack->slab);
    pack->slab = NULL;
}

void learner_pack_widen(float *to, size_t ld, const float *from, size_t m,
                        size_t n)
{
    for (size_t i = 0; i < m; i++)
        memcpy(to + i * ld, from + i * n, n * sizeof *to);
}

/* In strips of 16 rows so that each line of `to` is written once. */
void learner_pack_turn(float *to, size_t ld, const float *from, size_t from_ld,
                       size_t m, size_t n)
{
    for (size_t strip = 0; strip < m; strip += 16) {
        size_t end = strip + 16 < m ? strip + 16 : m;
        for (size_t j = 0; j < n; j++)
            for (size_t i = strip; i < end; i++)
                to[j * ld + i] = from[i * from_ld + j];
    }
}

/* A tensor, widened; nothing where the model has it not. A column is a matrix
 * of one column as any other: ld 1 where it becomes a row. */
static void load(const struct learner_model *model, const float *dense,
                 enum learner_tensor_name name, float *to, size_t ld)
{
    if (!learner_model_has(model, name))
        return;
    const struct learner_tensor *tensor = &model->tensors[model->place[name]];
    size_t m = tensor->shape[0], n = tensor->shape[1];
    if (tensor->dimensions == 1)
        n = m, m = 1;
    learner_pack_widen(to, ld, dense + tensor->offset, m, n);
}

/* Wq, Wk and Wp or Wo from the first layer's weight w. */
static void load_split(struct learner_pack *pack,
                       const struct learner_model *model, const float *w)
{
    size_t K = model->K, A0 = model->A0, ldA0 = model->ldA0;
    if (model->config.attention == LEARNER_ATTENTION_OUTER) {
        const float *wo = w + K * A0, *wk = wo + K * K * A0;
        learner_pack_widen(pack->aq, ldA0, w, K, A0);
        learner_pack_widen(pack->ao, ldA0, wo, K * K, A0);
        learner_pack_widen(pack->ak, ldA0, wk, K, A0);
        return;
    }
    const float *wk = w + K * A0, *wd = wk + K * A0, *wp = wd + K * A0;
    for (size_t i = 0; i < K; i++)
        for (size_t j = 0; j < A0; j++) {
            pack->aq[i * ldA0 + j] = w[i * A0 + j] + wd[i * A0 + j];
            pack->ak[i * ldA0 + j] = wk[i * A0 + j] - wd[i * A0 + j];
        }
    learner_pack_widen(pack->ap, ldA0, wp, K, A0);
}

static void load_attention(struct learner_pack *pack,
                           const struct learner_model *model,
                           const float *dense)
{
    load_split(pack, model,
               dense + learner_model_offset(model, TENSOR_ATTENTION_0_WEIGHT));
    load(model, dense, TENSOR_ATTENTION_0_BIAS, pack->a0_bias, model->ldA0);
    load(model, dense, TENSOR_ATTENTION_1_WEIGHT, pack->a1, model->ldA1);
    load(model, dense, TENSOR_ATTENTION_1_BIAS, pack->a1_bias, model->ldA1);
    load(model, dense, TENSOR_ATTENTION_2_WEIGHT, pack->a2, 1);
    load(model, dense, TENSOR_ATTENTION_2_BIAS, &pack->a2_bias, 1);
}

static void load_mlp(struct learner_pack *pack,
                     const struct learner_model *model, const float *dense)
{
    const float *gamma = dense + learner_model_offset(model, TENSOR_BN_GAMMA);
    float factor = 1.0f / sqrtf(LEARNER_BN_VARIANCE);
    for (size_t j = 0; j < model->X; j++)
        pack->gamma[j] = gamma[j] * factor;
    load(model, dense, TENSOR_BN_BETA, pack->beta, model->ldX);
    load(model, dense, TENSOR_MLP_0_WEIGHT, pack->m0, model->ldM0);
    load(model, dense, TENSOR_MLP_0_BIAS, pack->m0_bias, model->ldM0);
    load(model, dense, TENSOR_MLP_1_WEIGHT, pack->m1, model->ldM1);
    load(model, dense, TENSOR_MLP_1_BIAS, pack->m1_bias, model->ldM1);
    load(model, dense, TENSOR_MLP_2_WEIGHT, pack->m2, 16);
    load(model, dense, TENSOR_MLP_2_BIAS, pack->m2_bias, 16);
    for (unsigned layer = 0; layer < 2; layer++) {
        enum learner_tensor_name mean = TENSOR_MLP_0_MEAN + 2 * layer;
        size_t ld = layer ? model->ldM1 : model->ldM0;
        load(model, dense, TENSOR_MLP_0_ALPHA + layer, pack->alpha[layer], ld);
        load(model, dense, mean, pack->mean[layer], ld);
        load(model, dense, mean + 1, pack->variance[layer], ld);
        if (learner_model_has(model, mean))
            learner_activation_scale(pack->scale[layer], pack->variance[layer],
                                     ld, model->config.dice_epsilon);
    }
}

/* The margin is all that leaves the two columns. */
static void load_wide(struct learner_pack *pack,
                      const struct learner_model *model, const float *dense)
{
    const float *w = dense + learner_model_offset(model, TENSOR_WIDE_WEIGHT);
    const float *b = dense + learner_model_offset(model, TENSOR_WIDE_BIAS);
    for (size_t j = 0; j < 3 * (size_t)model->D; j++)
        pack->wide[j] = w[2 * j] - w[2 * j + 1];
    pack->wide_bias = b[0] - b[1];
}

static void turn_all(struct learner_pack *pack,
                     const struct learner_model *model)
{
    size_t K = model->K, X = model->X, ldK = model->ldK;
    size_t A0 = model->A0, A1 = model->A1, ldA0 = model->ldA0;
    size_t M0 = model->M0, M1 = model->M1;
    if (model->has_unit) {
        learner_pack_turn(pack->aq_turned, ldK, pack->aq, ldA0, K, A0);
        learner_pack_turn(pack->ak_turned, ldK, pack->ak, ldA0, K, A0);
        learner_pack_turn(pack->a1_turned, ldA0, pack->a1, model->ldA1, A0,
                          A1);
        if (model->config.attention == LEARNER_ATTENTION_OUTER)
            for (size_t i = 0; i < K; i++)
                learner_pack_turn(pack->ao_turned + i * A0 * ldK, ldK,
                                  pack->ao + i * K * ldA0, ldA0, K, A0);
        else
            learner_pack_turn(pack->ap_turned, ldK, pack->ap, ldA0, K, A0);
    }
    if (!model->has_mlp)
        return;
    learner_pack_turn(pack->m0_turned, model->ldX, pack->m0, model->ldM0, X,
                      M0);
    learner_pack_turn(pack->m1_turned, model->ldM0, pack->m1, model->ldM1, M0,
                      M1);
    learner_pack_turn(pack->m2_turned, model->ldM1, pack->m2, 16, M1, 2);
}

void learner_pack_load(struct learner_pack *pack,
                       const struct learner_model *model, const float *dense,
                       bool backward)
{
    if (model->has_unit)
        load_attention(pack, model, dense);
    if (model->has_mlp)
        load_mlp(pack, model, dense);
    if (model->has_wide)
        load_wide(pack, model, dense);
    load(model, dense, TENSOR_FIRST_ORDER_BIAS, &pack->first_order_bias, 1);
    if (backward)
        turn_all(pack, model);
}
