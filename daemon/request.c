/* SPDX-License-Identifier: Apache-2.0 */
/* JSON ranking requests; see request.h. */
#include "daemon/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

enum { GROUP_PROFILE, GROUP_ITEM, GROUP_CONTEXT, ROWS_MAX = 1 << 20 };
enum { BEHAVIORS_MAX = 1024 }; /* more than any model uses */
static const char *const group_names[] = {"profile", "item", "context"};

/* Where in the request something is: "candidates[3]". */
struct place {
    const char *name;
    long index; /* -1: no list */
};

static void place_text(const struct place *place, char *text, size_t size)
{
    if (place->index < 0)
        snprintf(text, size, "%s", place->name);
    else
        snprintf(text, size, "%s[%ld]", place->name, place->index);
}

static enum base_status refuse_value(const struct interest_model *model,
                                     int group, unsigned field,
                                     const struct place *place,
                                     const char *what,
                                     struct base_error *error)
{
    char where[64];
    place_text(place, where, sizeof where);
    return base_fail(error, BASE_DATA,
                     "request: %s: field \"%s\" must be %s", where,
                     interest_field(model, group, field), what);
}

/* {"id": "00000000000000ff"}: what the daemon's sequences hold. */
static enum base_status read_id(const json_t *value, const struct place *place,
                                uint64_t *id, struct base_error *error)
{
    char where[64], *end = NULL;
    const char *text = json_string_value(json_object_get(value, "id"));
    place_text(place, where, sizeof where);
    if (json_object_size(value) == 1 && text && strlen(text) == 16 &&
        strspn(text, "0123456789abcdef") == 16) {
        *id = strtoull(text, &end, 16);
        return BASE_OK;
    }
    return base_fail(error, BASE_DATA,
                     "request: %s: an id must be {\"id\": \"16 hex digits\"}",
                     where);
}

/* One value as training takes it. */
static enum base_status set_id(const struct interest_model *model, int group,
                               unsigned field, const json_t *value,
                               const struct place *place, uint64_t *id,
                               struct base_error *error)
{
    char digits[32];
    *id = 0;
    if (json_is_null(value))
        return BASE_OK;
    if (interest_field_transform(model, group, field) == INTEREST_BUCKET) {
        if (!json_is_number(value))
            return refuse_value(model, group, field, place, "a number", error);
        *id = interest_bucket_id(model, group, field,
                                 json_number_value(value));
        return BASE_OK;
    }
    if (json_is_object(value))
        return read_id(value, place, id, error);
    if (json_is_string(value)) {
        *id = interest_id(model, group, field, json_string_value(value),
                          json_string_length(value));
        return BASE_OK;
    }
    if (!json_is_integer(value))
        return refuse_value(model, group, field, place,
                            interest_field_places(model, group, field) > 1
                                ? "a string, an integer or a list of them"
                                : "a string or an integer",
                            error);
    int size = snprintf(digits, sizeof digits, "%" JSON_INTEGER_FORMAT,
                        json_integer_value(value));
    *id = interest_id(model, group, field, digits, (size_t)size);
    return BASE_OK;
}

/* A field's values into its places: the first ones that are not null, as
 * training takes them. */
static enum base_status set_ids(const struct interest_model *model, int group,
                                unsigned field, const json_t *value,
                                const struct place *place, uint64_t *ids,
                                struct base_error *error)
{
    unsigned places = interest_field_places(model, group, field), used = 0;
    if (places == 1)
        return set_id(model, group, field, value, place, ids, error);
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    for (size_t i = 0; i < count && used < places; i++) {
        const json_t *one =
            json_is_array(value) ? json_array_get(value, i) : value;
        if (json_is_null(one))
            continue;
        enum base_status status =
            set_id(model, group, field, one, place, &ids[used++], error);
        if (status != BASE_OK)
            return status;
    }
    return BASE_OK;
}

/* What ids are where nothing is said: unknown. */
static void clear_ids(const struct interest_model *model, int group,
                      uint64_t *ids)
{
    for (unsigned i = 0; i < interest_field_count(model, group); i++)
        ids[i] = interest_field_places(model, group, i) == 1 ? 0
                                                             : INTEREST_ABSENT;
}

