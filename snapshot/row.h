/* SPDX-License-Identifier: Apache-2.0 */
/* A row of a table as it is published (schemas/snapshot.md, section 3):
 * float32 as it is; float16, rounded to the nearest, ties to even; int8 with a
 * scale of its own, value = scale * q, q in [-127, 127]. Pure; any thread. */
#ifndef SNAPSHOT_ROW_H
#define SNAPSHOT_ROW_H

#include "snapshot/tensors.h"

/* Of an int8 row: the largest absolute value / 127. values (width). */
float snapshot_row_scale(const float *values, size_t width);

/* width elements of `dtype` into bytes. False where a value does not fit: is
 * not finite, or above 65504 in float16. `scale` is of int8 only. */
bool snapshot_row_encode(enum snapshot_dtype dtype, const float *values,
                         size_t width, float scale, void *bytes);

#endif
