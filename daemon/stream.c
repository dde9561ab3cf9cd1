/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest's `stream` object; see stream.h. Only what changes how
 * requests are made or scores are read; where events come from stays here. */
#include "daemon/stream.h"

#include <jansson.h>

static json_t *transforms_json(const struct ingest_config *config)
{
    json_t *object = json_object();
    for (unsigned i = 0; i < config->schema.field_count; i++)
        if (config->topics[0].mapping.hour[i])
            json_object_set_new(object, config->schema.fields[i].name,
                                json_string("hour"));
    return object;
}

char *daemon_stream_json(const struct ingest_config *config)
{
    bool window = config->label_mode == INGEST_LABEL_WINDOW;
    json_t *object = json_pack(
        "{s:s, s:I, s:I, s:I, s:f, s:o}", "label_mode",
        window ? "window" : "fnw", "window_ms", (json_int_t)config->window_ms,
        "history_max", (json_int_t)config->history_max, "history_ttl_ms",
        (json_int_t)config->history_ttl_ms, "negative_keep",
        config->negative_keep, "transforms", transforms_json(config));
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return text;
}
