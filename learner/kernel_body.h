/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels' one source, included by kernel_plain.c, kernel_avx2.c and
 * kernel_avx512.c only, each after it defined a vector V of 16 floats, its
 * operations v_*, the tile of a product (TILE_ROWS x TILE_VECTORS, as many
 * accumulators as the registers hold) and the name of its table. What each
 * kernel computes stands in kernel.h.
 *
 * gcc 12 does not keep an array of accumulators in registers, so the tiles
 * are written out by macros with one name per accumulator. */
#include <stddef.h>

#include "learner/kernel.h"

enum { W = 16 };

/* ---- products ----------------------------------------------------------- */

#define ROWS_1(X) X(0)
#define ROWS_2(X) ROWS_1(X) X(1)
#define ROWS_3(X) ROWS_2(X) X(2)
#define ROWS_4(X) ROWS_3(X) X(3)
#define ROWS_5(X) ROWS_4(X) X(4)
#define ROWS_6(X) ROWS_5(X) X(5)
#define ROWS_7(X) ROWS_6(X) X(6)
#define ROWS_8(X) ROWS_7(X) X(7)
#define VECTORS_1(X, i) X(i, 0)
#define VECTORS_2(X, i) VECTORS_1(X, i) X(i, 1)
#define VECTORS_3(X, i) VECTORS_2(X, i) X(i, 2)

#define START(i, j) V s##i##j = v_load(from + (j) * W);
#define LOAD_B(i, j) V b##j = v_load(b + (j) * W);
#define FMA(i, j) s##i##j = v_fma(x, b##j, s##i##j);
#define STORE(i, j) v_store(c + (j) * W, s##i##j);

/* From row to row by addition: eight addresses at once would not fit into the
 * registers that the loop needs. */
#define ROW_START_1(i) VECTORS_1(START, i) from += from_step;
#define ROW_START_2(i) VECTORS_2(START, i) from += from_step;
#define ROW_START_3(i) VECTORS_3(START, i) from += from_step;
#define ROW_STORE_1(i) VECTORS_1(STORE, i) c += ldc;
#define ROW_STORE_2(i) VECTORS_2(STORE, i) c += ldc;
#define ROW_STORE_3(i) VECTORS_3(STORE, i) c += ldc;
#define ROW_FMA(i, vectors)               \
    {                                     \
        V x = v_set(a[(i) * row_step]);   \
        VECTORS_##vectors(FMA, i)         \
    }
#define ROW_FMA_1(i) ROW_FMA(i, 1)
#define ROW_FMA_2(i) ROW_FMA(i, 2)
#define ROW_FMA_3(i) ROW_FMA(i, 3)

/* One tile: rows x (16 vectors) of c. Row i of the left factor starts at
 * a + i row_step and its inner index moves by `step`, so the same code serves
 * a and a^T; one of the two is 1 and folded into the addresses. */
#define DEFINE_TILE(rows, vectors)                                           \
    static inline __attribute__((always_inline)) void                        \
        tile_##rows##x##vectors(float *c, size_t ldc, const float *a,        \
                                size_t row_step, size_t step,                \
                                const float *b, size_t ldb, size_t k,        \
                                const float *bias)                           \
    {                                                                        \
        const float *from = bias ? bias : c;                                 \
        size_t from_step = bias ? 0 : ldc;                                   \
        ROWS_##rows(ROW_START_##vectors)                                     \
        _Pragma("GCC unroll 2") for (size_t l = 0; l < k; l++) {             \
            VECTORS_##vectors(LOAD_B, 0)                                     \
            ROWS_##rows(ROW_FMA_##vectors)                                   \
            a += step;                                                       \
            b += ldb;                                                        \
        }                                                                    \
        ROWS_##rows(ROW_STORE_##vectors)                                     \
    }                                                                        \
    static void straight_##rows##x##vectors(                                 \
        float *c, size_t ldc, const float *a, size_t lda, const float *b,    \
        size_t ldb, size_t k, const float *bias)                             \
    {                                                                        \
        tile_##rows##x##vectors(c, ldc, a, lda, 1, b, ldb, k, bias);         \
    }                                                                        \
    static void turned_##rows##x##vectors(                                   \
        float *c, size_t ldc, const float *a, size_t lda, const float *b,    \
        size_t ldb, size_t k, const float *bias)                             \
    {                                                                        \
        tile_##rows##x##vectors(c, ldc, a, 1, lda, b, ldb, k, bias);         \
    }

#define DEFINE_TILES_2(vectors) \
    DEFINE_TILE(1, vectors) DEFINE_TILE(2, vectors)
