/* SPDX-License-Identifier: Apache-2.0 */
/* The numeric kernels: one source (kernel_body.h) compiled for three
 * instruction sets, chosen once at start by cpuid.
 *
 * Invariants:
 * 1. All matrices are row-major with a leading dimension (ld, floats); widths
 *    n are multiples of 16 and rows start 64-byte aligned. Columns beyond the
 *    true width hold weights of 0, so they never reach a result.
 * 2. An element of a product is one chain of fused multiply-adds in
 *    ascending order of the inner index, whatever the tile; a sum over
 *    columns uses 16 lanes and one fixed tree. Hence AVX2 and AVX-512 give
 *    the same bits, and a row's result does not depend on the other rows.
 * 3. exp, log and sigmoid are our own; only IEEE operations are used, no
 *    estimates (rcp14) and no libm. Not-a-number goes in and comes out.
 *
 * Any thread. Does not allocate. */
#ifndef LEARNER_KERNEL_H
#define LEARNER_KERNEL_H

#include <stddef.h>

struct learner_kernels {
    const char *name;       /* "avx512", "avx2", "plain" */
    const char *arithmetic; /* "fma-v1", "plain-v1" */

    /* c (m,n) = bias + a (m,k) . b (k,n); bias (n), or NULL: c += a . b */
    void (*gemm)(float *c, size_t ldc, const float *a, size_t lda,
                 const float *b, size_t ldb, size_t m, size_t k, size_t n,
                 const float *bias);
    /* c (m,n) = start + a^T . b with a (k,m), b (k,n): gradients of weights;
     * start (n), or NULL: c += a^T . b */
    void (*gemm_tn)(float *c, size_t ldc, const float *a, size_t lda,
                    const float *b, size_t ldb, size_t m, size_t k, size_t n,
                    const float *start);

    /* In place over n values. */
    void (*sigmoid)(float *x, size_t n);
    void (*exponential)(float *x, size_t n);
    /* y = ln(1 + e^x) */
    void (*softplus)(float *y, const float *x, size_t n);
    /* d *= h (1 - h): back through a sigmoid whose value was h */
    void (*sigmoid_backward)(float *d, const float *h, size_t n);

    /* out (n) += sum of the rows of x (m,n) */
    void (*column_sum)(float *out, const float *x, size_t ld, size_t m,
                       size_t n);
    /* out (n) += sum over rows i of a[i] x[i] */
    void (*weighted_sum)(float *out, const float *x, size_t ld, size_t m,
                         size_t n, const float *a);
    /* out[i] = bias + x[i] . w */
    void (*row_dot)(float *out, const float *x, size_t ld, size_t m, size_t n,
                    const float *w, float bias);
    /* x[i] += a[i] v */
    void (*row_spread)(float *x, size_t ld, size_t m, size_t n, const float *a,
                       const float *v);
    /* d[i] = a[i] w . h[i] . (1 - h[i]), "." element-wise */
    void (*output_backward)(float *d, const float *h, size_t ld, size_t m,
                            size_t n, const float *a, const float *w);

    /* Pairs of one query q (n) and keys k (m,n): pair (m,2 ld),
     * pair[i] = [k[i]; q . k[i]] */
    void (*pair_rows)(float *pair, const float *q, const float *k, size_t ld,
                      size_t m, size_t n);
    /* d (m,2 ld), gradient of pair: dk[i] += d[i]'s first half + q . its
     * second; dq += sum of k[i] . the second */
    void (*pair_rows_backward)(float *dq, float *dk, const float *d,
                               const float *q, const float *k, size_t ld,
                               size_t m, size_t n);
    /* Attention's first layer for one query (fold.c): to (m,n),
     * to[i] = a[i] + q[i] b[i], q (m) */
    void (*fold_rows)(float *to, const float *a, const float *b,
                      const float *q, size_t ld, size_t m, size_t n);
    /* to[i] = a[i] + q . b[i], q (n) */
    void (*fold_columns)(float *to, const float *a, const float *b,
                         const float *q, size_t ld, size_t m, size_t n);
    /* From d, gradient of fold_columns' result: da[i] += d[i],
     * db[i] += q . d[i], dq += sum of d[i] . b[i] */
    void (*fold_columns_backward)(float *da, float *db, float *dq,
                                  const float *d, const float *b,
                                  const float *q, size_t ld, size_t m,
                                  size_t n);

