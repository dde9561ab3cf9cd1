/* SPDX-License-Identifier: Apache-2.0 */
/* Weights in a reader's memory; see generation.h. */
#include "snapshot/generation.h"

#include <stdlib.h>
#include <string.h>

/* A version's rows must be as many as its manifest says: else something was
 * lost on the way. */
static enum base_status check_rows(const struct snapshot_manifest *manifest,
                                   unsigned number,
                                   const struct snapshot_map *map,
                                   struct base_error *error)
{
    if (snapshot_map_rows(map) == manifest->rows[number])
        return BASE_OK;
    return base_fail(error, BASE_CORRUPT,
                     "table '%s' has %llu rows now; the manifest says %llu",
                     manifest->tables[number].name,
                     (unsigned long long)snapshot_map_rows(map),
                     (unsigned long long)manifest->rows[number]);
}

enum base_status
snapshot_generation_load(int folder, const struct snapshot_manifest *manifest,
                         const struct learner_model *model,
                         struct snapshot_generation *generation,
                         struct base_error *error)
{
    memset(generation, 0, sizeof *generation);
    enum base_status status = snapshot_weights_check(manifest, model, error);
    if (!status)
        status = snapshot_dense_open(folder, manifest, model,
                                     &generation->dense, error);
    for (unsigned i = 0; !status && i < manifest->table_count; i++) {
        struct snapshot_table table;
        status = snapshot_table_open(folder, manifest, i, SNAPSHOT_COPY,
                                     &table, error);
        if (status)
            break;
        status = snapshot_map_build(&table, &generation->maps[i], error);
        if (status)
            base_wrap(error, "table '%s'", manifest->tables[i].name);
        generation->table_count += !status;
        snapshot_table_fini(&table);
    }
    if (status)
        snapshot_generation_free(generation, NULL);
    return status;
}

enum base_status
snapshot_generation_begin(const struct snapshot_generation *old,
                          struct snapshot_generation *generation,
                          struct base_error *error)
{
    enum base_status status = BASE_OK;
    memset(generation, 0, sizeof *generation);
    for (unsigned i = 0; !status && i < old->table_count; i++) {
        status =
            snapshot_map_begin(old->maps[i], &generation->maps[i], error);
        generation->table_count += !status;
    }
    if (status)
        snapshot_generation_free(generation, old);
    return status;
}

static enum base_status apply_table(int folder,
                                    const struct snapshot_manifest *manifest,
                                    unsigned number,
                                    const struct snapshot_map *old,
                                    struct snapshot_map *map,
                                    struct base_error *error)
{
    struct snapshot_table table;
    enum base_status status = snapshot_table_open(
        folder, manifest, number, SNAPSHOT_COPY, &table, error);
    if (status)
        return status;
    status = snapshot_map_apply(map, old, &table, error);
    if (status)
        base_wrap(error, "table '%s'", manifest->tables[number].name);
    snapshot_table_fini(&table);
    return status ? status : check_rows(manifest, number, map, error);
}

enum base_status
snapshot_generation_apply(int folder, const struct snapshot_manifest *manifest,
                          const struct learner_model *model,
                          const struct snapshot_generation *old,
                          struct snapshot_generation *generation,
                          struct base_error *error)
{
    float *dense;
    enum base_status status = snapshot_weights_check(manifest, model, error);
    if (!status)
        status = snapshot_dense_open(folder, manifest, model, &dense, error);
    if (status)
        return status;
    free(generation->dense);
    generation->dense = dense;
    for (unsigned i = 0; !status && i < manifest->table_count; i++)
        status = apply_table(folder, manifest, i, old ? old->maps[i] : NULL,
                             generation->maps[i], error);
    return status;
}

void snapshot_generation_free(struct snapshot_generation *generation,
                              const struct snapshot_generation *shared)
{
    for (unsigned i = 0; i < generation->table_count; i++)
        snapshot_map_free(generation->maps[i],
                          shared ? shared->maps[i] : NULL);
    free(generation->dense);
    memset(generation, 0, sizeof *generation);
}

uint64_t
snapshot_generation_bytes(const struct snapshot_generation *generation)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < generation->table_count; i++)
        bytes += snapshot_map_bytes(generation->maps[i]);
    return bytes;
}

static void read_row(const void *tables, unsigned number, uint64_t key,
                     float *row)
{
    snapshot_map_read(((struct snapshot_map *const *)tables)[number], key,
                      row);
}

struct learner_parameters
snapshot_generation_parameters(const struct snapshot_generation *generation)
{
    return (struct learner_parameters){.dense = generation->dense,
                                       .tables = generation->maps,
                                       .row = read_row};
}
