/* SPDX-License-Identifier: Apache-2.0 */
/* The recurrent cells' backward pass; see gru.h. With delta the gradient of
 * h' (MODEL 1.12 gives the same for each form of the cell):
 *
 *   dc  = delta . (1 - keep),  dh = delta . keep,  dkeep = delta . (h - c)
 *   du  = beta dkeep,  da = dalpha/da sum dkeep + dbeta/da sum dkeep . u
 *   d(r . h) = (dc . (1 - c^2)) Wc^T;  dr = d(r . h) . h;  dh += d(r . h) . r
 *   dh += [dr . r (1 - r) | du . u (1 - u)] Wg^T
 *
 * with keep = alpha + beta u. Gates and candidates are overwritten by the
 * gradients of what sigmoid and tanh were given, states by the states that
 * each step started from: what the gradients of weights need. */
#include <string.h>

#include "learner/gru_step.h"

unsigned learner_gru_partial_slots(const struct learner_gru_shape *shape,
                                   struct learner_gru_partial *partial,
                                   struct learner_slot *slots)
{
    const struct learner_slot own[LEARNER_GRU_PARTIAL_SLOTS] = {
        {&partial->dx, shape->input * shape->ldP},
        {&partial->dbias, shape->ldP},
        {&partial->dgates, shape->hidden * shape->ldG},
        {&partial->dcandidate, shape->hidden * shape->ldH},
    };
    memcpy(slots, own, sizeof own);
    return LEARNER_GRU_PARTIAL_SLOTS;
}

/* Columns of `from` (m,ld) into `to` (m,n). */
static void take_columns(float *to, const float *from, size_t ld, size_t m,
                         size_t n)
{
    for (size_t i = 0; i < m; i++)
        memcpy(to + i * n, from + i * ld, n * sizeof *to);
}

void learner_gru_collect(const struct learner_gru_shape *shape,
                         const struct learner_gru_partial *partial,
                         const struct learner_gru_gradients *to)
{
    size_t I = shape->input, H = shape->hidden, wide = shape->gates * H;
    take_columns(to->gates, partial->dx, shape->ldP, I, wide);
    take_columns(to->gates + I * wide, partial->dgates, shape->ldG, H, wide);
    take_columns(to->gates_bias, partial->dbias, 0, 1, wide);
    take_columns(to->candidate, partial->dx + wide, shape->ldP, I, H);
    take_columns(to->candidate + I * H, partial->dcandidate, shape->ldH, H,
                 H);
    take_columns(to->candidate_bias, partial->dbias + wide, 0, 1, H);
}

/* The arguments of learner_gru_backward() */
struct pass {
    const struct learner_gru_pack *pack;
    const struct learner_kernels *kernels;
    const struct learner_gru_batch *batch;
    const struct learner_gru_work *work;
    const struct learner_gru_backward *gradients;
    const struct learner_gru_partial *partial;
};

/* dstate (active,ldH) += what comes from outside; the sequences whose last
 * step this is, from `running` on, start with dlast. */
static void take_gradients(const struct pass *pass,
                           const struct learner_gru_step *step,
                           uint32_t running)
{
    const struct learner_gru_backward *gradients = pass->gradients;
    size_t ldH = pass->pack->shape.ldH;
    for (uint32_t i = 0; i < step->active; i++) {
        uint32_t index = step->order[i];
        size_t own = pass->batch->sequence[index].own + step->t;
        float *d = pass->work->dstate + i * ldH;
        if (i >= running && gradients->dlast)
            learner_gru_copy(d, gradients->dlast + index * ldH, ldH);
        else if (i >= running)
            memset(d, 0, ldH * sizeof *d);
        if (!gradients->dstates)
            continue;
        const float *from = gradients->dstates + own * ldH;
        for (size_t j = 0; j < ldH; j++)
            d[j] += from[j];
    }
}

