/* SPDX-License-Identifier: Apache-2.0 */
/* Behaviors of a named user; see rank_history.h. */
#include "daemon/rank_history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "daemon/config.h"
#include "ingest/ingest.h"

enum { GROUP_ITEM = 1 };

/* The line that ingest prints of a user; NULL: unknown to the daemon. */
static enum base_status read_sequence(const struct daemon_config *config,
                                      const char *user, json_t **sequence,
                                      struct base_error *error)
{
    char *line = NULL;
    size_t size = 0;
    *sequence = NULL;
    FILE *out = open_memstream(&line, &size);
    if (!out)
        return base_fail(error, BASE_SYSTEM, "no memory");
    enum base_status status = ingest_inspect_sequence(
        config->ingest.folder, user, true, out, error);
    fclose(out);
    if (status == BASE_OK) {
        *sequence = json_loads(line, 0, NULL);
        if (!*sequence)
            status = base_fail(error, BASE_BROKEN, "no sequence: %.100s", line);
    }
    free(line);
    return status == BASE_NO_USER ? BASE_OK : status;
}

/* Place of the model's field among the ids of a behavior; -1: none. */
static int find_place(const struct learner_schema *stream, const char *name)
{
    for (unsigned i = 0; i < stream->item_count; i++)
        if (strcmp(stream->fields[stream->profile_count + i].name, name) == 0)
            return (int)i;
    return -1;
}

static json_t *id_of(json_t *ids, size_t place)
{
    json_t *id = json_array_get(ids, place);
    return json_is_string(id) ? json_pack("{s:O}", "id", id) : json_null();
}

/* {"goods": {"id": ..}, "genres": [{"id": ..}, ..]} */
static enum base_status make_behavior(const struct interest_model *model,
                                      const struct learner_schema *stream,
                                      json_t *ids, json_t *behavior,
                                      struct base_error *error)
{
    unsigned fields = interest_field_count(model, GROUP_ITEM);
    for (unsigned f = 0; f < fields; f++) {
        unsigned places = interest_field_places(model, GROUP_ITEM, f);
        const char *name = interest_field(model, GROUP_ITEM, f);
        if (places == 0)
            continue; /* of a run that was taken with its first */
        int place = find_place(stream, name);
        if (place < 0)
            return base_fail(error, BASE_CONFIG,
                             "the model's field %s is not in this "
                             "configuration: it is another stream's",
                             name);
        json_t *value = places == 1 ? id_of(ids, (size_t)place) : json_array();
        for (unsigned i = 0; places > 1 && i < places; i++)
            json_array_append_new(value, id_of(ids, (size_t)place + i));
        json_object_set_new(behavior, name, value);
    }
    return BASE_OK;
}

static enum base_status add_behaviors(const struct interest_model *model,
                                      const struct learner_schema *stream,
                                      json_t *sequence, json_t *request,
                                      struct base_error *error)
{
    json_t *list = json_array(), *line;
    const json_t *time = json_object_get(request, "time_ms");
    enum base_status status = BASE_OK;
    size_t i;
    json_object_set_new(request, "behaviors", list);
    json_array_foreach(json_object_get(sequence, "behaviors"), i, line)
    {
        if (json_is_integer(time) &&
            json_integer_value(json_array_get(line, 0)) >=
                json_integer_value(time))
            continue;
        json_t *behavior = json_object();
        status = make_behavior(model, stream, json_array_get(line, 2),
                               behavior, error);
        json_array_append_new(list, behavior);
        if (status != BASE_OK)
            break;
    }
    return status;
}

static enum base_status fill(const struct interest_model *model,
                             const struct daemon_config *config,
                             json_t *request, struct base_error *error)
{
    json_t *sequence = NULL, *user = json_object_get(request, "user");
    char name[256] = "";
    if (json_is_string(user))
        snprintf(name, sizeof name, "%s", json_string_value(user));
    else if (json_is_integer(user))
        snprintf(name, sizeof name, "%" JSON_INTEGER_FORMAT,
                 json_integer_value(user));
    if (!*name || json_object_get(request, "behaviors"))
        return base_fail(error, BASE_DATA,
                         "request: user must be a text or a whole number, and "
                         "there may be no behaviors beside it");
    enum base_status status = read_sequence(config, name, &sequence, error);
    if (status == BASE_OK)
        status = add_behaviors(model, &config->ingest.schema, sequence,
                               request, error);
    json_decref(sequence);
    json_object_del(request, "user");
    return status;
}

static enum base_status fill_from(const struct interest_model *model,
                                  const char *file, json_t *request,
                                  struct base_error *error)
{
    if (!file)
        return base_fail(error, BASE_USAGE,
                         "the request names a user: --config FILE says in "
                         "which daemon's state the behaviors are");
    struct daemon_config *config = malloc(sizeof *config);
    if (!config)
        return base_fail(error, BASE_SYSTEM, "no memory");
    enum base_status status =
        daemon_config_load_with(file, NULL, 0, config, error);
    if (status == BASE_OK)
        status = fill(model, config, request, error);
    free(config);
    return status;
}

enum base_status rank_history_fill(const struct interest_model *model,
                                   const char *config, char **text,
                                   size_t *size, struct base_error *error)
{
    json_t *request = json_loadb(*text, *size, JSON_REJECT_DUPLICATES, NULL);
    enum base_status status = BASE_OK;
    if (json_object_get(request, "user")) { /* else, and of bad JSON, the
                                               request's own parser tells */
        status = fill_from(model, config, request, error);
        char *filled =
            status == BASE_OK ? json_dumps(request, JSON_COMPACT) : NULL;
        if (filled) {
            free(*text);
            *text = filled;
            *size = strlen(filled);
        } else if (status == BASE_OK) {
            status = base_fail(error, BASE_SYSTEM, "no memory");
        }
    }
    json_decref(request);
    return status;
}
