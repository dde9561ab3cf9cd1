/* SPDX-License-Identifier: Apache-2.0 */
/* Folders of no use; see leftovers.h. */
#include "daemon/leftovers.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

static enum base_status remove_one(const char *path, uint64_t *removed,
                                   struct base_error *error)
{
    if (access(path, F_OK))
        return BASE_OK;
    enum base_status status = base_file_remove(path, error);
    *removed += status == BASE_OK;
    return status;
}

/* Damaged checkpoints in a model's folder, which may not be there. */
static enum base_status remove_damaged(const char *folder, uint64_t *removed,
                                       struct base_error *error)
{
    static const char prefix[] = "damaged-";
    enum base_status status = BASE_OK;
    DIR *entries = opendir(folder);
    if (!entries)
        return BASE_OK;
    for (struct dirent *entry; !status && (entry = readdir(entries));) {
        char path[1400];
        if (strncmp(entry->d_name, prefix, sizeof prefix - 1) != 0)
            continue;
        status = base_file_join(path, sizeof path, folder, entry->d_name,
                                error);
        if (!status)
            status = remove_one(path, removed, error);
    }
    closedir(entries);
    return status;
}

enum base_status daemon_leftovers_remove(const struct daemon_config *config,
                                         uint64_t *removed,
                                         struct base_error *error)
{
    enum base_status status =
        remove_damaged(config->learner.folder, removed, error);
    for (unsigned i = 0; !status && i < config->shadow_count; i++) {
        char old[1100];
        snprintf(old, sizeof old, "%s.old", config->shadows[i].folder);
        status = remove_damaged(config->shadows[i].folder, removed, error);
        if (!status)
            status = remove_one(old, removed, error);
    }
    return status;
}
