/* SPDX-License-Identifier: Apache-2.0 */
/* The recurrent cells against the equations written for one sequence in double
 * precision: states, and every gradient against central differences of that
 * reference. Sequences of length 0, 1 and mixed, alone and sharing inputs,
 * fewer and more than a block; the same bits with any neighbours and, AVX2
 * against AVX-512, on either. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "learner/gru.h"

static const char *const names[] = {"plain", "avx2", "avx512"};

enum { SEQUENCES_MAX = 200, ROWS_MAX = 2000 };

/* Inputs (rows,I), weights and what the loss makes of the states, in double;
 * the operator gets them in float. */
struct test_case {
    size_t I, H, gates, rows, own, sequences;
    enum learner_gru_form form;
    struct learner_gru_sequence sequence[SEQUENCES_MAX];
    double *value[6];  /* x, gates, gates bias, candidate, its bias, a */
    size_t size[6];
    double *by_state, *by_last; /* loss = sum by . states + by . last */
};

static double draw(uint64_t *at)
{
    return 2.0 * base_random_unit(base_random_u64(77, 1, (*at)++, 0)) - 1;
}

static double *draws(size_t count, double limit, uint64_t *at)
{
    double *made = malloc((count + 1) * sizeof *made);
    assert_non_null(made);
    for (size_t i = 0; i < count; i++)
        made[i] = (double)(float)(limit * draw(at));
    return made;
}

/* Groups with these lengths, each shared by so many sequences. */
static void make(struct test_case *c, enum learner_gru_form form, size_t I,
                 size_t H, const uint32_t (*groups)[2], size_t count)
{
    uint64_t at = form * 1000003u + I;
    memset(c, 0, sizeof *c);
    c->I = I, c->H = H, c->form = form;
    c->gates = form == LEARNER_GRU_AGRU ? 1 : 2;
    for (size_t g = 0; g < count; g++) {
        for (uint32_t i = 0; i < groups[g][1]; i++) {
            assert_true(c->sequences < SEQUENCES_MAX);
            c->sequence[c->sequences++] = (struct learner_gru_sequence){
                (uint32_t)c->rows, groups[g][0], c->own};
            c->own += groups[g][0];
        }
        c->rows += groups[g][0];
    }
    size_t in = I + H, G = c->gates * H;
    const size_t sizes[6] = {c->rows * I, in * G, G, in * H, H, c->own};
    memcpy(c->size, sizes, sizeof sizes);
    for (unsigned i = 0; i < 5; i++)
        c->value[i] = draws(sizes[i], i == 0 ? 1 : 0.6, &at);
    c->value[5] = draws(c->own, 0.5, &at);
    for (size_t i = 0; i < c->own; i++)
        c->value[5][i] += i % 7 == 0 ? 0.5 : 0.25;
    c->by_state = draws(c->own * H, 1, &at);
    c->by_last = draws(c->sequences * H, 1, &at);
}

static void drop(struct test_case *c)
{
    for (unsigned i = 0; i < 6; i++)
        free(c->value[i]);
    free(c->by_state), free(c->by_last);
}

/* ---- the reference ------------------------------------------------------- */

static double sigma(double x)
{
    return 1 / (1 + exp(-x));
}

/* out (n) = b + [x; h] W */
static void dense(double *out, const double *x, size_t I, const double *h,
                  size_t H, const double *w, const double *b, size_t n)
{
    for (size_t j = 0; j < n; j++) {
        out[j] = b[j];
        for (size_t i = 0; i < I; i++)
            out[j] += x[i] * w[i * n + j];
        for (size_t i = 0; i < H; i++)
            out[j] += h[i] * w[(I + i) * n + j];
    }
}