#define DEFINE_TILES_6(vectors)                                \
    DEFINE_TILES_2(vectors) DEFINE_TILE(3, vectors)            \
    DEFINE_TILE(4, vectors) DEFINE_TILE(5, vectors)            \
    DEFINE_TILE(6, vectors)
#define DEFINE_TILES_8(vectors)                                \
    DEFINE_TILES_6(vectors) DEFINE_TILE(7, vectors)            \
    DEFINE_TILE(8, vectors)

#define TILES_2(way, vectors) way##_1x##vectors, way##_2x##vectors
#define TILES_6(way, vectors)                                  \
    TILES_2(way, vectors), way##_3x##vectors, way##_4x##vectors, \
        way##_5x##vectors, way##_6x##vectors
#define TILES_8(way, vectors) \
    TILES_6(way, vectors), way##_7x##vectors, way##_8x##vectors

#define PASTE(a, b) a##b
#define WITH_ROWS(name, rows) PASTE(name, rows)
#define DEFINE_TILES WITH_ROWS(DEFINE_TILES_, TILE_ROWS)
#define TILES WITH_ROWS(TILES_, TILE_ROWS)

typedef void tile(float *c, size_t ldc, const float *a, size_t lda,
                  const float *b, size_t ldb, size_t k, const float *bias);

DEFINE_TILES(1)
#if TILE_VECTORS == 3
DEFINE_TILES(2)
DEFINE_TILES(3)
#endif

/* [vectors - 1][rows - 1] */
static tile *const straight_tiles[TILE_VECTORS][TILE_ROWS] = {
    {TILES(straight, 1)},
#if TILE_VECTORS == 3
    {TILES(straight, 2)},
    {TILES(straight, 3)},
#endif
};
static tile *const turned_tiles[TILE_VECTORS][TILE_ROWS] = {
    {TILES(turned, 1)},
#if TILE_VECTORS == 3
    {TILES(turned, 2)},
    {TILES(turned, 3)},
#endif
};

/* Panels of evenly split width outside, so that a panel of b stays in L1. */
static void multiply(tile *const tiles[TILE_VECTORS][TILE_ROWS], float *c,
                     size_t ldc, const float *a, size_t lda, size_t a_row,
                     const float *b, size_t ldb, size_t m, size_t k, size_t n,
                     const float *bias)
{
    size_t vectors = n / W;
    for (size_t panels = (vectors + TILE_VECTORS - 1) / TILE_VECTORS, j = 0;
         panels > 0; panels--) {
        size_t wide = (vectors - j + panels - 1) / panels;
        for (size_t i = 0; i < m; i += TILE_ROWS) {
            size_t rows = m - i < TILE_ROWS ? m - i : TILE_ROWS;
            tiles[wide - 1][rows - 1](c + i * ldc + j * W, ldc, a + i * a_row,
                                      lda, b + j * W, ldb, k,
                                      bias ? bias + j * W : NULL);
        }
        j += wide;
    }
}

static void gemm(float *c, size_t ldc, const float *a, size_t lda,
                 const float *b, size_t ldb, size_t m, size_t k, size_t n,
                 const float *bias)
{
    multiply(straight_tiles, c, ldc, a, lda, lda, b, ldb, m, k, n, bias);
}

static void gemm_tn(float *c, size_t ldc, const float *a, size_t lda,
                    const float *b, size_t ldb, size_t m, size_t k, size_t n,
                    const float *start)
{
    multiply(turned_tiles, c, ldc, a, lda, 1, b, ldb, m, k, n, start);
}

/* ---- elementary functions ----------------------------------------------- */

/* e^x for x in [-87, 87], clipped there; relative error about 1e-7. x = n ln 2
 * + r with |r| <= ln 2 / 2, e^r by its Taylor polynomial of degree 7, ln 2 in
 * two parts of which n times the first is exact (Cody and Waite). */
static inline V v_exp(V x)
{
    const V round = v_set(0x1.8p23f);
    x = v_min(v_set(87.0f), v_max(v_set(-87.0f), x));
    V shifted = v_fma(x, v_set(1.44269504f), round);
    V n = v_sub(shifted, round);
    V r = v_fma(n, v_set(-0.693359375f), x);
    r = v_fma(n, v_set(2.12194440e-4f), r);
    V e = v_set(1.0f / 5040);
    e = v_fma(e, r, v_set(1.0f / 720));
    e = v_fma(e, r, v_set(1.0f / 120));
    e = v_fma(e, r, v_set(1.0f / 24));
    e = v_fma(e, r, v_set(1.0f / 6));
    e = v_fma(e, r, v_set(0.5f));
    e = v_fma(e, r, v_set(1.0f));
    e = v_fma(e, r, v_set(1.0f));
    return v_mul(e, v_power(shifted));
}

