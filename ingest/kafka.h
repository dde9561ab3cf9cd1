/* SPDX-License-Identifier: Apache-2.0 */
/* librdkafka handles as ingest needs them: the properties that a promise
 * depends on are fixed here, everything else is the user's. Private to
 * source, anchor, ends and announce, the only files that see rdkafka.h. */
#ifndef INGEST_KAFKA_H
#define INGEST_KAFKA_H

#include <stdint.h>

#include "base/status.h"
#include "ingest/ingest.h"
#include "ingest/state.h"

#include <librdkafka/rdkafka.h>

enum ingest_kafka_role {
    INGEST_KAFKA_SOURCE, /* reads the topics, committed records only */
    INGEST_KAFKA_HELPER, /* true ends and anchors: all records */
    INGEST_KAFKA_PRODUCER, /* announcements: idempotent */
    INGEST_KAFKA_MEMBER, /* of a group; reads nothing */
};

struct ingest_kafka_callbacks {
    void *self; /* rd_kafka_opaque() */
    /* librdkafka's own lines, on any of its threads; NULL: ours. */
    void (*log)(const rd_kafka_t *handle, int level, const char *facility,
                const char *text);
    void (*error)(rd_kafka_t *handle, int code, const char *text, void *self);
    void (*delivered)(rd_kafka_t *handle, const rd_kafka_message_t *message,
                      void *self);
    void (*rebalance)(rd_kafka_t *handle, rd_kafka_resp_err_t code,
                      rd_kafka_topic_partition_list_t *list, void *self);
};

/* A line of librdkafka's into our log. Any thread. */
void ingest_kafka_log(const rd_kafka_t *handle, int level,
                      const char *facility, const char *text);

/* BASE_CONFIG names the property and why its value cannot be. `partitions`
 * divides the memory for prefetched records (source). */
enum base_status
ingest_kafka_new(const struct ingest_config *config,
                 enum ingest_kafka_role role, unsigned partitions,
                 const struct ingest_kafka_callbacks *callbacks,
                 rd_kafka_t **handle, struct base_error *error) BASE_MUST_CHECK;

/* Destroys a handle; takes NULL. librdkafka 2.0.2 may wait for ever for one
 * whose topic had gone: then it is left behind, silent. Waits a few seconds at
 * most. No queue of it may be held. */
void ingest_kafka_free(rd_kafka_t *handle);
/* The same for a member of a group, which takes its leave first. False where it
 * is left behind: then it may call back yet. */
bool ingest_kafka_leave(rd_kafka_t *handle);

/* Checks the properties of all roles without a connection. */
enum base_status ingest_kafka_check(const struct ingest_config *config,
                                    struct base_error *error) BASE_MUST_CHECK;

/* Offsets of the partitions positions[slots[i]] at `timestamp`
 * (RD_KAFKA_OFFSET_BEGINNING or RD_KAFKA_OFFSET_END; of a read-uncommitted
 * handle the latter is the true end) into offsets[i]; -1 where the broker
 * did not say. One request a broker; blocks up to timeout_ms. */
enum base_status
ingest_kafka_offsets(rd_kafka_t *handle, const struct ingest_config *config,
                     const struct ingest_position *positions,
                     const unsigned *slots, unsigned count, int64_t timestamp,
                     int timeout_ms, int64_t *offsets,
                     struct base_error *error) BASE_MUST_CHECK;

#endif
