/* SPDX-License-Identifier: Apache-2.0 */
/* An idempotent producer that sends records to partitions by murmur2 of their
 * key, and, where asked, never runs more than so many bytes a partition ahead
 * of what a consumer group has committed (the mock broker keeps only 5 MiB a
 * partition). One thread. */
#ifndef DAEMON_SENDER_H
#define DAEMON_SENDER_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "daemon/config.h"

struct sender;

struct sender_record {
    unsigned topic; /* enum ingest_topic */
    const void *key, *value;
    size_t key_size, size;
    int64_t kafka_ms;
};

/* window_bytes 0: no limit. *stopping ends waits early. */
enum base_status sender_open(const struct daemon_config *config,
                             uint64_t window_bytes,
                             const volatile sig_atomic_t *stopping,
                             struct sender **sender,
                             struct base_error *error) BASE_MUST_CHECK;
void sender_close(struct sender *sender);

/* Queues a copy; waits where the queue or the window is full. BASE_STOPPED
 * once *stopping. */
enum base_status sender_send(struct sender *sender,
                             const struct sender_record *record,
                             struct base_error *error) BASE_MUST_CHECK;
/* Waits until all is acknowledged. BASE_UNAVAILABLE where some is not. */
enum base_status sender_flush(struct sender *sender, int timeout_ms,
                              struct base_error *error) BASE_MUST_CHECK;

struct sender_counts {
    uint64_t sent, delivered, failed, bytes;
};
struct sender_counts sender_get_counts(const struct sender *sender);

#endif
