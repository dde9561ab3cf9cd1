/* SPDX-License-Identifier: Apache-2.0 */
/* Paths into a record; see path.h. */
#include "ingest/path.h"

#include <string.h>

enum base_status ingest_path_check(const char *path, struct base_error *error)
{
    size_t length = strlen(path);
    if (length == 0 || path[0] == '.' || path[length - 1] == '.' ||
        strstr(path, ".."))
        return base_fail(error, BASE_CONFIG,
                         "path '%s' is not a list of field names with dots "
                         "between them", path);
    unsigned components = 1;
    for (const char *at = path; *at; at++)
        components += *at == '.';
    if (components > INGEST_SCHEMA_DEPTH_MAX)
        return base_fail(error, BASE_CONFIG,
                         "path '%.60s...' has %u components; %d are allowed",
                         path, components, INGEST_SCHEMA_DEPTH_MAX);
    return BASE_OK;
}

const char *ingest_path_behind(const char *path, const char *name)
{
    size_t length = strlen(name);
    if (strncmp(path, name, length) != 0 ||
        (path[length] != '.' && path[length] != '\0'))
        return NULL;
    return path + length + (path[length] == '.');
}

uint32_t ingest_path_field(const struct ingest_schema_node *record,
                           const char *path)
{
    uint32_t i = 0;
    while (i < record->count && !ingest_path_behind(path, record->names[i]))
        i++;
    return i;
}

/* The record at or right below this node that has the next component, else
 * any record; NULL where there is none. Elements of arrays stand for them. */
static const struct ingest_schema_node *
record_below(const struct ingest_schema *schema, uint32_t index,
             const char *rest)
{
    const struct ingest_schema_node *node = &schema->nodes[index], *any = NULL;
    while (node->type == INGEST_SCHEMA_ARRAY &&
           schema->nodes[node->children[0]].type != INGEST_SCHEMA_ARRAY)
        node = &schema->nodes[node->children[0]];
    if (node->type == INGEST_SCHEMA_RECORD)
        return node;
    for (uint32_t i = 0;
         node->type == INGEST_SCHEMA_UNION && i < node->count; i++) {
        const struct ingest_schema_node *child =
            &schema->nodes[node->children[i]];
        if (child->type != INGEST_SCHEMA_RECORD)
            continue;
        any = child;
        if (ingest_path_field(child, rest) < child->count)
            break;
    }
    return any;
}

static void list_fields(const struct ingest_schema_node *node, char *text,
                        size_t size)
{
    size_t used = 0;
    for (uint32_t i = 0; i < node->count; i++) {
        size_t length = strlen(node->names[i]);
        if (used + length + 8 > size) {
            memcpy(text + used, ", ...", 6);
            return;
        }
        if (i) {
            memcpy(text + used, ", ", 2);
            used += 2;
        }
        memcpy(text + used, node->names[i], length + 1);
        used += length;
    }
}

enum base_status ingest_path_unknown(const struct ingest_schema *schema,
                                     const char *prefix, const char *path,
                                     struct base_error *error)
{
    const char *rest = path;
    uint32_t index = 0;
    for (;;) {
        int done = (int)(rest - path) - (rest > path);
        const struct ingest_schema_node *node =
            record_below(schema, index, rest);
        if (!node)
            return base_fail(
                error, BASE_CONFIG,
                "%spath '%s': '%.*s' is of type %s, which has no fields to "
                "name", prefix, path, done, path,
                ingest_schema_type_name(schema->nodes[index].type));
        uint32_t field = ingest_path_field(node, rest);
        if (field == node->count) {
            char fields[400] = "none";
            list_fields(node, fields, sizeof fields);
            return base_fail(error, BASE_CONFIG,
                             "%spath '%s' does not exist; the fields "
                             "%s%.*s%s are: %s", prefix, path,
                             done ? "of '" : "there", done, path,
                             done ? "'" : "", fields);
        }
        index = node->children[field];
        rest = ingest_path_behind(rest, node->names[field]);
    }
}
