/* SPDX-License-Identifier: Apache-2.0 */
/* A synthetic journal; see stream.h. */
#include "stream.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/random.h"

enum {
    FIELDS = 5, ITEMS = 2, /* gender; goods, cate; pid, hour */
    RICH_FIELDS = 13,
    RICH_ITEMS = 6,
};

struct stream {
    struct stream_config config;
    unsigned fields, items; /* F, f */
    _Atomic uint64_t limit;
    _Atomic int failure;
    uint64_t *ids, *user, *history;
    int64_t *event_ms;
    uint8_t *label, *kind;
    uint32_t *group_begin, *history_begin;
    struct learner_final *final;
};

struct line {
    const char *name, *table;
    enum learner_group group;
    uint16_t dimension, more;
    bool continues;
};

static void put_schema(struct learner_schema *schema, const struct line *lines,
                       unsigned count)
{
    uint16_t *const counts[] = {&schema->profile_count, &schema->item_count,
                                &schema->context_count};
    memset(schema, 0, sizeof *schema);
    for (unsigned i = 0; i < count; i++) {
        struct learner_field *field = &schema->fields[i];
        uint16_t t = 0;
        while (t < schema->table_count &&
               strcmp(schema->tables[t].name, lines[i].table) != 0)
            t++;
        if (t == schema->table_count) {
            snprintf(schema->tables[t].name, LEARNER_NAME_MAX, "%s",
                     lines[i].table);
            schema->tables[t].dimension = lines[i].dimension;
            schema->table_count++;
        }
        snprintf(field->name, LEARNER_NAME_MAX, "%s", lines[i].name);
        field->group = lines[i].group;
        field->table = t;
        field->more = lines[i].more;
        field->continues = lines[i].continues;
        ++*counts[lines[i].group];
    }
    schema->field_count = (uint16_t)count;
}

void stream_schema(struct learner_schema *schema)
{
    const struct line lines[FIELDS] = {
        {"gender", "gender", LEARNER_PROFILE, 4, 0, false},
        {"goods", "goods", LEARNER_ITEM, 18, 0, false},
        {"cate", "cate", LEARNER_ITEM, 18, 0, false},
        {"pid", "pid", LEARNER_CONTEXT, 4, 0, false},
        {"hour", "hour", LEARNER_CONTEXT, 4, 0, false},
    };
    put_schema(schema, lines, FIELDS);
}

void stream_rich_schema(struct learner_schema *schema, uint16_t E)
{
    const struct line lines[RICH_FIELDS] = {
        {"gender", "gender", LEARNER_PROFILE, E, 0, false},
        {"age", "age", LEARNER_PROFILE, E, 0, false},
        {"goods", "goods", LEARNER_ITEM, E, 0, false},
        {"shop", "shop", LEARNER_ITEM, E, 0, false},
        {"cate", "cate", LEARNER_ITEM, E, 0, false},
        {"genres", "genres", LEARNER_ITEM, E, 2, false},
        {"genres.2", "genres", LEARNER_ITEM, E, 0, true},
        {"genres.3", "genres", LEARNER_ITEM, E, 0, true},
        {"pid", "pid", LEARNER_CONTEXT, E, 0, false},
        {"hour", "hour", LEARNER_CONTEXT, E, 0, false},
        {"tags", "tags", LEARNER_CONTEXT, E, 1, false},
        {"tags.2", "tags", LEARNER_CONTEXT, E, 0, true},
        {"cate_seen", "cate", LEARNER_CONTEXT, E, 0, false},
    };
    put_schema(schema, lines, RICH_FIELDS);
}

