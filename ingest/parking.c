/* SPDX-License-Identifier: Apache-2.0 */
/* Partitions that wait for a schema of the registry.
 *
 * 1. The record that names an unknown schema parks its partition. It and all
 *    that were fetched with it are held, in their order; the partition's queue
 *    is not polled any more, so librdkafka fetches no further than its own
 *    bound, and nothing is fetched twice.
 * 2. Held records go on before any other of their partition.
 * 3. The schemas of held records are asked for at once, not one after another.
 * Role ingest. */
#include <stdlib.h>

#include "base/log.h"
#include "ingest/source_parts.h"

static void count_parked(struct ingest_source *source, int change)
{
    pthread_mutex_lock(&source->mutex);
    source->parked += (unsigned)change;
    pthread_mutex_unlock(&source->mutex);
}

bool ingest_source_park(struct ingest_source *source, unsigned i,
                        const rd_kafka_message_t *message)
{
    struct ingest_slot *slot = &source->slots[i];
    unsigned topic = i / source->per_topic;
    if (!ingest_decoder_waits(source->decoders[topic], message->payload,
                              message->len, &slot->parked_schema))
        return false;
    slot->parked = true;
    count_parked(source, 1);
    base_log(BASE_LOG_INFO,
             "event=partition_parked topic=%s partition=%d offset=%lld "
             "schema_id=%u", ingest_source_topic(source, i),
             message->partition, (long long)message->offset,
             slot->parked_schema);
    return true;
}

void ingest_source_unpark(struct ingest_source *source)
{
    if (!source->registry || !source->parked)
        return;
    for (unsigned i = 0; i < source->slot_count; i++) {
        struct ingest_slot *slot = &source->slots[i];
        if (!slot->parked ||
            (!slot->stopped && !slot->cause &&
             ingest_registry_ask(source->registry, slot->parked_schema) ==
                 INGEST_REGISTRY_WANTED))
            continue;
        slot->parked = false;
        count_parked(source, -1);
    }
}

bool ingest_source_holds(const struct ingest_slot *slot)
{
    return slot->held_at < slot->held_count;
}

enum base_status ingest_source_hold(struct ingest_source *source, unsigned i,
                                    rd_kafka_message_t *message,
                                    struct base_error *error)
{
    struct ingest_slot *slot = &source->slots[i];
    if (slot->held_count == slot->held_room) {
        unsigned room = slot->held_room ? 2 * slot->held_room : 64;
        rd_kafka_message_t **held =
            realloc(slot->held, room * sizeof *slot->held);
        if (!held)
            return base_fail(error, BASE_SYSTEM,
                             "source: no memory for held records");
        slot->held = held;
        slot->held_room = room;
    }
    slot->held[slot->held_count++] = message;
    uint32_t id;
    if (!message->err) /* asks for it; when it is due it will be looked at */
        (void)ingest_decoder_waits(source->decoders[i / source->per_topic],
                                   message->payload, message->len, &id);
    return BASE_OK;
}

enum base_status ingest_source_release(struct ingest_source *source,
                                       unsigned i, struct base_error *error)
{
    struct ingest_slot *slot = &source->slots[i];
    while (!slot->parked && ingest_source_holds(slot) &&
           ingest_merge_room(source->merge, i) > 0) {
        rd_kafka_message_t *message = slot->held[slot->held_at];
        enum base_status status =
            ingest_source_judge(source, i, message, error);
        if (status)
            return status;
        source->polled = true;
        if (slot->parked)
            return BASE_OK; /* by this one: it stays the first */
        slot->held_at++;
        rd_kafka_message_destroy(message);
    }
    if (!ingest_source_holds(slot))
        slot->held_at = slot->held_count = 0;
    return BASE_OK;
}

void ingest_source_drop_held(struct ingest_slot *slot)
{
    for (; ingest_source_holds(slot); slot->held_at++)
        rd_kafka_message_destroy(slot->held[slot->held_at]);
    free(slot->held);
    slot->held = NULL;
    slot->held_at = slot->held_count = slot->held_room = 0;
}
