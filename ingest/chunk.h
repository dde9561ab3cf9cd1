/* SPDX-License-Identifier: Apache-2.0 */
/* Chunks of events (event.h): made once, filled by `ingest`, read by `store`,
 * and given back. One owner at a time. */
#ifndef INGEST_CHUNK_H
#define INGEST_CHUNK_H

#include <stdbool.h>

#include "ingest/event.h"

/* Room for INGEST_CHUNK_EVENTS events of up to `ids` ids, or for one payload
 * of event_max bytes beside them. NULL where memory is refused. */
struct ingest_chunk *ingest_chunk_new(uint32_t ids, uint32_t event_max);
void ingest_chunk_free(struct ingest_chunk *chunk); /* takes NULL */
void ingest_chunk_clear(struct ingest_chunk *chunk);

/* Copies the event with its ids, or a dead letter with its payload; false
 * where the chunk has no room (never so when it is empty). */
bool ingest_chunk_append(struct ingest_chunk *chunk,
                         const struct ingest_event *from, uint32_t ids);

#endif
