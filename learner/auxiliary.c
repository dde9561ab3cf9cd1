/* SPDX-License-Identifier: Apache-2.0 */
/* The auxiliary loss; see auxiliary.h. A tile of n cells has 2 n rows: n of
 * the behaviors, then n of their negatives. */
#include "learner/auxiliary.h"

#include <math.h>
#include <string.h>

#include "learner/metrics.h"

/* ---- weights ------------------------------------------------------------- */

static size_t round16(size_t width)
{
    return (width + 15u) & ~(size_t)15;
}

void learner_auxiliary_pack_init(struct learner_auxiliary_pack *pack,
                                 enum learner_auxiliary form, float epsilon,
                                 size_t H, size_t D, const uint16_t *hidden)
{
    bool network = form == LEARNER_AUXILIARY_NETWORK;
    *pack = (struct learner_auxiliary_pack){
        .form = form, .epsilon = epsilon, .H = H, .D = D,
        .A0 = network ? hidden[0] : 0, .A1 = network ? hidden[1] : 0,
        .ldH = round16(H), .ldD = round16(D)};
    pack->ld0 = round16(pack->A0);
    pack->ld1 = round16(pack->A1);
}

unsigned learner_auxiliary_pack_slots(struct learner_auxiliary_pack *pack,
                                      struct learner_slot *slots)
{
    const struct learner_slot own[LEARNER_AUXILIARY_PACK_SLOTS] = {
        {&pack->h, pack->H * pack->ld0},
        {&pack->e, pack->D * pack->ld0},
        {&pack->bias0, pack->ld0},
        {&pack->w1, pack->A0 * pack->ld1},
        {&pack->bias1, pack->ld1},
        {&pack->w2, pack->ld1},
        {&pack->h_turned, pack->A0 * pack->ldH},
        {&pack->e_turned, pack->A0 * pack->ldD},
        {&pack->w1_turned, pack->A1 * pack->ld0},
        {&pack->zero, pack->ld0 + pack->ldH + pack->ldD},
    };
    memcpy(slots, own, sizeof own);
    return LEARNER_AUXILIARY_PACK_SLOTS;
}

/* to (m,ld) from (m,n) */
static void widen(float *to, size_t ld, const float *from, size_t m, size_t n)
{
    for (size_t i = 0; i < m; i++)
        memcpy(to + i * ld, from + i * n, n * sizeof *to);
}

/* to (n,ld) from (m,from_ld), of which n columns. */
static void turn(float *to, size_t ld, const float *from, size_t from_ld,
                 size_t m, size_t n)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++)
            to[j * ld + i] = from[i * from_ld + j];
}

/* The row of W0 that sees input i, folded. */
static float *folded_row(const struct learner_auxiliary_pack *pack, size_t i)
{
    return i < pack->H ? pack->h + i * pack->ld0
                       : pack->e + (i - pack->H) * pack->ld0;
}

/* y W0 + b0 = v (gamma' W0) + (b0 + beta W0) */
static void fold(struct learner_auxiliary_pack *pack,
                 const struct learner_auxiliary_tensors *tensors)
{
    size_t A0 = pack->A0;
    float factor = 1.0f / sqrtf(LEARNER_BN_VARIANCE);
    memcpy(pack->bias0, tensors->bias0, A0 * sizeof *pack->bias0);
    for (size_t i = 0; i < pack->H + pack->D; i++) {
        const float *from = tensors->weight0 + i * A0;
        float *to = folded_row(pack, i);
        float scale = tensors->gamma[i] * factor, shift = tensors->beta[i];
        for (size_t j = 0; j < A0; j++) {
            to[j] = scale * from[j];
            pack->bias0[j] += shift * from[j];
        }
    }
}

void learner_auxiliary_pack_load(
    struct learner_auxiliary_pack *pack,
    const struct learner_auxiliary_tensors *tensors)
{
    if (pack->form != LEARNER_AUXILIARY_NETWORK)
        return;
    size_t A0 = pack->A0, A1 = pack->A1;
    fold(pack, tensors);
    widen(pack->w1, pack->ld1, tensors->weight1, A0, A1);
    widen(pack->bias1, 0, tensors->bias1, 1, A1);
    for (size_t j = 0; j < A1; j++)
        pack->w2[j] = tensors->weight2[2 * j] - tensors->weight2[2 * j + 1];
    pack->bias2 = tensors->bias2[0] - tensors->bias2[1];
    turn(pack->h_turned, pack->ldH, pack->h, pack->ld0, pack->H, A0);
    turn(pack->e_turned, pack->ldD, pack->e, pack->ld0, pack->D, A0);
    turn(pack->w1_turned, pack->ld0, pack->w1, pack->ld1, A0, A1);
}

