/* SPDX-License-Identifier: Apache-2.0 */
/* Reads golden files: safetensors with F32, F64 and I64 tensors; names
 * have no blanks. A missing tensor or file aborts the test. */
#ifndef TESTS_LEARNER_SAFETENSORS_H
#define TESTS_LEARNER_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>

struct safetensors {
    char *bytes, *header /* its blanks taken out */, *data;
};

void safetensors_open(struct safetensors *file, const char *path);
void safetensors_close(struct safetensors *file);
/* Element count of a tensor; with `values` not NULL, its elements. */
size_t safetensors_get(const struct safetensors *file, const char *name,
                       double **values);

#endif
