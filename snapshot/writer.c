/* SPDX-License-Identifier: Apache-2.0 */
/* Writes a version's files; see writer.h. */
#include "snapshot/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "snapshot/encoder.h"
#include "snapshot/golden.h"
#include "snapshot/index.h"
#include "snapshot/row.h"

/* ---- dense --------------------------------------------------------------- */

static void describe(const struct learner_tensor *from,
                     struct snapshot_tensor *to)
{
    *to = (struct snapshot_tensor){.dtype = SNAPSHOT_F32,
                                   .dimensions = from->dimensions};
    size_t length = strlen(from->name);
    BASE_ASSERT(length < sizeof to->name);
    memcpy(to->name, from->name, length + 1);
    for (unsigned i = 0; i < from->dimensions; i++)
        to->shape[i] = from->shape[i];
}

static enum base_status add_dense(struct snapshot_encoder *encoder,
                                  const struct snapshot_content *content,
                                  const struct snapshot_tensor *tensors,
                                  unsigned count, struct base_error *error)
{
    enum base_status status = BASE_OK;
    for (unsigned i = 0; !status && i < count; i++) {
        const float *values =
            content->dense + learner_tensor(content->model, i)->offset;
        size_t bytes = (size_t)(tensors[i].end - tensors[i].begin);
        if (!snapshot_floats_finite(values, bytes / sizeof *values))
            return base_fail(error, BASE_DATA,
                             "tensor %s: a weight is not finite",
                             tensors[i].name);
        status = snapshot_encoder_add(encoder, values, bytes, error);
    }
    return status;
}

static enum base_status write_dense(int folder,
                                    const struct snapshot_content *content,
                                    struct snapshot_file *file,
                                    struct base_error *error)
{
    struct snapshot_encoder *encoder = NULL;
    unsigned count = learner_tensor_count(content->model);
    struct snapshot_tensor *tensors = calloc(count, sizeof *tensors);
    if (!tensors)
        return base_fail(error, BASE_SYSTEM, "no memory");
    for (unsigned i = 0; i < count; i++)
        describe(learner_tensor(content->model, i), &tensors[i]);
    enum base_status status = snapshot_encoder_open(
        folder, SNAPSHOT_DENSE_FILE, tensors, count, &encoder, error);
    if (!status)
        status = add_dense(encoder, content, tensors, count, error);
    if (!status)
        status = snapshot_encoder_finish(encoder, file, error);
    snapshot_encoder_free(encoder);
    free(tensors);
    return status;
}

/* ---- tables -------------------------------------------------------------- */

/* First walk: the keys, for the header and the index, and the scales. */
struct keys {
    uint64_t *key; /* OWNS */
    float *scale;  /* OWNS; of int8 rows, else NULL */
    uint64_t count, capacity;
    enum snapshot_dtype dtype;
    size_t dimension;
    struct base_error *error;
};

static enum base_status grow_keys(struct keys *keys)
{
    uint64_t capacity = keys->capacity ? 2 * keys->capacity : 1024;
    uint64_t *key = reallocarray(keys->key, capacity, sizeof *keys->key);
    if (key)
        keys->key = key;
    float *scale = NULL;
    if (key && keys->dtype == SNAPSHOT_I8)
        scale = reallocarray(keys->scale, capacity, sizeof *keys->scale);
    if (scale)
        keys->scale = scale;
    if (!key || (keys->dtype == SNAPSHOT_I8 && !scale))
        return base_fail(keys->error, BASE_SYSTEM, "no memory for %llu keys",
                         (unsigned long long)capacity);
    keys->capacity = capacity;
    return BASE_OK;
}

static enum base_status collect_key(void *self, uint64_t key,
                                    const float *weights)
{
    struct keys *keys = self;
    enum base_status status = BASE_OK;
    if (keys->count ? key <= keys->key[keys->count - 1] : key != 0)
        return base_fail(keys->error, BASE_BROKEN,
                         "rows are not in ascending order of key from 0");
    if (keys->count == SNAPSHOT_ROWS_MAX)
        return base_fail(keys->error, BASE_LIMIT, "more than %llu rows",
                         SNAPSHOT_ROWS_MAX);
    if (keys->count == keys->capacity)
        status = grow_keys(keys);
    if (status)
        return status;
    if (keys->scale)
        keys->scale[keys->count] =
            snapshot_row_scale(weights, keys->dimension);
    keys->key[keys->count++] = key;
    return BASE_OK;
}

