/* SPDX-License-Identifier: Apache-2.0 */
/* Record to event; see decoder.h. Programs of the Confluent framing are kept by
 * schema id for good, also the verdict that one cannot be used; an id without
 * a file is asked for again after RETRY_MS, and at most UNKNOWN_MAX such ids
 * are remembered, so random ids cost neither memory nor a file open each. */
#include "ingest/decoder.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <xxhash.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/map.h"
#include "ingest/decode.h"
#include "ingest/resolve.h"
#include "ingest/skew.h"
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
    SLOT_SERVED_HASH,
    SLOT_SERVED_LENGTH,
    SLOT_SERVED_VERSION,
    SLOT_FIELDS,
};

struct ingest_decoder {
    const struct ingest_topic_config *config;
    struct ingest_registry *registry;
    const char *folder; /* of <id>.avsc */
    struct ingest_schema *reader; /* NULL: none */
    enum ingest_topic topic;
    uint32_t event_max;
    unsigned ids, first_id; /* number of ids, slot of the first */
    uint64_t click_seed;
    _Atomic uint64_t cut; /* elements without a place, so far */
    unsigned target_count;
    struct ingest_target targets[SLOT_FIELDS + LEARNER_FIELDS_MAX];
    int8_t slot_of[SLOT_FIELDS]; /* -1: not mapped */
    struct ingest_program *pinned;
    /* CONFLUENT: id -> index of programs[]; NULL there: cannot be used. */
    struct base_map *known, *unknown; /* unknown: id -> when to look again */
    struct ingest_program *programs[PROGRAMS_MAX];
    unsigned program_count;
};

/* ---- targets ------------------------------------------------------------ */

static void add_slot(struct ingest_decoder *decoder, int slot, const char *path,
                     enum ingest_target_kind kind, bool required,
                     const char *seed)
{
    decoder->slot_of[slot] = -1;
    if (!*path)
        return;
    decoder->slot_of[slot] = (int8_t)decoder->target_count;
    decoder->targets[decoder->target_count++] = (struct ingest_target){
        .path = path,
        .kind = kind,
        .required = required,
        .seed = seed ? learner_table_seed(seed) : 0};
}

/* Field `index`, with those that continue it. */
static void add_field(struct ingest_decoder *decoder,
                      const struct ingest_config *config, unsigned index)
{
    static const enum ingest_target_kind kinds[] = {
        [INGEST_TRANSFORM_NONE] = INGEST_TARGET_ID,
        [INGEST_TRANSFORM_HOUR] = INGEST_TARGET_HOUR,
        [INGEST_TRANSFORM_WEEKDAY] = INGEST_TARGET_WEEKDAY,
        [INGEST_TRANSFORM_BUCKET] = INGEST_TARGET_BUCKET,
    };
    const struct learner_schema *schema = &config->schema;
    const struct learner_field *field = &schema->fields[index];
    const struct ingest_transform *transform = &config->transforms[index];
    decoder->targets[decoder->target_count++] = (struct ingest_target){
        .path = decoder->config->mapping.fields[index],
        .kind = kinds[transform->kind],
        .seed = learner_table_seed(schema->tables[field->table].name),
        .bounds = transform->bounds,
        .bound_count = transform->bound_count,
        .values = field->more + 1u,
        .name = field->name};
}

static void set_targets(struct ingest_decoder *decoder,
                        const struct ingest_config *config)
{
    const struct learner_schema *schema = &config->schema;
    const struct ingest_mapping *map = &decoder->config->mapping;
    bool clicks = decoder->topic == INGEST_CLICKS;
    add_slot(decoder, SLOT_EVENT, map->event_id, INGEST_TARGET_ID, true,
             clicks ? "click" : "event");
    add_slot(decoder, SLOT_USER, map->user, INGEST_TARGET_ID, true, "user");
    add_slot(decoder, SLOT_TIME, map->time, INGEST_TARGET_MS, true, NULL);
    add_slot(decoder, SLOT_IMPRESSION, clicks ? map->impression : "",
             INGEST_TARGET_ID, false, "event");
    add_slot(decoder, SLOT_SERVED_HASH, clicks ? "" : map->served_hash,
             INGEST_TARGET_ID, false, INGEST_SKEW_SEED);
    add_slot(decoder, SLOT_SERVED_LENGTH, clicks ? "" : map->served_length,
             INGEST_TARGET_MS, false, NULL);
    add_slot(decoder, SLOT_SERVED_VERSION, clicks ? "" : map->served_version,
             INGEST_TARGET_MS, false, NULL);
    unsigned first = clicks ? schema->profile_count : 0;
    decoder->ids = clicks ? schema->item_count : schema->field_count;
    decoder->first_id = decoder->target_count; /* each had one slot */
    for (unsigned i = first; i < first + decoder->ids; i++)
        if (!schema->fields[i].continues)
            add_field(decoder, config, i);
}