unsigned learner_auxiliary_partial_slots(
    const struct learner_auxiliary_pack *pack,
    struct learner_auxiliary_partial *partial, struct learner_slot *slots)
{
    const struct learner_slot own[LEARNER_AUXILIARY_PARTIAL_SLOTS] = {
        {&partial->dh, pack->H * pack->ld0},
        {&partial->de, pack->D * pack->ld0},
        {&partial->dbias0, pack->ld0},
        {&partial->dw1, pack->A0 * pack->ld1},
        {&partial->dbias1, pack->ld1},
        {&partial->dw2, pack->ld1},
        {&partial->dbias2, 16},
    };
    memcpy(slots, own, sizeof own);
    return LEARNER_AUXILIARY_PARTIAL_SLOTS;
}

/* With M = v^T d and s = sum d of the first layer: dW0 = gamma' M + beta s,
 * dgamma' = sum_j W0 . M, dbeta = W0 s. */
static void unfold(const struct learner_auxiliary_pack *pack,
                   const struct learner_auxiliary_partial *partial,
                   const struct learner_auxiliary_tensors *tensors,
                   const struct learner_auxiliary_gradients *to)
{
    size_t A0 = pack->A0;
    float factor = 1.0f / sqrtf(LEARNER_BN_VARIANCE);
    for (size_t i = 0; i < pack->H + pack->D; i++) {
        const float *w = tensors->weight0 + i * A0;
        const float *product = i < pack->H
                                   ? partial->dh + i * pack->ld0
                                   : partial->de + (i - pack->H) * pack->ld0;
        float scale = tensors->gamma[i] * factor, shift = tensors->beta[i];
        float dscale = 0, dshift = 0;
        for (size_t j = 0; j < A0; j++) {
            float s = partial->dbias0[j];
            to->weight0[i * A0 + j] = scale * product[j] + shift * s;
            dscale += w[j] * product[j];
            dshift += w[j] * s;
        }
        to->gamma[i] = dscale * factor;
        to->beta[i] = dshift;
    }
}

void learner_auxiliary_collect(
    const struct learner_auxiliary_pack *pack,
    const struct learner_auxiliary_partial *partial,
    const struct learner_auxiliary_tensors *tensors,
    const struct learner_auxiliary_gradients *to)
{
    if (pack->form != LEARNER_AUXILIARY_NETWORK)
        return;
    size_t A0 = pack->A0, A1 = pack->A1;
    unfold(pack, partial, tensors, to);
    memcpy(to->bias0, partial->dbias0, A0 * sizeof *to->bias0);
    for (size_t i = 0; i < A0; i++)
        memcpy(to->weight1 + i * A1, partial->dw1 + i * pack->ld1,
               A1 * sizeof *to->weight1);
    memcpy(to->bias1, partial->dbias1, A1 * sizeof *to->bias1);
    for (size_t j = 0; j < A1; j++) {
        to->weight2[2 * j] = partial->dw2[j];
        to->weight2[2 * j + 1] = -partial->dw2[j];
    }
    to->bias2[0] = *partial->dbias2;
    to->bias2[1] = -*partial->dbias2;
}

unsigned learner_auxiliary_work_slots(
    const struct learner_auxiliary_pack *pack,
    struct learner_auxiliary_work *work, struct learner_slot *slots)
{
    size_t rows = LEARNER_AUXILIARY_TILE, both = 2 * rows;
    const struct learner_slot own[LEARNER_AUXILIARY_WORK_SLOTS] = {
        {&work->h, rows * pack->ldH},   {&work->dh, rows * pack->ldH},
        {&work->e, both * pack->ldD},   {&work->de, both * pack->ldD},
        {&work->f0, both * pack->ld0},  {&work->d0, both * pack->ld0},
        {&work->f1, both * pack->ld1},  {&work->d1, both * pack->ld1},
        {&work->margin, both}, {&work->dmargin, both},
    };
    memcpy(slots, own, sizeof own);
    return LEARNER_AUXILIARY_WORK_SLOTS;
}

/* ---- loss ---------------------------------------------------------------- */

/* The arguments of learner_auxiliary_run(), and the cells [first, first + n)
 * of a tile. */