static inline V v_sigmoid(V x)
{
    const V one = v_set(1.0f);
    return v_div(one, v_add(one, v_exp(v_sub(v_set(0.0f), x))));
}

/* ln(1 + u) for u in [0, 1]: 2 artanh(s), s = u / (2 + u) <= 1/3, by its
 * series up to s^15. */
static inline V v_log1p(V u)
{
    V s = v_div(u, v_add(u, v_set(2.0f)));
    V q = v_mul(s, s);
    V sum = v_set(2.0f / 15);
    sum = v_fma(sum, q, v_set(2.0f / 13));
    sum = v_fma(sum, q, v_set(2.0f / 11));
    sum = v_fma(sum, q, v_set(2.0f / 9));
    sum = v_fma(sum, q, v_set(2.0f / 7));
    sum = v_fma(sum, q, v_set(2.0f / 5));
    sum = v_fma(sum, q, v_set(2.0f / 3));
    sum = v_fma(sum, q, v_set(2.0f));
    return v_mul(sum, s);
}

static void sigmoid(float *x, size_t n)
{
    for (size_t j = 0; j < n; j += W)
        v_store(x + j, v_sigmoid(v_load(x + j)));
}

static void exponential(float *x, size_t n)
{
    for (size_t j = 0; j < n; j += W)
        v_store(x + j, v_exp(v_load(x + j)));
}

static void softplus(float *y, const float *x, size_t n)
{
    const V zero = v_set(0.0f);
    for (size_t j = 0; j < n; j += W) {
        V t = v_load(x + j);
        V u = v_exp(v_min(v_sub(zero, t), t)); /* e^-|t| */
        v_store(y + j, v_add(v_max(zero, t), v_log1p(u)));
    }
}

static void sigmoid_backward(float *d, const float *h, size_t n)
{
    const V one = v_set(1.0f);
    for (size_t j = 0; j < n; j += W) {
        V s = v_load(h + j);
        V slope = v_mul(s, v_sub(one, s));
        v_store(d + j, v_mul(v_load(d + j), slope));
    }
}

/* ---- sums over rows and columns ------------------------------------------ */

static void column_sum(float *out, const float *x, size_t ld, size_t m,
                       size_t n)
{
    for (size_t j = 0; j < n; j += W) {
        V sum = v_load(out + j);
        for (size_t i = 0; i < m; i++)
            sum = v_add(sum, v_load(x + i * ld + j));
        v_store(out + j, sum);
    }
}

static void weighted_sum(float *out, const float *x, size_t ld, size_t m,
                         size_t n, const float *a)
{
    for (size_t j = 0; j < n; j += W) {
        V sum = v_load(out + j);
        for (size_t i = 0; i < m; i++)
            sum = v_fma(v_set(a[i]), v_load(x + i * ld + j), sum);
        v_store(out + j, sum);
    }
}

static void row_dot(float *out, const float *x, size_t ld, size_t m, size_t n,
                    const float *w, float bias)
{
    for (size_t i = 0; i < m; i++) {
        V sum = v_mul(v_load(x + i * ld), v_load(w));
        for (size_t j = W; j < n; j += W)
            sum = v_fma(v_load(x + i * ld + j), v_load(w + j), sum);
        out[i] = bias + v_sum(sum);
    }
}

static void row_spread(float *x, size_t ld, size_t m, size_t n, const float *a,
                       const float *v)
{
    for (size_t i = 0; i < m; i++) {
        V weight = v_set(a[i]);
        for (size_t j = 0; j < n; j += W) {
            float *at = x + i * ld + j;
            v_store(at, v_fma(weight, v_load(v + j), v_load(at)));
        }
    }
}

static void output_backward(float *d, const float *h, size_t ld, size_t m,
                            size_t n, const float *a, const float *w)
{
    const V one = v_set(1.0f);
    for (size_t i = 0; i < m; i++) {
        V gradient = v_set(a[i]);
        for (size_t j = 0; j < n; j += W) {
            V s = v_load(h + i * ld + j);
            V slope = v_mul(s, v_sub(one, s));
            V g = v_mul(gradient, v_load(w + j));
            v_store(d + i * ld + j, v_mul(g, slope));
        }
    }
}

/* ---- one query and its keys, or a layer's weights for it ------------------------------------- */