static int find_field(const struct interest_model *model, int group,
                      const char *name)
{
    for (unsigned i = 0; i < interest_field_count(model, group); i++)
        if (interest_field_places(model, group, i) > 0 &&
            strcmp(interest_field(model, group, i), name) == 0)
            return (int)i;
    return -1;
}

/* ids (fields of the group), of which the object says some. */
static enum base_status read_object(const struct interest_model *model,
                                    int group, json_t *object,
                                    const struct place *place, uint64_t *ids,
                                    struct base_error *error)
{
    char where[64];
    const char *name;
    json_t *value;
    clear_ids(model, group, ids);
    place_text(place, where, sizeof where);
    if (!json_is_object(object))
        return base_fail(error, BASE_DATA, "request: %s must be an object",
                         where);
    json_object_foreach(object, name, value)
    {
        int field = find_field(model, group, name);
        if (field < 0)
            return base_fail(error, BASE_DATA,
                             "request: %s: the model has no %s field \"%.80s\"",
                             where, group_names[group], name);
        enum base_status status = set_ids(model, group, (unsigned)field, value,
                                          place, &ids[field], error);
        if (status != BASE_OK)
            return status;
    }
    return BASE_OK;
}

static enum base_status read_single(const struct interest_model *model,
                                    int group, json_t *object,
                                    const uint64_t **ids,
                                    struct base_error *error)
{
    const struct place place = {group_names[group], -1};
    uint64_t *made =
        calloc(interest_field_count(model, group) + 1u, sizeof *made);
    *ids = made;
    if (!made)
        return base_fail(error, BASE_SYSTEM, "request: no memory");
    clear_ids(model, group, made);
    return object ? read_object(model, group, object, &place, made, error)
                  : BASE_OK;
}

static enum base_status read_list(const struct interest_model *model,
                                  const char *name, json_t *list,
                                  const uint64_t **ids, size_t *count,
                                  struct base_error *error)
{
    unsigned fields = interest_field_count(model, GROUP_ITEM);
    if (list && !json_is_array(list))
        return base_fail(error, BASE_DATA, "request: %s must be a list", name);
    *count = json_array_size(list); /* 0 for NULL */
    if (*count > ROWS_MAX)
        return base_fail(error, BASE_LIMIT, "request: %s has more than %d",
                         name, ROWS_MAX);
    uint64_t *made = calloc(*count * fields + 1, sizeof *made);
    *ids = made;
    if (!made)
        return base_fail(error, BASE_SYSTEM, "request: no memory");
    for (size_t i = 0; i < *count; i++) {
        const struct place place = {name, (long)i};
        enum base_status status =
            read_object(model, GROUP_ITEM, json_array_get(list, i), &place,
                        made + i * fields, error);
        if (status != BASE_OK)
            return status;
    }
    return BASE_OK;
}

/* The newest BEHAVIORS_MAX are kept. */
static void cut_history(const struct interest_model *model,
                        struct interest_request *request)
{
    size_t fields = interest_field_count(model, GROUP_ITEM);
    if (request->history_size <= BEHAVIORS_MAX)
        return;
    size_t skipped = request->history_size - BEHAVIORS_MAX;
    memmove((uint64_t *)request->history, request->history + skipped * fields,
            BEHAVIORS_MAX * fields * sizeof *request->history);
    request->history_size = BEHAVIORS_MAX;
}

/* texts (count): of the last so many of the list. */
static enum base_status keep_texts(json_t *list, size_t count, char ***texts,
                                   struct base_error *error)
{
    size_t skipped = json_array_size(list) - count;
    *texts = calloc(count + 1, sizeof **texts);
    for (size_t i = 0; *texts && i < count; i++) {
        (*texts)[i] =
            json_dumps(json_array_get(list, skipped + i), JSON_COMPACT);
        if (!(*texts)[i])
            return base_fail(error, BASE_SYSTEM, "request: no memory");
    }
    return *texts ? BASE_OK
                  : base_fail(error, BASE_SYSTEM, "request: no memory");
}

/* Fields that training takes from an event's time, where the request says
 * neither them nor null. */
