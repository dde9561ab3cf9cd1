/* SPDX-License-Identifier: Apache-2.0 */
/* The file CURRENT of a model folder: one line
 * `v<epoch>-<version> <manifest hash>`. Replacing it commits a version. */
#ifndef SNAPSHOT_CURRENT_H
#define SNAPSHOT_CURRENT_H

#include "snapshot/manifest.h"

struct snapshot_current {
    uint64_t epoch, version;
    char name[SNAPSHOT_FOLDER_NAME]; /* of the version's folder */
    struct snapshot_hash hash;       /* of its manifest.json */
};

/* BASE_NO_INPUT: nothing published. BASE_CORRUPT: not such a line. */
enum base_status snapshot_current_read(const char *folder,
                                       struct snapshot_current *current,
                                       struct base_error *error)
    BASE_MUST_CHECK;
enum base_status snapshot_current_write(const char *folder,
                                        const struct snapshot_current *current,
                                        struct base_error *error)
    BASE_MUST_CHECK;

/* The same version of the same content. */
bool snapshot_current_equal(const struct snapshot_current *a,
                            const struct snapshot_current *b);
/* Below, equal to or above 0 as (epoch, version) of a to b. */
int snapshot_current_compare(const struct snapshot_current *a,
                             const struct snapshot_current *b);

/* Reads all of `name` below the folder descriptor into *data (OWNS, a NUL
 * behind); a symbolic link is not followed. */
enum base_status snapshot_file_read(int folder, const char *name, size_t max,
                                    char **data, size_t *size,
                                    struct base_error *error)
    BASE_MUST_CHECK;

#endif