/* One step; h (H) in place. */
static void cell(const struct test_case *c, const double *x, double a,
                 double *h)
{
    size_t I = c->I, H = c->H;
    double gates[128], fresh[64], scaled[64] = {0}, reset[64] = {0};
    for (size_t i = 0; i < I; i++)
        scaled[i] = c->form == LEARNER_GRU_AIGRU ? a * x[i] : x[i];
    dense(gates, scaled, I, h, H, c->value[1], c->value[2], c->gates * H);
    for (size_t j = 0; j < H; j++)
        reset[j] = sigma(gates[j]) * h[j];
    dense(fresh, scaled, I, reset, H, c->value[3], c->value[4], H);
    for (size_t j = 0; j < H; j++) {
        double u = c->gates == 2 ? sigma(gates[H + j]) : 0, keep = u;
        if (c->form == LEARNER_GRU_AUGRU)
            keep = 1 - a * (1 - u);
        else if (c->form == LEARNER_GRU_AUGRU_CODE)
            keep = (1 - a) * u;
        else if (c->form == LEARNER_GRU_AGRU)
            keep = 1 - a;
        h[j] = keep * h[j] + (1 - keep) * tanh(fresh[j]);
    }
}

/* Loss of one sequence; states (length,H) and last (H) where wanted. */
static double run_one(const struct test_case *c, size_t index, double *states,
                      double *last)
{
    const struct learner_gru_sequence *sequence = &c->sequence[index];
    size_t H = c->H;
    double h[64] = {0}, loss = 0;
    for (size_t t = 0; t < sequence->length; t++) {
        size_t own = sequence->own + t;
        cell(c, c->value[0] + (sequence->input + t) * c->I, c->value[5][own],
             h);
        for (size_t j = 0; j < H; j++)
            loss += c->by_state[own * H + j] * h[j];
        if (states)
            memcpy(states + own * H, h, H * sizeof *h);
    }
    for (size_t j = 0; j < H; j++)
        loss += c->by_last[index * H + j] * h[j];
    if (last)
        memcpy(last + index * H, h, H * sizeof *h);
    return loss;
}

static double loss_of(const struct test_case *c)
{
    double loss = 0;
    for (size_t i = 0; i < c->sequences; i++)
        loss += run_one(c, i, NULL, NULL);
    return loss;
}

/* ---- the operator -------------------------------------------------------- */

struct run {
    struct learner_gru_pack pack;
    struct learner_gru_work work;
    struct learner_gru_partial partial;
    float *slab, *tensors[6]; /* as the values, float */
    float *x, *product, *dproduct, *dx, *states, *last, *dstates, *dlast,
        *dattention;
    uint32_t *order;
    float *gradient[6];
};

static float *floats(const double *from, size_t count)
{
    float *made = calloc(count + 1, sizeof *made);
    assert_non_null(made);
    for (size_t i = 0; from && i < count; i++)
        made[i] = (float)from[i];
    return made;
}

/* to (m,ld) from (m,n) */
static void widen(float *to, size_t ld, const double *from, size_t m, size_t n)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++)
            to[i * ld + j] = (float)from[i * n + j];
}

static void start(struct run *r, const struct test_case *c, bool keep)
{
    memset(r, 0, sizeof *r);
    learner_gru_pack_init(&r->pack, c->I, c->H, c->form);
    const struct learner_gru_shape *shape = &r->pack.shape;
    struct learner_slot slots[64];
    unsigned n = learner_gru_pack_slots(&r->pack, slots);
    n += learner_gru_partial_slots(shape, &r->partial, slots + n);
    n += learner_gru_work_slots(shape, &r->work, slots + n);
    n += learner_gru_step_slots(shape, keep ? c->own : 2 * LEARNER_GRU_BLOCK,
                                &r->work, slots + n);
    const struct learner_slot own[] = {
        {&r->x, c->rows * shape->ldI}, {&r->dx, c->rows * shape->ldI},
        {&r->product, c->rows * shape->ldP},
        {&r->dproduct, c->rows * shape->ldP},
        {&r->states, c->own * shape->ldH}, {&r->dstates, c->own * shape->ldH},
        {&r->last, c->sequences * shape->ldH},
        {&r->dlast, c->sequences * shape->ldH}, {&r->dattention, c->own},
    };
    memcpy(slots + n, own, sizeof own);
    struct base_error error;
    assert_int_equal(
        learner_slab_cut(&r->slab, slots, n + sizeof own / sizeof own[0],
                         &error),
        BASE_OK);
    r->order = calloc(c->sequences + 1, sizeof *r->order);
    for (unsigned i = 0; i < 6; i++) {
        r->tensors[i] = floats(c->value[i], c->size[i]);
        r->gradient[i] = floats(NULL, c->size[i]);
    }
    widen(r->x, shape->ldI, c->value[0], c->rows, c->I);
    widen(r->dstates, shape->ldH, c->by_state, c->own, c->H);
    widen(r->dlast, shape->ldH, c->by_last, c->sequences, c->H);
}

