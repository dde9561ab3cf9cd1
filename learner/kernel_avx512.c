/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels for AVX-512: 16 lanes as one vector. Same bits as
 * kernel_avx2.c. See kernel_body.h. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>

typedef __m512 V;

static inline V v_load(const float *at)
{
    return _mm512_loadu_ps(at);
}

static inline void v_store(float *at, V a)
{
    _mm512_storeu_ps(at, a);
}

/* The first `lanes` (1 to 16); the others are 0 and stay as they are. */
static inline V v_load_part(const float *at, size_t lanes)
{
    return _mm512_maskz_loadu_ps((__mmask16)(0xffffu >> (16 - lanes)), at);
}

static inline void v_store_part(float *at, V a, size_t lanes)
{
    _mm512_mask_storeu_ps(at, (__mmask16)(0xffffu >> (16 - lanes)), a);
}

static inline V v_set(float x)
{
    return _mm512_set1_ps(x);
}

static inline V v_add(V a, V b)
{
    return _mm512_add_ps(a, b);
}

static inline V v_sub(V a, V b)
{
    return _mm512_sub_ps(a, b);
}

static inline V v_mul(V a, V b)
{
    return _mm512_mul_ps(a, b);
}

static inline V v_div(V a, V b)
{
    return _mm512_div_ps(a, b);
}

static inline V v_fma(V a, V b, V c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* b where either is not a number */
static inline V v_max(V a, V b)
{
    return _mm512_max_ps(a, b);
}

static inline V v_min(V a, V b)
{
    return _mm512_min_ps(a, b);
}

/* a where x > 0, else b */
static inline V v_pick(V x, V a, V b)
{
    __mmask16 mask = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ);
    return _mm512_mask_blend_ps(mask, b, a);
}

/* 2^n, n in the low bits of the mantissa of 1.5 * 2^23 + n */
static inline V v_power(V shifted)
{
    __m512i bits = _mm512_slli_epi32(_mm512_castps_si512(shifted), 23);
    return _mm512_castsi512_ps(
        _mm512_add_epi32(bits, _mm512_set1_epi32(0x3f800000)));
}

static inline float v_sum(V a)
{
    __m256 s8 = _mm256_add_ps(_mm512_castps512_ps256(a),
                              _mm512_extractf32x8_ps(a, 1));
    __m128 s4 =
        _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_add_ss(s2, _mm_shuffle_ps(s2, s2, 1)));
}

#define TILE_ROWS 8
#define TILE_VECTORS 3
#define KERNELS learner_kernels_avx512
#define KERNELS_NAME "avx512"
#define KERNELS_ARITHMETIC "fma-v1"
#include "learner/kernel_body.h"
#else
typedef int learner_kernel_avx512_unused;
#endif