static enum base_status check_mapping(const struct ingest_decoder *decoder,
                                      struct base_error *error)
{
    const struct ingest_mapping *map = &decoder->config->mapping;
    const char *missing = !*map->user ? "user" : !*map->time ? "time" : NULL;
    if (decoder->topic == INGEST_IMPRESSIONS && !*map->event_id)
        missing = "event_id";
    if (!*map->served_hash != !*map->served_length)
        missing = *map->served_hash ? "served_history_length"
                                    : "served_history_hash";
    unsigned first = decoder->first_id;
    for (unsigned i = first; !missing && i < decoder->target_count; i++)
        if (!*decoder->targets[i].path)
            missing = "a feature";
    if (!missing)
        return BASE_OK;
    return base_fail(error, BASE_CONFIG, "topic %s: %s has no path",
                     decoder->config->name, missing);
}

/* ---- programs ----------------------------------------------------------- */

static enum base_status compile(struct ingest_decoder *decoder,
                                const char *path,
                                struct ingest_program **program,
                                struct base_error *error)
{
    char *text;
    size_t size;
    if (base_file_read(path, INGEST_SCHEMA_MAX, &text, &size, error))
        return base_wrap(error, "schema of topic %s", decoder->config->name);
    const struct ingest_program_wish wish = {
        text, size, decoder->reader, decoder->targets, decoder->target_count};
    enum base_status status = ingest_program_resolve(&wish, program, error);
    free(text);
    return status ? base_wrap(error, "schema %s of topic %s", path,
                              decoder->config->name)
                  : BASE_OK;
}

/* The reader's schema must itself lead every path somewhere. */
static enum base_status open_reader(struct ingest_decoder *decoder,
                                    struct base_error *error)
{
    const char *path = decoder->config->reader_schema;
    struct ingest_program *program = NULL;
    char *text = NULL;
    size_t size;
    if (!*path)
        return BASE_OK;
    enum base_status status = compile(decoder, path, &program, error);
    ingest_program_free(program);
    if (!status)
        status = base_file_read(path, INGEST_SCHEMA_MAX, &text, &size, error);
    if (!status)
        status = ingest_schema_new(text, size, &decoder->reader, error);
    if (!status)
        status = ingest_resolve_check(decoder->reader, error);
    free(text);
    return status ? base_wrap(error, "reader_schema %s", path) : BASE_OK;
}

static enum base_status check_folder(const struct ingest_topic_config *topic,
                                     struct base_error *error)
{
    struct stat found;
    if (stat(topic->schema, &found) != 0)
        return base_fail_errno(error, errno, "schemas of topic %s: %s",
                               topic->name, topic->schema);
    return S_ISDIR(found.st_mode)
               ? BASE_OK
               : base_fail(error, BASE_CONFIG,
                           "schemas of topic %s: %s is not a folder; framing "
                           "confluent takes a folder of <id>.avsc",
                           topic->name, topic->schema);
}

static enum base_status open_schemas(struct ingest_decoder *decoder,
                                     struct base_error *error)
{
    if (decoder->config->framing == INGEST_PLAIN)
        return compile(decoder, decoder->config->schema, &decoder->pinned,
                       error);
    /* Confluent: a schema is compiled when its id is met. */
    if ((decoder->folder == decoder->config->schema &&
         check_folder(decoder->config, error)) ||
        base_map_new(&decoder->known, 0, error))
        return error->status;
    return base_map_new(&decoder->unknown, 0, error);
}

enum base_status ingest_decoder_new(const struct ingest_config *config,
                                    enum ingest_topic topic,
                                    struct ingest_registry *registry,
                                    struct ingest_decoder **decoder,
                                    struct base_error *error)
{
    struct ingest_decoder *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "decoder: no memory");
    made->config = &config->topics[topic];
    made->topic = topic;
    made->registry = registry;
    made->folder = config->registry_url[0] ? config->registry_folder
                                           : made->config->schema;
    made->event_max = config->event_max;
    made->click_seed = learner_table_seed("click");
    set_targets(made, config);
    enum base_status status = check_mapping(made, error);
    if (!status)
        status = open_reader(made, error);
    if (!status)
        status = open_schemas(made, error);
    if (status) {
        ingest_decoder_free(made);
        return status;
    }
    *decoder = made;
    return BASE_OK;
}

