/* SPDX-License-Identifier: Apache-2.0 */
/* Rows as they are published; see row.h. */
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
