/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels for AVX2 with FMA: 16 lanes as two vectors of eight. Same bits
 * as kernel_avx512.c. See kernel_body.h. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>

typedef struct {
    __m256 l, h;
} V;

#define V_OF(low, high) ((V){(low), (high)})

static inline V v_load(const float *at)
{
    return V_OF(_mm256_loadu_ps(at), _mm256_loadu_ps(at + 8));
}

static inline void v_store(float *at, V a)
{
    _mm256_storeu_ps(at, a.l);
    _mm256_storeu_ps(at + 8, a.h);
}

/* Mask of the first `lanes` of eight, from eight set words and eight clear
 * ones; none where lanes is below 1, all from 8 on. */
static inline __m256i mask_of(int lanes)
{
    static const int words[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    int from = lanes < 0 ? 8 : lanes > 8 ? 0 : 8 - lanes;
    return _mm256_loadu_si256((const __m256i *)(words + from));
}

/* The first `lanes` (1 to 16); the others are 0 and stay as they are. */
static inline V v_load_part(const float *at, size_t lanes)
{
    int low = (int)lanes;
    return V_OF(_mm256_maskload_ps(at, mask_of(low)),
                _mm256_maskload_ps(at + 8, mask_of(low - 8)));
}

static inline void v_store_part(float *at, V a, size_t lanes)
{
    int low = (int)lanes;
    _mm256_maskstore_ps(at, mask_of(low), a.l);
    _mm256_maskstore_ps(at + 8, mask_of(low - 8), a.h);
}

static inline V v_set(float x)
{
    return V_OF(_mm256_set1_ps(x), _mm256_set1_ps(x));
}

static inline V v_add(V a, V b)
{
    return V_OF(_mm256_add_ps(a.l, b.l), _mm256_add_ps(a.h, b.h));
}

static inline V v_sub(V a, V b)
{
    return V_OF(_mm256_sub_ps(a.l, b.l), _mm256_sub_ps(a.h, b.h));
}

static inline V v_mul(V a, V b)
{
    return V_OF(_mm256_mul_ps(a.l, b.l), _mm256_mul_ps(a.h, b.h));
}

static inline V v_div(V a, V b)
{
    return V_OF(_mm256_div_ps(a.l, b.l), _mm256_div_ps(a.h, b.h));
}

static inline V v_fma(V a, V b, V c)
{
    return V_OF(_mm256_fmadd_ps(a.l, b.l, c.l),
                _mm256_fmadd_ps(a.h, b.h, c.h));
}

/* b where either is not a number */
static inline V v_max(V a, V b)
{
    return V_OF(_mm256_max_ps(a.l, b.l), _mm256_max_ps(a.h, b.h));
}

static inline V v_min(V a, V b)
{
    return V_OF(_mm256_min_ps(a.l, b.l), _mm256_min_ps(a.h, b.h));
}

static inline __m256 pick(__m256 x, __m256 a, __m256 b)
{
    __m256 mask = _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_GT_OQ);
    return _mm256_blendv_ps(b, a, mask);
}

/* a where x > 0, else b */
static inline V v_pick(V x, V a, V b)
{
    return V_OF(pick(x.l, a.l, b.l), pick(x.h, a.h, b.h));
}

static inline __m256 power(__m256 shifted)
{
    __m256i bits = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
    return _mm256_castsi256_ps(
        _mm256_add_epi32(bits, _mm256_set1_epi32(0x3f800000)));
}

/* 2^n, n in the low bits of the mantissa of 1.5 * 2^23 + n */
static inline V v_power(V shifted)
{
    return V_OF(power(shifted.l), power(shifted.h));
}

static inline float v_sum(V a)
{
    __m256 s8 = _mm256_add_ps(a.l, a.h);
    __m128 s4 =
        _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_add_ss(s2, _mm_shuffle_ps(s2, s2, 1)));
}

#define TILE_ROWS 6
#define TILE_VECTORS 1
#define KERNELS learner_kernels_avx2
#define KERNELS_NAME "avx2"
#define KERNELS_ARITHMETIC "fma-v1"
#include "learner/kernel_body.h"
#else
typedef int learner_kernel_avx2_unused;
#endif
