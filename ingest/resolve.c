/* SPDX-License-Identifier: Apache-2.0 */
/* Schema resolution for paths; see resolve.h. */
#include "ingest/resolve.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/path.h"

/* ---- fields -------------------------------------------------------------- */

static const json_t *field_json(const struct ingest_schema_node *record,
                                uint32_t field)
{
    return json_array_get(json_object_get(record->json, "fields"), field);
}

static bool has_alias(const struct ingest_schema_node *record, uint32_t field,
                      const char *path)
{
    const json_t *aliases =
        json_object_get(field_json(record, field), "aliases");
    for (size_t i = 0; i < json_array_size(aliases); i++) {
        const char *alias = json_string_value(json_array_get(aliases, i));
        if (alias && ingest_path_behind(path, alias))
            return true;
    }
    return false;
}

/* By its name, else by an alias of its own. */
static uint32_t find(const struct ingest_schema_node *record, const char *path)
{
    uint32_t field = ingest_path_field(record, path);
    if (field < record->count)
        return field;
    for (field = 0; field < record->count; field++)
        if (has_alias(record, field, path))
            break;
    return field;
}

struct ingest_resolve_field
ingest_resolve_reader(const struct ingest_schema *reader, uint32_t at,
                      const char *path)
{
    const struct ingest_schema_node *node =
        at == INGEST_NO_NODE ? NULL : &reader->nodes[at];
    bool branches = node && node->type == INGEST_SCHEMA_UNION;
    for (uint32_t i = 0; node && i < (branches ? node->count : 1); i++) {
        const struct ingest_schema_node *record =
            branches ? &reader->nodes[node->children[i]] : node;
        if (record->type != INGEST_SCHEMA_RECORD)
            continue;
        uint32_t field = find(record, path);
        if (field < record->count)
            return (struct ingest_resolve_field){record, field};
    }
    return (struct ingest_resolve_field){NULL, 0};
}

uint32_t ingest_resolve_node(const struct ingest_resolve_field *field)
{
    return field->record ? field->record->children[field->field]
                         : INGEST_NO_NODE;
}

uint32_t ingest_resolve_item(const struct ingest_schema *reader, uint32_t at,
                             enum ingest_schema_type type)
{
    if (at == INGEST_NO_NODE)
        return at;
    const struct ingest_schema_node *node = &reader->nodes[at];
    if (node->type == type)
        return node->children[0];
    for (uint32_t i = 0; node->type == INGEST_SCHEMA_UNION && i < node->count;
         i++)
        if (reader->nodes[node->children[i]].type == type)
            return reader->nodes[node->children[i]].children[0];
    return INGEST_NO_NODE;
}

uint32_t ingest_resolve_writer(const struct ingest_schema_node *record,
                               const char *path,
                               const struct ingest_resolve_field *known)
{
    uint32_t field = ingest_path_field(record, path);
    if (field < record->count || !known->record)
        return field < record->count ? field : find(record, path);
    const char *name = known->record->names[known->field];
    field = ingest_path_field(record, name); /* the path said an alias */
    for (uint32_t i = 0; field == record->count && i < record->count; i++)
        if (has_alias(known->record, known->field, record->names[i]))
            field = i;
    return field < record->count ? field : find(record, path);
}

/* ---- defaults ------------------------------------------------------------ */

static const json_t *default_json(const struct ingest_schema_node *record,
                                  uint32_t field)
{
    return json_object_get(field_json(record, field), "default");
}

static void put_long(FILE *out, int64_t value)
{
    uint64_t raw = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    for (; raw >= 0x80; raw >>= 7)
        fputc((int)(raw & 0x7f) | 0x80, out);
    fputc((int)raw, out);
}

static bool encode(const struct ingest_schema *schema, uint32_t index,
                   const json_t *json, unsigned depth, FILE *out);

/* Each character stands for the byte of its number. */
static bool encode_bytes(const struct ingest_schema_node *node,
                         const json_t *json, FILE *out)
{
    const uint8_t *text = (const uint8_t *)json_string_value(json);
    size_t left = json_string_length(json), size = 0;
    for (size_t i = 0; i < left; i++)
        size += (text[i] & 0xc0) != 0x80;
    if (!text || (node->type == INGEST_SCHEMA_FIXED && size != node->size))
        return false;
    if (node->type == INGEST_SCHEMA_BYTES)
        put_long(out, (int64_t)size);
    for (size_t i = 0; i < left; i++) {
        if (text[i] > 0xc3)
            return false;
        if (text[i] < 0x80)
            fputc(text[i], out);
        else /* two bytes of UTF-8, which jansson has checked */
            fputc((text[i] & 3) << 6 | (text[i + 1] & 0x3f), out), i++;
    }
    return true;
}

static bool encode_real(const struct ingest_schema_node *node,
                        const json_t *json, FILE *out)
{
    double twice = json_number_value(json);
    float single = (float)twice;
    if (node->type == INGEST_SCHEMA_FLOAT)
        fwrite(&single, sizeof single, 1, out);
    else
        fwrite(&twice, sizeof twice, 1, out);
    return json_is_number(json);
}

static bool encode_integer(const struct ingest_schema_node *node,
                           const json_t *json, FILE *out)
{
    json_int_t value = json_integer_value(json);
    put_long(out, value);
    return json_is_integer(json) && (node->type == INGEST_SCHEMA_LONG ||
                                     (value >= INT32_MIN &&
                                      value <= INT32_MAX));
}

