/* SPDX-License-Identifier: Apache-2.0 */
/* A synthetic journal; see stream.h. */
#include "stream.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/random.h"

enum { FIELDS = 5, ITEMS = 2 }; /* gender; goods, cate; pid, hour */

struct stream {
    struct stream_config config;
    _Atomic uint64_t limit;
    _Atomic int failure;
    uint64_t *ids, *user, *history;
    int64_t *event_ms;
    uint8_t *label, *kind;
    uint32_t *group_begin, *history_begin;
    struct learner_final *final;
};

void stream_schema(struct learner_schema *schema)
{
    static const struct {
        const char *name;
        enum learner_group group;
        uint16_t dimension;
    } fields[FIELDS] = {
        {"gender", LEARNER_PROFILE, 4}, {"goods", LEARNER_ITEM, 18},
        {"cate", LEARNER_ITEM, 18},     {"pid", LEARNER_CONTEXT, 4},
        {"hour", LEARNER_CONTEXT, 4},
    };
    memset(schema, 0, sizeof *schema);
    schema->field_count = schema->table_count = FIELDS;
    schema->profile_count = 1;
    schema->item_count = ITEMS;
    schema->context_count = 2;
    for (uint16_t i = 0; i < FIELDS; i++) {
        snprintf(schema->fields[i].name, LEARNER_NAME_MAX, "%s",
                 fields[i].name);
        snprintf(schema->tables[i].name, LEARNER_NAME_MAX, "%s",
                 fields[i].name);
        schema->fields[i].group = fields[i].group;
        schema->fields[i].table = i;
        schema->tables[i].dimension = fields[i].dimension;
    }
}

struct stream *stream_new(const struct stream_config *config)
{
    struct stream *stream = calloc(1, sizeof *stream);
    size_t B = config->batch_size;
    if (!stream)
        abort();
    stream->config = *config;
    stream->ids = calloc(B * FIELDS, sizeof *stream->ids);
    stream->user = calloc(B, sizeof *stream->user);
    stream->event_ms = calloc(B, sizeof *stream->event_ms);
    stream->label = calloc(B, 1);
    stream->kind = calloc(B, 1);
    stream->group_begin = calloc(B + 1, sizeof *stream->group_begin);
    stream->history_begin = calloc(B + 1, sizeof *stream->history_begin);
    stream->history = calloc(B * config->history_max * ITEMS + 1,
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

/* A goods of the interest, and its category. */
static void put_item(const struct stream *stream, uint64_t *item,
                     uint64_t bits, uint64_t interest)
{
    const struct stream_config *config = &stream->config;
    uint64_t n = config->goods / config->interests + 1;
    uint64_t goods = popular(bits, n) * config->interests + interest;
    item[0] = base_random_mix(goods + 1);
    item[1] = base_random_mix(goods % config->cates + 1000000007);
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
    uint64_t *ids = stream->ids + (size_t)i * FIELDS;
    ids[0] = user % 3; /* 0: unknown */
    put_item(stream, ids + 1, draw(stream, 4, position, 0), shown);
    ids[3] = 1 + draw(stream, 5, position, 0) % 4;
    ids[4] = 1 + position / 100 % 24;
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
            put_item(stream, stream->history + (size_t)behaviors * ITEMS,
                     draw(stream, 11, at, t), interest_of(stream, user));
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
