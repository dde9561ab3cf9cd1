/* SPDX-License-Identifier: Apache-2.0 */
/* Paths into a writer's record: field names with dots between them, followed
 * through records and the records of unions. Any thread. */
#ifndef INGEST_PATH_H
#define INGEST_PATH_H

#include "ingest/schema.h"

/* BASE_CONFIG where the text is no path, or too long a one. */
enum base_status ingest_path_check(const char *path, struct base_error *error)
    BASE_MUST_CHECK;

/* What is left of the path behind its first component where that one is
 * `name`, else NULL. */
const char *ingest_path_behind(const char *path, const char *name);

/* Field of the record with which the path begins; node->count: none. */
uint32_t ingest_path_field(const struct ingest_schema_node *record,
                           const char *path);

/* Of a path that leads nowhere: BASE_CONFIG, which says how far it goes and
 * what is there instead. `prefix` stands before the text. */
enum base_status ingest_path_unknown(const struct ingest_schema *schema,
                                     const char *prefix, const char *path,
                                     struct base_error *error);

#endif
