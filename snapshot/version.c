/* SPDX-License-Identifier: Apache-2.0 */
/* Opening of a version; see version.h. */
#include "snapshot/version.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "snapshot/golden.h"

static enum base_status open_folder(const char *model_folder,
                                    struct snapshot_version *version,
                                    struct base_error *error)
{
    int parent = open(model_folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0)
        return base_fail_errno(error, errno, "%s", model_folder);
    version->folder =
        openat(parent, version->current.name,
               O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int why = errno;
    close(parent);
    if (version->folder < 0)
        return base_fail_errno(error, why, "open folder");
    return BASE_OK;
}

static enum base_status read_manifest(struct snapshot_version *version,
                                      struct base_error *error)
{
    char *text = NULL;
    size_t size = 0;
    const struct snapshot_current *current = &version->current;
    enum base_status status =
        snapshot_file_read(version->folder, "manifest.json",
                           SNAPSHOT_MANIFEST_MAX, &text, &size, error);
    if (status)
        return status;
    if (!snapshot_hash_equal(snapshot_hash_of(text, size), current->hash))
        status = base_fail(error, BASE_CORRUPT,
                           "manifest.json: its hash is not the one that "
                           "CURRENT names");
    if (!status)
        status = snapshot_manifest_read(text, size, &version->manifest, error);
    free(text);
    if (!status && (version->manifest.epoch != current->epoch ||
                    version->manifest.version != current->version))
        status = base_fail(error, BASE_CORRUPT,
                           "manifest.json: is of version v%llu-%llu",
                           (unsigned long long)version->manifest.epoch,
                           (unsigned long long)version->manifest.version);
    return status;
}

enum base_status snapshot_version_begin(const char *model_folder,
                                        const struct snapshot_current *current,
                                        struct snapshot_version *version,
                                        struct base_error *error)
{
    memset(version, 0, sizeof *version);
    version->folder = -1;
    version->current = *current;
    enum base_status status = open_folder(model_folder, version, error);
    if (!status)
        status = read_manifest(version, error);
    return status ? base_wrap(error, "%s", current->name) : BASE_OK;
}

enum base_status snapshot_version_finish(struct snapshot_version *version,
                                         const struct learner_model *model,
                                         struct base_error *error)
{
    enum base_status status =
        snapshot_weights_open(version->folder, &version->manifest, model,
                              &version->weights, error);
    if (!status)
        status = snapshot_golden_check(&version->manifest, model,
                                       &version->weights, error);
    close(version->folder);
    version->folder = -1;
    return status ? base_wrap(error, "%s", version->current.name) : BASE_OK;
}

void snapshot_version_fini(struct snapshot_version *version)
{
    if (version->folder >= 0)
        close(version->folder);
    version->folder = -1;
    snapshot_weights_fini(&version->weights);
    snapshot_manifest_fini(&version->manifest);
}
