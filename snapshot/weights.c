/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of a version; see weights.h. */
#include "snapshot/weights.h"

#include <stdlib.h>
#include <string.h>

#include "snapshot/index.h"

static enum base_status find_tensor(const struct snapshot_tensors *file,
                                    const char *name,
                                    enum snapshot_dtype dtype,
                                    unsigned dimensions,
                                    const struct snapshot_tensor **tensor,
                                    struct base_error *error)
{
    *tensor = snapshot_tensors_find(file, name);
    if (!*tensor)
        return base_fail(error, BASE_CORRUPT, "tensor '%s' is missing", name);
    if ((*tensor)->dtype != dtype || (*tensor)->dimensions != dimensions)
        return base_fail(error, BASE_CORRUPT,
                         "tensor '%s' is %s of %u dimensions; %s of %u is due",
                         name, snapshot_dtype_name((*tensor)->dtype),
                         (*tensor)->dimensions, snapshot_dtype_name(dtype),
                         dimensions);
    return BASE_OK;
}

/* ---- dense --------------------------------------------------------------- */

static enum base_status copy_tensor(const struct snapshot_tensors *file,
                                    const struct learner_tensor *want,
                                    float *dense, struct base_error *error)
{
    const struct snapshot_tensor *tensor;
    enum base_status status = find_tensor(file, want->name, SNAPSHOT_F32,
                                          want->dimensions, &tensor, error);
    if (status)
        return status;
    for (unsigned i = 0; i < want->dimensions; i++)
        if (tensor->shape[i] != want->shape[i])
            return base_fail(error, BASE_CORRUPT,
                             "tensor '%s': shape[%u] is %llu; the model has %u",
                             want->name, i,
                             (unsigned long long)tensor->shape[i],
                             want->shape[i]);
    size_t bytes = (size_t)(tensor->end - tensor->begin);
    memcpy(dense + want->offset, file->data + tensor->begin, bytes);
    if (!snapshot_floats_finite(dense + want->offset, bytes / sizeof(float)))
        return base_fail(error, BASE_CORRUPT,
                         "tensor '%s': a value is not finite", want->name);
    return BASE_OK;
}

static enum base_status open_dense(int folder, const struct snapshot_file *file,
                                   const struct learner_model *model,
                                   struct snapshot_weights *weights,
                                   struct base_error *error)
{
    struct snapshot_tensors tensors;
    enum base_status status =
        snapshot_tensors_open(folder, file, &tensors, error);
    if (status)
        return status;
    size_t bytes = learner_dense_size(model) * sizeof(float);
    bytes = (bytes + 63) & ~(size_t)63;
    weights->dense = aligned_alloc(64, bytes);
    unsigned count = learner_tensor_count(model);
    if (!weights->dense)
        status = base_fail(error, BASE_SYSTEM, "no memory for %zu bytes",
                           bytes);
    else if (tensors.count != count)
        status = base_fail(error, BASE_CORRUPT,
                           "has %u tensors; the model has %u", tensors.count,
                           count);
    else
        memset(weights->dense, 0, bytes); /* the gaps between tensors too */
    for (unsigned i = 0; !status && i < count; i++)
        status = copy_tensor(&tensors, learner_tensor(model, i),
                             weights->dense, error);
    snapshot_tensors_fini(&tensors);
    return status ? base_wrap(error, "%s", file->name) : BASE_OK;
}

/* ---- tables -------------------------------------------------------------- */

static enum base_status check_table(const struct snapshot_table *table,
                                    struct base_error *error)
{
    if (table->keys[0] != 0)
        return base_fail(error, BASE_CORRUPT, "row 0 is not the OOV row");
    for (uint64_t i = 1; i < table->rows; i++)
        if (table->keys[i] <= table->keys[i - 1])
            return base_fail(error, BASE_CORRUPT,
                             "keys do not ascend at row %llu",
                             (unsigned long long)i);
    if (!snapshot_index_check(table->index, table->mask + 1, table->keys,
                              table->rows))
        return base_fail(error, BASE_CORRUPT,
                         "the index does not fit to the keys");
    if (!snapshot_floats_finite(table->values,
                                table->rows * table->dimension))
        return base_fail(error, BASE_CORRUPT, "a value is not finite");
    return BASE_OK;
}

