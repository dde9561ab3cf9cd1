/* SPDX-License-Identifier: Apache-2.0 */
/* Rows, published and widened; see row.h. */
#include "snapshot/row.h"

#include <math.h>
#include <string.h>

enum { INT8_MOST = 127 };
#define HALF_MOST 65520.0f /* from here on float16 rounds to infinity */

float snapshot_row_scale(const float *values, size_t width)
{
    float most = 0;
    for (size_t i = 0; i < width; i++)
        most = fabsf(values[i]) > most ? fabsf(values[i]) : most;
    return most / INT8_MOST;
}

/* Of a finite value below HALF_MOST. Below 2^-14 a half has fewer bits: there
 * its unit is 2^-24. */
static uint16_t half_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    bits &= 0x7fffffff;
    if (bits < 0x38800000) /* 2^-14 */
        return (uint16_t)(sign | (unsigned)rintf(fabsf(value) * 0x1p24f));
    bits += 0xfff + (bits >> 13 & 1); /* to the nearest, ties to even */
    return (uint16_t)(sign | ((bits >> 13) - (112 << 10)));
}

static bool encode_half(const float *values, size_t width, uint16_t *halves)
{
    for (size_t i = 0; i < width; i++) {
        if (!(fabsf(values[i]) < HALF_MOST))
            return false;
        halves[i] = half_of(values[i]);
    }
    return true;
}

static bool encode_int8(const float *values, size_t width, float scale,
                        int8_t *bytes)
{
    if (!isfinite(scale))
        return false;
    for (size_t i = 0; i < width; i++) {
        float q = scale > 0 ? rintf(values[i] / scale) : 0;
        q = q > INT8_MOST ? INT8_MOST : q < -INT8_MOST ? -INT8_MOST : q;
        bytes[i] = (int8_t)q;
    }
    return true;
}

bool snapshot_row_encode(enum snapshot_dtype dtype, const float *values,
                         size_t width, float scale, void *bytes)
{
    if (!snapshot_floats_finite(values, width))
        return false;
    if (dtype == SNAPSHOT_F16)
        return encode_half(values, width, bytes);
    if (dtype == SNAPSHOT_I8)
        return encode_int8(values, width, scale, bytes);
    memcpy(bytes, values, width * sizeof *values);
    return true;
}

/* ---- in a reader's memory ----------------------------------------------- */

size_t snapshot_row_size(enum snapshot_dtype dtype, size_t width)
{
    size_t values = (width * snapshot_dtype_size(dtype) + 3) & ~(size_t)3;
    return values + (dtype == SNAPSHOT_I8 ? sizeof(float) : 0);
}

void snapshot_row_pack(enum snapshot_dtype dtype, size_t width,
                       const void *values, float scale, void *row)
{
    uint8_t *to = row;
    if (dtype == SNAPSHOT_I8) {
        memcpy(to, &scale, sizeof scale);
        to += sizeof scale;
    }
    memcpy(to, values, width * snapshot_dtype_size(dtype));
}

/* IEEE half to float, exact. A subnormal half is a normal float, made by
 * arithmetic on normal ones, so that a mode that flushes subnormals does not
 * change it. */
static float widen_half(uint16_t half)
{
    uint32_t magnitude = half & 0x7fffu;
    uint32_t bits = (magnitude << 13) + ((127u - 15) << 23);
    float value;
    memcpy(&value, &bits, sizeof value);
    if (magnitude < 0x400)
        value = (float)magnitude * 0x1p-24f;
    return half & 0x8000u ? -value : value;
}

void snapshot_row_widen(enum snapshot_dtype dtype, size_t width,
                        const void *row, float *floats)
{
    if (dtype == SNAPSHOT_F32) {
        memcpy(floats, row, width * sizeof *floats);
    } else if (dtype == SNAPSHOT_F16) {
        const uint16_t *halves = row;
        for (size_t i = 0; i < width; i++)
            floats[i] = widen_half(halves[i]);
    } else {
        const int8_t *steps = (const int8_t *)row + sizeof(float);
        float scale;
        memcpy(&scale, row, sizeof scale);
        for (size_t i = 0; i < width; i++)
            floats[i] = scale * (float)steps[i];
    }
}

static bool halves_finite(const uint16_t *halves, size_t count)
{
    bool found = false;
    for (size_t i = 0; i < count; i++)
        found |= (halves[i] & 0x7c00u) == 0x7c00u;
    return !found;
}

bool snapshot_row_values_sound(enum snapshot_dtype dtype, const void *values,
                               size_t count)
{
    if (dtype == SNAPSHOT_F32)
        return snapshot_floats_finite(values, count);
    if (dtype == SNAPSHOT_F16)
        return halves_finite(values, count);
    return memchr(values, 0x80, count) == NULL; /* -128 */
}