    /* y = x . gamma + beta */
    void (*affine)(float *y, const float *x, size_t ld, size_t m, size_t n,
                   const float *gamma, const float *beta);
    /* dgamma += sum d . x; dbeta += sum d; then d = d . gamma */
    void (*affine_backward)(float *d, float *dgamma, float *dbeta,
                            const float *x, size_t ld, size_t m, size_t n,
                            const float *gamma);

    /* mean and mean squared deviation (n) over the m rows of x */
    void (*column_statistics)(float *mean, float *variance, const float *x,
                              size_t ld, size_t m, size_t n);
    /* p = sigma((x - mean) scale), y = x (p + alpha (1 - p)); p may be y to
     * say that p is not wanted. */
    void (*dice)(float *y, float *p, const float *x, size_t ld, size_t m,
                 size_t n, const float *mean, const float *scale,
                 const float *alpha);
    /* d: gradient of y in, of x out, through mean and scale too;
     * dalpha (n) += */
    void (*dice_backward)(float *d, float *dalpha, const float *x,
                          const float *p, size_t ld, size_t m, size_t n,
                          const float *mean, const float *scale,
                          const float *alpha);
    /* y = max(0,x) + alpha min(0,x) */
    void (*prelu)(float *y, const float *x, size_t ld, size_t m, size_t n,
                  const float *alpha);
    void (*prelu_backward)(float *d, float *dalpha, const float *x, size_t ld,
                           size_t m, size_t n, const float *alpha);

    /* x = tanh(x), in place over n values */
    void (*tangent)(float *x, size_t n);
    /* One step of m gated recurrent cells of H units. r, u (m,ldg): values of
     * the reset and the update gate, parts of wider rows; all else (m,ldh),
     * its columns from H on 0. before: the state that the step started from.
     * rh = r . before */
    void (*gru_reset)(float *rh, const float *r, size_t ldg,
                      const float *before, size_t ldh, size_t m, size_t H);
    /* With keep = alpha[i] + beta[i] u (u NULL: alpha[i]):
     * h = keep . before + (1 - keep) . c */
    void (*gru_state)(float *h, const float *c, const float *u, size_t ldg,
                      const float *before, size_t ldh, size_t m, size_t H,
                      const float *alpha, const float *beta);
    /* Its backward in place: dh becomes that of `before` through keep, c (the
     * value of tanh) and u become gradients of what tanh and sigmoid were
     * given; dalpha[i] and (written over beta[i]) dbeta[i], neither where
     * dalpha is NULL. */
    void (*gru_state_backward)(float *dh, float *c, float *u, size_t ldg,
                               const float *before, size_t ldh, size_t m,
                               size_t H, const float *alpha, float *beta,
                               float *dalpha);
    /* dh += drh . r; then r becomes the gradient of what its sigmoid was
     * given. */
    void (*gru_reset_backward)(float *dh, float *r, size_t ldg,
                               const float *drh, const float *before,
                               size_t ldh, size_t m, size_t H);
};

extern const struct learner_kernels learner_kernels_plain;
#if defined(__x86_64__)
extern const struct learner_kernels learner_kernels_avx2;
extern const struct learner_kernels learner_kernels_avx512;
#endif

/* The kernels in use: the best that the machine has, or those that
 * INTERESTD_KERNELS names. An unknown name, or one that the machine has not,
 * is ignored. */
const struct learner_kernels *learner_kernels_get(void);
/* The named kernels, or NULL where this machine cannot run them. */
const struct learner_kernels *learner_kernels_find(const char *name);

#endif
