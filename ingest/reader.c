/* SPDX-License-Identifier: Apache-2.0 */
/* Record to event; see reader.h. Programs of the Confluent framing are kept by
 * schema id for good, also the verdict that one cannot be used; an id without
 * a file is asked for again after RETRY_MS, and at most UNKNOWN_MAX such ids
 * are remembered, so random ids cost neither memory nor a file open each. */
#include "ingest/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/map.h"
#include "ingest/decode.h"
#include "learner/learner.h"

enum {
    RETRY_MS = 10000,
    UNKNOWN_MAX = 4096,
    PROGRAMS_MAX = 4096,
    FRAME = 5, /* magic byte 0, schema id u32 big-endian */
    /* Slots before the ids. */
    SLOT_EVENT = 0,
    SLOT_USER,
    SLOT_TIME,
    SLOT_IMPRESSION,
    SLOT_FIELDS,
};

struct ingest_reader {
    const struct ingest_topic_config *config;
    enum ingest_topic topic;
    uint32_t event_max;
    unsigned ids;
    uint64_t click_seed;
    unsigned target_count;
    struct ingest_target targets[SLOT_FIELDS + LEARNER_FIELDS_MAX];
    int8_t slot_of[SLOT_FIELDS]; /* -1: not mapped */
    struct ingest_program *pinned;
    /* CONFLUENT: id -> index of programs[]; NULL there: cannot be used. */
    struct base_map *known, *unknown; /* unknown: id -> when to look again */
    struct ingest_program *programs[PROGRAMS_MAX];
    unsigned program_count;
};

/* ---- targets --------------------------------------------------------------- */

static void add_target(struct ingest_reader *reader, const char *path,
                       enum ingest_target_kind kind, bool required,
                       uint64_t seed)
{
    reader->targets[reader->target_count++] = (struct ingest_target){
        .path = path, .kind = kind, .required = required, .seed = seed};
}

static void add_slot(struct ingest_reader *reader, int slot, const char *path,
                     enum ingest_target_kind kind, bool required,
                     const char *seed)
{
    reader->slot_of[slot] = -1;
    if (!*path)
        return;
    reader->slot_of[slot] = (int8_t)reader->target_count;
    add_target(reader, path, kind, required,
               seed ? learner_table_seed(seed) : 0);
}

static void set_targets(struct ingest_reader *reader,
                        const struct learner_schema *schema)
{
    const struct ingest_mapping *map = &reader->config->mapping;
    bool clicks = reader->topic == INGEST_CLICKS;
    add_slot(reader, SLOT_EVENT, map->event_id, INGEST_TARGET_ID, true,
             clicks ? "click" : "event");
    add_slot(reader, SLOT_USER, map->user, INGEST_TARGET_ID, true, "user");
    add_slot(reader, SLOT_TIME, map->time, INGEST_TARGET_MS, true, NULL);
    add_slot(reader, SLOT_IMPRESSION, clicks ? map->impression : "",
             INGEST_TARGET_ID, false, "event");
    unsigned first = clicks ? schema->profile_count : 0;
    reader->ids = clicks ? schema->item_count : schema->field_count;
    for (unsigned i = first; i < first + reader->ids; i++)
        add_target(reader, map->fields[i],
                   map->hour[i] ? INGEST_TARGET_HOUR : INGEST_TARGET_ID, false,
                   learner_table_seed(
                       schema->tables[schema->fields[i].table].name));
}

static enum base_status check_mapping(const struct ingest_reader *reader,
                                      struct base_error *error)
{
    const struct ingest_mapping *map = &reader->config->mapping;
    const char *missing = !*map->user ? "user" : !*map->time ? "time" : NULL;
    if (reader->topic == INGEST_IMPRESSIONS && !*map->event_id)
        missing = "event_id";
    for (unsigned i = SLOT_FIELDS; !missing && i < reader->target_count; i++)
        if (!*reader->targets[i].path)
            missing = "a feature";
    if (!missing)
        return BASE_OK;
    return base_fail(error, BASE_CONFIG, "topic %s: %s has no path",
                     reader->config->name, missing);
}

/* ---- programs -------------------------------------------------------------- */

