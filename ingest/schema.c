/* SPDX-License-Identifier: Apache-2.0 */
/* Writer's schemas; see schema.h. libavro validates the JSON and resolves
 * names. Our walk goes over its tree and over the JSON side by side, because
 * libavro drops logical types, and refuses what libavro lets through:
 * repeated field names and symbols, unions inside unions, negative sizes. */
#include "ingest/schema.h"

#include <avro.h>
#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"

static pthread_mutex_t avro_lock = PTHREAD_MUTEX_INITIALIZER;

static const char *const type_names[] = {
    [INGEST_SCHEMA_NULL] = "null",     [INGEST_SCHEMA_BOOLEAN] = "boolean",
    [INGEST_SCHEMA_INT] = "int",       [INGEST_SCHEMA_LONG] = "long",
    [INGEST_SCHEMA_FLOAT] = "float",   [INGEST_SCHEMA_DOUBLE] = "double",
    [INGEST_SCHEMA_BYTES] = "bytes",   [INGEST_SCHEMA_STRING] = "string",
    [INGEST_SCHEMA_FIXED] = "fixed",   [INGEST_SCHEMA_ENUM] = "enum",
    [INGEST_SCHEMA_ARRAY] = "array",   [INGEST_SCHEMA_MAP] = "map",
    [INGEST_SCHEMA_UNION] = "union",   [INGEST_SCHEMA_RECORD] = "record",
};

/* By avro_type_t; links never reach this table. */
static const enum ingest_schema_type types[] = {
    [AVRO_STRING] = INGEST_SCHEMA_STRING, [AVRO_BYTES] = INGEST_SCHEMA_BYTES,
    [AVRO_INT32] = INGEST_SCHEMA_INT,     [AVRO_INT64] = INGEST_SCHEMA_LONG,
    [AVRO_FLOAT] = INGEST_SCHEMA_FLOAT,   [AVRO_DOUBLE] = INGEST_SCHEMA_DOUBLE,
    [AVRO_BOOLEAN] = INGEST_SCHEMA_BOOLEAN, [AVRO_NULL] = INGEST_SCHEMA_NULL,
    [AVRO_RECORD] = INGEST_SCHEMA_RECORD, [AVRO_ENUM] = INGEST_SCHEMA_ENUM,
    [AVRO_FIXED] = INGEST_SCHEMA_FIXED,   [AVRO_MAP] = INGEST_SCHEMA_MAP,
    [AVRO_ARRAY] = INGEST_SCHEMA_ARRAY,   [AVRO_UNION] = INGEST_SCHEMA_UNION,
};

const char *ingest_schema_type_name(enum ingest_schema_type type)
{
    return type_names[type];
}

struct walk {
    struct ingest_schema *schema;
    struct base_map *seen; /* address of libavro's named type -> node */
    struct base_error *error;
};

static enum base_status walk(struct walk *w, avro_schema_t avro,
                             const json_t *json, unsigned depth,
                             uint32_t *index);

static enum ingest_schema_logical logical_of(const json_t *json)
{
    const char *name = json_string_value(json_object_get(json, "logicalType"));
    if (!name)
        return INGEST_SCHEMA_PLAIN;
    if (!strncmp(name, "local-", 6))
        name += 6;
    if (!strcmp(name, "timestamp-millis"))
        return INGEST_SCHEMA_MILLIS;
    if (!strcmp(name, "timestamp-micros"))
        return INGEST_SCHEMA_MICROS;
    if (!strcmp(name, "date") || !strcmp(name, "time-millis") ||
        !strcmp(name, "time-micros") || !strcmp(name, "timestamp-nanos"))
        return INGEST_SCHEMA_OTHER_TIME;
    return INGEST_SCHEMA_PLAIN;
}

static enum base_status allocate(struct walk *w,
                                 struct ingest_schema_node *node,
                                 uint32_t count, bool children, bool names)
{
    node->count = count;
    if (children)
        node->children = calloc(count + 1, sizeof *node->children);
    if (names)
        node->names = calloc(count + 1, sizeof *node->names);
    if ((children && !node->children) || (names && !node->names))
        return base_fail(w->error, BASE_SYSTEM, "schema: no memory");
    return BASE_OK;
}

static enum base_status walk_enum(struct walk *w, avro_schema_t avro,
                                  uint32_t index)
{
    struct ingest_schema_node *node = &w->schema->nodes[index];
    int count = avro_schema_enum_number_of_symbols(avro);
    if (count > INGEST_SCHEMA_SYMBOLS_MAX)
        return base_fail(w->error, BASE_LIMIT,
                         "schema: enum %s has %d symbols; %d are allowed",
                         avro_schema_name(avro), count,
                         INGEST_SCHEMA_SYMBOLS_MAX);
    if (allocate(w, node, (uint32_t)count, false, true))
        return BASE_SYSTEM;
    for (int i = 0; i < count; i++) {
        node->names[i] = avro_schema_enum_get(avro, i);
        if (avro_schema_enum_get_by_name(avro, node->names[i]) != i)
            return base_fail(w->error, BASE_DATA,
                             "schema: enum %s has symbol %s twice",
                             avro_schema_name(avro), node->names[i]);
    }
    return BASE_OK;
}

