/* SPDX-License-Identifier: Apache-2.0 */
/* A version in memory; see loaded.h. */
#include "snapshot/loaded.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "snapshot/chain.h"

/* CURRENT's words for that version: with the hash of the manifest there. */
static enum base_status name_version(int folder,
                                     struct snapshot_current *at,
                                     struct base_error *error)
{
    char path[SNAPSHOT_FOLDER_NAME + 32], *bytes;
    size_t size;
    snapshot_folder_print(at->epoch, at->version, at->name);
    snprintf(path, sizeof path, "%s/manifest.json", at->name);
    enum base_status status =
        snapshot_file_read(folder, path, SNAPSHOT_MANIFEST_MAX,
                           &bytes, &size, error);
    if (status)
        return status;
    at->hash = snapshot_hash_of(bytes, size);
    free(bytes);
    return BASE_OK;
}

static enum base_status load_base(const char *folder,
                                  const struct snapshot_chain *chain,
                                  struct snapshot_loaded *loaded,
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
                                   struct snapshot_loaded *loaded,
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

static enum base_status sort_keys(struct snapshot_loaded *loaded,
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
                             struct snapshot_loaded *loaded,
                             struct base_error *error)
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

void snapshot_loaded_fini(struct snapshot_loaded *loaded)
{
    for (unsigned t = 0; t < LEARNER_TABLES_MAX; t++)
        free(loaded->keys[t]);
    snapshot_generation_free(&loaded->generation, NULL);
    learner_model_free(loaded->model);
    if (loaded->begun)
        snapshot_version_fini(&loaded->version);
}

enum base_status
snapshot_loaded_rows(void *self, unsigned table,
            enum base_status (*each)(void *each_self, uint64_t key,
                                     const float *weights),
            void *each_self, struct base_error *error)
{
    const struct snapshot_loaded *loaded = self;
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

enum base_status snapshot_loaded_init(const char *folder, uint64_t epoch,
                                      uint64_t version,
                                      struct snapshot_loaded *loaded,
                                      struct base_error *error)
{
    struct snapshot_current at = {.epoch = epoch, .version = version};
    int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *loaded = (struct snapshot_loaded){.begun = false};
    if (descriptor < 0)
        return base_fail_errno(error, errno, "%s", folder);
    enum base_status status = name_version(descriptor, &at, error);
    if (!status)
        status = load(folder, &at, loaded, error);
    close(descriptor);
    return status;
}
