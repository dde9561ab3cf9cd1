/* SPDX-License-Identifier: Apache-2.0 */
/* An older version's content, published again as the next version: loaded as a
 * reader does (base, then deltas, each verified), written as a base of a new
 * epoch. Rows keep their type, so that every tensor comes out with the bits it
 * had. Role: publish. The gate is not asked. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "snapshot/chain.h"
#include "snapshot/generation.h"
#include "snapshot/publisher.h"

/* A version in memory. */
struct loaded {
    struct snapshot_version version; /* its manifest, locked */
    bool begun;
    struct learner_model *model; /* OWNS */
    struct snapshot_generation generation;
    uint64_t *keys[LEARNER_TABLES_MAX]; /* OWNS (rows), ascending */
};

/* CURRENT's words for that version: with the hash of the manifest there. */
static enum base_status name_version(const struct snapshot_publisher *publisher,
                                     struct snapshot_current *at,
                                     struct base_error *error)
{
    char path[SNAPSHOT_FOLDER_NAME + 32], *bytes;
    size_t size;
    snapshot_folder_print(at->epoch, at->version, at->name);
    snprintf(path, sizeof path, "%s/manifest.json", at->name);
    enum base_status status =
        snapshot_file_read(publisher->folder, path, SNAPSHOT_MANIFEST_MAX,
                           &bytes, &size, error);
    if (status)
        return status;
    at->hash = snapshot_hash_of(bytes, size);
    free(bytes);
    return BASE_OK;
}

static enum base_status load_base(const char *folder,
                                  const struct snapshot_chain *chain,
                                  struct loaded *loaded,
                                  struct base_error *error)
{
    struct snapshot_version base;
    enum base_status status =
        chain->is_beside
            ? snapshot_version_beside(folder, &chain->base, &base, error)
            : snapshot_version_begin(folder, &chain->base, &base, error);
    if (status)
        return status;
    status = snapshot_generation_load(base.folder, &base.manifest,
                                      loaded->model, &loaded->generation,
                                      error);
    snapshot_version_fini(&base);
    return status;
}

static enum base_status load_delta(const char *folder,
                                   const struct snapshot_current *at,
                                   struct loaded *loaded,
                                   struct base_error *error)
{
    struct snapshot_version delta;
    enum base_status status =
        snapshot_version_begin(folder, at, &delta, error);
    if (status)
        return status;
    status = snapshot_generation_apply(delta.folder, &delta.manifest,
                                       loaded->model, NULL,
                                       &loaded->generation, error);
    snapshot_version_fini(&delta);
    return status;
}

static int by_number(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static enum base_status sort_keys(struct loaded *loaded,
                                  struct base_error *error)
{
    for (unsigned t = 0; t < loaded->generation.table_count; t++) {
        const struct snapshot_map *map = loaded->generation.maps[t];
        uint64_t rows = snapshot_map_rows(map);
        loaded->keys[t] = calloc(rows, sizeof *loaded->keys[t]);
        if (!loaded->keys[t])
            return base_fail(error, BASE_SYSTEM, "no memory for %llu keys",
                             (unsigned long long)rows);
        snapshot_map_keys(map, loaded->keys[t]);
        qsort(loaded->keys[t], rows, sizeof *loaded->keys[t], by_number);
    }
    return BASE_OK;
}

static enum base_status load(const char *folder,
                             const struct snapshot_current *at,
                             struct loaded *loaded, struct base_error *error)
{
    struct snapshot_chain chain = {0};
    enum base_status status =
        snapshot_version_begin(folder, at, &loaded->version, error);
    loaded->begun = !status;
    const struct snapshot_manifest *manifest = &loaded->version.manifest;
    if (!status)
        status = learner_model_new(&manifest->schema, &manifest->model,
                                   &loaded->model, error);
    if (!status)
        status = snapshot_chain_start(folder, at, UINT64_MAX, &chain, error);
    if (!status)
        status = load_base(folder, &chain, loaded, error);
    for (size_t i = 0; !status && i < chain.count; i++)
        status = load_delta(folder, &chain.deltas[i], loaded, error);
    if (!status)
        status = sort_keys(loaded, error);
    snapshot_chain_fini(&chain);
    return status;
}

static void unload(struct loaded *loaded)
{
    for (unsigned t = 0; t < LEARNER_TABLES_MAX; t++)
        free(loaded->keys[t]);
    snapshot_generation_free(&loaded->generation, NULL);
    learner_model_free(loaded->model);
    if (loaded->begun)
        snapshot_version_fini(&loaded->version);
}

static enum base_status
loaded_rows(void *self, unsigned table,
            enum base_status (*each)(void *each_self, uint64_t key,
                                     const float *weights),
            void *each_self, struct base_error *error)
{
    const struct loaded *loaded = self;
    const struct snapshot_map *map = loaded->generation.maps[table];
    float row[LEARNER_DIMENSION_MAX + 1];
    enum base_status status = BASE_OK;
    (void)error; /* `each` says it */
    for (uint64_t i = 0; !status && i < snapshot_map_rows(map); i++) {
        snapshot_map_read(map, loaded->keys[table][i], row);
        status = each(each_self, loaded->keys[table][i], row);
    }
    return status;
}

/* What its manifest says of the content stays; of its files, goes. */
static void repeat(struct snapshot_manifest *manifest)
{
    manifest->rollback_epoch = manifest->epoch;
    manifest->rollback_version = manifest->version;
    snapshot_manifest_empty(manifest);
}

enum base_status
snapshot_rollback(struct snapshot_publisher *publisher, uint64_t epoch,
                  uint64_t version, struct snapshot_announcement *announcement,
                  struct base_error *error)
{
    const uint64_t before = publisher->epoch;
    const uint64_t now = (uint64_t)(base_wall_ms() / 1000);
    struct snapshot_current at = {.epoch = epoch, .version = version};
    struct loaded *loaded = calloc(1, sizeof *loaded);
    if (!loaded)
        return base_fail(error, BASE_SYSTEM, "rollback: no memory");
    enum base_status status = name_version(publisher, &at, error);
    if (!status)
        status = load(publisher->config.folder, &at, loaded, error);
    if (!status) {
        struct snapshot_manifest *manifest = &loaded->version.manifest;
        const struct snapshot_content content = {
            .model = loaded->model,
            .dense = loaded->generation.dense,
            .self = loaded,
            .rows = loaded_rows,
        };
        repeat(manifest);
        publisher->epoch = now > before ? now : before + 1;
        status = snapshot_publisher_put(publisher, &content, manifest,
                                        announcement, error);
    }
    unload(loaded);
    free(loaded);
    return status ? base_wrap(error, "rollback to v%llu-%llu",
                              (unsigned long long)epoch,
                              (unsigned long long)version)
                  : BASE_OK;
}