/* da of the forms whose keep depends on it; dbeta stands in beta. */
static void give_attention(const struct pass *pass,
                           const struct learner_gru_step *step)
{
    const struct learner_gru_work *work = pass->work;
    float by_alpha = 0, by_beta = 0; /* dalpha/da, dbeta/da */
    switch (pass->pack->form) {
    case LEARNER_GRU_AUGRU: by_alpha = -1, by_beta = 1; break;
    case LEARNER_GRU_AUGRU_CODE: by_beta = -1; break;
    case LEARNER_GRU_AGRU: by_alpha = -1; break;
    case LEARNER_GRU_AIGRU:
    case LEARNER_GRU_PLAIN: return;
    }
    for (uint32_t i = 0; i < step->active; i++) {
        size_t own = pass->batch->sequence[step->order[i]].own + step->t;
        pass->gradients->dattention[own] =
            by_alpha * work->dalpha[i] + by_beta * work->beta[i];
    }
}

/* AIGRU: the product of an input took part a times. d (ldP): [dr | du | dc] */
static void give_scaled(const struct pass *pass, size_t own, size_t input,
                        float *to, bool first)
{
    const struct learner_kernels *kernels = pass->kernels;
    size_t ldP = pass->pack->shape.ldP;
    const float *d = pass->work->row;
    float a = pass->batch->attention[own];
    if (first)
        memset(to, 0, ldP * sizeof *to);
    kernels->row_dot(pass->gradients->dattention + own,
                     pass->batch->product + input, ldP, 1, ldP, d, 0);
    kernels->row_spread(to, ldP, 1, ldP, &a, d);
    kernels->column_sum(pass->partial->dbias, d, ldP, 1, ldP);
}

static void add(float *to, const float *from, size_t size)
{
    for (size_t j = 0; j < size; j++)
        to[j] += from[j];
}

/* The step's gradients to the inputs' products. Sequences that share their
 * inputs stand side by side; the first writes, the others add. */
static void give_inputs(const struct pass *pass,
                        const struct learner_gru_step *step)
{
    const struct learner_gru_shape *shape = &pass->pack->shape;
    const struct learner_gru_batch *batch = pass->batch;
    size_t H = shape->hidden, wide = shape->gates * H;
    bool scaled = pass->pack->form == LEARNER_GRU_AIGRU;
    for (uint32_t i = 0; i < step->active; i++) {
        const struct learner_gru_sequence *sequence =
            &batch->sequence[step->order[i]];
        const float *gates = pass->work->gates + (step->row + i) * shape->ldG;
        const float *candidate =
            pass->work->candidate + (step->row + i) * shape->ldH;
        size_t input = (sequence->input + step->t) * shape->ldP;
        float *to = pass->gradients->dproduct + input;
        bool first = step->order + i == batch->order ||
                     batch->sequence[step->order[(ptrdiff_t)i - 1]].input !=
                         sequence->input;
        if (scaled) {
            learner_gru_copy(pass->work->row, gates, wide);
            learner_gru_copy(pass->work->row + wide, candidate, H);
            give_scaled(pass, sequence->own + step->t, input, to, first);
        } else if (first) {
            learner_gru_copy(to, gates, wide);
            learner_gru_copy(to + wide, candidate, H);
        } else {
            add(to, gates, wide);
            add(to + wide, candidate, H);
        }
    }
}

/* dstate of the step's states to that of those before */
static void back_step(const struct pass *pass,
                      const struct learner_gru_step *step,
                      const float *before)
{
    const struct learner_gru_pack *pack = pass->pack;
    const struct learner_gru_shape *shape = &pack->shape;
    const struct learner_kernels *kernels = pass->kernels;
    const struct learner_gru_work *work = pass->work;
    size_t H = shape->hidden, ldG = shape->ldG, ldH = shape->ldH;
    size_t m = step->active;
    float *gates = work->gates + step->row * ldG;
    float *candidate = work->candidate + step->row * ldH;
    float *dreset = work->dreset;
    kernels->gru_state_backward(
        work->dstate, candidate, shape->gates == 2 ? gates + H : NULL, ldG,
        before, ldH, m, H, work->alpha, work->beta,
        pass->gradients->dattention ? work->dalpha : NULL);
    if (step->t == 0)
        dreset = work->zero; /* r met the state 0 */
    else
        kernels->gemm(dreset, ldH, candidate, ldH, pack->candidate_turned,
                      ldH, m, H, ldH, pack->zero);
    kernels->gru_reset_backward(work->dstate, gates, ldG, dreset, before, ldH,
                                m, H);
    if (step->t > 0)
        kernels->gemm(work->dstate, ldH, gates, ldG, pack->gates_turned, ldH,
                      m, shape->gates * H, ldH, NULL);
}

