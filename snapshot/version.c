/* SPDX-License-Identifier: Apache-2.0 */
/* Opening of a version's folder; see version.h. */
#include "snapshot/version.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static enum base_status open_folder(const char *model_folder,
                                    struct snapshot_version *version,
                                    struct base_error *error)
{
    int parent = open(model_folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0)
        return base_fail_errno(error, errno, "%s", model_folder);
    version->folder =
        openat(parent, version->name,
               O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int why = errno;
    close(parent);
    if (version->folder < 0)
        return base_fail_errno(error, why, "open folder");
    return BASE_OK;
}

/* Held by the publisher alone while it removes the folder. A file system
 * without locks has none to wait for. */
static enum base_status lock_folder(struct snapshot_version *version,
                                    struct base_error *error)
{
    version->lock = openat(version->folder, "manifest.json",
                           O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (version->lock < 0)
        return base_fail_errno(error, errno, "manifest.json");
    if (flock(version->lock, LOCK_SH | LOCK_NB) && errno == EWOULDBLOCK)
        return base_fail(error, BASE_NO_INPUT, "is being removed");
    return BASE_OK;
}

static enum base_status read_manifest(struct snapshot_version *version,
                                      const struct snapshot_hash *expected,
                                      struct base_error *error)
{
    char *text = NULL;
    size_t size = 0;
    enum base_status status =
        snapshot_file_read(version->folder, "manifest.json",
                           SNAPSHOT_MANIFEST_MAX, &text, &size, error);
    if (status)
        return status;
    if (expected &&
        !snapshot_hash_equal(snapshot_hash_of(text, size), *expected))
        status = base_fail(error, BASE_CORRUPT,
                           "manifest.json: its hash is not the one that names "
                           "it (in CURRENT, a parent or an announcement)");
    if (!status)
        status = snapshot_manifest_read(text, size, &version->manifest, error);
    free(text);
    return status;
}

static enum base_status open_version(const char *model_folder,
                                     const struct snapshot_current *current,
                                     const struct snapshot_hash *expected,
                                     struct snapshot_version *version,
                                     struct base_error *error)
{
    version->folder = version->lock = -1;
    memset(&version->manifest, 0, sizeof version->manifest);
    enum base_status status = open_folder(model_folder, version, error);
    if (!status)
        status = lock_folder(version, error);
    if (!status)
        status = read_manifest(version, expected, error);
    const struct snapshot_manifest *manifest = &version->manifest;
    if (!status && (manifest->epoch != current->epoch ||
                    manifest->version != current->version))
        status = base_fail(error, BASE_CORRUPT,
                           "manifest.json: is of version v%llu-%llu",
                           (unsigned long long)manifest->epoch,
                           (unsigned long long)manifest->version);
    return status;
}

static enum base_status done(struct snapshot_version *version,
                             enum base_status status, struct base_error *error)
{
    if (!status)
        return BASE_OK;
    base_wrap(error, "%s", version->name);
    snapshot_version_fini(version);
    return status;
}

enum base_status snapshot_version_begin(const char *model_folder,
                                        const struct snapshot_current *current,
                                        struct snapshot_version *version,
                                        struct base_error *error)
{
    snapshot_folder_print(current->epoch, current->version, version->name);
    enum base_status status = open_version(model_folder, current,
                                           &current->hash, version, error);
    if (!status && version->manifest.is_beside)
        status = base_fail(error, BASE_CORRUPT,
                           "manifest.json: beside: is no version itself");
    return done(version, status, error);
}

enum base_status snapshot_version_beside(const char *model_folder,
                                         const struct snapshot_current *current,
                                         struct snapshot_version *version,
                                         struct base_error *error)
{
    snapshot_beside_print(current->epoch, current->version, version->name);
    enum base_status status =
        open_version(model_folder, current, NULL, version, error);
    const struct snapshot_manifest *manifest = &version->manifest;
    if (!status && (manifest->kind != SNAPSHOT_BASE || !manifest->is_beside ||
                    !snapshot_hash_equal(manifest->beside, current->hash)))
        status = base_fail(error, BASE_CORRUPT,
                           "manifest.json: is no base beside v%llu-%llu",
                           (unsigned long long)current->epoch,
                           (unsigned long long)current->version);
    return done(version, status, error);
}

void snapshot_version_fini(struct snapshot_version *version)
{
    if (version->lock >= 0)
        close(version->lock);
    if (version->folder >= 0)
        close(version->folder);
    version->folder = version->lock = -1;
    snapshot_manifest_fini(&version->manifest);
}
