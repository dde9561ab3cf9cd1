/* SPDX-License-Identifier: Apache-2.0 */
/* Partitions, positions and buckets; see ledger.h. */
#include "ingest/ledger.h"

#include <string.h>

#include "base/bytes.h"
#include "ingest/digest.h"

enum { KEY_SIZE = 5, FORMAT = 1, FORMAT_BEFORE = 2, BUCKETS_STORED = 23 };

/* Stored form; unused buckets are 0 so that new ones can be named later.
 * Format 1: `before` is 0. Format 2: it is not; who knows only format 1 would
 * find offsets in no bucket, and is told that the value does not verify. */
struct ingest_ledger_value {
    uint64_t hash; /* XXH3-64 of the rest, seed 0 */
    uint32_t format, anchor_crc;
    int64_t next, start, own_ms, apply_ms, anchor_offset, anchor_ms;
    uint64_t buckets[BUCKETS_STORED];
    uint64_t before;
};

_Static_assert((int)INGEST_BUCKET_COUNT <= (int)BUCKETS_STORED,
               "format 3 is due");

static uint64_t key_of(uint8_t topic, int32_t partition)
{
    return (uint64_t)topic << 32 | (uint32_t)partition;
}

static const char *topic_name(uint8_t topic)
{
    return topic == INGEST_IMPRESSIONS ? "impressions" : "clicks";
}

enum base_status ingest_ledger_init(struct ingest_ledger *ledger,
                                    struct ingest_store *store,
                                    struct base_error *error)
{
    ledger->store = store;
    ledger->count = 0;
    return base_map_new(&ledger->index, 0, error);
}

void ingest_ledger_fini(struct ingest_ledger *ledger)
{
    base_map_free(ledger->index);
    ledger->index = NULL;
}

struct ingest_partition *ingest_ledger_find(const struct ingest_ledger *ledger,
                                            uint8_t topic, int32_t partition)
{
    uint64_t *place = base_map_get(ledger->index, key_of(topic, partition));
    if (!place)
        return NULL;
    return (struct ingest_partition *)&ledger->partitions[*place];
}

static enum base_status add(struct ingest_ledger *ledger,
                            const struct ingest_partition *partition,
                            struct base_error *error)
{
    if (ledger->count == INGEST_PARTITIONS_MAX)
        return base_fail(error, BASE_LIMIT,
                         "ledger: more than %d partitions in one instance",
                         INGEST_PARTITIONS_MAX);
    uint64_t key = key_of(partition->position.topic,
                          partition->position.partition);
    enum base_status status =
        base_map_put(ledger->index, key, ledger->count, error);
    if (!status)
        ledger->partitions[ledger->count++] = *partition;
    return status;
}

enum base_status ingest_ledger_decode(struct ingest_bytes key,
                                      struct ingest_bytes value,
                                      struct ingest_partition *partition,
                                      struct base_error *error)
{
    struct ingest_ledger_value stored;
    if (key.size != KEY_SIZE || value.size != sizeof stored)
        return base_fail(error, BASE_CORRUPT, "ledger: a record's size is %zu",
                         value.size);
    memcpy(&stored, value.data, sizeof stored);
    uint8_t topic = *(const uint8_t *)key.data;
    int32_t number = (int32_t)__builtin_bswap32(
        base_get_u32((const uint8_t *)key.data + 1));
    uint64_t hash = ingest_digest_64((const uint8_t *)&stored + 8,
                                   sizeof stored - 8, 0);
    uint32_t format = stored.before ? FORMAT_BEFORE : FORMAT;
    if (hash != stored.hash || stored.format != format ||
        topic >= INGEST_TOPICS)
        return base_fail(error, BASE_CORRUPT,
                         "ledger: %s partition %d does not verify",
                         topic_name(topic), (int)number);
    memset(partition, 0, sizeof *partition);
    partition->position = (struct ingest_position){
        .topic = topic, .partition = number, .next = stored.next,
        .start = stored.start, .own_ms = stored.own_ms,
        .apply_ms = stored.apply_ms, .anchor_offset = stored.anchor_offset,
        .anchor_ms = stored.anchor_ms, .anchor_crc = stored.anchor_crc};
    partition->before = stored.before;
    memcpy(partition->buckets, stored.buckets, sizeof partition->buckets);
    return BASE_OK;
}

enum base_status ingest_ledger_load(struct ingest_ledger *ledger,
                                    struct base_error *error)
{
    struct ingest_cursor cursor;
    struct ingest_partition partition;
    enum base_status status = ingest_cursor_open(
        ledger->store, NULL, INGEST_DB_PARTITIONS, &cursor, error);
    if (!status)
        status = ingest_cursor_move(&cursor, INGEST_MOVE_FIRST, error);
    while (!status && cursor.key.data) {
        status = ingest_ledger_decode(cursor.key, cursor.value, &partition,
                                      error);
        if (!status)
            status = add(ledger, &partition, error);
        if (!status)
            status = ingest_cursor_move(&cursor, INGEST_MOVE_NEXT, error);
    }
    ingest_cursor_close(&cursor);
    return status;
}

enum base_status ingest_ledger_start(struct ingest_ledger *ledger,
                                     uint8_t topic, int32_t partition,
                                     int64_t first_offset,
                                     struct base_error *error)
{
    if (topic >= INGEST_TOPICS || first_offset < 0)
        return base_fail(error, BASE_BROKEN,
                         "ledger: partition %d of topic %d cannot start at "
                         "offset %lld",
                         (int)partition, topic, (long long)first_offset);
    if (ingest_ledger_find(ledger, topic, partition))
        return base_fail(error, BASE_BROKEN,
                         "ledger: %s partition %d was started before",
                         topic_name(topic), (int)partition);
    struct ingest_partition made = {
        .position = {.topic = topic, .partition = partition,
                     .next = first_offset, .start = first_offset,
                     .own_ms = INT64_MIN, .apply_ms = INT64_MIN,
                     .anchor_offset = -1, .anchor_ms = -1},
        .dirty = true};
    return add(ledger, &made, error);
}