static enum base_status compile(struct ingest_reader *reader, const char *path,
                                struct ingest_program **program,
                                struct base_error *error)
{
    char *text;
    size_t size;
    if (base_file_read(path, INGEST_SCHEMA_MAX, &text, &size, error))
        return base_wrap(error, "schema of topic %s", reader->config->name);
    enum base_status status =
        ingest_program_new(text, size, reader->targets, reader->target_count,
                           program, error);
    free(text);
    return status ? base_wrap(error, "schema %s of topic %s", path,
                              reader->config->name)
                  : BASE_OK;
}

static enum base_status open_schemas(struct ingest_reader *reader,
                                     struct base_error *error)
{
    if (reader->config->framing == INGEST_PLAIN)
        return compile(reader, reader->config->schema, &reader->pinned, error);
    if (base_map_new(&reader->known, 0, error))
        return error->status;
    return base_map_new(&reader->unknown, 0, error);
}

enum base_status ingest_reader_new(const struct ingest_config *config,
                                   enum ingest_topic topic,
                                   struct ingest_reader **reader,
                                   struct base_error *error)
{
    struct ingest_reader *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "reader: no memory");
    made->config = &config->topics[topic];
    made->topic = topic;
    made->event_max = config->event_max;
    made->click_seed = learner_table_seed("click");
    set_targets(made, &config->schema);
    enum base_status status = check_mapping(made, error);
    if (!status)
        status = open_schemas(made, error);
    if (status) {
        ingest_reader_free(made);
        return status;
    }
    *reader = made;
    return BASE_OK;
}

void ingest_reader_free(struct ingest_reader *reader)
{
    if (!reader)
        return;
    ingest_program_free(reader->pinned);
    for (unsigned i = 0; i < reader->program_count; i++)
        ingest_program_free(reader->programs[i]);
    base_map_free(reader->known);
    base_map_free(reader->unknown);
    free(reader);
}

unsigned ingest_reader_ids(const struct ingest_reader *reader)
{
    return reader->ids;
}

/* Remembers that there is no file for `id`, forgetting all where too many. */
static void forget_later(struct ingest_reader *reader, uint32_t id)
{
    struct base_map *fresh;
    if (base_map_size(reader->unknown) >= UNKNOWN_MAX &&
        base_map_new(&fresh, 0, NULL) == BASE_OK) {
        base_map_free(reader->unknown);
        reader->unknown = fresh;
    }
    if (base_map_put(reader->unknown, id,
                     (uint64_t)base_monotonic_ms() + RETRY_MS, NULL))
        return; /* asked again with the next record: slower, not wrong */
}

/* Compiles <id>.avsc; NONE where it became known, usable or not. */
static enum ingest_reason look_up(struct ingest_reader *reader, uint32_t id)
{
    uint64_t *again = base_map_get(reader->unknown, id);
    if (again && (uint64_t)base_monotonic_ms() < *again)
        return INGEST_REASON_SCHEMA_UNKNOWN;
    char name[32], path[1200];
    snprintf(name, sizeof name, "%u.avsc", id);
    struct base_error error = {.text = ""};
    struct ingest_program *program = NULL;
    enum base_status status = base_file_join(
        path, sizeof path, reader->config->schema, name, &error);
    if (!status && reader->program_count == PROGRAMS_MAX)
        status = base_fail(&error, BASE_LIMIT, "more than %d schemas",
                           PROGRAMS_MAX);
    if (!status)
        status = compile(reader, path, &program, &error);
    if (status)
        base_log(BASE_LOG_WARN,
                 "event=schema_not_usable topic=%s schema_id=%u text=\"%s\"",
                 reader->config->name, id, error.text);
    if (status && status != BASE_CONFIG && status != BASE_DATA) {
        forget_later(reader, id);
        return INGEST_REASON_SCHEMA_UNKNOWN;
    }
    if (base_map_put(reader->known, id, reader->program_count, &error)) {
        ingest_program_free(program);
        return INGEST_REASON_SCHEMA_UNKNOWN;
    }
    reader->programs[reader->program_count++] = program;
    base_map_remove(reader->unknown, id);
    return INGEST_REASON_NONE;
}