/* States before the step: as many sequences run in it, or more. */
static const float *states_before(const struct pass *pass,
                                  const struct learner_gru_step *step,
                                  uint32_t all, const float *state)
{
    if (step->t == 0)
        return pass->work->zero;
    uint32_t earlier = step->active;
    while (earlier < all &&
           pass->batch->sequence[step->order[earlier]].length >= step->t)
        earlier++;
    return state - earlier * pass->pack->shape.ldH;
}

/* A block from its last step to its first. step: the block's sequences, and
 * the row behind its last. */
static void back_block(const struct pass *pass, struct learner_gru_step step)
{
    const struct learner_gru_shape *shape = &pass->pack->shape;
    const struct learner_gru_work *work = pass->work;
    size_t ldH = shape->ldH, ldG = shape->ldG, end = step.row;
    uint32_t all = step.active, running = 0;
    step.active = 0;
    for (step.t = pass->batch->sequence[step.order[0]].length; step.t-- > 0;
         running = step.active) {
        while (step.active < all &&
               pass->batch->sequence[step.order[step.active]].length > step.t)
            step.active++;
        step.row -= step.active;
        float *state = work->state + step.row * ldH;
        const float *before = states_before(pass, &step, all, state);
        take_gradients(pass, &step, running);
        learner_gru_gather_gates(pass->pack, pass->batch, &step, work);
        back_step(pass, &step, before);
        give_attention(pass, &step);
        give_inputs(pass, &step);
        if (step.t > 0)
            memcpy(state, before, step.active * ldH * sizeof *state);
    }
    size_t second = step.row + all, rows = end - second;
    pass->kernels->gemm_tn(pass->partial->dgates, ldG,
                           work->state + second * ldH, ldH,
                           work->gates + second * ldG, ldG, shape->hidden,
                           rows, ldG, NULL);
    pass->kernels->gemm_tn(pass->partial->dcandidate, ldH,
                           work->reset + second * ldH, ldH,
                           work->candidate + second * ldH, ldH,
                           shape->hidden, rows, ldH, NULL);
}

void learner_gru_backward(const struct learner_gru_pack *pack,
                          const struct learner_kernels *kernels,
                          const struct learner_gru_batch *batch,
                          const struct learner_gru_work *work,
                          const struct learner_gru_backward *gradients,
                          const struct learner_gru_partial *partial)
{
    const struct pass pass = {pack, kernels, batch, work, gradients, partial};
    uint32_t running = learner_gru_sort(batch), i = 0;
    size_t row = 0;
    while (i < running) {
        struct learner_gru_step step = {.order = batch->order + i};
        for (; i < running && step.active < LEARNER_GRU_BLOCK; i++) {
            row += batch->sequence[batch->order[i]].length;
            step.active++;
        }
        step.row = row;
        back_block(&pass, step);
    }
}

void learner_gru_input_backward(const struct learner_gru_pack *pack,
                                const struct learner_kernels *kernels,
                                float *dx, const float *dproduct,
                                const float *x, size_t rows,
                                const struct learner_gru_partial *partial)
{
    const struct learner_gru_shape *shape = &pack->shape;
    size_t ldP = shape->ldP, ldI = shape->ldI;
    kernels->gemm_tn(partial->dx, ldP, x, ldI, dproduct, ldP, shape->input,
                     rows, ldP, NULL);
    if (pack->form != LEARNER_GRU_AIGRU)
        kernels->column_sum(partial->dbias, dproduct, ldP, rows, ldP);
    if (dx)
        kernels->gemm(dx, ldI, dproduct, ldP, pack->x_turned, ldI, rows,
                      (shape->gates + 1) * shape->hidden, ldI, NULL);
}