enum base_status ingest_ledger_advance(struct ingest_partition *partition,
                                       const struct ingest_event *event,
                                       struct base_error *error)
{
    struct ingest_position *position = &partition->position;
    if (event->offset < position->next)
        return base_fail(error, BASE_BROKEN,
                         "ledger: %s partition %d: offset %lld was applied "
                         "before, next is %lld",
                         topic_name(event->topic), (int)event->partition,
                         (long long)event->offset,
                         (long long)position->next);
    partition->buckets[INGEST_CONTROL] +=
        (uint64_t)(event->offset - position->next);
    position->next = event->offset + 1;
    if (event->own_ms > position->own_ms)
        position->own_ms = event->own_ms;
    if (event->apply_ms > position->apply_ms)
        position->apply_ms = event->apply_ms;
    position->anchor_offset = event->offset;
    position->anchor_ms = event->kafka_ms;
    position->anchor_crc = event->crc;
    partition->dirty = true;
    return BASE_OK;
}

enum base_status ingest_ledger_skip(struct ingest_partition *partition,
                                    int64_t start, int64_t to,
                                    struct base_error *error)
{
    struct ingest_position *position = &partition->position;
    int64_t from = start >= 0 ? start : position->next;
    if (to < from)
        return base_fail(error, BASE_USAGE,
                         "ledger: %s partition %d: offset %lld lies before "
                         "%lld, what is read next; it would count twice",
                         topic_name(position->topic), (int)position->partition,
                         (long long)to, (long long)from);
    if (start >= 0) {
        partition->before += (uint64_t)(position->next - position->start);
        position->start = start;
    }
    partition->buckets[INGEST_LOST] += (uint64_t)(to - from);
    position->next = to;
    position->anchor_offset = -1;
    position->anchor_ms = -1;
    position->anchor_crc = 0;
    partition->dirty = true;
    return BASE_OK;
}

void ingest_ledger_settle(struct ingest_ledger *ledger, uint8_t topic,
                          int32_t partition, enum ingest_bucket bucket)
{
    struct ingest_partition *found =
        ingest_ledger_find(ledger, topic, partition);
    BASE_ASSERT(found && found->buckets[INGEST_WAITING] > 0);
    found->buckets[INGEST_WAITING]--;
    ingest_ledger_count(found, bucket);
}

int64_t ingest_ledger_own(const struct ingest_ledger *ledger, uint8_t topic,
                          int32_t partition)
{
    const struct ingest_partition *found =
        ingest_ledger_find(ledger, topic, partition);
    return found ? found->position.own_ms : INT64_MIN;
}

static int64_t unaccounted(const struct ingest_partition *partition)
{
    uint64_t sum = 0;
    for (int i = 0; i < INGEST_BUCKET_COUNT; i++)
        sum += partition->buckets[i];
    return (int64_t)partition->before + partition->position.next -
           partition->position.start - (int64_t)sum;
}

int64_t ingest_ledger_unaccounted(const struct ingest_ledger *ledger)
{
    int64_t sum = 0;
    for (unsigned i = 0; i < ledger->count; i++) {
        int64_t one = unaccounted(&ledger->partitions[i]);
        sum += one < 0 ? -one : one;
    }
    return sum;
}

static enum base_status write(struct ingest_ledger *ledger,
                              struct ingest_partition *partition,
                              struct base_error *error)
{
    const struct ingest_position *position = &partition->position;
    int64_t missing = unaccounted(partition);
    if (missing)
        return base_fail(error, BASE_BROKEN,
                         "ledger: %s partition %d: %lld offsets of [%lld, "
                         "%lld) are in no bucket",
                         topic_name(position->topic),
                         (int)position->partition, (long long)missing,
                         (long long)position->start,
                         (long long)position->next);
    struct ingest_ledger_value stored;
    memset(&stored, 0, sizeof stored);
    stored.format = partition->before ? FORMAT_BEFORE : FORMAT;
    stored.before = partition->before;
    stored.anchor_crc = position->anchor_crc;
    stored.next = position->next;
    stored.start = position->start;
    stored.own_ms = position->own_ms;
    stored.apply_ms = position->apply_ms;
    stored.anchor_offset = position->anchor_offset;
    stored.anchor_ms = position->anchor_ms;
    memcpy(stored.buckets, partition->buckets, sizeof partition->buckets);
    stored.hash = ingest_digest_64((const uint8_t *)&stored + 8,
                                 sizeof stored - 8, 0);
    uint8_t key[KEY_SIZE] = {position->topic};
    base_put_u32(key + 1,
                 __builtin_bswap32((uint32_t)position->partition));
    partition->dirty = false;
    return ingest_store_put(ledger->store, INGEST_DB_PARTITIONS,
                            (struct ingest_bytes){key, sizeof key},
                            (struct ingest_bytes){&stored, sizeof stored},
                            error);
}

enum base_status ingest_ledger_flush(struct ingest_ledger *ledger,
                                     struct base_error *error)
{
    for (unsigned i = 0; i < ledger->count; i++) {
        if (!ledger->partitions[i].dirty)
            continue;
        enum base_status status =
            write(ledger, &ledger->partitions[i], error);
        if (status)
            return status;
    }
    return BASE_OK;
}