static enum base_status view_table(struct snapshot_table *table,
                                   struct base_error *error)
{
    const struct snapshot_tensor *index, *keys, *rows;
    const struct snapshot_tensors *file = &table->file;
    enum base_status status =
        find_tensor(file, "index", SNAPSHOT_U32, 1, &index, error);
    if (!status)
        status = find_tensor(file, "keys", SNAPSHOT_U64, 1, &keys, error);
    if (!status)
        status = find_tensor(file, "rows", SNAPSHOT_F32, 2, &rows, error);
    if (status)
        return status;
    uint64_t capacity = index->shape[0];
    if (file->count != 3 || keys->shape[0] != table->rows ||
        rows->shape[0] != table->rows || rows->shape[1] != table->dimension ||
        capacity < 16 || capacity & (capacity - 1))
        return base_fail(error, BASE_CORRUPT,
                         "the tensors' shapes do not fit to %llu rows of %zu",
                         (unsigned long long)table->rows, table->dimension);
    table->mask = capacity - 1;
    table->index = (const uint32_t *)(file->data + index->begin);
    table->keys = (const uint64_t *)(file->data + keys->begin);
    table->values = (const float *)(file->data + rows->begin);
    return check_table(table, error);
}

static enum base_status open_table(int folder, const struct snapshot_file *file,
                                   struct snapshot_table *table,
                                   struct base_error *error)
{
    enum base_status status =
        snapshot_tensors_open(folder, file, &table->file, error);
    if (status)
        return status;
    status = view_table(table, error);
    return status ? base_wrap(error, "%s", file->name) : BASE_OK;
}

/* ---- both ---------------------------------------------------------------- */

static enum base_status check_widths(const struct snapshot_manifest *manifest,
                                     const struct learner_model *model,
                                     struct base_error *error)
{
    unsigned count = learner_model_tables(model);
    if (manifest->kind != SNAPSHOT_BASE || manifest->row_dtype != SNAPSHOT_F32)
        return base_fail(error, BASE_CONFIG, "%s of %s rows cannot be opened "
                         "alone", snapshot_kind_words[manifest->kind],
                         snapshot_dtype_name(manifest->row_dtype));
    if (manifest->table_count != count)
        return base_fail(error, BASE_CORRUPT,
                         "the manifest has %u tables; the model has %u",
                         manifest->table_count, count);
    for (unsigned i = 0; i < count; i++) {
        const struct learner_table_spec *had = &manifest->tables[i];
        const struct learner_table_spec *want = learner_model_table(model, i);
        if (strcmp(had->name, want->name) || had->dimension != want->dimension)
            return base_fail(error, BASE_CORRUPT,
                             "table '%s' has rows of %u floats; the model has "
                             "'%s' of %u",
                             had->name, had->dimension, want->name,
                             want->dimension);
    }
    return BASE_OK;
}

enum base_status snapshot_weights_open(int folder,
                                       const struct snapshot_manifest *manifest,
                                       const struct learner_model *model,
                                       struct snapshot_weights *weights,
                                       struct base_error *error)
{
    memset(weights, 0, sizeof *weights);
    const struct snapshot_file *file =
        snapshot_manifest_file(manifest, SNAPSHOT_DENSE_FILE);
    BASE_ASSERT(file);
    enum base_status status = check_widths(manifest, model, error);
    if (!status)
        status = open_dense(folder, file, model, weights, error);
    for (unsigned i = 0; !status && i < manifest->table_count; i++) {
        char name[sizeof file->name];
        struct snapshot_table *table = &weights->tables[i];
        table->rows = manifest->rows[i];
        table->dimension = manifest->tables[i].dimension;
        snapshot_table_file(manifest->tables[i].name, name,
                            sizeof name);
        file = snapshot_manifest_file(manifest, name);
        BASE_ASSERT(file);
        weights->table_count++;
        status = open_table(folder, file, table, error);
    }
    if (status)
        snapshot_weights_fini(weights);
    return status;
}

void snapshot_weights_fini(struct snapshot_weights *weights)
{
    for (unsigned i = 0; i < weights->table_count; i++)
        snapshot_tensors_fini(&weights->tables[i].file);
    weights->table_count = 0;
    free(weights->dense);
    weights->dense = NULL;
}

static const float *find_row(const void *tables, unsigned number, uint64_t key)
{
    const struct snapshot_table *table =
        (const struct snapshot_table *)tables + number;
    uint64_t row =
        snapshot_index_find(table->index, table->mask, table->keys, key);
    return table->values + row * table->dimension;
}

struct learner_parameters
snapshot_weights_parameters(const struct snapshot_weights *weights)
{
    return (struct learner_parameters){
        .dense = weights->dense, .tables = weights->tables, .row = find_row};
}
