/* SPDX-License-Identifier: Apache-2.0 */
/* Membership in a consumer group: which partition numbers are ours to merge.
 *
 * 1. A handle of its own joins, is told and takes its leave; it never fetches.
 *    What is read, and from where, is the source's business: offsets of the
 *    group are written (for lag tools) and never read.
 * 2. A number is ours where both topics' partitions of it are: the range
 *    assignor gives them to one member, for both topics have as many.
 * 3. A revoke is acknowledged once ingest_group_release() says so; until then
 *    the coordinator holds the other members.
 * 4. Who is fenced, or was taken for dead, says so and joins again.
 *
 * Role ingest, but where a function says otherwise. Reads no records. */
#ifndef INGEST_GROUP_H
#define INGEST_GROUP_H

#include "ingest/kafka.h"

struct ingest_group;

enum ingest_group_phase {
    INGEST_GROUP_JOINING,  /* nothing is ours, and nobody waits for us */
    INGEST_GROUP_REVOKING, /* nothing is ours; to be released */
    INGEST_GROUP_MEMBER,   /* the numbers are known */
};

/* BASE_CONFIG where other settings cannot work together with a group. */
enum base_status ingest_group_check(const struct ingest_config *config,
                                    struct base_error *error) BASE_MUST_CHECK;
/* Joins in the background. event_fd is written where there is news. */
enum base_status ingest_group_new(const struct ingest_config *config,
                                  int event_fd, struct ingest_group **group,
                                  struct base_error *error) BASE_MUST_CHECK;
/* Takes its leave, so that the others need not wait for a timeout (a static
 * member's they do); waits a few seconds at most. Takes NULL. */
void ingest_group_free(struct ingest_group *group);

/* Hears the coordinator; to be called more often than max.poll.interval.ms.
 * now_ms is monotonic. */
enum ingest_group_phase ingest_group_poll(struct ingest_group *group,
                                          int64_t now_ms);
/* Of a MEMBER: which assignment it is, counted from 1, and whether the number
 * is ours in it. */
uint64_t ingest_group_assignment(const struct ingest_group *group);
bool ingest_group_owns(const struct ingest_group *group, unsigned number);
/* Acknowledges a revoke. */
void ingest_group_release(struct ingest_group *group);

/* Any thread. */
void ingest_group_commit(struct ingest_group *group,
                         const struct ingest_position *positions,
                         unsigned count);
void ingest_group_get_status(struct ingest_group *group,
                             struct ingest_group_status *status);

#endif
