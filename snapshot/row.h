/* SPDX-License-Identifier: Apache-2.0 */
/* A row of a table as it is published (row_dtype, schemas/snapshot.md, section
 * 3) and as it is scored with, float32. Published: float32 as it is; float16,
 * rounded to the nearest, ties to even; int8 with a scale of its own, value =
 * scale * q, q in [-127, 127]. Widening is exact, or one multiplication, so its
 * bits are the same everywhere. In a reader's memory a row has
 * `snapshot_row_size` bytes, a multiple of 4: of int8 the scale, then the
 * values. Pure; any thread. */
#ifndef SNAPSHOT_ROW_H
#define SNAPSHOT_ROW_H

#include "snapshot/tensors.h"

/* Of an int8 row: the largest absolute value / 127. values (width). */
float snapshot_row_scale(const float *values, size_t width);

/* width elements of `dtype` into bytes. False where a value does not fit: is
 * not finite, or above 65504 in float16. `scale` is of int8 only. */
bool snapshot_row_encode(enum snapshot_dtype dtype, const float *values,
                         size_t width, float scale, void *bytes);

size_t snapshot_row_size(enum snapshot_dtype dtype, size_t width);

/* values (width) of `dtype`; `scale` of I8 only; row (size). */
void snapshot_row_pack(enum snapshot_dtype dtype, size_t width,
                       const void *values, float scale, void *row);
/* floats (width). */
void snapshot_row_widen(enum snapshot_dtype dtype, size_t width,
                        const void *row, float *floats);

/* No infinity, nothing that is not a number, no I8 of -128. */
bool snapshot_row_values_sound(enum snapshot_dtype dtype, const void *values,
                               size_t count);

#endif
