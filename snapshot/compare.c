/* SPDX-License-Identifier: Apache-2.0 */
/* Is a version the state of a checkpoint, bit for bit? Rows are compared as
 * their type keeps them. See snapshot.h. One thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/loaded.h"
#include "snapshot/row.h"
#include "snapshot/snapshot.h"

struct comparison {
    const struct snapshot_loaded *loaded;
    unsigned table;
    uint64_t at; /* of its keys */
    struct snapshot_difference *difference;
};

static void note(struct snapshot_difference *difference, const char *tensor,
                 uint64_t key)
{
    if (!difference->count++) {
        snprintf(difference->tensor, sizeof difference->tensor, "%s", tensor);
        difference->key = key;
    }
}

static void compare_dense(const struct snapshot_loaded *loaded,
                          const float *dense,
                          struct snapshot_difference *difference)
{
    for (unsigned i = 0; i < learner_tensor_count(loaded->model); i++) {
        const struct learner_tensor *tensor = learner_tensor(loaded->model, i);
        size_t count = tensor->shape[0];
        if (tensor->dimensions > 1)
            count *= tensor->shape[1];
        difference->tensors++;
        if (memcmp(loaded->generation.dense + tensor->offset,
                   dense + tensor->offset, count * sizeof *dense) != 0)
            note(difference, tensor->name, 0);
    }
}

/* The values as a file of that type gives them back. */
static bool round_row(enum snapshot_dtype dtype, size_t width,
                      const float *weights, float *rounded)
{
    uint8_t bytes[(LEARNER_DIMENSION_MAX + 1) * sizeof(float)];
    _Alignas(8) uint8_t row[sizeof bytes + 16];
    float scale =
        dtype == SNAPSHOT_I8 ? snapshot_row_scale(weights, width) : 1;
    if (!snapshot_row_encode(dtype, weights, width, scale, bytes))
        return false;
    snapshot_row_pack(dtype, width, bytes, scale, row);
    snapshot_row_widen(dtype, width, row, rounded);
    return true;
}

static enum base_status compare_row(void *self, uint64_t key,
                                    const float *weights)
{
    struct comparison *comparison = self;
    const struct snapshot_loaded *loaded = comparison->loaded;
    const struct snapshot_manifest *manifest = &loaded->version.manifest;
    const struct snapshot_map *map =
        loaded->generation.maps[comparison->table];
    size_t width =
        learner_model_table(loaded->model, comparison->table)->dimension;
    float had[LEARNER_DIMENSION_MAX + 1], made[LEARNER_DIMENSION_MAX + 1];
    comparison->difference->rows++;
    if (comparison->at >= snapshot_map_rows(map) ||
        loaded->keys[comparison->table][comparison->at] != key) {
        note(comparison->difference,
             manifest->tables[comparison->table].name, key);
        return BASE_STOPPED;
    }
    comparison->at++;
    snapshot_map_read(map, key, had);
    if (!round_row(manifest->row_dtype, width, weights, made) ||
        memcmp(had, made, width * sizeof *had) != 0)
        note(comparison->difference,
             manifest->tables[comparison->table].name, key);
    return BASE_OK;
}

static enum base_status compare_table(struct comparison *comparison,
                                      const struct learner_checkpoint *from,
                                      struct base_error *error)
{
    const struct snapshot_loaded *loaded = comparison->loaded;
    comparison->at = 0;
    enum base_status status = learner_checkpoint_rows(
        from, comparison->table, compare_row, comparison, error);
    if (status == BASE_STOPPED)
        return BASE_OK;
    if (!status && comparison->at !=
                       snapshot_map_rows(loaded->generation
                                             .maps[comparison->table]))
        note(comparison->difference,
             loaded->version.manifest.tables[comparison->table].name,
             loaded->keys[comparison->table][comparison->at]);
    return status;
}

enum base_status snapshot_compare(const char *folder, uint64_t epoch,
                                  uint64_t version,
                                  const char *checkpoint_path,
                                  struct snapshot_difference *difference,
                                  struct base_error *error)
{
    struct learner_checkpoint *checkpoint = NULL;
    struct snapshot_loaded *loaded = calloc(1, sizeof *loaded);
    *difference = (struct snapshot_difference){.count = 0};
    if (!loaded)
        return base_fail(error, BASE_SYSTEM, "compare: no memory");
    enum base_status status =
        snapshot_loaded_init(folder, epoch, version, loaded, error);
    if (!status)
        status = learner_checkpoint_open(checkpoint_path, &checkpoint, error);
    const struct learner_checkpoint_info *info =
        status ? NULL : learner_checkpoint_get_info(checkpoint);
    if (!status &&
        (info->position != loaded->version.manifest.position ||
         info->table_count != loaded->generation.table_count))
        status = base_fail(error, BASE_BROKEN,
                           "%s is not of the version's model and position",
                           checkpoint_path);
    if (!status)
        compare_dense(loaded, learner_checkpoint_dense(checkpoint),
                      difference);
    for (unsigned t = 0; !status && t < info->table_count; t++) {
        struct comparison comparison = {
            .loaded = loaded, .table = t, .difference = difference};
        status = compare_table(&comparison, checkpoint, error);
    }
    learner_checkpoint_free(checkpoint);
    snapshot_loaded_fini(loaded);
    free(loaded);
    return status;
}