static enum base_status walk_fixed(struct walk *w, avro_schema_t avro,
                                   uint32_t index)
{
    int64_t size = avro_schema_fixed_size(avro);
    if (size < 0 || size > INT32_MAX)
        return base_fail(w->error, BASE_DATA,
                         "schema: fixed %s has size %lld",
                         avro_schema_name(avro), (long long)size);
    w->schema->nodes[index].size = (uint32_t)size;
    return BASE_OK;
}

static enum base_status walk_record(struct walk *w, avro_schema_t avro,
                                    const json_t *json, unsigned depth,
                                    uint32_t index)
{
    const char *record = avro_schema_name(avro);
    size_t count = avro_schema_record_size(avro);
    if (count > INGEST_SCHEMA_FIELDS_MAX)
        return base_fail(w->error, BASE_LIMIT,
                         "schema: record %s has %zu fields; %d are allowed",
                         record, count, INGEST_SCHEMA_FIELDS_MAX);
    if (allocate(w, &w->schema->nodes[index], (uint32_t)count, true, true))
        return BASE_SYSTEM;
    const char **names = w->schema->nodes[index].names;
    uint32_t *children = (uint32_t *)w->schema->nodes[index].children;
    const json_t *fields = json_object_get(json, "fields");
    for (int i = 0; i < (int)count; i++) {
        names[i] = avro_schema_record_field_name(avro, i);
        if (avro_schema_record_field_get_index(avro, names[i]) != i)
            return base_fail(w->error, BASE_DATA,
                             "schema: record %s has field %s twice", record,
                             names[i]);
        const json_t *type =
            json_object_get(json_array_get(fields, (size_t)i), "type");
        enum base_status status =
            walk(w, avro_schema_record_field_get_by_index(avro, i), type,
                 depth + 1, &children[i]);
        if (status)
            return status;
    }
    return BASE_OK;
}

/* A union may hold each unnamed type once and no other union. */
static enum base_status check_branches(struct walk *w, uint32_t index)
{
    const struct ingest_schema_node *nodes = w->schema->nodes;
    uint32_t seen = 0;
    for (uint32_t i = 0; i < nodes[index].count; i++) {
        uint32_t child = nodes[index].children[i];
        enum ingest_schema_type type = nodes[child].type;
        if (type == INGEST_SCHEMA_UNION)
            return base_fail(w->error, BASE_DATA,
                             "schema: a union stands directly in a union");
        bool named = type == INGEST_SCHEMA_RECORD ||
                     type == INGEST_SCHEMA_ENUM || type == INGEST_SCHEMA_FIXED;
        bool again = !named && (seen & 1u << type);
        for (uint32_t j = 0; named && j < i; j++)
            again |= nodes[index].children[j] == child;
        if (again)
            return base_fail(w->error, BASE_DATA,
                             "schema: a union has branch %s twice",
                             ingest_schema_type_name(type));
        seen |= 1u << type;
    }
    return BASE_OK;
}

static enum base_status walk_union(struct walk *w, avro_schema_t avro,
                                   const json_t *json, unsigned depth,
                                   uint32_t index)
{
    size_t count = avro_schema_union_size(avro);
    if (count > INGEST_SCHEMA_BRANCHES_MAX)
        return base_fail(w->error, BASE_LIMIT,
                         "schema: a union has %zu branches; %d are allowed",
                         count, INGEST_SCHEMA_BRANCHES_MAX);
    if (allocate(w, &w->schema->nodes[index], (uint32_t)count, true, false))
        return BASE_SYSTEM;
    uint32_t *children = (uint32_t *)w->schema->nodes[index].children;
    for (int i = 0; i < (int)count; i++) {
        enum base_status status =
            walk(w, avro_schema_union_branch(avro, i),
                 json_array_get(json, (size_t)i), depth + 1, &children[i]);
        if (status)
            return status;
    }
    return check_branches(w, index);
}

/* The one child of an array or a map. */
static enum base_status walk_item(struct walk *w, avro_schema_t avro,
                                  const json_t *json, unsigned depth,
                                  uint32_t index)
{
    if (allocate(w, &w->schema->nodes[index], 1, true, false))
        return BASE_SYSTEM;
    uint32_t *children = (uint32_t *)w->schema->nodes[index].children;
    if (is_avro_map(avro))
        return walk(w, avro_schema_map_values(avro),
                    json_object_get(json, "values"), depth + 1, children);
    return walk(w, avro_schema_array_items(avro),
                json_object_get(json, "items"), depth + 1, children);
}

/* Appends an empty node; named types are remembered before their inside is
 * walked, which is what closes the cycle of a recursive type. */