static void pair_rows(float *pair, const float *q, const float *k, size_t ld,
                      size_t m, size_t n)
{
    for (size_t i = 0; i < m; i++, pair += 2 * ld)
        for (size_t j = 0; j < n; j += W) {
            V key = v_load(k + i * ld + j);
            v_store(pair + j, key);
            v_store(pair + ld + j, v_mul(v_load(q + j), key));
        }
}

static void pair_rows_backward(float *dq, float *dk, const float *d,
                               const float *q, const float *k, size_t ld,
                               size_t m, size_t n)
{
    for (size_t j = 0; j < n; j += W) {
        V sum = v_load(dq + j), query = v_load(q + j);
        for (size_t i = 0; i < m; i++) {
            const float *first = d + 2 * i * ld + j;
            float *at = dk + i * ld + j;
            V g = v_load(first + ld);
            sum = v_fma(g, v_load(k + i * ld + j), sum);
            g = v_fma(g, query, v_load(first));
            v_store(at, v_add(v_load(at), g));
        }
        v_store(dq + j, sum);
    }
}

static void fold_rows(float *to, const float *a, const float *b,
                      const float *q, size_t ld, size_t m, size_t n)
{
    for (size_t i = 0; i < m; i++) {
        V weight = v_set(q[i]);
        for (size_t j = i * ld; j < i * ld + n; j += W)
            v_store(to + j, v_fma(weight, v_load(b + j), v_load(a + j)));
    }
}

static void fold_columns(float *to, const float *a, const float *b,
                         const float *q, size_t ld, size_t m, size_t n)
{
    for (size_t j = 0; j < n; j += W) {
        V weight = v_load(q + j);
        for (size_t i = j; i < j + m * ld; i += ld)
            v_store(to + i, v_fma(weight, v_load(b + i), v_load(a + i)));
    }
}

static void fold_columns_backward(float *da, float *db, float *dq,
                                  const float *d, const float *b,
                                  const float *q, size_t ld, size_t m,
                                  size_t n)
{
    for (size_t j = 0; j < n; j += W) {
        V weight = v_load(q + j), sum = v_load(dq + j);
        for (size_t i = j; i < j + m * ld; i += ld) {
            V g = v_load(d + i);
            v_store(da + i, v_add(v_load(da + i), g));
            v_store(db + i, v_fma(weight, g, v_load(db + i)));
            sum = v_fma(g, v_load(b + i), sum);
        }
        v_store(dq + j, sum);
    }
}

/* ---- normalization and activations --------------------------------------- */

static void affine(float *y, const float *x, size_t ld, size_t m, size_t n,
                   const float *gamma, const float *beta)
{
    for (size_t j = 0; j < n; j += W) {
        V scale = v_load(gamma + j), shift = v_load(beta + j);
        for (size_t i = 0; i < m; i++)
            v_store(y + i * ld + j,
                    v_fma(v_load(x + i * ld + j), scale, shift));
    }
}

static void affine_backward(float *d, float *dgamma, float *dbeta,
                            const float *x, size_t ld, size_t m, size_t n,
                            const float *gamma)
{
    for (size_t j = 0; j < n; j += W) {
        V scale = v_load(gamma + j);
        V dscale = v_load(dgamma + j), dshift = v_load(dbeta + j);
        for (size_t i = 0; i < m; i++) {
            V g = v_load(d + i * ld + j);
            dscale = v_fma(g, v_load(x + i * ld + j), dscale);
            dshift = v_add(dshift, g);
            v_store(d + i * ld + j, v_mul(g, scale));
        }
        v_store(dgamma + j, dscale);
        v_store(dbeta + j, dshift);
    }
}

static void column_statistics(float *mean, float *variance, const float *x,
                              size_t ld, size_t m, size_t n)
{
    const V count = v_set((float)m);
    for (size_t j = 0; j < n; j += W) {
        V sum = v_set(0.0f), squares = v_set(0.0f);
        for (size_t i = 0; i < m; i++)
            sum = v_add(sum, v_load(x + i * ld + j));
        V middle = v_div(sum, count);
        for (size_t i = 0; i < m; i++) {
            V away = v_sub(v_load(x + i * ld + j), middle);
            squares = v_fma(away, away, squares);
        }
        v_store(mean + j, middle);
        v_store(variance + j, v_div(squares, count));
    }
}

static void dice(float *y, float *p, const float *x, size_t ld, size_t m,
                 size_t n, const float *mean, const float *scale,
                 const float *alpha)
{
    const V one = v_set(1.0f);
    for (size_t j = 0; j < n; j += W) {
        V middle = v_load(mean + j), by = v_load(scale + j);
        V slope = v_load(alpha + j);
        for (size_t i = 0; i < m; i++) {
            V t = v_load(x + i * ld + j);
            V gate = v_sigmoid(v_mul(v_sub(t, middle), by));
            V keep = v_fma(slope, v_sub(one, gate), gate);
            v_store(p + i * ld + j, gate);
            v_store(y + i * ld + j, v_mul(t, keep));
        }
    }
}

