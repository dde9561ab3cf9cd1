/* SPDX-License-Identifier: Apache-2.0 */
/* The auxiliary loss against its equations in double precision: the loss, and
 * every gradient against central differences of that reference; network and
 * inner product, with and without epsilon, cells left out, no cell at all,
 * more cells than a tile; AVX2 against AVX-512 bit for bit. */
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
#include "learner/auxiliary.h"

enum {
    GAMMA, BETA, WEIGHT0, BIAS0, WEIGHT1, BIAS1, WEIGHT2, BIAS2,
    PARAMETERS, STATES = PARAMETERS, ITEMS, NEGATIVES, VALUES
};
static const char *const parts[VALUES] = {
    "gamma", "beta", "weight 0", "bias 0", "weight 1", "bias 1", "weight 2",
    "bias 2", "states", "items", "negatives"};

struct test_case {
    enum learner_auxiliary form;
    size_t H, D, rows, cells;
    uint16_t hidden[2];
    double epsilon, share;
    struct learner_auxiliary_cell *cell;
    double *value[VALUES];
    size_t size[VALUES];
};

/* Every `every`-th row is left out; row 0 has no state before it. */
static void make(struct test_case *c, enum learner_auxiliary form, size_t H,
                 size_t D, size_t rows, size_t every)
{
    memset(c, 0, sizeof *c);
    c->form = form, c->H = H, c->D = D, c->rows = rows, c->share = 0.37;
    c->hidden[0] = 11, c->hidden[1] = 6;
    c->cell = calloc(rows + 1, sizeof *c->cell);
    assert_non_null(c->cell);
    for (size_t i = 1; i < rows; i++)
        if (i % every != 0)
            c->cell[c->cells++] = (struct learner_auxiliary_cell){
                (uint32_t)i, (float)(1 + i % 3)};
    size_t V = H + D, A0 = c->hidden[0], A1 = c->hidden[1];
    const size_t sizes[VALUES] = {V, V, V * A0, A0, A0 * A1, A1, A1 * 2, 2,
                                  rows * H, rows * D, rows * D};
    for (unsigned p = 0; p < VALUES; p++) {
        c->size[p] = sizes[p];
        c->value[p] = malloc((sizes[p] + 1) * sizeof(double));
        assert_non_null(c->value[p]);
        for (size_t i = 0; i < sizes[p]; i++) {
            uint64_t bits = base_random_u64(31, p, i, form);
            double drawn = 2.0 * base_random_unit(bits) - 1;
            c->value[p][i] = (double)(float)(p == GAMMA ? 1 + drawn / 2
                                                        : drawn);
        }
    }
}

static void drop(struct test_case *c)
{
    for (unsigned p = 0; p < VALUES; p++)
        free(c->value[p]);
    free(c->cell);
}

/* ---- the reference ------------------------------------------------------- */

static double sigma(double x)
{
    return 1 / (1 + exp(-x));
}

static void dense(double *out, const double *x, const double *w,
                  const double *b, size_t m, size_t n)
{
    for (size_t j = 0; j < n; j++) {
        out[j] = b[j];
        for (size_t i = 0; i < m; i++)
            out[j] += x[i] * w[i * n + j];
    }
}

static double probability(const struct test_case *c, const double *h,
                          const double *e)
{
    double y[64], f0[16], f1[16], logit[2], inner = 0;
    if (c->form == LEARNER_AUXILIARY_INNER) {
        for (size_t i = 0; i < c->H; i++)
            inner += h[i] * e[i];
        return sigma(inner);
    }
    for (size_t i = 0; i < c->H + c->D; i++)
        y[i] = c->value[GAMMA][i] * (i < c->H ? h[i] : e[i - c->H]) /
                   sqrt(1.001) +
               c->value[BETA][i];
    dense(f0, y, c->value[WEIGHT0], c->value[BIAS0], c->H + c->D,
          c->hidden[0]);
    for (size_t i = 0; i < c->hidden[0]; i++)
        f0[i] = sigma(f0[i]);
    dense(f1, f0, c->value[WEIGHT1], c->value[BIAS1], c->hidden[0],
          c->hidden[1]);
    for (size_t i = 0; i < c->hidden[1]; i++)
        f1[i] = sigma(f1[i]);
    dense(logit, f1, c->value[WEIGHT2], c->value[BIAS2], c->hidden[1], 2);
    return exp(logit[0]) / (exp(logit[0]) + exp(logit[1]));
}

