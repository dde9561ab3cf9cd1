/* SPDX-License-Identifier: Apache-2.0 */
/* The history as the page reads it: columns over the last minutes, thinned to
 * the newest record of each step. See history.h; role loop. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

#include "daemon/history.h"

/* Records that are told, oldest first. */
struct chosen {
    unsigned count;
    const struct daemon_history_record *record[DAEMON_HISTORY_POINTS + 1];
};

static int64_t step_of(unsigned minutes)
{
    int64_t step_ms = (int64_t)minutes * 60000 / DAEMON_HISTORY_POINTS;
    return step_ms < DAEMON_HISTORY_STEP_MS ? DAEMON_HISTORY_STEP_MS : step_ms;
}

static void choose(const struct daemon_history *history, int64_t now_ms,
                   unsigned minutes, struct chosen *chosen)
{
    int64_t step_ms = step_of(minutes), cell = INT64_MAX;
    int64_t from_ms = now_ms - (int64_t)minutes * 60000;
    chosen->count = 0;
    for (unsigned i = 0; i < DAEMON_HISTORY_RECORDS; i++) {
        const struct daemon_history_record *one =
            daemon_history_get(history, i);
        if (one->at_ms <= 0 || one->at_ms < from_ms ||
            one->at_ms / step_ms >= cell)
            continue;
        cell = one->at_ms / step_ms;
        if (chosen->count <= DAEMON_HISTORY_POINTS)
            chosen->record[chosen->count++] = one;
    }
    for (unsigned i = 0; i < chosen->count / 2; i++) {
        const struct daemon_history_record *one = chosen->record[i];
        chosen->record[i] = chosen->record[chosen->count - 1 - i];
        chosen->record[chosen->count - 1 - i] = one;
    }
}

static void put_integers(json_t *to, const char *name,
                         const struct chosen *chosen, size_t offset)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < chosen->count; i++) {
        const char *from = (const char *)chosen->record[i] + offset;
        json_array_append_new(list, json_integer(*(const int64_t *)from));
    }
    json_object_set_new(to, name, list);
}

static const struct daemon_history_model *
find(const struct daemon_history_record *record, uint32_t name)
{
    for (unsigned i = 0; i < DAEMON_MODELS_MAX; i++)
        if (record->model[i].name == name)
            return &record->model[i];
    return NULL;
}

static void put_reals(json_t *to, const char *name, const struct chosen *chosen,
                      uint32_t model, size_t offset)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < chosen->count; i++) {
        const char *from = (const char *)find(chosen->record[i], model);
        float value = from ? *(const float *)(from + offset) : NAN;
        json_array_append_new(list, isfinite(value) ? json_real((double)value)
                                                    : json_null());
    }
    json_object_set_new(to, name, list);
}

#define OF(member) #member, offsetof(struct daemon_history_model, member)
static json_t *model_json(const struct chosen *chosen, const char *name)
{
    static const struct {
        const char *name;
        size_t offset;
    } columns[] = {{OF(auc)},
                   {OF(user_auc)},
                   {OF(log_loss)},
                   {OF(calibration)},
                   {OF(rela_impr)}};
    json_t *object = json_object();
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
        put_reals(object, columns[i].name, chosen, daemon_history_name(name),
                  columns[i].offset);
    return object;
}
#undef OF

/* How many versions of each age the records tell of: the counters' growth;
 * they fall where the daemon started anew. */
static json_t *fresh_json(const struct chosen *chosen)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < DAEMON_FRESH_BUCKETS; i++) {
        uint64_t sum = 0;
        for (unsigned r = 1; r < chosen->count; r++) {
            uint32_t now = chosen->record[r]->fresh[i];
            uint32_t before = chosen->record[r - 1]->fresh[i];
            sum += now >= before ? now - before : now;
        }
        json_array_append_new(list, json_integer((json_int_t)sum));
    }
    return list;
}

char *daemon_history_json(const struct daemon_history *history,
                          const struct daemon_status *status, unsigned minutes)
{
#define OF(member) offsetof(struct daemon_history_record, member)
    struct chosen chosen;
    json_t *root = json_object(), *models = json_object();
    choose(history, status->now_ms, minutes, &chosen);
    json_object_set_new(root, "step_ms",
                        json_integer((json_int_t)step_of(minutes)));
    put_integers(root, "at_ms", &chosen, OF(at_ms));
    put_integers(root, "events", &chosen, OF(events));
    put_integers(root, "position", &chosen, OF(position));
    put_integers(root, "lag_records", &chosen, OF(lag_records));
    put_integers(root, "published_age_ms", &chosen, OF(published_age_ms));
#undef OF
    json_object_set_new(root, "fresh", fresh_json(&chosen));
    for (unsigned i = 0; i < status->model_count; i++)
        json_object_set_new(models, status->models[i].name,
                            model_json(&chosen, status->models[i].name));
    json_object_set_new(root, "models", models);
    char *text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(6));
    json_decref(root);
    return text;
}
