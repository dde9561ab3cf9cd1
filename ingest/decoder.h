/* SPDX-License-Identifier: Apache-2.0 */
/* From the value of a Kafka record to an event: framing, the program of its
 * writer's schema, and from slots to ids. Whatever is wrong with a record
 * becomes a dead letter with a reason; nothing here fails for a record.
 *
 * One decoder a topic; one owner thread (ingest). Knows no Kafka handle, no
 * clock and no order: own_ms, apply_ms and decisions are the merge's. */
#ifndef INGEST_DECODER_H
#define INGEST_DECODER_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "ingest/event.h"
#include "ingest/ingest.h"
#include "ingest/registry.h"

enum { INGEST_SCHEMA_MAX = 1 << 20 }; /* bytes of an .avsc file */

struct ingest_decoder;

/* Reads and compiles the pinned schema (PLAIN), or looks at the folder of
 * schemas (CONFLUENT: <id>.avsc, compiled when an id is first met). Where
 * `registry` (may be NULL; BORROWS) is given, its folder is that of CONFLUENT.
 * The reader's schema, where there is one, must have every path.
 * BASE_CONFIG or BASE_DATA names the file and what does not fit. */
enum base_status ingest_decoder_new(const struct ingest_config *config,
                                    enum ingest_topic topic,
                                    struct ingest_registry *registry,
                                    struct ingest_decoder **decoder,
                                    struct base_error *error) BASE_MUST_CHECK;
void ingest_decoder_free(struct ingest_decoder *decoder);

/* Whether the registry is still being asked for the schema of this record, and
 * its id; read it later then. */
bool ingest_decoder_waits(struct ingest_decoder *decoder, const uint8_t *bytes,
                          size_t size, uint32_t *schema_id);

/* Ids that an event of this topic has. */
unsigned ingest_decoder_ids(const struct ingest_decoder *decoder);
/* Elements of multi-hot arrays that found no place so far. Any thread. */
uint64_t ingest_decoder_cut(const struct ingest_decoder *decoder);

/* Fills kind, reason, crc, event_ms, user, event_id, impression and ids[];
 * of a dead letter payload (OWNS, malloc) with at most event_max bytes.
 * event->kafka_ms must stand already. bytes NULL: a tombstone. */
void ingest_decoder_read(struct ingest_decoder *decoder, const uint8_t *bytes,
                        size_t size, struct ingest_event *event,
                        uint64_t *ids);

/* Makes the event just read from these bytes, or not read yet, a dead letter,
 * with crc and payload as above. */
void ingest_decoder_bury(const struct ingest_decoder *decoder,
                         enum ingest_reason reason, const uint8_t *bytes,
                         size_t size, struct ingest_event *event);

#endif
