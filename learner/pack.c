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
    size_t D = model->D, X = model->X;
    size_t A0 = model->config.attention_hidden[0];
    size_t A1 = model->config.attention_hidden[1];
    size_t M0 = model->config.mlp_hidden[0], M1 = model->config.mlp_hidden[1];
    size_t ldD = model->ldD, ldX = model->ldX;
    size_t ldA0 = model->ldA0, ldA1 = model->ldA1;
    size_t ldM0 = model->ldM0, ldM1 = model->ldM1;
    size_t widest = max(max(max(ldD, ldX), max(ldA0, ldA1)), max(ldM0, ldM1));
    const struct learner_slot slots[] = {
        {&pack->aq, D * ldA0}, {&pack->ak, D * ldA0}, {&pack->ap, D * ldA0},
        {&pack->a0_bias, ldA0}, {&pack->a1, A0 * ldA1},
        {&pack->a1_bias, ldA1}, {&pack->a2, ldA1},
        {&pack->gamma, ldX}, {&pack->beta, ldX},
        {&pack->m0, X * ldM0}, {&pack->m0_bias, ldM0},
        {&pack->m1, M0 * ldM1}, {&pack->m1_bias, ldM1},
        {&pack->m2, M1 * 16}, {&pack->m2_bias, 16},
        {&pack->alpha[0], ldM0}, {&pack->alpha[1], ldM1},
        {&pack->mean[0], ldM0}, {&pack->mean[1], ldM1},
        {&pack->variance[0], ldM0}, {&pack->variance[1], ldM1},
        {&pack->scale[0], ldM0}, {&pack->scale[1], ldM1},
        {&pack->zero, widest},
        {&pack->aq_turned, A0 * ldD}, {&pack->ak_turned, A0 * ldD},
        {&pack->ap_turned, A0 * ldD}, {&pack->a1_turned, A1 * ldA0},
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

/* to (m,ld) from (m,n) */
static void widen(float *to, size_t ld, const float *from, size_t m, size_t n)
{
    for (size_t i = 0; i < m; i++)
        memcpy(to + i * ld, from + i * n, n * sizeof *to);
}

/* to (n,ld) from (m,from_ld), in strips of 16 rows so that each line of `to`
 * is written once */
static void turn(float *to, size_t ld, const float *from, size_t from_ld,
                 size_t m, size_t n)
{
    for (size_t strip = 0; strip < m; strip += 16) {
        size_t end = strip + 16 < m ? strip + 16 : m;
        for (size_t j = 0; j < n; j++)
            for (size_t i = strip; i < end; i++)
                to[j * ld + i] = from[i * from_ld + j];
    }
}

static void load_attention(struct learner_pack *pack,
                           const struct learner_model *model,
                           const float *dense)
{
    const struct learner_tensor *tensors = model->tensors;
    size_t D = model->D, ldA0 = model->ldA0;
    size_t A0 = model->config.attention_hidden[0];
    size_t A1 = model->config.attention_hidden[1];
    const float *w = dense + tensors[DIN_ATTENTION_0_WEIGHT].offset;
    const float *wk = w + D * A0, *wd = wk + D * A0, *wp = wd + D * A0;
    for (size_t i = 0; i < D; i++)
        for (size_t j = 0; j < A0; j++) {
            pack->aq[i * ldA0 + j] = w[i * A0 + j] + wd[i * A0 + j];
            pack->ak[i * ldA0 + j] = wk[i * A0 + j] - wd[i * A0 + j];
        }
    widen(pack->ap, ldA0, wp, D, A0);
    widen(pack->a0_bias, A0, dense + tensors[DIN_ATTENTION_0_BIAS].offset, 1,
          A0);
    widen(pack->a1, model->ldA1,
          dense + tensors[DIN_ATTENTION_1_WEIGHT].offset, A0, A1);
    widen(pack->a1_bias, A1, dense + tensors[DIN_ATTENTION_1_BIAS].offset, 1,
          A1);
    widen(pack->a2, A1, dense + tensors[DIN_ATTENTION_2_WEIGHT].offset, 1, A1);
    pack->a2_bias = dense[tensors[DIN_ATTENTION_2_BIAS].offset];
}

static void load_mlp(struct learner_pack *pack,
                     const struct learner_model *model, const float *dense)
{
    const struct learner_tensor *tensors = model->tensors;
    size_t X = model->X;
    size_t M0 = model->config.mlp_hidden[0], M1 = model->config.mlp_hidden[1];
    const float *gamma = dense + tensors[DIN_BN_GAMMA].offset;
    float factor = 1.0f / sqrtf(LEARNER_BN_VARIANCE);
    for (size_t j = 0; j < X; j++)
        pack->gamma[j] = gamma[j] * factor;
    widen(pack->beta, X, dense + tensors[DIN_BN_BETA].offset, 1, X);
    widen(pack->m0, model->ldM0, dense + tensors[DIN_MLP_0_WEIGHT].offset, X,
          M0);
    widen(pack->m0_bias, M0, dense + tensors[DIN_MLP_0_BIAS].offset, 1, M0);
    widen(pack->m1, model->ldM1, dense + tensors[DIN_MLP_1_WEIGHT].offset, M0,
          M1);
    widen(pack->m1_bias, M1, dense + tensors[DIN_MLP_1_BIAS].offset, 1, M1);
    widen(pack->m2, 16, dense + tensors[DIN_MLP_2_WEIGHT].offset, M1, 2);
    widen(pack->m2_bias, 2, dense + tensors[DIN_MLP_2_BIAS].offset, 1, 2);
    for (unsigned layer = 0; layer < 2; layer++) {
        size_t width = layer ? M1 : M0;
        unsigned two = 2 * layer;
        widen(pack->alpha[layer], width,
              dense + tensors[DIN_MLP_0_ALPHA + layer].offset, 1, width);
        if (model->config.activation != LEARNER_DICE)
            continue;
        widen(pack->mean[layer], width,
              dense + tensors[DIN_MLP_0_MEAN + two].offset, 1, width);
        widen(pack->variance[layer], width,
              dense + tensors[DIN_MLP_0_VARIANCE + two].offset, 1, width);
        learner_activation_scale(pack->scale[layer], pack->variance[layer],
                                 learner_round16((uint32_t)width));
    }
}

void learner_pack_load(struct learner_pack *pack,
                       const struct learner_model *model, const float *dense,
                       bool backward)
{
    load_attention(pack, model, dense);
    load_mlp(pack, model, dense);
    if (!backward)
        return;
    size_t D = model->D, X = model->X, ldD = model->ldD;
    size_t A0 = model->config.attention_hidden[0];
    size_t A1 = model->config.attention_hidden[1];
    size_t M0 = model->config.mlp_hidden[0], M1 = model->config.mlp_hidden[1];
    turn(pack->aq_turned, ldD, pack->aq, model->ldA0, D, A0);
    turn(pack->ak_turned, ldD, pack->ak, model->ldA0, D, A0);
    turn(pack->ap_turned, ldD, pack->ap, model->ldA0, D, A0);
    turn(pack->a1_turned, model->ldA0, pack->a1, model->ldA1, A0, A1);
    turn(pack->m0_turned, model->ldX, pack->m0, model->ldM0, X, M0);
    turn(pack->m1_turned, model->ldM0, pack->m1, model->ldM1, M0, M1);
    turn(pack->m2_turned, model->ldM1, pack->m2, 16, M1, 2);
}
