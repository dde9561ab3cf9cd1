/* SPDX-License-Identifier: Apache-2.0 */
/* See safetensors.h. */
#include "tests/learner/safetensors.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *demand(void *pointer, const char *what)
{
    if (!pointer) {
        fprintf(stderr, "golden file: no %s\n", what);
        abort();
    }
    return pointer;
}

void safetensors_open(struct safetensors *file, const char *path)
{
    FILE *stream = demand(fopen(path, "rb"), path);
    fseek(stream, 0, SEEK_END);
    long size = ftell(stream);
    rewind(stream);
    file->bytes = demand(malloc((size_t)size + 1), "memory");
    if (fread(file->bytes, 1, (size_t)size, stream) != (size_t)size)
        abort();
    fclose(stream);
    uint64_t header_size;
    memcpy(&header_size, file->bytes, sizeof header_size);
    file->header = demand(calloc(1, header_size + 1), "memory");
    for (uint64_t i = 0, at = 0; i < header_size; i++)
        if (file->bytes[8 + i] != ' ')
            file->header[at++] = file->bytes[8 + i];
    file->data = file->bytes + 8 + header_size;
}

void safetensors_close(struct safetensors *file)
{
    free(file->bytes);
    free(file->header);
}

size_t safetensors_get(const struct safetensors *file, const char *name,
                       double **values)
{
    char key[160], type[8];
    snprintf(key, sizeof key, "\"%s\":{", name);
    const char *entry = demand(strstr(file->header, key), name);
    const char *dtype = demand(strstr(entry, "\"dtype\":\""), "dtype");
    const char *offsets = demand(strstr(entry, "\"data_offsets\":["), "place");
    size_t begin, end;
    if (sscanf(dtype, "\"dtype\":\"%3[A-Z0-9]", type) != 1 ||
        sscanf(offsets, "\"data_offsets\":[%zu,%zu", &begin, &end) != 2)
        abort();
    bool narrow = strcmp(type, "F32") == 0, whole = strcmp(type, "I64") == 0;
    size_t width = narrow ? 4 : 8, count = (end - begin) / width;
    if (!values)
        return count;
    *values = demand(calloc(count + 1, sizeof **values), "memory");
    for (size_t i = 0; i < count; i++) {
        const char *at = file->data + begin + i * width;
        float f;
        int64_t n;
        if (narrow) {
            memcpy(&f, at, sizeof f);
            (*values)[i] = f;
        } else if (whole) {
            memcpy(&n, at, sizeof n);
            (*values)[i] = (double)n;
        } else {
            memcpy(&(*values)[i], at, sizeof **values);
        }
    }
    return count;
}
