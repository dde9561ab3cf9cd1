/* SPDX-License-Identifier: Apache-2.0 */
/* Counter-based random numbers: a pure function of (seed, purpose, position,
 * draw), so a retrained journal draws the same numbers on any thread and any
 * machine. Two rounds of the SplitMix64 finalizer (Steele, Lea, Flood,
 * OOPSLA 2014) over the mixed key. Not for secrets. */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stdint.h>

static inline uint64_t base_random_mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline uint64_t base_random_u64(uint64_t seed, uint64_t purpose,
                                       uint64_t position, uint64_t draw)
{
    uint64_t x = base_random_mix(seed + 0x9e3779b97f4a7c15u * (purpose + 1));
    x = base_random_mix(x ^ (position * 0xd1342543de82ef95u));
    return base_random_mix(x + 0x9e3779b97f4a7c15u * (draw + 1));
}

/* Uniform in [0, 1), 24 bits, exact in float. */
static inline float base_random_unit(uint64_t bits)
{
    return (float)(bits >> 40) * 0x1p-24f;
}

/* Uniform in [0, n), n > 0 (multiply-shift; bias below n / 2^64). */
static inline uint64_t base_random_below(uint64_t bits, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)bits * n) >> 64);
}

#endif
