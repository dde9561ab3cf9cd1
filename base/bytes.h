/* SPDX-License-Identifier: Apache-2.0 */
/* Little-endian (files, values) and big-endian (LMDB keys) integers at any
 * address. Writers return the address behind what they wrote. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "interestd's files are little-endian; this machine is not"
#endif

#define BASE_BYTES_ACCESS(type, name)                                 \
    static inline type base_get_##name(const void *at)                \
    {                                                                 \
        type value;                                                   \
        memcpy(&value, at, sizeof value);                             \
        return value;                                                 \
    }                                                                 \
    static inline uint8_t *base_put_##name(void *at, type value)      \
    {                                                                 \
        memcpy(at, &value, sizeof value);                             \
        return (uint8_t *)at + sizeof value;                          \
    }

BASE_BYTES_ACCESS(uint16_t, u16)
BASE_BYTES_ACCESS(uint32_t, u32)
BASE_BYTES_ACCESS(uint64_t, u64)
BASE_BYTES_ACCESS(int64_t, i64)
BASE_BYTES_ACCESS(float, f32)

static inline uint64_t base_get_u64_be(const void *at)
{
    return __builtin_bswap64(base_get_u64(at));
}

static inline uint8_t *base_put_u64_be(void *at, uint64_t value)
{
    return base_put_u64(at, __builtin_bswap64(value));
}

#endif