static enum base_status append(struct walk *w, avro_schema_t avro,
                               const json_t *json, uint32_t *index)
{
    struct ingest_schema *schema = w->schema;
    if (schema->count == INGEST_SCHEMA_NODES_MAX)
        return base_fail(w->error, BASE_LIMIT,
                         "schema: more than %d types", INGEST_SCHEMA_NODES_MAX);
    *index = schema->count++;
    schema->nodes[*index] = (struct ingest_schema_node){
        .type = types[avro_typeof(avro)],
        .logical = logical_of(json),
        .json = json};
    if (is_avro_record(avro) || is_avro_enum(avro) || is_avro_fixed(avro))
        return base_map_put(w->seen, (uintptr_t)avro, *index, w->error);
    return BASE_OK;
}

static enum base_status walk(struct walk *w, avro_schema_t avro,
                             const json_t *json, unsigned depth,
                             uint32_t *index)
{
    if (depth > INGEST_SCHEMA_DEPTH_MAX)
        return base_fail(w->error, BASE_LIMIT,
                         "schema: types are nested more than %d deep",
                         INGEST_SCHEMA_DEPTH_MAX);
    while (json_is_object(json_object_get(json, "type")))
        json = json_object_get(json, "type"); /* {"type": {"type": ..}} */
    if (is_avro_link(avro)) {
        avro_schema_t target = avro_schema_link_target(avro);
        const uint64_t *known = base_map_get(w->seen, (uintptr_t)target);
        if (!known)
            return base_fail(w->error, BASE_DATA,
                             "schema: a name does not lead to a type");
        *index = (uint32_t)*known;
        return BASE_OK;
    }
    enum base_status status = append(w, avro, json, index);
    if (status)
        return status;
    switch (avro_typeof(avro)) {
    case AVRO_RECORD: return walk_record(w, avro, json, depth, *index);
    case AVRO_UNION: return walk_union(w, avro, json, depth, *index);
    case AVRO_ENUM: return walk_enum(w, avro, *index);
    case AVRO_FIXED: return walk_fixed(w, avro, *index);
    case AVRO_ARRAY:
    case AVRO_MAP: return walk_item(w, avro, json, depth, *index);
    default: return BASE_OK;
    }
}

/* Parses the text for the logical types, and before libavro sees it, so that
 * depth and repeated keys are refused by a parser made for foreign text. */
static enum base_status load_json(const char *text, size_t size,
                                  json_t **json, struct base_error *error)
{
    if (size > INGEST_SCHEMA_TEXT_MAX)
        return base_fail(error, BASE_LIMIT,
                         "schema: %zu bytes of JSON; %d are allowed", size,
                         INGEST_SCHEMA_TEXT_MAX);
    json_error_t why;
    *json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
    if (!*json)
        return base_fail(error, BASE_DATA, "schema: line %d column %d: %s",
                         why.line, why.column, why.text);
    return BASE_OK;
}

static enum base_status load_avro(const char *text, size_t size,
                                  avro_schema_t *avro,
                                  struct base_error *error)
{
    enum base_status status = BASE_OK;
    pthread_mutex_lock(&avro_lock);
    if (avro_schema_from_json_length(text, size, avro))
        status = base_fail(error, BASE_DATA, "schema: %s", avro_strerror());
    pthread_mutex_unlock(&avro_lock);
    return status;
}

static enum base_status build(struct ingest_schema *schema, const json_t *json,
                              struct base_error *error)
{
    if (!is_avro_record((avro_schema_t)schema->avro))
        return base_fail(error, BASE_DATA,
                         "schema: the top must be a record, not a %s",
                         avro_schema_type_name((avro_schema_t)schema->avro));
    struct walk w = {.schema = schema, .error = error};
    schema->nodes = calloc(INGEST_SCHEMA_NODES_MAX, sizeof *schema->nodes);
    if (!schema->nodes)
        return base_fail(error, BASE_SYSTEM, "schema: no memory");
    if (base_map_new(&w.seen, 0, error))
        return BASE_SYSTEM;
    uint32_t top;
    enum base_status status = walk(&w, schema->avro, json, 1, &top);
    base_map_free(w.seen);
    return status;
}

enum base_status ingest_schema_new(const char *text, size_t size,
                                   struct ingest_schema **schema,
                                   struct base_error *error)
{
    json_t *json = NULL;
    avro_schema_t avro = NULL;
    struct ingest_schema *made = NULL;
    enum base_status status = load_json(text, size, &json, error);
    if (status)
        goto cleanup;
    status = load_avro(text, size, &avro, error);
    if (status)
        goto cleanup;
    made = calloc(1, sizeof *made);
    if (!made) {
        avro_schema_decref(avro);
        status = base_fail(error, BASE_SYSTEM, "schema: no memory");
        goto cleanup;
    }
    made->avro = avro;
    made->json = json;
    status = build(made, json, error);
    json = NULL;
cleanup:
    json_decref(json);
    if (status)
        ingest_schema_free(made);
    else
        *schema = made;
    return status;
}

void ingest_schema_free(struct ingest_schema *schema)
{
    if (!schema)
        return;
    for (uint32_t i = 0; i < schema->count; i++) {
        free((void *)schema->nodes[i].children);
        free(schema->nodes[i].names);
    }
    free(schema->nodes);
    json_decref(schema->json);
    pthread_mutex_lock(&avro_lock);
    avro_schema_decref(schema->avro);
    pthread_mutex_unlock(&avro_lock);
    free(schema);
}
