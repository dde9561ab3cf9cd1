/* SPDX-License-Identifier: Apache-2.0 */
/* Announcements of model versions on Kafka: idempotent producer, all replicas,
 * one in flight (librdkafka 2.0.2 burns a core with more before a silent
 * broker), keyed by the model's name. Every 10 s without a new version the
 * last one is announced again: a follower tells quiet from dead.
 *
 * Role store. Does not keep what is unsent: that is the state's outbox. */
#ifndef INGEST_ANNOUNCE_H
#define INGEST_ANNOUNCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "ingest/ingest.h"

enum { INGEST_ROW_MAX = 512, INGEST_HEARTBEAT_MS = 10000 };

/* Avro binary by schemas/announcement.avsc into row[INGEST_ROW_MAX]; its
 * size. */
size_t ingest_announcement_encode(const struct ingest_announcement *from,
                                  uint8_t *row);

struct ingest_announcer;
/* `heartbeat_ms` is INGEST_HEARTBEAT_MS but in tests. BORROWS config. */
enum base_status ingest_announcer_new(const struct ingest_config *config,
                                      int64_t heartbeat_ms,
                                      struct ingest_announcer **announcer,
                                      struct base_error *error) BASE_MUST_CHECK;
void ingest_announcer_free(struct ingest_announcer *announcer);

/* Nothing in flight: the next may be sent. */
bool ingest_announcer_idle(const struct ingest_announcer *announcer);
/* Sends until the brokers have it. Only when idle. size <= INGEST_ROW_MAX. */
void ingest_announcer_send(struct ingest_announcer *announcer, uint64_t epoch,
                           uint64_t version, const void *row, size_t size);
/* A version that was announced before: only repeated from now on. */
void ingest_announcer_repeat(struct ingest_announcer *announcer,
                             const void *row, size_t size);
/* Receipts, time-outs, heartbeat, a new producer after a fatal error; does
 * not block. True once for each version that the brokers have. */
bool ingest_announcer_step(struct ingest_announcer *announcer,
                           uint64_t *epoch, uint64_t *version);
/* Producers made: more than 1 after a fatal error. For tests: the handle. */
unsigned ingest_announcer_producers(const struct ingest_announcer *announcer);
void *ingest_announcer_handle(struct ingest_announcer *announcer);

#endif
