/* SPDX-License-Identifier: Apache-2.0 */
/* Where a path goes on in a writer's record, and what stands in for a field
 * that the writer does not have (Avro's schema resolution, for paths).
 *
 * A path names fields of the reader's schema, where there is one. In the
 * writer's schema such a field has the same name, or one of the aliases that
 * the reader's field has, or names it among its own aliases (a writer that
 * renamed a field). The reader's default stands in where it has none of these.
 * Names of records do not matter: a path leads through them, not to them.
 * Compile time only. Any thread. */
#ifndef INGEST_RESOLVE_H
#define INGEST_RESOLVE_H

#include "ingest/schema.h"

enum { INGEST_NO_NODE = UINT32_MAX };

/* A field of the reader's schema; record NULL: there is none. */
struct ingest_resolve_field {
    const struct ingest_schema_node *record;
    uint32_t field;
};

/* The field with which `path` goes on at the reader's node `at` (a record, or
 * a union with some); at INGEST_NO_NODE: none. */
struct ingest_resolve_field
ingest_resolve_reader(const struct ingest_schema *reader, uint32_t at,
                      const char *path);
/* Node of that field's type; INGEST_NO_NODE of none. */
uint32_t ingest_resolve_node(const struct ingest_resolve_field *field);
/* What is behind the node's array or map, or that of its union. */
uint32_t ingest_resolve_item(const struct ingest_schema *reader, uint32_t at,
                             enum ingest_schema_type type);

/* Field of the writer's record that `path`, known to the reader as `known`,
 * goes on with; record->count: none. */
uint32_t ingest_resolve_writer(const struct ingest_schema_node *record,
                               const char *path,
                               const struct ingest_resolve_field *known);

/* Whether the field has a default. */
bool ingest_resolve_has_default(const struct ingest_resolve_field *field);
/* Its default as Avro bytes of its type (OWNS: *bytes, free). BASE_DATA names
 * the field whose default does not fit its type. */
enum base_status
ingest_resolve_default(const struct ingest_schema *reader,
                       const struct ingest_resolve_field *field, char **bytes,
                       size_t *size, struct base_error *error) BASE_MUST_CHECK;
/* BASE_DATA where any default of the schema does not fit its type. */
enum base_status ingest_resolve_check(const struct ingest_schema *reader,
                                      struct base_error *error) BASE_MUST_CHECK;

#endif
