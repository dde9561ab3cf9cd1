/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the folder and its tests: publishing from any content. */
#ifndef SNAPSHOT_PUBLISHER_H
#define SNAPSHOT_PUBLISHER_H

#include "snapshot/snapshot.h"
#include "snapshot/writer.h"

/* snapshot_publish with the content given: `manifest` comes with what the
 * checkpoint says (position, configuration, metrics, offsets); identity is
 * filled here. */
enum base_status
snapshot_publisher_put(struct snapshot_publisher *publisher,
                       const struct snapshot_content *content,
                       struct snapshot_manifest *manifest,
                       struct snapshot_announcement *announcement,
                       struct base_error *error) BASE_MUST_CHECK;

#endif