struct tile {
    const struct learner_auxiliary_pack *pack;
    const struct learner_kernels *kernels;
    const struct learner_auxiliary_batch *batch;
    const struct learner_auxiliary_work *work;
    const struct learner_auxiliary_partial *partial;
    size_t first, n;
};

/* Of one row: -ln(p + eps) or -ln(1 - p - eps), and its gradient by the
 * margin. exact: the same with eps = 0. */
static double loss_of_row(bool positive, float p, float epsilon, float exact,
                          float *d)
{
    *d = positive ? p - 1 : p;
    if (epsilon == 0)
        return exact;
    double at = positive ? (double)p + (double)epsilon
                         : 1.0 - ((double)p + (double)epsilon);
    double slope = (double)p * (1.0 - (double)p) / at;
    if (!(at > 0)) { /* the reference's quirk, or not a number */
        *d = (float)slope;
        return at <= 0 ? (double)INFINITY : at;
    }
    *d = (float)(positive ? -slope : slope);
    return -learner_metrics_log(at);
}

/* dmargin (2 n) from margin; returns the sum of weight x loss. */
static double take_loss(const struct tile *tile)
{
    const struct learner_auxiliary_work *work = tile->work;
    const struct learner_auxiliary_batch *batch = tile->batch;
    size_t n = tile->n, whole = round16(2 * n);
    float exact[2 * LEARNER_AUXILIARY_TILE];
    for (size_t i = 2 * n; i < whole; i++)
        work->margin[i] = 0;
    for (size_t i = 0; i < whole; i++)
        work->dmargin[i] = i < n ? -work->margin[i] : work->margin[i];
    tile->kernels->softplus(exact, work->dmargin, whole);
    tile->kernels->sigmoid(work->margin, whole);
    double loss = 0;
    for (size_t i = 0; i < 2 * n; i++) {
        float weight = batch->cell[tile->first + i % n].weight, d;
        double own = loss_of_row(i < n, work->margin[i], tile->pack->epsilon,
                                 exact[i], &d);
        loss += (double)weight * own;
        work->dmargin[i] = d * (weight * batch->share);
    }
    return loss;
}

/* ---- tiles --------------------------------------------------------------- */

/* h (n,ldH), e (2n,ldD) */
static void gather(const struct tile *tile)
{
    const struct learner_auxiliary_batch *batch = tile->batch;
    size_t ldH = tile->pack->ldH, ldD = tile->pack->ldD, n = tile->n;
    for (size_t i = 0; i < n; i++) {
        size_t row = batch->cell[tile->first + i].row;
        memcpy(tile->work->h + i * ldH, batch->states + (row - 1) * ldH,
               ldH * sizeof(float));
        memcpy(tile->work->e + i * ldD, batch->items + row * ldD,
               ldD * sizeof(float));
        memcpy(tile->work->e + (n + i) * ldD, batch->negatives + row * ldD,
               ldD * sizeof(float));
    }
}

static void add_row(float *to, const float *from, size_t size)
{
    for (size_t j = 0; j < size; j++)
        to[j] += from[j];
}

static void scatter(const struct tile *tile)
{
    const struct learner_auxiliary_batch *batch = tile->batch;
    size_t ldH = tile->pack->ldH, ldD = tile->pack->ldD, n = tile->n;
    for (size_t i = 0; i < n; i++) {
        size_t row = batch->cell[tile->first + i].row;
        add_row(batch->dstates + (row - 1) * ldH, tile->work->dh + i * ldH,
                ldH);
        add_row(batch->ditems + row * ldD, tile->work->de + i * ldD, ldD);
        memcpy(batch->dnegatives + row * ldD, tile->work->de + (n + i) * ldD,
               ldD * sizeof(float));
    }
}

/* margin (2n) of the inner product */
static void inner_forward(const struct tile *tile)
{
    const struct learner_auxiliary_work *work = tile->work;
    size_t ldH = tile->pack->ldH, n = tile->n;
    for (size_t i = 0; i < 2 * n; i++)
        tile->kernels->row_dot(work->margin + i, work->e + i * ldH, ldH, 1,
                               ldH, work->h + i % n * ldH, 0);
}

static void inner_backward(const struct tile *tile)
{
    const struct learner_auxiliary_work *work = tile->work;
    size_t ldH = tile->pack->ldH, n = tile->n;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < ldH; j++) {
            size_t at = i * ldH + j, other = (n + i) * ldH + j;
            float plus = work->dmargin[i], minus = work->dmargin[n + i];
            work->dh[at] = plus * work->e[at] + minus * work->e[other];
            work->de[at] = plus * work->h[at];
            work->de[other] = minus * work->h[at];
        }
}

