/* SPDX-License-Identifier: Apache-2.0 */
/* YAML events to dotted keys; see config_file.h.
 *
 * Invariants: 1. an event is deleted before the next is read; 2. depth and
 * file size are bounded, so a hostile file costs bounded memory; 3. no
 * aliases, no tags, no second document. */
#include "daemon/config_file.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/file.h"

enum { FILE_MAX = 1 << 20, DEPTH_MAX = 8, KEY_SIZE = 256 };

struct walk {
    yaml_parser_t parser;
    yaml_event_t event;
    const struct config_visitor *visitor;
    struct base_setting_place place; /* of the current event */
    struct base_error *error;
};

static enum base_status refuse(struct walk *walk, const char *text)
{
    char where[600];
    base_setting_place_text(&walk->place, where, sizeof where);
    return base_fail(walk->error, BASE_CONFIG, "%s%s", where, text);
}

static enum base_status bad_yaml(struct walk *walk)
{
    const yaml_parser_t *parser = &walk->parser;
    walk->place.line = (unsigned)parser->problem_mark.line + 1;
    walk->place.column = (unsigned)parser->problem_mark.column + 1;
    char text[400];
    snprintf(text, sizeof text, "not YAML: %s%s%s",
             parser->problem ? parser->problem : "unreadable",
             parser->context ? ", " : "",
             parser->context ? parser->context : "");
    return refuse(walk, text);
}

/* Reads the next event over the last one and refuses what no file needs. */
static enum base_status next(struct walk *walk)
{
    yaml_event_delete(&walk->event);
    if (!yaml_parser_parse(&walk->parser, &walk->event)) {
        memset(&walk->event, 0, sizeof walk->event);
        return bad_yaml(walk);
    }
    walk->place.line = (unsigned)walk->event.start_mark.line + 1;
    walk->place.column = (unsigned)walk->event.start_mark.column + 1;
    if (walk->event.type == YAML_ALIAS_EVENT)
        return refuse(walk, "aliases (*name) are not allowed");
    return BASE_OK;
}

/* Copies the scalar under the cursor. */
static enum base_status take_scalar(struct walk *walk, char *text, size_t size)
{
    size_t length = walk->event.data.scalar.length;
    const char *value = (const char *)walk->event.data.scalar.value;
    if (length >= size || memchr(value, '\0', length))
        return refuse(walk, "value or key is too long or holds a NUL");
    memcpy(text, value, length);
    text[length] = '\0';
    return BASE_OK;
}

static enum base_status walk_mapping(struct walk *walk, const char *prefix,
                                     const struct config_entry *entry,
                                     unsigned depth);

/* The entries of a list of mappings; the sequence start is under the cursor. */
static enum base_status walk_entries(struct walk *walk, const char *list)
{
    struct config_entry entry = {.list = list};
    enum base_status status;
    for (;; entry.number++) {
        if ((status = next(walk)) != BASE_OK)
            return status;
        if (walk->event.type == YAML_SEQUENCE_END_EVENT)
            return BASE_OK;
        if (walk->event.type != YAML_MAPPING_START_EVENT)
            return refuse(walk, "a list entry must be a mapping {key: value}");
        status = walk->visitor->begin(walk->visitor->self, &entry, &walk->place,
                                      walk->error);
        if (status == BASE_OK)
            status = walk_mapping(walk, "", &entry, 1);
        if (status != BASE_OK)
            return status;
    }
}

/* A list of scalars as one value; the sequence start is under the cursor. */
static enum base_status join_scalars(struct walk *walk, char *value,
                                     size_t size)
{
    size_t used = 0;
    enum base_status status;
    value[0] = '\0';
    for (;;) {
        if ((status = next(walk)) != BASE_OK)
            return status;
        if (walk->event.type == YAML_SEQUENCE_END_EVENT)
            return BASE_OK;
        if (walk->event.type != YAML_SCALAR_EVENT)
            return refuse(walk, "this list holds plain values only");
        if (used && used + 1 < size)
            value[used++] = ',';
        status = take_scalar(walk, value + used, size - used);
        if (status != BASE_OK)
            return status;
        if (!value[used] || strchr(value + used, ','))
            return refuse(walk, "an empty value, or one with a comma, cannot "
                                "be in a list");
        used += strlen(value + used);
    }
}