struct stream *stream_new(const struct stream_config *config)
{
    struct stream *stream = calloc(1, sizeof *stream);
    size_t B = config->batch_size;
    if (!stream)
        abort();
    stream->config = *config;
    stream->fields = config->rich ? RICH_FIELDS : FIELDS;
    stream->items = config->rich ? RICH_ITEMS : ITEMS;
    stream->ids = calloc(B * stream->fields, sizeof *stream->ids);
    stream->user = calloc(B, sizeof *stream->user);
    stream->event_ms = calloc(B, sizeof *stream->event_ms);
    stream->label = calloc(B, 1);
    stream->kind = calloc(B, 1);
    stream->group_begin = calloc(B + 1, sizeof *stream->group_begin);
    stream->history_begin = calloc(B + 1, sizeof *stream->history_begin);
    stream->history = calloc(B * config->history_max * stream->items + 1,
                             sizeof *stream->history);
    stream->final = calloc(B, sizeof *stream->final);
    return stream;
}

void stream_free(struct stream *stream)
{
    if (!stream)
        return;
    free(stream->ids);
    free(stream->user);
    free(stream->event_ms);
    free(stream->label);
    free(stream->kind);
    free(stream->group_begin);
    free(stream->history_begin);
    free(stream->history);
    free(stream->final);
    free(stream);
}

void stream_set_limit(struct stream *stream, uint64_t limit)
{
    atomic_store(&stream->limit, limit);
}

void stream_set_failure(struct stream *stream, enum base_status status)
{
    atomic_store(&stream->failure, status);
}

static uint64_t draw(const struct stream *stream, uint64_t purpose,
                     uint64_t position, uint64_t n)
{
    return base_random_u64(stream->config.seed, purpose, position, n);
}

static float unit(const struct stream *stream, uint64_t purpose,
                  uint64_t position)
{
    return base_random_unit(draw(stream, purpose, position, 0));
}

/* Skewed towards small numbers, as popularity is. */
static uint64_t popular(uint64_t bits, uint64_t n)
{
    double u = (double)(bits >> 11) * 0x1p-53;
    return (uint64_t)(u * u * u * (double)n);
}

/* A multi-hot value: each place is there or not. */
static void put_places(uint64_t *ids, unsigned places, uint64_t bits)
{
    for (unsigned i = 0; i < places; i++, bits >>= 8)
        ids[i] = bits % 3 ? 1 + (bits >> 3) % 18 : LEARNER_ABSENT;
}

/* A goods of the interest, as of `position`, and what is known of it. */
static void put_item(const struct stream *stream, uint64_t *item,
                     uint64_t bits, uint64_t interest, uint64_t position)
{
    const struct stream_config *config = &stream->config;
    uint64_t n = config->goods / config->interests + 1;
    uint64_t goods = popular(bits, n) * config->interests + interest;
    if (config->fashion)
        goods += position / config->fashion * config->interests;
    item[0] = base_random_mix(goods + 1);
    uint64_t cate = base_random_mix(goods % config->cates + 1000000007);
    item[1] = cate;
    if (!config->rich)
        return;
    item[0] *= bits % 97 != 0; /* now and then unknown */
    item[1] = base_random_mix(goods % 37 + 2000000011);
    item[2] = cate;
    put_places(item + 3, 3, base_random_mix(goods * 31 + 5));
}

static uint32_t history_length(const struct stream *stream, uint64_t at)
{
    const struct stream_config *config = &stream->config;
    double mean = config->history_mean, u = (double)unit(stream, 1, at);
    double length = mean;
    if (config->lengths == STREAM_GEOMETRIC)
        length = mean > 0.0 ? floor(log1p(-u) / log(mean / (mean + 1.0)))
                            : 0.0;
    else if (config->lengths == STREAM_UNIFORM)
        length = floor(u * (2.0 * mean + 1.0));
    return length < config->history_max ? (uint32_t)length
                                        : config->history_max;
}

static uint64_t interest_of(const struct stream *stream, uint64_t user)
{
    return base_random_mix(user * 77) % stream->config.interests;
}