static enum ingest_reason program_of(struct ingest_reader *reader,
                                     const uint8_t *bytes, size_t size,
                                     const struct ingest_program **program)
{
    if (size < FRAME || bytes[0] != 0)
        return INGEST_REASON_WIRE;
    uint32_t id = __builtin_bswap32(base_get_u32(bytes + 1));
    uint64_t *index = base_map_get(reader->known, id);
    if (!index) {
        enum ingest_reason reason = look_up(reader, id);
        if (reason)
            return reason;
        index = base_map_get(reader->known, id);
    }
    *program = reader->programs[*index];
    return *program ? INGEST_REASON_NONE : INGEST_REASON_SCHEMA;
}

/* ---- records --------------------------------------------------------------- */

static enum ingest_reason decode(struct ingest_reader *reader,
                                 const uint8_t *bytes, size_t size,
                                 uint64_t *slots)
{
    if (!bytes)
        return INGEST_REASON_TOMBSTONE;
    if (size > reader->event_max)
        return INGEST_REASON_OVERSIZE;
    const struct ingest_program *program = reader->pinned;
    if (!program) {
        enum ingest_reason reason = program_of(reader, bytes, size, &program);
        if (reason)
            return reason;
        bytes += FRAME;
        size -= FRAME;
    }
    return ingest_program_run(program, bytes, size, slots);
}

static uint64_t slot(const struct ingest_reader *reader, int which,
                     const uint64_t *slots)
{
    int at = reader->slot_of[which];
    return at < 0 ? 0 : slots[at];
}

/* A click without an id of its own is what it says. */
static uint64_t click_id(const struct ingest_reader *reader,
                         const struct ingest_event *event, const uint64_t *ids)
{
    uint8_t bytes[(3 + LEARNER_FIELDS_MAX) * 8], *at = bytes;
    at = base_put_u64(at, event->impression);
    at = base_put_u64(at, event->user);
    for (unsigned i = 0; i < reader->ids; i++)
        at = base_put_u64(at, ids[i]);
    at = base_put_i64(at, event->event_ms);
    return learner_id(reader->click_seed, bytes, (size_t)(at - bytes));
}

static void fill(const struct ingest_reader *reader, const uint64_t *slots,
                 struct ingest_event *event, uint64_t *ids)
{
    memcpy(ids, slots + reader->target_count - reader->ids,
           reader->ids * sizeof *ids);
    event->user = slot(reader, SLOT_USER, slots);
    event->event_ms = (int64_t)slot(reader, SLOT_TIME, slots);
    if (reader->topic == INGEST_IMPRESSIONS) {
        event->kind = INGEST_EVENT_IMPRESSION;
        event->event_id = slot(reader, SLOT_EVENT, slots);
        event->impression = event->event_id;
        return;
    }
    event->kind = INGEST_EVENT_CLICK;
    event->impression = slot(reader, SLOT_IMPRESSION, slots);
    event->event_id = reader->slot_of[SLOT_EVENT] < 0
                          ? click_id(reader, event, ids)
                          : slot(reader, SLOT_EVENT, slots);
}

static bool time_ok(const struct ingest_event *event)
{
    if (event->event_ms <= 0)
        return false;
    return event->kafka_ms <= 0 ||
           event->event_ms - INGEST_FUTURE_MS <= event->kafka_ms;
}

static void bury(const struct ingest_reader *reader, enum ingest_reason reason,
                 const uint8_t *bytes, size_t size, struct ingest_event *event)
{
    event->kind = INGEST_EVENT_DEAD;
    event->reason = (uint8_t)reason;
    size_t kept = size < reader->event_max ? size : reader->event_max;
    uint8_t *payload = bytes && kept ? malloc(kept) : NULL;
    if (!payload)
        return;
    memcpy(payload, bytes, kept);
    event->payload = payload;
    event->payload_size = (uint32_t)kept;
}

void ingest_reader_read(struct ingest_reader *reader, const uint8_t *bytes,
                        size_t size, struct ingest_event *event, uint64_t *ids)
{
    uint64_t slots[SLOT_FIELDS + LEARNER_FIELDS_MAX];
    event->crc = bytes ? (uint32_t)XXH3_64bits(bytes, size) : 0;
    enum ingest_reason reason = decode(reader, bytes, size, slots);
    if (!reason) {
        fill(reader, slots, event, ids);
        if (!time_ok(event))
            reason = INGEST_REASON_TIME;
    }
    if (reason)
        bury(reader, reason, bytes, size, event);
}
