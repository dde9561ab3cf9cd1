/* SPDX-License-Identifier: Apache-2.0 */
/* One record of Kafka on its way from the merge to the state machine, and the
 * chunks in which events are handed over. */
#ifndef INGEST_EVENT_H
#define INGEST_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "ingest/ingest.h"

enum ingest_event_kind {
    INGEST_EVENT_IMPRESSION,
    INGEST_EVENT_CLICK,
    INGEST_EVENT_DEAD, /* reason, payload kept */
};

/* Decisions by the clock, bits; letter.h has 4, 8 and 64. AHEAD: dead letter. */
enum {
    INGEST_FLOORED = 1,
    INGEST_CLAMPED = 2,
    INGEST_AHEAD = 16,
    INGEST_UNREGISTERED = 32, /* its schema was not to be had: dead letter */
};

enum { INGEST_FUTURE_MS = 300000 }; /* event_ms so far above its stamp: dead */

/* What the producer says of the history that was scored with. */
struct ingest_served {
    uint64_t hash;  /* id of what was logged (skew.h); 0: nothing was */
    int64_t length; /* behaviors */
    int64_t version; /* 0: not said */
};

struct ingest_event {
    uint8_t kind;      /* enum ingest_event_kind */
    uint8_t topic;     /* enum ingest_topic */
    uint8_t reason;    /* enum ingest_reason, of a dead letter */
    uint8_t decisions; /* INGEST_FLOORED | _CLAMPED | _AHEAD */
    int32_t partition;
    int64_t offset;
    int64_t kafka_ms; /* -1 where there is none */
    uint32_t crc;     /* XXH3-64 of the payload, low half: anchor check */
    int64_t own_ms;   /* running maximum of stamp in its partition */
    int64_t apply_ms; /* running maximum of max(own_ms, floors) */
    int64_t event_ms;
    uint64_t user;       /* id */
    uint64_t event_id;   /* of this event, for de-duplication; never 0 */
    uint64_t impression; /* click: the impression it names, 0 for none;
                            impression: = event_id */
    struct ingest_served served; /* impression */
    /* Impression: F ids in schema order. Click: f item ids. */
    const uint64_t *ids;
    const uint8_t *payload; /* dead letter: raw value, key left out */
    uint32_t payload_size;
    uint32_t cut; /* bytes of the value that payload leaves out at its end */
};

/* Up to INGEST_CHUNK_EVENTS events with their ids and payloads in one
 * allocation; made by `ingest`, freed by `store`. */
enum { INGEST_CHUNK_EVENTS = 2048 };
struct ingest_chunk {
    uint32_t count;
    struct ingest_event events[INGEST_CHUNK_EVENTS];
    /* Behind its events: this partition number of both topics stopped for
     * cause; -1: none. */
    int32_t stop_partition;
    bool revoked; /* not for cause: another member of the group has them */
    char stop_reason[200];
    /* backing store of ids and payloads, private to the maker */
    uint8_t *arena;
    uint32_t arena_used, arena_size;
};

/* Order in which all partitions are applied: (apply_ms, own_ms, topic with
 * impressions first, partition, offset). <0, 0, >0. */
static inline int ingest_event_order(const struct ingest_event *a,
                                     const struct ingest_event *b)
{
#define INGEST_ORDER(x) \
    if (a->x != b->x) return a->x < b->x ? -1 : 1
    INGEST_ORDER(apply_ms);
    INGEST_ORDER(own_ms);
    INGEST_ORDER(topic);
    INGEST_ORDER(partition);
    INGEST_ORDER(offset);
#undef INGEST_ORDER
    return 0;
}

#endif
