/* SPDX-License-Identifier: Apache-2.0 */
/* An older version's content, published again as the next version: loaded as a
 * reader does (base, then deltas, each verified), written as a base of a new
 * epoch. Rows keep their type, so that every tensor comes out with the bits it
 * had. Role: publish. The gate is not asked. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "snapshot/loaded.h"
#include "snapshot/publisher.h"

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
    struct snapshot_loaded *loaded = calloc(1, sizeof *loaded);
    if (!loaded)
        return base_fail(error, BASE_SYSTEM, "rollback: no memory");
    enum base_status status = snapshot_loaded_init(
        publisher->config.folder, epoch, version, loaded, error);
    if (!status) {
        struct snapshot_manifest *manifest = &loaded->version.manifest;
        const struct snapshot_content content = {
            .model = loaded->model,
            .dense = loaded->generation.dense,
            .self = loaded,
            .rows = snapshot_loaded_rows,
        };
        repeat(manifest);
        publisher->epoch = now > before ? now : before + 1;
        status = snapshot_publisher_put(publisher, &content, manifest,
                                        announcement, error);
    }
    snapshot_loaded_fini(loaded);
    free(loaded);
    return status ? base_wrap(error, "rollback to v%llu-%llu",
                              (unsigned long long)epoch,
                              (unsigned long long)version)
                  : BASE_OK;
}
