/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the folder and its tests: the publisher's inside, shared by
 * publisher.c (the folder) and publish.c (what comes from the learner), and
 * publishing from any content. */
#ifndef SNAPSHOT_PUBLISHER_H
#define SNAPSHOT_PUBLISHER_H

#include <pthread.h>

#include "snapshot/current.h"
#include "snapshot/snapshot.h"
#include "snapshot/writer.h"

struct snapshot_publisher {
    struct snapshot_config config;
    int folder; /* descriptor, locked */
    uint64_t epoch;
    struct snapshot_current current; /* version 0: none */
    /* Of the current version's manifest: what decides whether a delta may
     * follow it, and what the gate compares with. */
    struct snapshot_judged judged;
    uint64_t config_hash, training_hash;
    uint64_t position;
    struct snapshot_hash journal_hash;
    enum snapshot_dtype row_dtype;
    char arithmetic[32];
    pthread_mutex_t removal; /* one thread removes versions at a time */
};

/* Publishes the content as the next version: of kind base, or a delta that
 * changes what is current now. `manifest` comes with kind, rows of a delta, and
 * what the checkpoint says (position, configuration, metrics, offsets);
 * identity is filled here. */
enum base_status
snapshot_publisher_put(struct snapshot_publisher *publisher,
                       const struct snapshot_content *content,
                       struct snapshot_manifest *manifest,
                       struct snapshot_announcement *announcement,
                       struct base_error *error) BASE_MUST_CHECK;

/* Writes the content as the base beside a delta that was published: `manifest`
 * is that delta's as it was read, and is changed. BASE_BROKEN where the rows
 * are not as many as the version has. Any thread, beside the others. */
enum base_status
snapshot_publisher_put_beside(struct snapshot_publisher *publisher,
                              const struct snapshot_content *content,
                              struct snapshot_manifest *manifest,
                              struct snapshot_hash delta,
                              struct base_error *error) BASE_MUST_CHECK;

enum snapshot_dtype
snapshot_publisher_dtype(const struct snapshot_publisher *publisher);

/* Removes what retention no longer keeps, but for what a reader holds. What
 * cannot be removed is said in the log. Any thread. */
void snapshot_publisher_retain(struct snapshot_publisher *publisher);

#endif
