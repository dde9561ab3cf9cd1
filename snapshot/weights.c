/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of a version; see weights.h. */
#include "snapshot/weights.h"

#include <stdlib.h>
#include <string.h>

#include "snapshot/index.h"
#include "snapshot/row.h"

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

enum base_status snapshot_dense_open(int folder,
                                     const struct snapshot_manifest *manifest,
                                     const struct learner_model *model,
                                     float **dense, struct base_error *error)
{
    struct snapshot_tensors tensors;
    const struct snapshot_file *file =
        snapshot_manifest_file(manifest, SNAPSHOT_DENSE_FILE);
    BASE_ASSERT(file);
    *dense = NULL;
    enum base_status status =
        snapshot_tensors_open(folder, file, SNAPSHOT_COPY, &tensors, error);
    if (status)
        return status;
    size_t bytes = learner_dense_size(model) * sizeof(float);
    bytes = (bytes + 63) & ~(size_t)63;
    *dense = aligned_alloc(64, bytes);
    unsigned count = learner_tensor_count(model);
    if (!*dense)
        status = base_fail(error, BASE_SYSTEM, "no memory for %zu bytes",
                           bytes);
    else if (tensors.count != count)
        status = base_fail(error, BASE_CORRUPT,
                           "has %u tensors; the model has %u", tensors.count,
                           count);
    else
        memset(*dense, 0, bytes); /* the gaps between tensors too */
    for (unsigned i = 0; !status && i < count; i++)
        status =
            copy_tensor(&tensors, learner_tensor(model, i), *dense, error);
    snapshot_tensors_fini(&tensors);
    if (!status)
        return BASE_OK;
    free(*dense);
    *dense = NULL;
    return base_wrap(error, "%s", file->name);
}

/* ---- tables -------------------------------------------------------------- */

/* keys (n) ascend strictly. */
static enum base_status check_order(const uint64_t *keys, uint64_t n,
                                    const char *name, struct base_error *error)
{
    for (uint64_t i = 1; i < n; i++)
        if (keys[i] <= keys[i - 1])
            return base_fail(error, BASE_CORRUPT,
                             "%s do not ascend at row %llu", name,
                             (unsigned long long)i);
    return BASE_OK;
}

/* Both ascend strictly; none of `gone` is 0 or one of the keys. */
static enum base_status check_gone(const struct snapshot_table *table,
                                   struct base_error *error)
{
    enum base_status status =
        check_order(table->gone, table->gone_count, "gone", error);
    for (uint64_t i = 0, k = 0; !status && i < table->gone_count; i++) {
        while (k < table->rows && table->keys[k] < table->gone[i])
            k++;
        if (k < table->rows && table->keys[k] == table->gone[i])
            status = base_fail(error, BASE_CORRUPT,
                               "key %016llx is in keys and in gone",
                               (unsigned long long)table->gone[i]);
    }
    return status;
}

static bool scales_sound(const struct snapshot_table *table)
{
    bool sound = true;
    for (uint64_t i = 0; i < table->rows; i++)
        sound &= table->scale[i] >= 0;
    return sound && snapshot_floats_finite(table->scale, table->rows);
}

static enum base_status check_table(const struct snapshot_table *table,
                                    struct base_error *error)
{
    enum base_status status =
        check_order(table->keys, table->rows, "keys", error);
    if (status)
        return status;
    if (table->keys[0] != 0)
        return base_fail(error, BASE_CORRUPT, "row 0 is not the OOV row");
    if (table->index &&
        !snapshot_index_check(table->index, table->mask + 1, table->keys,
                              table->rows))
        return base_fail(error, BASE_CORRUPT,
                         "the index does not fit to the keys");
    if (table->gone)
        status = check_gone(table, error);
    if (!status &&
        (!snapshot_row_values_sound(table->dtype, table->values,
                                    table->rows * table->dimension) ||
         (table->scale && !scales_sound(table))))
        status = base_fail(error, BASE_CORRUPT,
                           "a value is not finite, or an I8 of -128");
    return status;
}

/* Tensors of one table and their sizes; those that are not due are NULL. */
struct parts {
    const struct snapshot_tensor *index, *keys, *rows, *scale, *gone;
};

static enum base_status find_parts(const struct snapshot_table *table,
                                   bool delta, struct parts *parts,
                                   struct base_error *error)
{
    const struct {
        const char *name;
        enum snapshot_dtype dtype;
        unsigned dimensions;
        bool due;
        const struct snapshot_tensor **tensor;
    } wanted[] = {
        {"index", SNAPSHOT_U32, 1, !delta, &parts->index},
        {"keys", SNAPSHOT_U64, 1, true, &parts->keys},
        {"rows", table->dtype, 2, true, &parts->rows},
        {"scale", SNAPSHOT_F32, 1, table->dtype == SNAPSHOT_I8, &parts->scale},
        {"gone", SNAPSHOT_U64, 1, delta, &parts->gone},
    };
    unsigned due = 0;
    *parts = (struct parts){0};
    for (unsigned i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        if (!wanted[i].due)
            continue;
        enum base_status status =
            find_tensor(&table->file, wanted[i].name, wanted[i].dtype,
                        wanted[i].dimensions, wanted[i].tensor, error);
        if (status)
            return status;
        due++;
    }
    return table->file.count == due
               ? BASE_OK
               : base_fail(error, BASE_CORRUPT, "has %u tensors; %u are due",
                           table->file.count, due);
}

/* table->rows and ->gone_count: as the manifest has them. */
static bool parts_fit(const struct snapshot_table *table,
                      const struct parts *parts)
{
    uint64_t rows = table->rows;
    uint64_t capacity = parts->index ? parts->index->shape[0] : 16;
    return parts->keys->shape[0] == rows && parts->rows->shape[0] == rows &&
           parts->rows->shape[1] == table->dimension &&
           (!parts->scale || parts->scale->shape[0] == rows) &&
           (!parts->gone || parts->gone->shape[0] == table->gone_count) &&
           capacity >= 16 && (capacity & (capacity - 1)) == 0;
}