static void put_sample(struct stream *stream, uint64_t position, uint32_t i,
                       uint64_t user)
{
    const struct stream_config *config = &stream->config;
    uint64_t interest = interest_of(stream, user);
    uint64_t shown = unit(stream, 2, position) < 0.5f
                         ? interest
                         : draw(stream, 3, position, 0) % config->interests;
    uint64_t *ids = stream->ids + (size_t)i * stream->fields;
    unsigned profile = config->rich ? 2 : 1;
    uint64_t *context = ids + profile + stream->items;
    ids[0] = user % 3; /* 0: unknown */
    put_item(stream, ids + profile, draw(stream, 4, position, 0), shown,
             position);
    context[0] = 1 + draw(stream, 5, position, 0) % 4;
    context[1] = 1 + position / 100 % 24;
    if (config->rich) {
        ids[1] = 1 + user % 7;
        put_places(context + 2, 2, draw(stream, 12, position, 0));
        context[4] = ids[profile + 2];
    }
    stream->user[i] = user;
    stream->event_ms[i] = 1600000000000 + (int64_t)position * 100;
    stream->label[i] =
        unit(stream, 6, position) < (shown == interest ? 0.6f : 0.1f);
    stream->kind[i] = LEARNER_WINDOW;
    if (config->fnw) {
        bool positive = draw(stream, 7, position, 0) % 5 == 0;
        stream->kind[i] =
            positive ? LEARNER_FNW_POSITIVE : LEARNER_FNW_NEGATIVE;
        stream->label[i] = positive;
    }
}

/* The labels of the batch three before this one. */
static uint32_t put_finals(struct stream *stream, uint64_t first)
{
    uint64_t B = stream->config.batch_size;
    uint32_t n = 0;
    if (!stream->config.fnw || first < 3 * B)
        return 0;
    for (uint64_t p = first - 3 * B; p < first - 2 * B; p++)
        if (draw(stream, 7, p, 0) % 5 != 0)
            stream->final[n++] = (struct learner_final){
                p, draw(stream, 8, p, 0) % 4 == 0};
    return n;
}

static uint32_t put_groups(struct stream *stream, uint64_t first)
{
    const struct stream_config *config = &stream->config;
    uint32_t groups = 0, behaviors = 0;
    for (uint32_t i = 0; i < config->batch_size; groups++) {
        uint64_t at = first + i;
        uint64_t user = popular(draw(stream, 9, at, 0), config->users) + 1;
        uint32_t size = 1 + (uint32_t)(draw(stream, 10, at, 0) %
                                       config->group_max);
        uint32_t length = history_length(stream, at);
        stream->group_begin[groups] = i;
        stream->history_begin[groups] = behaviors;
        for (uint32_t t = 0; t < length; t++, behaviors++)
            put_item(stream,
                     stream->history + (size_t)behaviors * stream->items,
                     draw(stream, 11, at, t), interest_of(stream, user), at);
        for (; size && i < config->batch_size; size--, i++)
            put_sample(stream, first + i, i, user);
    }
    stream->group_begin[groups] = config->batch_size;
    stream->history_begin[groups] = behaviors;
    return groups;
}

static enum base_status next(void *self, uint64_t position, int timeout_ms,
                             struct learner_batch *batch,
                             struct base_error *error)
{
    struct stream *stream = self;
    uint32_t B = stream->config.batch_size;
    int failure = atomic_load(&stream->failure);
    if (failure)
        return base_fail(error, (enum base_status)failure,
                         "stream: told to fail at %llu",
                         (unsigned long long)position);
    if (position + B > atomic_load(&stream->limit)) {
        if (timeout_ms)
            usleep(500);
        return base_fail(error, BASE_AGAIN, "stream: nothing more");
    }
    *batch = (struct learner_batch){
        .first = position,
        .end = position + B,
        .journal_hash = {base_random_mix(position), position},
        .samples = B,
        .groups = put_groups(stream, position),
        .ids = stream->ids,
        .user = stream->user,
        .event_ms = stream->event_ms,
        .label = stream->label,
        .kind = stream->kind,
        .group_begin = stream->group_begin,
        .history_begin = stream->history_begin,
        .history = stream->history,
        .finals = put_finals(stream, position),
        .final = stream->final,
    };
    return BASE_OK;
}

struct learner_source stream_source(struct stream *stream)
{
    return (struct learner_source){.self = stream, .next = next};
}
