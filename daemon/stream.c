/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest's `stream` object; see stream.h. Only what changes how
 * requests are made or scores are read; where events come from stays here. */
#include "daemon/stream.h"

#include <jansson.h>

static json_t *transform_json(const struct ingest_transform *transform)
{
    static const char *const names[] = {
        [INGEST_TRANSFORM_HOUR] = "hour",
        [INGEST_TRANSFORM_WEEKDAY] = "weekday",
        [INGEST_TRANSFORM_BUCKET] = "bucket",
    };
    json_t *object = json_pack("{s:s}", "transform", names[transform->kind]);
    json_t *bounds = json_array();
    for (unsigned i = 0; i < transform->bound_count; i++)
        json_array_append_new(bounds, json_real(transform->bounds[i]));
    if (transform->bound_count)
        json_object_set(object, "bounds", bounds);
    json_decref(bounds);
    return object;
}

static json_t *transforms_json(const struct ingest_config *config)
{
    json_t *object = json_object();
    for (unsigned i = 0; i < config->schema.field_count; i++)
        if (config->transforms[i].kind != INGEST_TRANSFORM_NONE)
            json_object_set_new(object, config->schema.fields[i].name,
                                transform_json(&config->transforms[i]));
    return object;
}

/* Fields in groups of the user's own: name of the group. */
static json_t *groups_json(const struct ingest_config *config)
{
    json_t *object = json_object();
    for (unsigned i = 0; i < config->schema.field_count; i++)
        if (ingest_own_group(config, i))
            json_object_set_new(object, config->schema.fields[i].name,
                                json_string(config->groups[i]));
    return object;
}

char *daemon_stream_json(const struct ingest_config *config)
{
    bool window = config->label_mode == INGEST_LABEL_WINDOW;
    json_t *object = json_pack(
        "{s:s, s:I, s:I, s:I, s:f, s:o, s:o}", "label_mode",
        window ? "window" : "fnw", "window_ms", (json_int_t)config->window_ms,
        "history_max", (json_int_t)config->history_max, "history_ttl_ms",
        (json_int_t)config->history_ttl_ms, "negative_keep",
        config->negative_keep, "transforms", transforms_json(config), "groups",
        groups_json(config));
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return text;
}