static void stop(struct run *r)
{
    free(r->slab), free(r->order);
    for (unsigned i = 0; i < 6; i++)
        free(r->tensors[i]), free(r->gradient[i]);
}

static struct learner_gru_batch forward(struct run *r,
                                        const struct test_case *c, bool keep,
                                        const struct learner_kernels *kernels)
{
    start(r, c, keep);
    struct learner_gru_tensors tensors = {r->tensors[1], r->tensors[2],
                                          r->tensors[3], r->tensors[4]};
    learner_gru_pack_load(&r->pack, &tensors, keep);
    learner_gru_input(&r->pack, kernels, r->product, r->x, c->rows);
    struct learner_gru_batch batch = {
        .sequence = c->sequence, .order = r->order,
        .sequences = (uint32_t)c->sequences, .keep = keep,
        .product = r->product,
        .attention = c->form == LEARNER_GRU_PLAIN ? NULL : r->tensors[5],
        .states = r->states, .last = r->last};
    learner_gru_forward(&r->pack, kernels, &batch, &r->work);
    return batch;
}

static void backward(struct run *r, const struct test_case *c,
                     const struct learner_gru_batch *batch,
                     const struct learner_kernels *kernels)
{
    const struct learner_gru_shape *shape = &r->pack.shape;
    struct learner_gru_backward gradients = {r->dstates, r->dlast, r->dproduct,
                                             r->gradient[5]};
    learner_gru_backward(&r->pack, kernels, batch, &r->work, &gradients,
                         &r->partial);
    learner_gru_input_backward(&r->pack, kernels, r->dx, r->dproduct, r->x,
                               c->rows, &r->partial);
    struct learner_gru_gradients to = {r->gradient[1], r->gradient[2],
                                       r->gradient[3], r->gradient[4]};
    learner_gru_collect(shape, &r->partial, &to);
    for (size_t i = 0; i < c->rows; i++)
        memcpy(r->gradient[0] + i * c->I, r->dx + i * shape->ldI,
               c->I * sizeof(float));
}

/* ---- tests --------------------------------------------------------------- */

static void near(const float *a, size_t ld, const double *b, size_t m,
                 size_t n)
{
    double largest = 0;
    for (size_t i = 0; i < m * n; i++)
        largest = fmax(largest, fabs(b[i]));
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < ld; j++) {
            double want = j < n ? b[i * n + j] : 0;
            if (!(fabs(a[i * ld + j] - want) <= 2e-6 * largest))
                fail_msg("row %zu column %zu: %.9g is not %.9g", i, j,
                         (double)a[i * ld + j], want);
        }
}

static const uint32_t mixed[][2] = {{0, 2}, {3, 1}, {1, 2}, {7, 3}, {2, 1},
                                    {0, 1}, {7, 2}, {4, 4}};
static const uint32_t many[][2] = {{5, 40}, {2, 30}, {6, 50}, {0, 3}, {1, 20}};
static const uint32_t one[][2] = {{9, 1}};
static const uint32_t nothing[][2] = {{0, 3}};

static const struct {
    const uint32_t (*groups)[2];
    size_t count;
} batches[] = {{mixed, sizeof mixed / sizeof mixed[0]},
               {many, sizeof many / sizeof many[0]},
               {one, 1}, {nothing, 1}};

