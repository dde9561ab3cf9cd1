/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration lines kept beside the state; see stream.h. Values never hold
 * a line feed: paths and names come from one line of the configuration. */
#include "ingest/stream.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* May change while the state stays valid. */
static const char *const free_names[] = {
    "window_ms",     "lateness_ms",    "skew_ms",
    "history_max",   "history_slack",  "history_ttl_ms",
    "pending_max",   "negative_keep",  "batch_size",
    "waiting_clicks_max", "remembered_max",
};
static const char label[] = "label."; /* names of groups are free too */

/* Long enough for a path and the bounds of a bucket. */
enum { VALUE_SIZE = 160 + 26 * INGEST_BOUNDS_MAX, PART = 80 };

static void print_transform(FILE *out, const struct ingest_transform *transform)
{
    static const char *const names[] = {
        [INGEST_TRANSFORM_NONE] = "",
        [INGEST_TRANSFORM_HOUR] = " hour",
        [INGEST_TRANSFORM_WEEKDAY] = " weekday",
        [INGEST_TRANSFORM_BUCKET] = " bucket",
    };
    fputs(names[transform->kind], out);
    for (unsigned i = 0; i < transform->bound_count; i++)
        fprintf(out, " %.17g", transform->bounds[i]);
    fputc('\n', out);
}

/* Clicks have no other fields than the item's. */
static void print_mapping(FILE *out, const char *topic,
                          const struct ingest_topic_config *topic_config,
                          const struct ingest_config *config)
{
    static const struct ingest_transform none;
    const struct ingest_mapping *mapping = &topic_config->mapping;
    const struct learner_schema *schema = &config->schema;
    bool clicks = topic_config == &config->topics[1];
    fprintf(out, "%s.event_id=%s\n%s.impression=%s\n%s.user=%s\n%s.time=%s\n",
            topic, mapping->event_id, topic, mapping->impression, topic,
            mapping->user, topic, mapping->time);
    for (unsigned i = 0; i < schema->field_count; i++) {
        bool used = !clicks || schema->fields[i].group == LEARNER_ITEM;
        fprintf(out, "%s.%s=%s", topic, schema->fields[i].name,
                mapping->fields[i]);
        print_transform(out, used ? &config->transforms[i] : &none);
    }
}

static void print_schema(FILE *out, const struct ingest_config *config)
{
    const struct learner_schema *schema = &config->schema;
    fprintf(out, "field_count=%u\nitem_count=%u\n", schema->field_count,
            schema->item_count);
    for (unsigned i = 0; i < schema->field_count; i++) {
        const struct learner_field *field = &schema->fields[i];
        fprintf(out, "field.%u=%s group %d table %s", i, field->name,
                (int)field->group, schema->tables[field->table].name);
        if (field->more)
            fprintf(out, " values %u", field->more + 1u);
        fputs(field->continues ? " continues\n" : "\n", out);
    }
    for (unsigned i = 0; i < schema->field_count; i++)
        if (ingest_own_group(config, i))
            fprintf(out, "%s%s=%s\n", label, schema->fields[i].name,
                    config->groups[i]);
}

bool ingest_own_group(const struct ingest_config *config, unsigned field)
{
    const char *group = config->groups[field];
    return *group && strcmp(group, "profile") != 0 &&
           strcmp(group, "item") != 0 && strcmp(group, "context") != 0;
}

enum base_status ingest_stream_text(const struct ingest_config *config,
                                    char **text, struct base_error *error)
{
    size_t size;
    FILE *out = open_memstream(text, &size);
    if (!out)
        return base_fail(error, BASE_SYSTEM, "configuration: no memory");
    print_schema(out, config);
    print_mapping(out, "impressions", &config->topics[0], config);
    print_mapping(out, "clicks", &config->topics[1], config);
    fprintf(out, "label_mode=%s\n",
            config->label_mode == INGEST_LABEL_FNW ? "fnw" : "window");
    fprintf(out, "window_ms=%" PRId64 "\nlateness_ms=%" PRId64 "\n",
            config->window_ms, config->lateness_ms);
    fprintf(out, "skew_ms=%" PRId64 "\nhistory_max=%u\nhistory_slack=%u\n",
            config->skew_ms, config->history_max, config->history_slack);
    fprintf(out, "history_ttl_ms=%" PRId64 "\npending_max=%" PRIu64 "\n",
            config->history_ttl_ms, config->pending_max);
    fprintf(out,
            "waiting_clicks_max=%" PRIu64 "\nremembered_max=%" PRIu64 "\n",
            config->waiting_clicks_max, config->remembered_max);
    fprintf(out, "negative_keep=%.17g\nbatch_size=%u\n",
            config->negative_keep, config->batch_size);
    if (fclose(out)) {
        free(*text);
        return base_fail(error, BASE_SYSTEM, "configuration: no memory");
    }
    return BASE_OK;
}

void ingest_stream_value(const char *text, const char *name, char *value,
                         size_t size)
{
    size_t length = strlen(name);
    value[0] = '\0';
    for (const char *line = text; *line;) {
        size_t line_size = strcspn(line, "\n");
        if (line_size > length && strncmp(line, name, length) == 0 &&
            line[length] == '=') {
            snprintf(value, size, "%.*s", (int)(line_size - length - 1),
                     line + length + 1);
            return;
        }
        line += line_size + (line[line_size] == '\n');
    }
}

static bool may_change(const char *name)
{
    if (strncmp(name, label, sizeof label - 1) == 0)
        return true;
    for (size_t i = 0; i < sizeof free_names / sizeof *free_names; i++)
        if (strcmp(free_names[i], name) == 0)
            return true;
    return false;
}

/* The part of a value that a reader must see: from a little before `at`. */
static const char *part_of(const char *value, size_t at)
{
    return at < PART ? value : value + at - PART / 2;
}

static enum base_status refuse(const char *name, const char *was,
                               const char *is, struct base_error *error)
{
    size_t at = 0;
    while (was[at] && was[at] == is[at])
        at++;
    return base_fail(error, BASE_CONFIG,
                     "state: %s was \"%s%.120s\" and is now \"%s%.120s\"; the "
                     "stored state depends on it",
                     name, at < PART ? "" : "..", part_of(was, at),
                     at < PART ? "" : "..", part_of(is, at));
}

/* Compares the values of each name that is stored; `fresh`: of each that is
 * only wanted. */
static enum base_status compare_lines(const char *stored, const char *wanted,
                                      bool fresh, char *changes, size_t size,
                                      struct base_error *error)
{
    char name[128], was[VALUE_SIZE], is[VALUE_SIZE];
    for (const char *line = fresh ? wanted : stored; *line;) {
        size_t line_size = strcspn(line, "\n");
        snprintf(name, sizeof name, "%.*s", (int)strcspn(line, "="), line);
        ingest_stream_value(stored, name, was, sizeof was);
        ingest_stream_value(wanted, name, is, sizeof is);
        line += line_size + (line[line_size] == '\n');
        if (strcmp(was, is) == 0 || (fresh && *was))
            continue;
        if (!may_change(name))
            return refuse(name, was, is, error);
        size_t used = strlen(changes);
        snprintf(changes + used, size - used, "%s%s: %s -> %s",
                 used ? ", " : "", name, was, is);
    }
    return BASE_OK;
}

enum base_status ingest_stream_compare(const char *stored, const char *wanted,
                                       char *changes, size_t size,
                                       struct base_error *error)
{
    changes[0] = '\0';
    enum base_status status =
        compare_lines(stored, wanted, false, changes, size, error);
    if (!status)
        status = compare_lines(stored, wanted, true, changes, size, error);
    return status;
}
