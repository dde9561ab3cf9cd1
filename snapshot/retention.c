/* SPDX-License-Identifier: Apache-2.0 */
/* Which versions stay in a model folder and which go: kept are the newest
 * versions, back to one where a reader can begin (a base, or a delta with a
 * base beside it), and each pinned version with what is needed to load it. A
 * folder whose manifest.json a reader holds locked (shared) waits for the next
 * time. It is renamed before it is removed: none is ever seen half. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "snapshot/catalog.h"
#include "snapshot/pins.h"
#include "snapshot/publisher.h"

/* Descriptor of the manifest, locked; -1: none to lock; BASE_AGAIN: in use. */
static enum base_status lock_manifest(const struct snapshot_publisher *publisher,
                                      const char *name, int *lock)
{
    char path[NAME_MAX + 32];
    snprintf(path, sizeof path, "%s/manifest.json", name);
    *lock = openat(publisher->folder, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (*lock < 0)
        return errno == ENOENT ? BASE_OK : BASE_AGAIN;
    if (flock(*lock, LOCK_EX | LOCK_NB) == 0)
        return BASE_OK;
    close(*lock);
    return BASE_AGAIN;
}

static enum base_status remove_version(const struct snapshot_publisher *publisher,
                                       const char *name,
                                       struct base_error *error)
{
    char aside[NAME_MAX + 32], path[PATH_MAX];
    int lock;
    if (lock_manifest(publisher, name, &lock))
        return BASE_OK;
    snprintf(aside, sizeof aside, ".tmp-gone-%s", name);
    enum base_status status = base_file_join(
        path, sizeof path, publisher->config.folder, aside, error);
    if (!status && renameat(publisher->folder, name, publisher->folder, aside))
        status = base_fail_errno(error, errno, "%s: rename", name);
    if (!status)
        status = base_file_remove(path, error);
    if (lock >= 0)
        close(lock);
    return status;
}

/* Whether a folder of the name is of a version that may go. What came after
 * the catalog was read is newer than all in it. */
static bool outdated(const struct snapshot_catalog *catalog, const char *name)
{
    uint64_t epoch, version;
    if ((!snapshot_folder_scan(name, &epoch, &version) &&
         !snapshot_beside_scan(name, &epoch, &version)) || !catalog->count)
        return false;
    const struct snapshot_catalog_entry *entry =
        snapshot_catalog_find(catalog, epoch, version);
    const struct snapshot_catalog_entry *newest =
        &catalog->entry[catalog->count - 1];
    return entry ? !entry->needed
                 : epoch < newest->epoch ||
                       (epoch == newest->epoch && version < newest->version);
}

static enum base_status
remove_outdated(const struct snapshot_publisher *publisher,
                const struct snapshot_catalog *catalog,
                struct base_error *error)
{
    enum base_status status = BASE_OK;
    DIR *folder = opendir(publisher->config.folder);
    if (!folder)
        return base_fail_errno(error, errno, "%s", publisher->config.folder);
    for (struct dirent *at; !status && (at = readdir(folder));)
        if (outdated(catalog, at->d_name))
            status = remove_version(publisher, at->d_name, error);
    closedir(folder);
    return status;
}

static void keep_pinned(const struct snapshot_pins *pins,
                        struct snapshot_catalog *catalog)
{
    for (unsigned i = 0; i < pins->count; i++) {
        struct snapshot_catalog_entry *entry = snapshot_catalog_find(
            catalog, pins->pin[i].epoch, pins->pin[i].version);
        if (entry)
            snapshot_catalog_need(catalog, entry);
    }
}

enum base_status snapshot_publisher_purge(struct snapshot_publisher *publisher,
                                          uint64_t *removed,
                                          struct base_error *error)
{
    struct snapshot_catalog before = {0}, after = {0};
    const char *folder = publisher->config.folder;
    pthread_mutex_lock(&publisher->removal);
    enum base_status status = snapshot_catalog_read(folder, &before, error);
    if (!status) {
        snapshot_catalog_keep(&before, 1, 1);
        status = remove_outdated(publisher, &before, error);
    }
    if (!status)
        status = snapshot_catalog_read(folder, &after, error);
    pthread_mutex_unlock(&publisher->removal);
    size_t held = 0;
    *removed = before.count - (after.count < before.count ? after.count
                                                          : before.count);
    for (size_t i = 0; !status && i < before.count; i++)
        held += !before.entry[i].needed &&
                snapshot_catalog_find(&after, before.entry[i].epoch,
                                      before.entry[i].version) != NULL;
    snapshot_catalog_fini(&before);
    snapshot_catalog_fini(&after);
    if (!status && held)
        status = base_fail(error, BASE_AGAIN,
                           "%s: readers hold %zu versions", folder, held);
    return status;
}

void snapshot_publisher_retain(struct snapshot_publisher *publisher)
{
    struct snapshot_catalog catalog = {0};
    struct snapshot_pins pins;
    struct base_error error;
    const struct snapshot_config *config = &publisher->config;
    pthread_mutex_lock(&publisher->removal);
    enum base_status status = snapshot_pins_read(config->folder, &pins, &error);
    if (!status)
        status = snapshot_catalog_read(config->folder, &catalog, &error);
    if (!status) {
        snapshot_catalog_keep(&catalog, config->versions_kept,
                              config->bases_kept);
        keep_pinned(&pins, &catalog);
        status = remove_outdated(publisher, &catalog, &error);
    }
    snapshot_catalog_fini(&catalog);
    pthread_mutex_unlock(&publisher->removal);
    if (status)
        base_log(BASE_LOG_WARN, "event=snapshot_not_removed error=\"%s\"",
                 error.text);
}