static bool encode_symbol(const struct ingest_schema_node *node,
                          const json_t *json, FILE *out)
{
    const char *symbol = json_string_value(json);
    uint32_t i = 0;
    while (symbol && i < node->count && strcmp(node->names[i], symbol) != 0)
        i++;
    put_long(out, i);
    return symbol && i < node->count;
}

static bool encode_items(const struct ingest_schema *schema,
                         const struct ingest_schema_node *node,
                         const json_t *json, unsigned depth, FILE *out)
{
    bool map = node->type == INGEST_SCHEMA_MAP;
    if (map ? !json_is_object(json) : !json_is_array(json))
        return false;
    size_t count = map ? json_object_size(json) : json_array_size(json);
    bool fits = true;
    if (count)
        put_long(out, (int64_t)count);
    for (size_t i = 0; !map && fits && i < count; i++)
        fits = encode(schema, node->children[0], json_array_get(json, i),
                      depth, out);
    for (void *at = map ? json_object_iter((json_t *)json) : NULL; at && fits;
         at = json_object_iter_next((json_t *)json, at)) {
        const char *key = json_object_iter_key(at);
        put_long(out, (int64_t)strlen(key));
        fputs(key, out);
        fits = encode(schema, node->children[0], json_object_iter_value(at),
                      depth, out);
    }
    put_long(out, 0);
    return fits;
}

static bool encode_record(const struct ingest_schema *schema,
                          const struct ingest_schema_node *node,
                          const json_t *json, unsigned depth, FILE *out)
{
    bool fits = json_is_object(json);
    for (uint32_t i = 0; fits && i < node->count; i++) {
        const json_t *value = json_object_get(json, node->names[i]);
        if (!value)
            value = default_json(node, i);
        fits = encode(schema, node->children[i], value, depth, out);
    }
    return fits;
}

/* False where the value (NULL: none) is not of the type. A union's default is
 * of its first branch. */
static bool encode(const struct ingest_schema *schema, uint32_t index,
                   const json_t *json, unsigned depth, FILE *out)
{
    const struct ingest_schema_node *node = &schema->nodes[index];
    if (!json || depth > INGEST_SCHEMA_DEPTH_MAX)
        return false;
    switch (node->type) {
    case INGEST_SCHEMA_NULL: return json_is_null(json);
    case INGEST_SCHEMA_BOOLEAN:
        fputc(json_is_true(json), out);
        return json_is_boolean(json);
    case INGEST_SCHEMA_INT:
    case INGEST_SCHEMA_LONG: return encode_integer(node, json, out);
    case INGEST_SCHEMA_FLOAT:
    case INGEST_SCHEMA_DOUBLE: return encode_real(node, json, out);
    case INGEST_SCHEMA_BYTES:
    case INGEST_SCHEMA_FIXED: return encode_bytes(node, json, out);
    case INGEST_SCHEMA_STRING:
        put_long(out, (int64_t)json_string_length(json));
        fwrite(json_is_string(json) ? json_string_value(json) : "", 1,
               json_string_length(json), out);
        return json_is_string(json);
    case INGEST_SCHEMA_ENUM: return encode_symbol(node, json, out);
    case INGEST_SCHEMA_ARRAY:
    case INGEST_SCHEMA_MAP:
        return encode_items(schema, node, json, depth + 1, out);
    case INGEST_SCHEMA_UNION:
        put_long(out, 0);
        return encode(schema, node->children[0], json, depth + 1, out);
    case INGEST_SCHEMA_RECORD:
        return encode_record(schema, node, json, depth + 1, out);
    }
    return false;
}

bool ingest_resolve_has_default(const struct ingest_resolve_field *field)
{
    return field->record && default_json(field->record, field->field);
}

enum base_status
ingest_resolve_default(const struct ingest_schema *reader,
                       const struct ingest_resolve_field *field, char **bytes,
                       size_t *size, struct base_error *error)
{
    FILE *out = open_memstream(bytes, size);
    if (!out)
        return base_fail(error, BASE_SYSTEM, "schema: no memory");
    bool fits = encode(reader, ingest_resolve_node(field),
                       default_json(field->record, field->field), 1, out);
    if (fclose(out)) {
        free(*bytes);
        return base_fail(error, BASE_SYSTEM, "schema: no memory");
    }
    if (fits)
        return BASE_OK;
    free(*bytes);
    return base_fail(
        error, BASE_DATA,
        "schema: the default of field %s is no %s, which its type asks for",
        field->record->names[field->field],
        ingest_schema_type_name(
            reader->nodes[ingest_resolve_node(field)].type));
}

enum base_status ingest_resolve_check(const struct ingest_schema *reader,
                                      struct base_error *error)
{
    for (uint32_t i = 0; i < reader->count; i++) {
        struct ingest_resolve_field at = {&reader->nodes[i], 0};
        for (; at.record->type == INGEST_SCHEMA_RECORD &&
               at.field < at.record->count; at.field++) {
            char *bytes;
            size_t size;
            if (!ingest_resolve_has_default(&at))
                continue;
            if (ingest_resolve_default(reader, &at, &bytes, &size, error))
                return error->status;
            free(bytes);
        }
    }
    return BASE_OK;
}