static void network_forward(const struct tile *tile)
{
    const struct learner_auxiliary_pack *pack = tile->pack;
    const struct learner_kernels *kernels = tile->kernels;
    const struct learner_auxiliary_work *work = tile->work;
    size_t n = tile->n, ld0 = pack->ld0, ld1 = pack->ld1;
    kernels->gemm(work->f0, ld0, work->h, pack->ldH, pack->h, ld0, n, pack->H,
                  ld0, pack->bias0);
    memcpy(work->f0 + n * ld0, work->f0, n * ld0 * sizeof *work->f0);
    kernels->gemm(work->f0, ld0, work->e, pack->ldD, pack->e, ld0, 2 * n,
                  pack->D, ld0, NULL);
    kernels->sigmoid(work->f0, 2 * n * ld0);
    kernels->gemm(work->f1, ld1, work->f0, ld0, pack->w1, ld1, 2 * n,
                  pack->A0, ld1, pack->bias1);
    kernels->sigmoid(work->f1, 2 * n * ld1);
    kernels->row_dot(work->margin, work->f1, ld1, 2 * n, ld1, pack->w2,
                     pack->bias2);
}

static void network_backward(const struct tile *tile)
{
    const struct learner_auxiliary_pack *pack = tile->pack;
    const struct learner_kernels *kernels = tile->kernels;
    const struct learner_auxiliary_work *work = tile->work;
    const struct learner_auxiliary_partial *partial = tile->partial;
    size_t n = tile->n, ld0 = pack->ld0, ld1 = pack->ld1;
    const float *zero = pack->zero;
    for (size_t i = 0; i < 2 * n; i++)
        *partial->dbias2 += work->dmargin[i];
    kernels->weighted_sum(partial->dw2, work->f1, ld1, 2 * n, ld1,
                          work->dmargin);
    kernels->output_backward(work->d1, work->f1, ld1, 2 * n, ld1,
                             work->dmargin, pack->w2);
    kernels->column_sum(partial->dbias1, work->d1, ld1, 2 * n, ld1);
    kernels->gemm_tn(partial->dw1, ld1, work->f0, ld0, work->d1, ld1,
                     pack->A0, 2 * n, ld1, NULL);
    kernels->gemm(work->d0, ld0, work->d1, ld1, pack->w1_turned, ld0, 2 * n,
                  pack->A1, ld0, zero);
    kernels->sigmoid_backward(work->d0, work->f0, 2 * n * ld0);
    kernels->gemm_tn(partial->de, ld0, work->e, pack->ldD, work->d0, ld0,
                     pack->D, 2 * n, ld0, NULL);
    kernels->gemm(work->de, pack->ldD, work->d0, ld0, pack->e_turned,
                  pack->ldD, 2 * n, pack->A0, pack->ldD, zero);
    /* the state is seen by both rows of its cell */
    add_row(work->d0, work->d0 + n * ld0, n * ld0);
    kernels->column_sum(partial->dbias0, work->d0, ld0, n, ld0);
    kernels->gemm_tn(partial->dh, ld0, work->h, pack->ldH, work->d0, ld0,
                     pack->H, n, ld0, NULL);
    kernels->gemm(work->dh, pack->ldH, work->d0, ld0, pack->h_turned,
                  pack->ldH, n, pack->A0, pack->ldH, zero);
}

double learner_auxiliary_run(const struct learner_auxiliary_pack *pack,
                             const struct learner_kernels *kernels,
                             const struct learner_auxiliary_batch *batch,
                             const struct learner_auxiliary_work *work,
                             const struct learner_auxiliary_partial *partial)
{
    bool network = pack->form == LEARNER_AUXILIARY_NETWORK;
    double loss = 0;
    for (size_t first = 0; first < batch->count;
         first += LEARNER_AUXILIARY_TILE) {
        size_t n = batch->count - first;
        if (n > LEARNER_AUXILIARY_TILE)
            n = LEARNER_AUXILIARY_TILE;
        const struct tile tile = {pack, kernels, batch, work,
                                  partial, first, n};
        gather(&tile);
        if (network)
            network_forward(&tile);
        else
            inner_forward(&tile);
        loss += take_loss(&tile);
        if (network)
            network_backward(&tile);
        else
            inner_backward(&tile);
        scatter(&tile);
    }
    return loss;
}