/* Second walk: the values. */
struct rows {
    struct snapshot_encoder *encoder;
    const struct keys *keys;
    uint64_t count;
    struct base_error *error;
};

static enum base_status add_row(void *self, uint64_t key, const float *weights)
{
    struct rows *rows = self;
    const struct keys *keys = rows->keys;
    uint8_t bytes[(LEARNER_DIMENSION_MAX + 1) * sizeof(float)];
    if (rows->count == keys->count || keys->key[rows->count] != key)
        return base_fail(rows->error, BASE_BROKEN,
                         "rows changed between two walks");
    float scale = keys->scale ? keys->scale[rows->count] : 1;
    if (!snapshot_row_encode(keys->dtype, weights, keys->dimension, scale,
                             bytes))
        return base_fail(rows->error, BASE_DATA,
                         "row of key %016llx: a weight is not finite, or does "
                         "not fit to %s",
                         (unsigned long long)key,
                         snapshot_dtype_name(keys->dtype));
    rows->count++;
    return snapshot_encoder_add(
        rows->encoder, bytes,
        keys->dimension * snapshot_dtype_size(keys->dtype), rows->error);
}

static enum base_status add_index(struct snapshot_encoder *encoder,
                                  const struct keys *keys, uint64_t capacity,
                                  struct base_error *error)
{
    uint32_t *index = calloc(capacity, sizeof *index);
    if (!index)
        return base_fail(error, BASE_SYSTEM, "no memory for an index of %llu",
                         (unsigned long long)capacity);
    snapshot_index_build(index, capacity, keys->key, keys->count);
    enum base_status status = snapshot_encoder_add(
        encoder, index, capacity * sizeof *index, error);
    free(index);
    return status;
}

enum { TABLE_TENSORS = 4 };

/* In an order that aligns each, whatever the width. */
static unsigned list_tensors(const struct keys *keys, bool delta,
                             uint64_t gone, struct snapshot_tensor *tensors)
{
    unsigned count = 0;
    if (!delta)
        tensors[count++] = (struct snapshot_tensor){
            .name = "index", .dtype = SNAPSHOT_U32, .dimensions = 1,
            .shape = {snapshot_index_capacity(keys->count)}};
    tensors[count++] = (struct snapshot_tensor){.name = "keys",
                                                .dtype = SNAPSHOT_U64,
                                                .dimensions = 1,
                                                .shape = {keys->count}};
    if (delta)
        tensors[count++] = (struct snapshot_tensor){.name = "gone",
                                                    .dtype = SNAPSHOT_U64,
                                                    .dimensions = 1,
                                                    .shape = {gone}};
    if (keys->dtype == SNAPSHOT_I8)
        tensors[count++] = (struct snapshot_tensor){.name = "scale",
                                                    .dtype = SNAPSHOT_F32,
                                                    .dimensions = 1,
                                                    .shape = {keys->count}};
    tensors[count++] = (struct snapshot_tensor){
        .name = "rows", .dtype = keys->dtype, .dimensions = 2,
        .shape = {keys->count, keys->dimension}};
    return count;
}

/* The data of the tensors, in the order of list_tensors(). */
static enum base_status add_table(struct snapshot_encoder *encoder,
                                  const struct snapshot_content *content,
                                  unsigned number, const struct keys *keys,
                                  bool delta, struct base_error *error)
{
    struct rows rows = {.encoder = encoder, .keys = keys, .error = error};
    enum base_status status = BASE_OK;
    if (!delta)
        status = add_index(encoder, keys,
                           snapshot_index_capacity(keys->count), error);
    if (!status)
        status = snapshot_encoder_add(encoder, keys->key,
                                      keys->count * sizeof *keys->key, error);
    if (!status && delta)
        status = snapshot_encoder_add(
            encoder, content->gone[number],
            content->gone_count[number] * sizeof(uint64_t), error);
    if (!status && keys->scale)
        status = snapshot_encoder_add(
            encoder, keys->scale, keys->count * sizeof *keys->scale, error);
    if (!status)
        status = content->rows(content->self, number, add_row, &rows, error);
    return status;
}

