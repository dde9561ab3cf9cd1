/* SPDX-License-Identifier: Apache-2.0 */
/* The recurrent cells' weights and forward pass; see gru.h. */
#include "learner/gru.h"

#include <string.h>

#include "learner/gru_step.h"

/* ---- weights ------------------------------------------------------------- */

static size_t round16(size_t width)
{
    return (width + 15u) & ~(size_t)15;
}

static size_t max(size_t a, size_t b)
{
    return a > b ? a : b;
}

void learner_gru_shape_init(struct learner_gru_shape *shape, size_t input,
                            size_t hidden, enum learner_gru_form form)
{
    size_t gates = form == LEARNER_GRU_AGRU ? 1 : 2;
    *shape = (struct learner_gru_shape){
        .input = input,
        .hidden = hidden,
        .gates = gates,
        .ldI = round16(input),
        .ldH = round16(hidden),
        .ldG = round16(gates * hidden),
        .ldP = round16((gates + 1) * hidden),
    };
}

void learner_gru_pack_init(struct learner_gru_pack *pack, size_t input,
                           size_t hidden, enum learner_gru_form form)
{
    *pack = (struct learner_gru_pack){.form = form};
    learner_gru_shape_init(&pack->shape, input, hidden, form);
}

unsigned learner_gru_pack_slots(struct learner_gru_pack *pack,
                                struct learner_slot *slots)
{
    const struct learner_gru_shape *shape = &pack->shape;
    size_t I = shape->input, H = shape->hidden, gates = shape->gates;
    const struct learner_slot own[LEARNER_GRU_PACK_SLOTS] = {
        {&pack->x, I * shape->ldP},
        {&pack->bias, shape->ldP},
        {&pack->gates, H * shape->ldG},
        {&pack->candidate, H * shape->ldH},
        {&pack->x_turned, (gates + 1) * H * shape->ldI},
        {&pack->gates_turned, gates * H * shape->ldH},
        {&pack->candidate_turned, H * shape->ldH},
        {&pack->zero, max(shape->ldP, shape->ldI)},
    };
    memcpy(slots, own, sizeof own);
    return LEARNER_GRU_PACK_SLOTS;
}

/* Columns of `from` (m,n) into those of `to` (m,ld). */
static void put_columns(float *to, size_t ld, const float *from, size_t m,
                        size_t n)
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

void learner_gru_pack_load(struct learner_gru_pack *pack,
                           const struct learner_gru_tensors *tensors,
                           bool backward)
{
    const struct learner_gru_shape *shape = &pack->shape;
    size_t I = shape->input, H = shape->hidden, wide = shape->gates * H;
    put_columns(pack->x, shape->ldP, tensors->gates, I, wide);
    put_columns(pack->x + wide, shape->ldP, tensors->candidate, I, H);
    put_columns(pack->bias, 0, tensors->gates_bias, 1, wide);
    put_columns(pack->bias + wide, 0, tensors->candidate_bias, 1, H);
    put_columns(pack->gates, shape->ldG, tensors->gates + I * wide, H, wide);
    put_columns(pack->candidate, shape->ldH, tensors->candidate + I * H, H, H);
    if (!backward)
        return;
    turn(pack->x_turned, shape->ldI, pack->x, shape->ldP, I, wide + H);
    turn(pack->gates_turned, shape->ldH, pack->gates, shape->ldG, H, wide);
    turn(pack->candidate_turned, shape->ldH, pack->candidate, shape->ldH, H,
         H);
}

/* ---- scratch ------------------------------------------------------------- */

unsigned learner_gru_work_slots(const struct learner_gru_shape *shape,
                                struct learner_gru_work *work,
                                struct learner_slot *slots)
{
    size_t rows = LEARNER_GRU_BLOCK * shape->ldH;
    const struct learner_slot own[LEARNER_GRU_WORK_SLOTS] = {
        {&work->dstate, rows}, {&work->dreset, rows}, {&work->zero, rows},
        {&work->alpha, LEARNER_GRU_BLOCK}, {&work->beta, LEARNER_GRU_BLOCK},
        {&work->dalpha, LEARNER_GRU_BLOCK}, {&work->row, shape->ldP},
    };
    memcpy(slots, own, sizeof own);
    return LEARNER_GRU_WORK_SLOTS;
}