void ingest_decoder_free(struct ingest_decoder *decoder)
{
    if (!decoder)
        return;
    ingest_program_free(decoder->pinned);
    ingest_schema_free(decoder->reader);
    for (unsigned i = 0; i < decoder->program_count; i++)
        ingest_program_free(decoder->programs[i]);
    base_map_free(decoder->known);
    base_map_free(decoder->unknown);
    free(decoder);
}

unsigned ingest_decoder_ids(const struct ingest_decoder *decoder)
{
    return decoder->ids;
}

uint64_t ingest_decoder_cut(const struct ingest_decoder *decoder)
{
    return atomic_load(&decoder->cut);
}

/* Remembers that there is no file for `id`, forgetting all where too many. */
static void forget_later(struct ingest_decoder *decoder, uint32_t id)
{
    struct base_map *fresh;
    if (base_map_size(decoder->unknown) >= UNKNOWN_MAX &&
        base_map_new(&fresh, 0, NULL) == BASE_OK) {
        base_map_free(decoder->unknown);
        decoder->unknown = fresh;
    }
    if (base_map_put(decoder->unknown, id,
                     (uint64_t)base_monotonic_ms() + RETRY_MS, NULL))
        return; /* asked again with the next record: slower, not wrong */
}

static bool asked_lately(struct ingest_decoder *decoder, uint32_t id)
{
    uint64_t *again = base_map_get(decoder->unknown, id);
    return again && (uint64_t)base_monotonic_ms() < *again;
}

/* Compiles <id>.avsc; NONE where it became known, usable or not. */
static enum ingest_reason look_up(struct ingest_decoder *decoder, uint32_t id)
{
    if (decoder->program_count == PROGRAMS_MAX ||
        (decoder->registry ? ingest_registry_ask(decoder->registry, id) !=
                                 INGEST_REGISTRY_READY
                           : asked_lately(decoder, id)))
        return INGEST_REASON_SCHEMA_UNKNOWN;
    char name[32], path[1200];
    snprintf(name, sizeof name, "%u.avsc", id);
    struct base_error error = {.text = ""};
    struct ingest_program *program = NULL;
    enum base_status status = base_file_join(
        path, sizeof path, decoder->folder, name, &error);
    if (!status)
        status = compile(decoder, path, &program, &error);
    if (status)
        base_log(BASE_LOG_WARN,
                 "event=schema_not_usable topic=%s schema_id=%u text=\"%s\"",
                 decoder->config->name, id, error.text);
    if (status && status != BASE_CONFIG && status != BASE_DATA &&
        status != BASE_LIMIT) {
        forget_later(decoder, id);
        return INGEST_REASON_SCHEMA_UNKNOWN;
    }
    if (base_map_put(decoder->known, id, decoder->program_count, &error)) {
        ingest_program_free(program);
        return INGEST_REASON_SCHEMA_UNKNOWN;
    }
    decoder->programs[decoder->program_count++] = program;
    base_map_remove(decoder->unknown, id);
    return INGEST_REASON_NONE;
}

static enum ingest_reason program_of(struct ingest_decoder *decoder,
                                     const uint8_t *bytes, size_t size,
                                     const struct ingest_program **program)
{
    if (size < FRAME || bytes[0] != 0)
        return INGEST_REASON_WIRE;
    uint32_t id = __builtin_bswap32(base_get_u32(bytes + 1));
    uint64_t *index = base_map_get(decoder->known, id);
    if (!index) {
        enum ingest_reason reason = look_up(decoder, id);
        if (reason)
            return reason;
        index = base_map_get(decoder->known, id);
    }
    *program = decoder->programs[*index];
    return *program ? INGEST_REASON_NONE : INGEST_REASON_SCHEMA;
}

bool ingest_decoder_waits(struct ingest_decoder *decoder, const uint8_t *bytes,
                          size_t size, uint32_t *schema_id)
{
    if (!decoder->registry || decoder->pinned || !bytes || size < FRAME ||
        bytes[0] != 0)
        return false;
    *schema_id = __builtin_bswap32(base_get_u32(bytes + 1));
    return !base_map_get(decoder->known, *schema_id) &&
           decoder->program_count < PROGRAMS_MAX &&
           ingest_registry_ask(decoder->registry, *schema_id) ==
               INGEST_REGISTRY_WANTED;
}

/* ---- records ------------------------------------------------------------ */