static double loss_of(const struct test_case *c)
{
    double loss = 0;
    for (size_t i = 0; i < c->cells; i++) {
        size_t row = c->cell[i].row;
        const double *h = c->value[STATES] + (row - 1) * c->H;
        double p = probability(c, h, c->value[ITEMS] + row * c->D);
        double q = probability(c, h, c->value[NEGATIVES] + row * c->D);
        loss -= (double)c->cell[i].weight *
                (log(p + c->epsilon) + log(1 - q - c->epsilon));
    }
    return loss;
}

/* ---- the operator -------------------------------------------------------- */

struct run {
    struct learner_auxiliary_pack pack;
    struct learner_auxiliary_work work;
    struct learner_auxiliary_partial partial;
    float *slab, *value[PARAMETERS], *gradient[VALUES];
    float *states, *items, *negatives, *dstates, *ditems, *dnegatives;
    double loss;
};

static void widen(float *to, size_t ld, const double *from, size_t m, size_t n)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++)
            to[i * ld + j] = (float)from[i * n + j];
}

static void narrow(float *to, const float *from, size_t ld, size_t m, size_t n)
{
    for (size_t i = 0; i < m; i++)
        memcpy(to + i * n, from + i * ld, n * sizeof *to);
}

static void start(struct run *r, const struct test_case *c)
{
    memset(r, 0, sizeof *r);
    learner_auxiliary_pack_init(&r->pack, c->form, (float)c->epsilon, c->H,
                                c->D, c->hidden);
    struct learner_slot slots[64];
    unsigned n = learner_auxiliary_pack_slots(&r->pack, slots);
    n += learner_auxiliary_partial_slots(&r->pack, &r->partial, slots + n);
    n += learner_auxiliary_work_slots(&r->pack, &r->work, slots + n);
    size_t ldH = c->rows * r->pack.ldH, ldD = c->rows * r->pack.ldD;
    const struct learner_slot own[] = {
        {&r->states, ldH}, {&r->dstates, ldH}, {&r->items, ldD},
        {&r->ditems, ldD}, {&r->negatives, ldD}, {&r->dnegatives, ldD}};
    memcpy(slots + n, own, sizeof own);
    n += sizeof own / sizeof own[0];
    struct base_error error;
    assert_int_equal(learner_slab_cut(&r->slab, slots, n, &error), BASE_OK);
    for (unsigned p = 0; p < VALUES; p++) {
        r->gradient[p] = calloc(c->size[p] + 1, sizeof(float));
        if (p >= PARAMETERS)
            continue;
        r->value[p] = calloc(c->size[p] + 1, sizeof(float));
        widen(r->value[p], 0, c->value[p], 1, c->size[p]);
    }
    widen(r->states, r->pack.ldH, c->value[STATES], c->rows, c->H);
    widen(r->items, r->pack.ldD, c->value[ITEMS], c->rows, c->D);
    widen(r->negatives, r->pack.ldD, c->value[NEGATIVES], c->rows, c->D);
}

static void run(struct run *r, const struct test_case *c,
                const struct learner_kernels *kernels)
{
    start(r, c);
    float **v = r->value, **g = r->gradient;
    struct learner_auxiliary_tensors tensors = {v[0], v[1], v[2], v[3],
                                                v[4], v[5], v[6], v[7]};
    struct learner_auxiliary_gradients to = {g[0], g[1], g[2], g[3],
                                             g[4], g[5], g[6], g[7]};
    learner_auxiliary_pack_load(&r->pack, &tensors);
    struct learner_auxiliary_batch batch = {
        c->cell, c->cells, (float)c->share, r->states, r->items,
        r->negatives, r->dstates, r->ditems, r->dnegatives};
    r->loss = learner_auxiliary_run(&r->pack, kernels, &batch, &r->work,
                                    &r->partial);
    learner_auxiliary_collect(&r->pack, &r->partial, &tensors, &to);
    narrow(g[STATES], r->dstates, r->pack.ldH, c->rows, c->H);
    narrow(g[ITEMS], r->ditems, r->pack.ldD, c->rows, c->D);
    narrow(g[NEGATIVES], r->dnegatives, r->pack.ldD, c->rows, c->D);
}

static void stop(struct run *r)
{
    for (unsigned p = 0; p < VALUES; p++) {
        free(r->gradient[p]);
        if (p < PARAMETERS)
            free(r->value[p]);
    }
    free(r->slab);
}

/* ---- tests --------------------------------------------------------------- */