unsigned learner_gru_step_slots(const struct learner_gru_shape *shape,
                                size_t rows, struct learner_gru_work *work,
                                struct learner_slot *slots)
{
    const struct learner_slot own[LEARNER_GRU_STEP_SLOTS] = {
        {&work->gates, rows * shape->ldG},
        {&work->candidate, rows * shape->ldH},
        {&work->state, rows * shape->ldH},
        {&work->reset, rows * shape->ldH},
    };
    memcpy(slots, own, sizeof own);
    return LEARNER_GRU_STEP_SLOTS;
}

/* ---- order --------------------------------------------------------------- */

uint32_t learner_gru_sort(const struct learner_gru_batch *batch)
{
    uint32_t place[LEARNER_HISTORY_MAX + 2] = {0}; /* by length */
    for (uint32_t i = 0; i < batch->sequences; i++) {
        uint32_t length = batch->sequence[i].length;
        BASE_ASSERT(length <= LEARNER_HISTORY_MAX);
        place[length]++;
    }
    uint32_t before = 0, running = batch->sequences - place[0];
    for (uint32_t length = LEARNER_HISTORY_MAX + 1; length-- > 0;) {
        uint32_t count = place[length];
        place[length] = before;
        before += count;
    }
    for (uint32_t i = 0; i < batch->sequences; i++)
        batch->order[place[batch->sequence[i].length]++] = i;
    return running;
}

void learner_gru_gather_gates(const struct learner_gru_pack *pack,
                              const struct learner_gru_batch *batch,
                              const struct learner_gru_step *step,
                              const struct learner_gru_work *work)
{
    for (uint32_t i = 0; i < step->active; i++) {
        const struct learner_gru_sequence *sequence =
            &batch->sequence[step->order[i]];
        float a = batch->attention
                      ? batch->attention[sequence->own + step->t]
                      : 0;
        float alpha = 0, beta = 1;
        switch (pack->form) {
        case LEARNER_GRU_AUGRU: alpha = 1 - a, beta = a; break;
        case LEARNER_GRU_AUGRU_CODE: beta = 1 - a; break;
        case LEARNER_GRU_AGRU: alpha = 1 - a, beta = 0; break;
        case LEARNER_GRU_AIGRU:
        case LEARNER_GRU_PLAIN: break;
        }
        work->alpha[i] = alpha;
        work->beta[i] = beta;
    }
}

/* ---- forward ------------------------------------------------------------- */

void learner_gru_input(const struct learner_gru_pack *pack,
                       const struct learner_kernels *kernels, float *product,
                       const float *x, size_t rows)
{
    const struct learner_gru_shape *shape = &pack->shape;
    bool scaled = pack->form == LEARNER_GRU_AIGRU;
    kernels->gemm(product, shape->ldP, x, shape->ldI, pack->x, shape->ldP,
                  rows, shape->input, shape->ldP,
                  scaled ? pack->zero : pack->bias);
}

/* Starts of the step's sums: the inputs' products into gates and candidate.
 * The candidate's padding too: what was not a number in a batch that had to be
 * rejected would stay there, and get into the states. */
static void take_inputs(const struct learner_gru_pack *pack,
                        const struct learner_gru_batch *batch,
                        const struct learner_gru_step *step,
                        const struct learner_gru_work *work)
{
    const struct learner_gru_shape *shape = &pack->shape;
    size_t H = shape->hidden, wide = shape->gates * H;
    bool scaled = pack->form == LEARNER_GRU_AIGRU;
    for (uint32_t i = 0; i < step->active; i++) {
        const struct learner_gru_sequence *sequence =
            &batch->sequence[step->order[i]];
        const float *from =
            batch->product + (sequence->input + step->t) * shape->ldP;
        float *gates = work->gates + (step->row + i) * shape->ldG;
        float *candidate = work->candidate + (step->row + i) * shape->ldH;
        if (scaled) {
            float a = batch->attention[sequence->own + step->t];
            for (size_t j = 0; j < wide + H; j++)
                work->row[j] = a * from[j] + pack->bias[j];
            from = work->row;
        }
        learner_gru_copy(gates, from, wide);
        learner_gru_copy(candidate, from + wide, H);
        for (size_t j = H; j < shape->ldH; j++)
            candidate[j] = 0;
    }
}

