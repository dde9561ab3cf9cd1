/* SPDX-License-Identifier: Apache-2.0 */
/* A version's folder, opened: its manifest, verified, and a descriptor to open
 * its files below. While it is open, a shared lock (flock) on manifest.json
 * keeps the publisher from removing the folder. Nothing is parsed before its
 * hash agrees. One thread. */
#ifndef SNAPSHOT_VERSION_H
#define SNAPSHOT_VERSION_H

#include "snapshot/current.h"

struct snapshot_version {
    int folder, lock; /* descriptors, or -1 */
    char name[SNAPSHOT_FOLDER_NAME]; /* of the folder */
    struct snapshot_manifest manifest;
};

/* The version that CURRENT, or a delta's `parent`, names: its manifest has that
 * hash and says that epoch and version. BASE_NO_INPUT where the folder is not
 * there. After an error it is fini'd. */
enum base_status snapshot_version_begin(const char *model_folder,
                                        const struct snapshot_current *current,
                                        struct snapshot_version *version,
                                        struct base_error *error)
    BASE_MUST_CHECK;

/* The base beside that version: `beside` in its manifest is that version's
 * hash. */
enum base_status snapshot_version_beside(const char *model_folder,
                                         const struct snapshot_current *current,
                                         struct snapshot_version *version,
                                         struct base_error *error)
    BASE_MUST_CHECK;
void snapshot_version_fini(struct snapshot_version *version);

#endif
