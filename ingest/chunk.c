/* SPDX-License-Identifier: Apache-2.0 */
/* Chunks; see chunk.h. Ids and payloads lie in one arena, 8-byte aligned, and
 * never move while the chunk is filled. */
#include "ingest/chunk.h"

#include <stdlib.h>
#include <string.h>

struct ingest_chunk *ingest_chunk_new(uint32_t ids, uint32_t event_max)
{
    struct ingest_chunk *chunk = calloc(1, sizeof *chunk);
    if (!chunk)
        return NULL;
    chunk->arena_size =
        INGEST_CHUNK_EVENTS * ids * 8 + (event_max + 7) / 8 * 8;
    chunk->arena = malloc(chunk->arena_size);
    if (!chunk->arena) {
        free(chunk);
        return NULL;
    }
    ingest_chunk_clear(chunk);
    return chunk;
}

void ingest_chunk_free(struct ingest_chunk *chunk)
{
    if (chunk)
        free(chunk->arena);
    free(chunk);
}

void ingest_chunk_clear(struct ingest_chunk *chunk)
{
    chunk->count = 0;
    chunk->arena_used = 0;
    chunk->stop_partition = -1;
    chunk->revoked = false;
}

bool ingest_chunk_append(struct ingest_chunk *chunk,
                         const struct ingest_event *from, uint32_t ids)
{
    bool dead = from->kind == INGEST_EVENT_DEAD;
    uint32_t bytes = dead ? (from->payload_size + 7) / 8 * 8 : ids * 8;
    if (chunk->count == INGEST_CHUNK_EVENTS ||
        chunk->arena_size - chunk->arena_used < bytes)
        return false;
    struct ingest_event *event = &chunk->events[chunk->count++];
    *event = *from;
    uint8_t *at = chunk->arena + chunk->arena_used;
    chunk->arena_used += bytes;
    event->ids = dead ? NULL : (const uint64_t *)(const void *)at;
    event->payload = dead && from->payload ? at : NULL;
    if (dead && from->payload)
        memcpy(at, from->payload, from->payload_size);
    else if (!dead)
        memcpy(at, from->ids, bytes);
    return true;
}