static enum base_status view_table(struct snapshot_table *table, bool delta,
                                   struct base_error *error)
{
    struct parts parts;
    const uint8_t *data = table->file.data;
    enum base_status status = find_parts(table, delta, &parts, error);
    if (status)
        return status;
    if (!parts_fit(table, &parts))
        return base_fail(error, BASE_CORRUPT,
                         "the tensors' shapes do not fit to %llu rows of %zu",
                         (unsigned long long)table->rows, table->dimension);
    table->keys = (const uint64_t *)(data + parts.keys->begin);
    table->values = data + parts.rows->begin;
    if (parts.index) {
        table->mask = parts.index->shape[0] - 1;
        table->index = (const uint32_t *)(data + parts.index->begin);
    }
    if (parts.scale)
        table->scale = (const float *)(data + parts.scale->begin);
    if (parts.gone)
        table->gone = (const uint64_t *)(data + parts.gone->begin);
    return check_table(table, error);
}

/* What the manifest says of the table; its file comes next. */
static void describe(const struct snapshot_manifest *manifest, unsigned number,
                     struct snapshot_table *table)
{
    bool delta = manifest->kind == SNAPSHOT_DELTA;
    *table = (struct snapshot_table){
        .dtype = manifest->row_dtype,
        .dimension = manifest->tables[number].dimension,
        .rows = delta ? manifest->changed[number] : manifest->rows[number],
        .gone_count = delta ? manifest->gone[number] : 0};
}

static enum base_status view_or_fini(const struct snapshot_manifest *manifest,
                                     struct snapshot_table *table,
                                     struct base_error *error)
{
    enum base_status status =
        view_table(table, manifest->kind == SNAPSHOT_DELTA, error);
    if (status)
        snapshot_table_fini(table);
    return status;
}

enum base_status snapshot_table_parse(const void *bytes, size_t size,
                                      const struct snapshot_manifest *manifest,
                                      unsigned number,
                                      struct snapshot_table *table,
                                      struct base_error *error)
{
    describe(manifest, number, table);
    enum base_status status =
        snapshot_tensors_parse(bytes, size, &table->file, error);
    return status ? status : view_or_fini(manifest, table, error);
}

enum base_status snapshot_table_open(int folder,
                                     const struct snapshot_manifest *manifest,
                                     unsigned number,
                                     enum snapshot_access access,
                                     struct snapshot_table *table,
                                     struct base_error *error)
{
    char name[sizeof manifest->files[0].name];
    snapshot_table_file(manifest->tables[number].name, name, sizeof name);
    const struct snapshot_file *file = snapshot_manifest_file(manifest, name);
    BASE_ASSERT(file);
    describe(manifest, number, table);
    enum base_status status =
        snapshot_tensors_open(folder, file, access, &table->file, error);
    if (status)
        return status;
    status = view_or_fini(manifest, table, error);
    return status ? base_wrap(error, "%s", name) : BASE_OK;
}

void snapshot_table_fini(struct snapshot_table *table)
{
    snapshot_tensors_fini(&table->file);
    *table = (struct snapshot_table){0};
}

void snapshot_table_pack(const struct snapshot_table *table, uint64_t at,
                         void *row)
{
    size_t bytes = table->dimension * snapshot_dtype_size(table->dtype);
    snapshot_row_pack(table->dtype, table->dimension,
                      table->values + at * bytes,
                      table->scale ? table->scale[at] : 0, row);
}

/* ---- both ---------------------------------------------------------------- */

enum base_status
snapshot_weights_check(const struct snapshot_manifest *manifest,
                       const struct learner_model *model,
                       struct base_error *error)
{
    unsigned count = learner_model_tables(model);
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
    enum base_status status = snapshot_weights_check(manifest, model, error);
    if (!status)
        status = snapshot_dense_open(folder, manifest, model, &weights->dense,
                                     error);
    for (unsigned i = 0; !status && i < manifest->table_count; i++) {
        status = snapshot_table_open(folder, manifest, i, SNAPSHOT_MAP,
                                     &weights->tables[i], error);
        weights->table_count += !status;
    }
    if (status)
        snapshot_weights_fini(weights);
    return status;
}

void snapshot_weights_fini(struct snapshot_weights *weights)
{
    for (unsigned i = 0; i < weights->table_count; i++)
        snapshot_table_fini(&weights->tables[i]);
    weights->table_count = 0;
    free(weights->dense);
    weights->dense = NULL;
}

/* The place of `key` in keys, or 0, the OOV row's. */
static uint64_t find_place(const struct snapshot_table *table, uint64_t key)
{
    if (table->index)
        return snapshot_index_find(table->index, table->mask, table->keys,
                                   key);
    uint64_t low = 0, high = table->rows;
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (table->keys[middle] <= key)
            low = middle;
        else
            high = middle;
    }
    return table->keys[low] == key ? low : 0;
}

static void read_row(const void *tables, unsigned number, uint64_t key,
                     float *floats)
{
    const struct snapshot_table *table =
        (const struct snapshot_table *)tables + number;
    uint32_t row[LEARNER_DIMENSION_MAX + 4];
    snapshot_table_pack(table, find_place(table, key), row);
    snapshot_row_widen(table->dtype, table->dimension, row, floats);
}

struct learner_parameters
snapshot_weights_parameters(const struct snapshot_weights *weights)
{
    return (struct learner_parameters){
        .dense = weights->dense, .tables = weights->tables, .row = read_row};
}