static enum base_status write_table(int folder,
                                    const struct snapshot_content *content,
                                    unsigned number,
                                    struct snapshot_manifest *manifest,
                                    struct base_error *error)
{
    bool delta = manifest->kind == SNAPSHOT_DELTA;
    const struct learner_table_spec *table =
        learner_model_table(content->model, number);
    struct snapshot_file *file = &manifest->files[manifest->file_count];
    struct keys keys = {.dtype = manifest->row_dtype,
                        .dimension = table->dimension, .error = error};
    struct snapshot_tensor tensors[TABLE_TENSORS];
    struct snapshot_encoder *encoder = NULL;
    char name[sizeof file->name];
    snapshot_table_file(table->name, name, sizeof name);
    enum base_status status =
        content->rows(content->self, number, collect_key, &keys, error);
    if (!status && keys.count == 0)
        status = base_fail(error, BASE_BROKEN, "has no OOV row");
    if (!status)
        status = snapshot_encoder_open(
            folder, name, tensors,
            list_tensors(&keys, delta, content->gone_count[number], tensors),
            &encoder, error);
    if (!status)
        status = add_table(encoder, content, number, &keys, delta, error);
    if (!status)
        status = snapshot_encoder_finish(encoder, file, error);
    if (delta)
        manifest->gone[number] = content->gone_count[number];
    *(delta ? &manifest->changed[number] : &manifest->rows[number]) =
        keys.count;
    snapshot_encoder_free(encoder);
    free(keys.key);
    free(keys.scale);
    return status;
}

/* ---- the whole ----------------------------------------------------------- */

static enum base_status write_tensors(int folder,
                                      const struct snapshot_content *content,
                                      struct snapshot_manifest *manifest,
                                      struct base_error *error)
{
    enum base_status status =
        write_dense(folder, content, &manifest->files[0], error);
    manifest->file_count = 1;
    for (unsigned i = 0; !status && i < manifest->table_count; i++) {
        const char *name = manifest->tables[i].name;
        if (!snapshot_name_usable(name))
            return base_fail(error, BASE_CONFIG,
                             "table '%s': a published table's name may only "
                             "have letters, digits, _ and -",
                             name);
        status = write_table(folder, content, i, manifest, error);
        if (status)
            return base_wrap(error, "table %s", name);
        manifest->file_count++;
    }
    return status;
}

/* Reads back what was written: the golden scores come from the files. */
static enum base_status add_golden(int folder,
                                   const struct snapshot_content *content,
                                   unsigned requests,
                                   struct snapshot_manifest *manifest,
                                   struct base_error *error)
{
    struct snapshot_weights weights;
    enum base_status status = snapshot_weights_open(
        folder, manifest, content->model, &weights, error);
    if (status)
        return base_wrap(error, "read back");
    status = snapshot_golden_make(manifest, requests, content->model, &weights,
                                  error);
    snapshot_weights_fini(&weights);
    return status;
}

static enum base_status write_manifest(int folder,
                                       const struct snapshot_manifest *manifest,
                                       struct snapshot_hash *hash,
                                       struct base_error *error)
{
    char *text = NULL;
    size_t size = 0;
    int fd = -1;
    enum base_status status =
        snapshot_manifest_write(manifest, &text, &size, error);
    if (status)
        return status;
    fd = openat(folder, "manifest.json",
                O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (fd < 0) {
        status = base_fail_errno(error, errno, "manifest.json");
        goto cleanup;
    }
    status = base_file_write_all(fd, text, size, "manifest.json", error);
    if (!status && fsync(fd))
        status = base_fail_errno(error, errno, "manifest.json: fsync");
    if (close(fd) && !status)
        status = base_fail_errno(error, errno, "manifest.json: close");
    *hash = snapshot_hash_of(text, size);
cleanup:
    free(text);
    return status;
}

enum base_status snapshot_writer_write(int folder,
                                       const struct snapshot_content *content,
                                       unsigned golden_requests,
                                       struct snapshot_manifest *manifest,
                                       struct snapshot_hash *hash,
                                       struct base_error *error)
{
    enum base_status status =
        write_tensors(folder, content, manifest, error);
    if (!status)
        status = add_golden(folder, content, golden_requests, manifest, error);
    if (!status)
        status = write_manifest(folder, manifest, hash, error);
    if (!status && fsync(folder))
        status = base_fail_errno(error, errno, "fsync of the folder");
    return status;
}
