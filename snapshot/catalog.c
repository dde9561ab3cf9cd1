/* SPDX-License-Identifier: Apache-2.0 */
/* The versions of a model folder; see catalog.h. */
#include "snapshot/catalog.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

static int compare(const void *a, const void *b)
{
    const struct snapshot_catalog_entry *x = a, *y = b;
    if (x->epoch != y->epoch)
        return x->epoch < y->epoch ? -1 : 1;
    return x->version < y->version ? -1 : x->version > y->version;
}

struct snapshot_catalog_entry *
snapshot_catalog_find(const struct snapshot_catalog *catalog, uint64_t epoch,
                      uint64_t version)
{
    const struct snapshot_catalog_entry key = {.epoch = epoch,
                                               .version = version};
    return catalog->count ? bsearch(&key, catalog->entry, catalog->count,
                                    sizeof key, compare)
                          : NULL;
}

static enum base_status add(struct snapshot_catalog *catalog, uint64_t epoch,
                            uint64_t version, struct base_error *error)
{
    if (catalog->count == catalog->room) {
        size_t room = catalog->room ? 2 * catalog->room : 64;
        struct snapshot_catalog_entry *larger =
            reallocarray(catalog->entry, room, sizeof *larger);
        if (!larger)
            return base_fail(error, BASE_SYSTEM, "no memory for %zu versions",
                             room);
        catalog->entry = larger;
        catalog->room = room;
    }
    catalog->entry[catalog->count++] =
        (struct snapshot_catalog_entry){.epoch = epoch, .version = version};
    return BASE_OK;
}

/* What the manifest says; one that cannot be read leaves the entry unsound. */
static void look_at(const char *folder, struct snapshot_catalog_entry *entry)
{
    char name[SNAPSHOT_FOLDER_NAME], path[PATH_MAX];
    char *text = NULL;
    size_t size;
    struct base_error why;
    struct snapshot_manifest *manifest = malloc(sizeof *manifest);
    snapshot_folder_print(entry->epoch, entry->version, name);
    int fd = -1;
    if (manifest && !base_file_join(path, sizeof path, folder, name, &why))
        fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && !snapshot_file_read(fd, "manifest.json",
                                       SNAPSHOT_MANIFEST_MAX, &text, &size,
                                       &why) &&
        !snapshot_manifest_read(text, size, manifest, &why)) {
        entry->sound = true;
        entry->delta = manifest->kind == SNAPSHOT_DELTA;
        entry->parent_epoch = manifest->parent_epoch;
        entry->parent_version = manifest->parent_version;
        for (unsigned i = 0; i < manifest->file_count; i++)
            entry->bytes += manifest->files[i].size;
        snapshot_manifest_fini(manifest);
    }
    if (fd >= 0)
        close(fd);
    free(text);
    free(manifest);
}

static enum base_status list(const char *folder,
                             bool (*scan)(const char *name, uint64_t *epoch,
                                          uint64_t *version),
                             struct snapshot_catalog *catalog,
                             struct base_error *error)
{
    enum base_status status = BASE_OK;
    DIR *directory = opendir(folder);
    if (!directory)
        return base_fail_errno(error, errno, "%s", folder);
    for (struct dirent *at; !status && (at = readdir(directory));) {
        uint64_t epoch, version;
        if (scan(at->d_name, &epoch, &version))
            status = add(catalog, epoch, version, error);
    }
    closedir(directory);
    if (!status && catalog->count)
        qsort(catalog->entry, catalog->count, sizeof *catalog->entry, compare);
    return status;
}

enum base_status snapshot_catalog_read(const char *folder,
                                       struct snapshot_catalog *catalog,
                                       struct base_error *error)
{
    struct snapshot_catalog besides = {0};
    *catalog = (struct snapshot_catalog){0};
    enum base_status status =
        list(folder, snapshot_folder_scan, catalog, error);
    if (!status)
        status = list(folder, snapshot_beside_scan, &besides, error);
    for (size_t i = 0; !status && i < catalog->count; i++) {
        struct snapshot_catalog_entry *entry = &catalog->entry[i];
        look_at(folder, entry);
        entry->beside =
            snapshot_catalog_find(&besides, entry->epoch, entry->version);
    }
    snapshot_catalog_fini(&besides);
    if (status)
        snapshot_catalog_fini(catalog);
    return status;
}

void snapshot_catalog_fini(struct snapshot_catalog *catalog)
{
    free(catalog->entry);
    *catalog = (struct snapshot_catalog){0};
}

/* Where a reader can begin. */
static bool begins(const struct snapshot_catalog_entry *entry)
{
    return entry->sound && (!entry->delta || entry->beside);
}

bool snapshot_catalog_need(struct snapshot_catalog *catalog,
                           struct snapshot_catalog_entry *entry)
{
    while (entry && entry->sound) {
        entry->needed = true;
        if (begins(entry))
            return true;
        entry = snapshot_catalog_find(catalog, entry->parent_epoch,
                                      entry->parent_version);
    }
    return false;
}

void snapshot_catalog_chain(const struct snapshot_catalog *catalog,
                            const struct snapshot_catalog_entry *entry,
                            uint64_t *deltas, uint64_t *bytes)
{
    *deltas = *bytes = 0;
    for (; entry && entry->sound && !begins(entry);
         entry = snapshot_catalog_find(catalog, entry->parent_epoch,
                                       entry->parent_version)) {
        ++*deltas;
        *bytes += entry->bytes;
    }
}

void snapshot_catalog_keep(struct snapshot_catalog *catalog, unsigned versions,
                           unsigned bases)
{
    size_t at = catalog->count;
    for (unsigned begun = 0;
         at > 0 && (begun < bases || catalog->count - at < versions ||
                    !begins(&catalog->entry[at]));)
        begun += begins(&catalog->entry[--at]);
    for (; at < catalog->count; at++)
        catalog->entry[at].needed = true;
}