/* The step's states from those before it */
static void run_step(const struct learner_gru_pack *pack,
                     const struct learner_kernels *kernels,
                     const struct learner_gru_step *step,
                     const struct learner_gru_work *work,
                     const float *before)
{
    const struct learner_gru_shape *shape = &pack->shape;
    size_t H = shape->hidden, ldG = shape->ldG, ldH = shape->ldH;
    size_t m = step->active;
    float *gates = work->gates + step->row * ldG;
    float *candidate = work->candidate + step->row * ldH;
    float *reset = work->reset + step->row * ldH;
    if (step->t > 0) /* the first starts from 0 */
        kernels->gemm(gates, ldG, before, ldH, pack->gates, ldG, m, H, ldG,
                      NULL);
    kernels->sigmoid(gates, m * ldG);
    kernels->gru_reset(reset, gates, ldG, before, ldH, m, H);
    if (step->t > 0)
        kernels->gemm(candidate, ldH, reset, ldH, pack->candidate, ldH, m, H,
                      ldH, NULL);
    kernels->tangent(candidate, m * ldH);
    kernels->gru_state(work->state + step->state * ldH, candidate,
                       shape->gates == 2 ? gates + H : NULL, ldG, before, ldH,
                       m, H, work->alpha, work->beta);
}

static void put_states(const struct learner_gru_shape *shape,
                       const struct learner_gru_batch *batch,
                       const struct learner_gru_step *step,
                       const struct learner_gru_work *work)
{
    size_t ldH = shape->ldH;
    for (uint32_t i = 0; i < step->active; i++) {
        uint32_t index = step->order[i];
        const struct learner_gru_sequence *sequence = &batch->sequence[index];
        const float *state = work->state + (step->state + i) * ldH;
        if (batch->states)
            learner_gru_copy(batch->states + (sequence->own + step->t) * ldH,
                             state, ldH);
        if (batch->last && step->t + 1 == sequence->length)
            learner_gru_copy(batch->last + index * ldH, state, ldH);
    }
}

/* A block of sequences from its first step to its last; returns the row
 * behind it. */
static size_t run_block(const struct learner_gru_pack *pack,
                        const struct learner_kernels *kernels,
                        const struct learner_gru_batch *batch,
                        const struct learner_gru_work *work,
                        struct learner_gru_step step)
{
    const float *before = work->zero;
    uint32_t steps = batch->sequence[step.order[0]].length;
    for (step.t = 0; step.t < steps; step.t++) {
        while (batch->sequence[step.order[step.active - 1]].length <= step.t)
            step.active--;
        step.state = step.row;
        if (!batch->keep)
            step.state = (step.t & 1) * LEARNER_GRU_BLOCK;
        learner_gru_gather_gates(pack, batch, &step, work);
        take_inputs(pack, batch, &step, work);
        run_step(pack, kernels, &step, work, before);
        put_states(&pack->shape, batch, &step, work);
        before = work->state + step.state * pack->shape.ldH;
        step.row += batch->keep ? step.active : 0;
    }
    return step.row;
}

void learner_gru_forward(const struct learner_gru_pack *pack,
                         const struct learner_kernels *kernels,
                         const struct learner_gru_batch *batch,
                         const struct learner_gru_work *work)
{
    uint32_t running = learner_gru_sort(batch);
    size_t ldH = pack->shape.ldH, row = 0;
    for (uint32_t i = running; batch->last && i < batch->sequences; i++)
        memset(batch->last + batch->order[i] * ldH, 0,
               ldH * sizeof *batch->last);
    for (uint32_t i = 0; i < running; i += LEARNER_GRU_BLOCK) {
        struct learner_gru_step step = {.order = batch->order + i,
                                        .row = row};
        step.active = running - i < LEARNER_GRU_BLOCK ? running - i
                                                      : LEARNER_GRU_BLOCK;
        row = run_block(pack, kernels, batch, work, step);
    }
}