static void check(struct test_case *c)
{
    struct run r;
    run(&r, c, learner_kernels_get());
    double loss = loss_of(c);
    if (!(fabs(r.loss - loss) <= 1e-6 * loss))
        fail_msg("loss %.9g is not %.9g", r.loss, loss);
    unsigned first = c->form == LEARNER_AUXILIARY_NETWORK ? 0 : STATES;
    for (unsigned p = first; p < VALUES; p++) {
        double *slope = calloc(c->size[p] + 1, sizeof *slope), largest = 0;
        for (size_t i = 0; i < c->size[p]; i++) {
            const double h = 1e-5;
            double old = c->value[p][i];
            c->value[p][i] = old + h;
            double up = loss_of(c);
            c->value[p][i] = old - h;
            slope[i] = c->share * (up - loss_of(c)) / (2 * h);
            c->value[p][i] = old;
            largest = fmax(largest, fabs(slope[i]));
        }
        for (size_t i = 0; i < c->size[p]; i++)
            if (!(fabs(slope[i] - r.gradient[p][i]) <= 5e-6 * largest))
                fail_msg("%s[%zu]: %.9g is not %.9g", parts[p], i,
                         (double)r.gradient[p][i], slope[i]);
        free(slope);
    }
    stop(&r);
}

static void loss_and_gradients(void **state)
{
    (void)state;
    static const enum learner_auxiliary forms[] = {LEARNER_AUXILIARY_NETWORK,
                                                   LEARNER_AUXILIARY_INNER};
    static const size_t sizes[][2] = {{2, 1000}, {9, 4}, {120, 7}};
    for (unsigned f = 0; f < 2; f++)
        for (unsigned s = 0; s < 3; s++)
            for (unsigned e = 0; e < 3; e++) {
                struct test_case c;
                make(&c, forms[f], 5, forms[f] == LEARNER_AUXILIARY_INNER
                                          ? 5 : 7,
                     sizes[s][0], sizes[s][1]);
                c.epsilon = e == 0 ? 0 : e == 1 ? 1e-8 : 1e-2;
                c.epsilon = (double)(float)c.epsilon;
                check(&c);
                drop(&c);
            }
}

/* No cell: no loss, no gradient. Rows of cells left out stay untouched. */
static void cells_left_out(void **state)
{
    (void)state;
    struct test_case c;
    struct run r;
    make(&c, LEARNER_AUXILIARY_NETWORK, 36, 36, 8, 2);
    size_t cells = c.cells;
    c.cells = 0;
    run(&r, &c, learner_kernels_get());
    assert_true(r.loss == 0);
    for (unsigned p = 0; p < VALUES; p++)
        for (size_t i = 0; i < c.size[p]; i++)
            assert_true(r.gradient[p][i] == 0);
    stop(&r);
    c.cells = cells; /* rows 1, 3, 5, 7 */
    run(&r, &c, learner_kernels_get());
    for (size_t i = 0; i < c.size[NEGATIVES]; i++) {
        bool even = i / c.D % 2 == 0;
        assert_true((r.gradient[NEGATIVES][i] == 0) == even);
        assert_true((r.gradient[ITEMS][i] == 0) == even);
        assert_true((r.gradient[STATES][i] == 0) == !even);
    }
    stop(&r), drop(&c);
}

/* A probability of exactly 1 for a negative: finite without epsilon, not with
 * the reference's (MODEL 1.5), and then not hidden. */
static void far_out(void **state)
{
    (void)state;
    struct test_case c;
    struct run r;
    make(&c, LEARNER_AUXILIARY_INNER, 4, 4, 2, 1000);
    for (size_t i = 0; i < 4; i++) {
        c.value[STATES][i] = 4;
        c.value[NEGATIVES][4 + i] = 4;
    }
    run(&r, &c, learner_kernels_get());
    assert_true(r.loss > 60 && r.loss < 1e6);
    stop(&r);
    c.epsilon = 1e-8;
    run(&r, &c, learner_kernels_get());
    assert_false(isfinite(r.loss));
    stop(&r), drop(&c);
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
    struct test_case c;
    struct run r[2];
    make(&c, LEARNER_AUXILIARY_NETWORK, 36, 36, 300, 11);
    for (unsigned i = 0; i < 2; i++)
        run(&r[i], &c, sets[i]);
    assert_true(r[0].loss == r[1].loss);
    for (unsigned p = 0; p < VALUES; p++)
        assert_memory_equal(r[0].gradient[p], r[1].gradient[p],
                            c.size[p] * sizeof(float));
    stop(&r[0]), stop(&r[1]), drop(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loss_and_gradients),
        cmocka_unit_test(cells_left_out),
        cmocka_unit_test(far_out),
        cmocka_unit_test(instruction_sets_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