static void states_are_right(void **state)
{
    (void)state;
    for (unsigned s = 0; s < 3; s++) {
        const struct learner_kernels *kernels = learner_kernels_find(names[s]);
        for (unsigned b = 0; kernels && b < 4; b++)
            for (unsigned form = 0; form <= LEARNER_GRU_AIGRU; form++) {
                struct test_case c;
                struct run kept, passing;
                make(&c, (enum learner_gru_form)form, b == 1 ? 36 : 5,
                     b == 1 ? 36 : 18, batches[b].groups, batches[b].count);
                forward(&kept, &c, true, kernels);
                forward(&passing, &c, false, kernels);
                double *states = calloc(c.own * c.H + 1, sizeof *states);
                double *last = calloc(c.sequences * c.H + 1, sizeof *last);
                for (size_t i = 0; i < c.sequences; i++)
                    run_one(&c, i, states, last);
                size_t ldH = kept.pack.shape.ldH;
                near(kept.states, ldH, states, c.own, c.H);
                near(kept.last, ldH, last, c.sequences, c.H);
                assert_memory_equal(kept.states, passing.states,
                                    c.own * ldH * sizeof(float));
                assert_memory_equal(kept.last, passing.last,
                                    c.sequences * ldH * sizeof(float));
                free(states), free(last);
                stop(&kept), stop(&passing), drop(&c);
            }
    }
}

/* Every value moved by a little, and the slope of the reference's loss. */
static void check_gradients(struct test_case *c, const struct run *r)
{
    static const char *const parts[] = {"x", "gates", "gates bias",
                                        "candidate", "candidate bias", "a"};
    unsigned count = c->form == LEARNER_GRU_PLAIN ? 5 : 6;
    for (unsigned p = 0; p < count; p++) {
        double *slope = calloc(c->size[p] + 1, sizeof *slope), largest = 0;
        for (size_t i = 0; i < c->size[p]; i++) {
            const double h = 1e-5;
            double old = c->value[p][i];
            c->value[p][i] = old + h;
            double up = loss_of(c);
            c->value[p][i] = old - h;
            slope[i] = (up - loss_of(c)) / (2 * h);
            c->value[p][i] = old;
            largest = fmax(largest, fabs(slope[i]));
        }
        for (size_t i = 0; i < c->size[p]; i++)
            if (!(fabs(slope[i] - r->gradient[p][i]) <= 5e-6 * largest))
                fail_msg("form %d, %s[%zu]: %.9g is not %.9g", (int)c->form,
                         parts[p], i, (double)r->gradient[p][i], slope[i]);
        free(slope);
    }
}

static void gradients_are_right(void **state)
{
    (void)state;
    static const uint32_t crowd[][2] = {{2, 70}, {3, 3}, {0, 1}, {1, 2}};
    for (unsigned form = 0; form <= LEARNER_GRU_AIGRU; form++)
        for (unsigned b = 0; b < 3; b++) {
            struct test_case c;
            struct run r;
            if (b == 2)
                make(&c, (enum learner_gru_form)form, 3, 2, crowd, 4);
            else
                make(&c, (enum learner_gru_form)form, b ? 4 : 5, b ? 17 : 3,
                     b ? one : mixed, b ? 1 : sizeof mixed / sizeof mixed[0]);
            const struct learner_kernels *kernels = learner_kernels_get();
            struct learner_gru_batch batch = forward(&r, &c, true, kernels);
            backward(&r, &c, &batch, kernels);
            check_gradients(&c, &r);
            stop(&r), drop(&c);
        }
}

/* Each sequence of `many` by itself has the bits it has among the others, and
 * the two instruction sets agree on states and gradients. */
static void neighbours_do_not_matter(void **state)
{
    (void)state;
    const struct learner_kernels *kernels = learner_kernels_get();
    for (unsigned form = 0; form <= LEARNER_GRU_AIGRU; form++) {
        struct test_case c;
        struct run all, single;
        make(&c, (enum learner_gru_form)form, 36, 36, many,
             sizeof many / sizeof many[0]);
        forward(&all, &c, true, kernels);
        size_t ldH = all.pack.shape.ldH;
        for (size_t i = 0; i < c.sequences; i += 13) {
            struct test_case alone = c;
            alone.sequence[0] = c.sequence[i];
            alone.sequences = 1;
            forward(&single, &alone, false, kernels);
            assert_memory_equal(single.last, all.last + i * ldH,
                                ldH * sizeof(float));
            stop(&single);
        }
        stop(&all), drop(&c);
    }
}