static enum ingest_reason decode(struct ingest_decoder *decoder,
                                 const uint8_t *bytes, size_t size,
                                 uint64_t *slots)
{
    if (!bytes)
        return INGEST_REASON_TOMBSTONE;
    if (size > decoder->event_max)
        return INGEST_REASON_OVERSIZE;
    const struct ingest_program *program = decoder->pinned;
    if (!program) {
        enum ingest_reason reason = program_of(decoder, bytes, size, &program);
        if (reason)
            return reason;
        bytes += FRAME;
        size -= FRAME;
    }
    uint32_t cut;
    enum ingest_reason reason =
        ingest_program_run_cut(program, bytes, size, slots, &cut);
    if (reason == INGEST_REASON_NONE && cut)
        atomic_fetch_add(&decoder->cut, cut);
    return reason;
}

static uint64_t slot(const struct ingest_decoder *decoder, int which,
                     const uint64_t *slots)
{
    int at = decoder->slot_of[which];
    return at < 0 ? 0 : slots[at];
}

/* A click without an id of its own is what it says. */
static uint64_t click_id(const struct ingest_decoder *decoder,
                         const struct ingest_event *event, const uint64_t *ids)
{
    uint8_t bytes[(3 + LEARNER_FIELDS_MAX) * 8], *at = bytes;
    at = base_put_u64(at, event->impression);
    at = base_put_u64(at, event->user);
    for (unsigned i = 0; i < decoder->ids; i++)
        at = base_put_u64(at, ids[i]);
    at = base_put_i64(at, event->event_ms);
    return learner_id(decoder->click_seed, bytes, (size_t)(at - bytes));
}

static void fill(const struct ingest_decoder *decoder, const uint64_t *slots,
                 struct ingest_event *event, uint64_t *ids)
{
    memcpy(ids, slots + decoder->first_id, decoder->ids * sizeof *ids);
    event->user = slot(decoder, SLOT_USER, slots);
    event->event_ms = (int64_t)slot(decoder, SLOT_TIME, slots);
    if (decoder->topic == INGEST_IMPRESSIONS) {
        event->kind = INGEST_EVENT_IMPRESSION;
        event->event_id = slot(decoder, SLOT_EVENT, slots);
        event->impression = event->event_id;
        event->served = (struct ingest_served){
            .hash = slot(decoder, SLOT_SERVED_HASH, slots),
            .length = (int64_t)slot(decoder, SLOT_SERVED_LENGTH, slots),
            .version = (int64_t)slot(decoder, SLOT_SERVED_VERSION, slots)};
        return;
    }
    event->kind = INGEST_EVENT_CLICK;
    event->impression = slot(decoder, SLOT_IMPRESSION, slots);
    event->event_id = decoder->slot_of[SLOT_EVENT] < 0
                          ? click_id(decoder, event, ids)
                          : slot(decoder, SLOT_EVENT, slots);
}

static bool time_ok(const struct ingest_event *event)
{
    if (event->event_ms <= 0)
        return false;
    return event->kafka_ms <= 0 ||
           event->event_ms - INGEST_FUTURE_MS <= event->kafka_ms;
}

void ingest_decoder_bury(const struct ingest_decoder *decoder,
                         enum ingest_reason reason, const uint8_t *bytes,
                         size_t size, struct ingest_event *event)
{
    event->kind = INGEST_EVENT_DEAD;
    event->reason = (uint8_t)reason;
    event->crc = bytes ? (uint32_t)XXH3_64bits(bytes, size) : 0;
    size_t kept = size < decoder->event_max ? size : decoder->event_max;
    uint8_t *payload = bytes && kept ? malloc(kept) : NULL;
    event->cut = (uint32_t)(payload ? size - kept : size);
    if (!payload)
        return;
    memcpy(payload, bytes, kept);
    event->payload = payload;
    event->payload_size = (uint32_t)kept;
}

void ingest_decoder_read(struct ingest_decoder *decoder, const uint8_t *bytes,
                        size_t size, struct ingest_event *event, uint64_t *ids)
{
    uint64_t slots[SLOT_FIELDS + LEARNER_FIELDS_MAX];
    event->crc = bytes ? (uint32_t)XXH3_64bits(bytes, size) : 0;
    enum ingest_reason reason = decode(decoder, bytes, size, slots);
    if (!reason) {
        fill(decoder, slots, event, ids);
        if (!time_ok(event))
            reason = INGEST_REASON_TIME;
    }
    /* Whether it was there then cannot be found out again. */
    if (reason == INGEST_REASON_SCHEMA_UNKNOWN)
        event->decisions |= INGEST_UNREGISTERED;
    if (reason)
        ingest_decoder_bury(decoder, reason, bytes, size, event);
}