static void derive(const struct interest_model *model, int group,
                   json_t *object, int64_t time_ms, uint64_t *ids)
{
    for (unsigned i = 0; i < interest_field_count(model, group); i++) {
        enum interest_transform transform =
            interest_field_transform(model, group, i);
        if ((transform == INTEREST_HOUR || transform == INTEREST_WEEKDAY) &&
            !json_object_get(object, interest_field(model, group, i)))
            ids[i] = interest_time_id(model, group, i, time_ms);
    }
}

static enum base_status read_time(const struct interest_model *model,
                                  json_t *root,
                                  struct interest_request *request,
                                  struct base_error *error)
{
    json_t *time = json_object_get(root, "time_ms");
    if (!time)
        return BASE_OK;
    if (!json_is_integer(time))
        return base_fail(error, BASE_DATA,
                         "request: time_ms must be milliseconds since 1970");
    int64_t time_ms = json_integer_value(time);
    derive(model, GROUP_PROFILE, json_object_get(root, "profile"), time_ms,
           (uint64_t *)request->profile);
    derive(model, GROUP_CONTEXT, json_object_get(root, "context"), time_ms,
           (uint64_t *)request->context);
    return BASE_OK;
}

static enum base_status check_names(json_t *root, struct base_error *error)
{
    static const char *const known[] = {"profile", "context", "behaviors",
                                        "candidates", "time_ms"};
    const char *name;
    json_t *value;
    if (!json_is_object(root))
        return base_fail(error, BASE_DATA, "request: must be a JSON object");
    json_object_foreach(root, name, value)
    {
        bool found = false;
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
            found |= strcmp(name, known[i]) == 0;
        if (!found)
            return base_fail(error, BASE_DATA,
                             "request: no \"%.80s\" there; allowed: profile, "
                             "context, behaviors or user, candidates, "
                             "time_ms",
                             name);
    }
    if (json_array_size(json_object_get(root, "candidates")) == 0)
        return base_fail(error, BASE_DATA,
                         "request: candidates must be a list of at least one");
    return BASE_OK;
}

static enum base_status read_root(const struct interest_model *model,
                                  json_t *root, struct rank_request *request,
                                  struct base_error *error)
{
    struct interest_request *ids = &request->ids;
    json_t *candidates = json_object_get(root, "candidates");
    enum base_status status = check_names(root, error);
    if (status == BASE_OK)
        status =
            read_single(model, GROUP_PROFILE, json_object_get(root, "profile"),
                        &ids->profile, error);
    if (status == BASE_OK)
        status =
            read_single(model, GROUP_CONTEXT, json_object_get(root, "context"),
                        &ids->context, error);
    if (status == BASE_OK)
        status =
            read_list(model, "behaviors", json_object_get(root, "behaviors"),
                      &ids->history, &ids->history_size, error);
    if (status == BASE_OK)
        status = read_list(model, "candidates", candidates, &ids->items,
                           &ids->candidates, error);
    if (status == BASE_OK)
        cut_history(model, ids);
    if (status == BASE_OK)
        status = read_time(model, root, ids, error);
    if (status == BASE_OK)
        status = keep_texts(json_object_get(root, "behaviors"),
                            ids->history_size, &request->behaviors, error);
    if (status == BASE_OK)
        status = keep_texts(candidates, ids->candidates, &request->candidates,
                            error);
    return status;
}

enum base_status rank_request_parse(const struct interest_model *model,
                                    const char *text, size_t size,
                                    struct rank_request *request,
                                    struct base_error *error)
{
    json_error_t place;
    memset(request, 0, sizeof *request);
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &place);
    if (!root)
        return base_fail(error, BASE_DATA, "request: line %d, column %d: %s",
                         place.line, place.column, place.text);
    enum base_status status = read_root(model, root, request, error);
    json_decref(root);
    if (status != BASE_OK)
        rank_request_fini(request);
    return status;
}

static void free_texts(char **texts, size_t count)
{
    for (size_t i = 0; texts && i < count; i++)
        free(texts[i]);
    free(texts);
}

void rank_request_fini(struct rank_request *request)
{
    free_texts(request->candidates, request->ids.candidates);
    free_texts(request->behaviors, request->ids.history_size);
    free((void *)request->ids.profile);
    free((void *)request->ids.context);
    free((void *)request->ids.history);
    free((void *)request->ids.items);
    memset(request, 0, sizeof *request);
}