/* With z = (x - mean) scale, N = m, dz = d x (1 - alpha) p (1 - p):
 * dx = d (p + alpha (1-p)) + scale (dz - mean(dz) - z mean(dz . z)). */
static void dice_backward(float *d, float *dalpha, const float *x,
                          const float *p, size_t ld, size_t m, size_t n,
                          const float *mean, const float *scale,
                          const float *alpha)
{
    const V one = v_set(1.0f), count = v_set((float)m);
    for (size_t j = 0; j < n; j += W) {
        V middle = v_load(mean + j), by = v_load(scale + j);
        V slope = v_load(alpha + j), steep = v_sub(one, slope);
        V dslope = v_load(dalpha + j);
        V sum = v_set(0.0f), product = v_set(0.0f);
        for (size_t i = 0; i < m; i++) {
            V t = v_load(x + i * ld + j), gate = v_load(p + i * ld + j);
            V g = v_mul(v_load(d + i * ld + j), t);
            V closed = v_mul(g, v_sub(one, gate));
            V dz = v_mul(v_mul(closed, steep), gate);
            dslope = v_add(dslope, closed);
            sum = v_add(sum, dz);
            product = v_fma(dz, v_mul(v_sub(t, middle), by), product);
        }
        v_store(dalpha + j, dslope);
        sum = v_div(sum, count);
        product = v_div(product, count);
        for (size_t i = 0; i < m; i++) {
            V t = v_load(x + i * ld + j), gate = v_load(p + i * ld + j);
            V g = v_load(d + i * ld + j);
            V z = v_mul(v_sub(t, middle), by);
            V closed = v_mul(v_mul(g, t), v_sub(one, gate));
            V dz = v_mul(v_mul(closed, steep), gate);
            V rest = v_sub(v_sub(dz, sum), v_mul(z, product));
            V keep = v_fma(slope, v_sub(one, gate), gate);
            v_store(d + i * ld + j, v_fma(g, keep, v_mul(by, rest)));
        }
    }
}

static void prelu(float *y, const float *x, size_t ld, size_t m, size_t n,
                  const float *alpha)
{
    for (size_t j = 0; j < n; j += W) {
        V slope = v_load(alpha + j);
        for (size_t i = 0; i < m; i++) {
            V t = v_load(x + i * ld + j);
            v_store(y + i * ld + j, v_pick(t, t, v_mul(slope, t)));
        }
    }
}

static void prelu_backward(float *d, float *dalpha, const float *x, size_t ld,
                           size_t m, size_t n, const float *alpha)
{
    const V zero = v_set(0.0f), one = v_set(1.0f);
    for (size_t j = 0; j < n; j += W) {
        V slope = v_load(alpha + j), dslope = v_load(dalpha + j);
        for (size_t i = 0; i < m; i++) {
            V t = v_load(x + i * ld + j), g = v_load(d + i * ld + j);
            dslope = v_fma(g, v_pick(t, zero, t), dslope);
            v_store(d + i * ld + j, v_mul(g, v_pick(t, one, slope)));
        }
        v_store(dalpha + j, dslope);
    }
}

#include "learner/kernel_gru.h"

const struct learner_kernels KERNELS = {
    .name = KERNELS_NAME,
    .arithmetic = KERNELS_ARITHMETIC,
    .gemm = gemm,
    .gemm_tn = gemm_tn,
    .sigmoid = sigmoid,
    .exponential = exponential,
    .softplus = softplus,
    .sigmoid_backward = sigmoid_backward,
    .column_sum = column_sum,
    .weighted_sum = weighted_sum,
    .row_dot = row_dot,
    .row_spread = row_spread,
    .output_backward = output_backward,
    .pair_rows = pair_rows,
    .pair_rows_backward = pair_rows_backward,
    .fold_rows = fold_rows,
    .fold_columns = fold_columns,
    .fold_columns_backward = fold_columns_backward,
    .affine = affine,
    .affine_backward = affine_backward,
    .column_statistics = column_statistics,
    .dice = dice,
    .dice_backward = dice_backward,
    .prelu = prelu,
    .prelu_backward = prelu_backward,
    .tangent = tangent,
    .gru_reset = gru_reset,
    .gru_state = gru_state,
    .gru_state_backward = gru_state_backward,
    .gru_reset_backward = gru_reset_backward,
};