static bool is_list(const struct walk *walk, const char *key)
{
    for (unsigned i = 0; walk->visitor->lists[i]; i++)
        if (strcmp(walk->visitor->lists[i], key) == 0)
            return true;
    return false;
}

/* The value of `key`, which is under the cursor. */
static enum base_status walk_value(struct walk *walk, const char *key,
                                   const struct config_entry *entry,
                                   unsigned depth)
{
    char value[2048];
    enum base_status status;
    struct base_setting_place place = walk->place;
    switch (walk->event.type) {
    case YAML_SCALAR_EVENT:
        status = take_scalar(walk, value, sizeof value);
        break;
    case YAML_MAPPING_START_EVENT:
        if (depth >= DEPTH_MAX || entry)
            return refuse(walk, "mappings are nested too deep here");
        return walk_mapping(walk, key, NULL, depth + 1);
    case YAML_SEQUENCE_START_EVENT:
        if (!entry && is_list(walk, key))
            return walk_entries(walk, key);
        status = join_scalars(walk, value, sizeof value);
        break;
    default: return refuse(walk, "a value is expected");
    }
    return status != BASE_OK
               ? status
               : walk->visitor->scalar(walk->visitor->self, entry, key, value,
                                       &place, walk->error);
}

/* Pairs up to the mapping's end; its start is under the cursor. */
static enum base_status walk_mapping(struct walk *walk, const char *prefix,
                                     const struct config_entry *entry,
                                     unsigned depth)
{
    enum base_status status;
    for (;;) {
        char name[KEY_SIZE], key[2 * KEY_SIZE];
        if ((status = next(walk)) != BASE_OK)
            return status;
        if (walk->event.type == YAML_MAPPING_END_EVENT)
            return BASE_OK;
        if (walk->event.type != YAML_SCALAR_EVENT)
            return refuse(walk, "a key must be a plain name");
        if ((status = take_scalar(walk, name, sizeof name)) != BASE_OK)
            return status;
        int used = snprintf(key, sizeof key, "%s%s%s", prefix,
                            prefix[0] ? "." : "", name);
        if (used < 0 || used >= KEY_SIZE)
            return refuse(walk, "key is too long");
        struct base_setting_place place = walk->place;
        if ((status = next(walk)) != BASE_OK)
            return status;
        /* An empty value has no place of its own: the key's is better. */
        if (walk->event.type == YAML_SCALAR_EVENT &&
            walk->event.data.scalar.length == 0)
            walk->place = place;
        if ((status = walk_value(walk, key, entry, depth)) != BASE_OK)
            return status;
    }
}

static enum base_status walk_document(struct walk *walk)
{
    enum base_status status;
    do {
        if ((status = next(walk)) != BASE_OK)
            return status;
    } while (walk->event.type == YAML_STREAM_START_EVENT ||
             walk->event.type == YAML_DOCUMENT_START_EVENT);
    if (walk->event.type != YAML_MAPPING_START_EVENT)
        return refuse(walk, "the file must be a mapping of settings");
    if ((status = walk_mapping(walk, "", NULL, 1)) != BASE_OK)
        return status;
    do {
        if ((status = next(walk)) != BASE_OK)
            return status;
        if (walk->event.type == YAML_DOCUMENT_START_EVENT)
            return refuse(walk, "only one document is allowed");
    } while (walk->event.type != YAML_STREAM_END_EVENT);
    return BASE_OK;
}

enum base_status config_file_walk(const char *path, const char *folder,
                                  const struct config_visitor *visitor,
                                  struct base_error *error)
{
    struct walk walk = {.visitor = visitor,
                        .error = error,
                        .place = {.file = path, .folder = folder}};
    char *data = NULL;
    size_t size;
    enum base_status status =
        base_file_read(path, FILE_MAX, &data, &size, error);
    if (status != BASE_OK)
        return base_wrap(error, "configuration");
    if (!yaml_parser_initialize(&walk.parser)) {
        free(data);
        return base_fail(error, BASE_SYSTEM, "configuration: no memory");
    }
    yaml_parser_set_input_string(&walk.parser, (const unsigned char *)data,
                                 size);
    status = walk_document(&walk);
    yaml_event_delete(&walk.event);
    yaml_parser_delete(&walk.parser);
    free(data);
    return status;
}