static void instruction_sets_agree(void **state)
{
    (void)state;
    const struct learner_kernels *sets[] = {learner_kernels_find("avx2"),
                                            learner_kernels_find("avx512")};
    if (!sets[0] || !sets[1]) {
        print_message("skipped: this machine has not both AVX2 and "
                      "AVX-512\n");
        skip();
    }
    for (unsigned form = 0; form <= LEARNER_GRU_AIGRU; form++) {
        struct test_case c;
        struct run r[2];
        make(&c, (enum learner_gru_form)form, 36, 36, many,
             sizeof many / sizeof many[0]);
        for (unsigned i = 0; i < 2; i++) {
            struct learner_gru_batch batch = forward(&r[i], &c, true, sets[i]);
            backward(&r[i], &c, &batch, sets[i]);
        }
        for (unsigned p = 0; p < 6; p++)
            assert_memory_equal(r[0].gradient[p], r[1].gradient[p],
                                c.size[p] * sizeof(float));
        assert_memory_equal(r[0].last, r[1].last,
                            c.sequences * r[0].pack.shape.ldH * sizeof(float));
        stop(&r[0]), stop(&r[1]), drop(&c);
    }
}

/* AUGRU at the ends of a: the paper's stands still at 0 and is the plain cell
 * at 1; the code's is plain at 0 (MODEL 1.7). */
static void augru_at_its_ends(void **state)
{
    (void)state;
    const struct learner_kernels *kernels = learner_kernels_get();
    static const struct {
        enum learner_gru_form form;
        double a;
        bool plain;
    } ends[] = {{LEARNER_GRU_AUGRU, 0, false}, {LEARNER_GRU_AUGRU, 1, true},
                {LEARNER_GRU_AUGRU_CODE, 0, true},
                {LEARNER_GRU_AGRU, 0, false}};
    for (unsigned i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct test_case c;
        struct run r, plain;
        make(&c, ends[i].form, 5, 18, mixed, sizeof mixed / sizeof mixed[0]);
        for (size_t j = 0; j < c.own; j++)
            c.value[5][j] = ends[i].a;
        forward(&r, &c, false, kernels);
        size_t size = c.sequences * r.pack.shape.ldH;
        if (ends[i].plain) {
            c.form = LEARNER_GRU_PLAIN;
            forward(&plain, &c, false, kernels);
            assert_memory_equal(r.last, plain.last, size * sizeof(float));
            stop(&plain);
        } else {
            for (size_t j = 0; j < size; j++)
                assert_true(r.last[j] == 0);
        }
        stop(&r), drop(&c);
    }
}

/* tanh over its range, with the ends; small arguments keep their precision. */
static void tangent_is_right(void **state)
{
    (void)state;
    enum { N = 4096 };
    float x[N], y[N];
    static const float ends[] = {0, -0.0f, 1e-30f, -1e-20f, 1e-4f, -3e-3f,
                                 9, -9, 10, -10, 11, -40, 1e30f, -1e30f,
                                 INFINITY, -INFINITY};
    for (size_t i = 0; i < N; i++)
        x[i] = i < 16 ? ends[i] : ((float)i - 2048) * 0.004f;
    for (unsigned s = 0; s < 3; s++) {
        const struct learner_kernels *kernels = learner_kernels_find(names[s]);
        if (!kernels)
            continue;
        memcpy(y, x, sizeof y);
        kernels->tangent(y, N);
        for (size_t i = 0; i < N; i++) {
            double want = tanh((double)x[i]);
            if (!(fabs(y[i] - want) <= 5e-7 * fabs(want)))
                fail_msg("%s: tanh(%.9g) is %.9g, not %.9g", names[s],
                         (double)x[i], (double)y[i], want);
        }
        y[0] = NAN;
        kernels->tangent(y, 16);
        assert_true(isnan(y[0]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tangent_is_right),
        cmocka_unit_test(states_are_right),
        cmocka_unit_test(gradients_are_right),
        cmocka_unit_test(neighbours_do_not_matter),
        cmocka_unit_test(instruction_sets_agree),
        cmocka_unit_test(augru_at_its_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
