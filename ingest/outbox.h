/* SPDX-License-Identifier: Apache-2.0 */
/* Announcements that must leave: rows of opaque bytes by (epoch, version),
 * written with the version's commit, marked when Kafka has them. Sent rows
 * are kept as marks, the newest 64 of them, so that a restart knows what was
 * announced. Key: big-endian epoch, version; value: u8 sent, bytes.
 * Thread: store, within a transaction. */
#ifndef INGEST_OUTBOX_H
#define INGEST_OUTBOX_H

#include "ingest/store.h"

enum base_status ingest_outbox_put(struct ingest_store *store, uint64_t epoch,
                                   uint64_t version, const void *row,
                                   size_t size,
                                   struct base_error *error) BASE_MUST_CHECK;
enum base_status ingest_outbox_sent(struct ingest_store *store, uint64_t epoch,
                                    uint64_t version,
                                    struct base_error *error) BASE_MUST_CHECK;
enum base_status ingest_outbox_next(struct ingest_store *store,
                                    uint64_t *epoch, uint64_t *version,
                                    void **row, size_t *size,
                                    struct base_error *error) BASE_MUST_CHECK;
/* Whether Kafka has it, as far as the kept marks tell. */
enum base_status ingest_outbox_announced(struct ingest_store *store,
                                         uint64_t epoch, uint64_t version,
                                         bool *announced,
                                         struct base_error *error)
    BASE_MUST_CHECK;

#endif
