/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels of the recurrent cells, a part of kernel_body.h and included by
 * it only. Widths H need not be multiples of 16: where the parts of a row
 * stand side by side, the last vector of each is loaded and stored in part.
 * What each kernel computes stands in kernel.h. */

/* e^y - 1 = 2^n (e^r - 1) + (2^n - 1) with y = n ln 2 + r keeps the relative
 * precision of small y, where e^y - 1 would cancel; tanh x = E / (E + 2) with
 * E = e^2x - 1. |x| above 10 is 1 in single precision. */
static inline V v_tangent(V x)
{
    const V round = v_set(0x1.8p23f), one = v_set(1.0f);
    V y = v_min(v_set(10.0f), v_max(v_set(-10.0f), x));
    y = v_add(y, y);
    V shifted = v_fma(y, v_set(1.44269504f), round);
    V n = v_sub(shifted, round);
    V r = v_fma(n, v_set(-0.693359375f), y);
    r = v_fma(n, v_set(2.12194440e-4f), r);
    V e = v_set(1.0f / 5040);
    e = v_fma(e, r, v_set(1.0f / 720));
    e = v_fma(e, r, v_set(1.0f / 120));
    e = v_fma(e, r, v_set(1.0f / 24));
    e = v_fma(e, r, v_set(1.0f / 6));
    e = v_fma(e, r, v_set(0.5f));
    e = v_fma(v_mul(r, r), e, r);
    V power = v_power(shifted);
    V rest = v_fma(power, e, v_sub(power, one));
    return v_div(rest, v_add(rest, v_set(2.0f)));
}

static void tangent(float *x, size_t n)
{
    for (size_t j = 0; j < n; j += W)
        v_store(x + j, v_tangent(v_load(x + j)));
}

static inline size_t lanes_at(size_t j, size_t H)
{
    return H - j < W ? H - j : W;
}

static void gru_reset(float *rh, const float *r, size_t ldg, const float *h,
                      size_t ldh, size_t m, size_t H)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < H; j += W) {
            V gate = v_load_part(r + i * ldg + j, lanes_at(j, H));
            v_store(rh + i * ldh + j,
                    v_mul(gate, v_load(h + i * ldh + j)));
        }
}

static void gru_state(float *h, const float *c, const float *u, size_t ldg,
                      const float *before, size_t ldh, size_t m, size_t H,
                      const float *alpha, const float *beta)
{
    const V one = v_set(1.0f);
    for (size_t i = 0; i < m; i++) {
        V fixed = v_set(alpha[i]), slope = v_set(beta[i]);
        for (size_t j = 0; j < H; j += W) {
            V keep = fixed;
            if (u)
                keep = v_fma(slope,
                             v_load_part(u + i * ldg + j, lanes_at(j, H)),
                             fixed);
            V fresh = v_mul(v_sub(one, keep), v_load(c + i * ldh + j));
            v_store(h + i * ldh + j,
                    v_fma(keep, v_load(before + i * ldh + j), fresh));
        }
    }
}

static void gru_state_backward(float *dh, float *c, float *u, size_t ldg,
                               const float *before, size_t ldh, size_t m,
                               size_t H, const float *alpha, float *beta,
                               float *dalpha)
{
    const V one = v_set(1.0f), zero = v_set(0.0f);
    for (size_t i = 0; i < m; i++) {
        V fixed = v_set(alpha[i]), slope = v_set(beta[i]);
        V sum = zero, product = zero;
        for (size_t j = 0; j < H; j += W) {
            size_t lanes = lanes_at(j, H);
            float *d = dh + i * ldh + j, *fresh = c + i * ldh + j;
            V gate = u ? v_load_part(u + i * ldg + j, lanes) : zero;
            V keep = v_fma(slope, gate, fixed);
            V g = v_load(d), t = v_load(fresh);
            V dkeep = v_mul(g, v_sub(v_load(before + i * ldh + j), t));
            V open = v_sub(one, v_mul(t, t));
            v_store(fresh, v_mul(v_mul(g, v_sub(one, keep)), open));
            v_store(d, v_mul(g, keep));
            sum = v_add(sum, dkeep);
            product = v_fma(dkeep, gate, product);
            V dgate = v_mul(v_mul(dkeep, slope),
                            v_mul(gate, v_sub(one, gate)));
            if (u)
                v_store_part(u + i * ldg + j, dgate, lanes);
        }
        if (!dalpha)
            continue;
        dalpha[i] = v_sum(sum);
        beta[i] = v_sum(product);
    }
}

static void gru_reset_backward(float *dh, float *r, size_t ldg,
                               const float *drh, const float *before,
                               size_t ldh, size_t m, size_t H)
{
    const V one = v_set(1.0f);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < H; j += W) {
            size_t lanes = lanes_at(j, H);
            V gate = v_load_part(r + i * ldg + j, lanes);
            V d = v_load(drh + i * ldh + j);
            float *at = dh + i * ldh + j;
            V slope = v_mul(gate, v_sub(one, gate));
            V dgate = v_mul(v_mul(d, v_load(before + i * ldh + j)), slope);
            v_store(at, v_fma(d, gate, v_load(at)));
            v_store_part(r + i * ldg + j, dgate, lanes);
        }
}
