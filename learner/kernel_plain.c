/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels for any processor: 16 lanes as four vectors of four, product
 * and sum rounded apart (no fused multiply-add), so its bits are an
 * arithmetic of their own, "plain-v1". See kernel_body.h. */
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef float four __attribute__((vector_size(16)));
typedef int32_t four_int __attribute__((vector_size(16)));
typedef struct {
    four q[4];
} V;

#define EACH(expression)             \
    do {                             \
        for (int j = 0; j < 4; j++)  \
            r.q[j] = (expression);   \
    } while (0)

static inline V v_load(const float *at)
{
    V r;
    memcpy(&r, at, sizeof r);
    return r;
}

static inline void v_store(float *at, V a)
{
    memcpy(at, &a, sizeof a);
}

/* The first `lanes` (1 to 16); the others are 0 and stay as they are. */
static inline V v_load_part(const float *at, size_t lanes)
{
    V r;
    memset(&r, 0, sizeof r);
    memcpy(&r, at, lanes * sizeof *at);
    return r;
}

static inline void v_store_part(float *at, V a, size_t lanes)
{
    memcpy(at, &a, lanes * sizeof *at);
}

static inline V v_set(float x)
{
    V r;
    EACH(((four){x, x, x, x}));
    return r;
}

static inline V v_add(V a, V b)
{
    V r;
    EACH(a.q[j] + b.q[j]);
    return r;
}

static inline V v_sub(V a, V b)
{
    V r;
    EACH(a.q[j] - b.q[j]);
    return r;
}

static inline V v_mul(V a, V b)
{
    V r;
    EACH(a.q[j] * b.q[j]);
    return r;
}

static inline V v_div(V a, V b)
{
    V r;
    EACH(a.q[j] / b.q[j]);
    return r;
}

static inline V v_fma(V a, V b, V c)
{
    V r;
    EACH(a.q[j] * b.q[j] + c.q[j]);
    return r;
}

static inline four choose(four_int mask, four a, four b)
{
    return (four)(((four_int)a & mask) | ((four_int)b & ~mask));
}

/* b where either is not a number, as x86's maxps. */
static inline V v_max(V a, V b)
{
    V r;
    EACH(choose(a.q[j] > b.q[j], a.q[j], b.q[j]));
    return r;
}

static inline V v_min(V a, V b)
{
    V r;
    EACH(choose(a.q[j] < b.q[j], a.q[j], b.q[j]));
    return r;
}

/* a where x > 0, else b */
static inline V v_pick(V x, V a, V b)
{
    const four zero = {0, 0, 0, 0};
    V r;
    EACH(choose(x.q[j] > zero, a.q[j], b.q[j]));
    return r;
}

/* 2^n, n in the low bits of the mantissa of 1.5 * 2^23 + n */
static inline V v_power(V shifted)
{
    V r;
    EACH((four)(((four_int)shifted.q[j] << 23) + 0x3f800000));
    return r;
}

static inline float v_sum(V a)
{
    four s8[2] = {a.q[0] + a.q[2], a.q[1] + a.q[3]};
    four s4 = s8[0] + s8[1];
    return (s4[0] + s4[2]) + (s4[1] + s4[3]);
}

#undef EACH
#define TILE_ROWS 2
#define TILE_VECTORS 1
#define KERNELS learner_kernels_plain
#define KERNELS_NAME "plain"
#define KERNELS_ARITHMETIC "plain-v1"
#include "learner/kernel_body.h"
