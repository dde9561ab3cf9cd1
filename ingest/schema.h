/* SPDX-License-Identifier: Apache-2.0 */
/* A writer's Avro schema as a flat tree of nodes, and its limits.
 *
 * 1. Node 0 is the record at the top. Indices are into `nodes`; a named type
 *    is one node however often it is used, so recursive types are cycles.
 * 2. A schema beyond the limits below is refused whole, with a text.
 * 3. Immutable once made: any thread. Making and freeing takes one lock of
 *    the process, because libavro's error text is global.
 * It knows nothing of targets or of records: see compile.c and program.c. */
#ifndef INGEST_SCHEMA_H
#define INGEST_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum {
    INGEST_SCHEMA_TEXT_MAX = 1 << 20, /* bytes of JSON */
    INGEST_SCHEMA_DEPTH_MAX = 32,     /* types written inside types */
    INGEST_SCHEMA_FIELDS_MAX = 1024,  /* of one record */
    INGEST_SCHEMA_BRANCHES_MAX = 256, /* of one union */
    INGEST_SCHEMA_SYMBOLS_MAX = 4096, /* of one enum */
    INGEST_SCHEMA_NODES_MAX = 16384,
};

enum ingest_schema_type {
    INGEST_SCHEMA_NULL,
    INGEST_SCHEMA_BOOLEAN,
    INGEST_SCHEMA_INT,
    INGEST_SCHEMA_LONG,
    INGEST_SCHEMA_FLOAT,
    INGEST_SCHEMA_DOUBLE,
    INGEST_SCHEMA_BYTES,
    INGEST_SCHEMA_STRING,
    INGEST_SCHEMA_FIXED,
    INGEST_SCHEMA_ENUM,
    INGEST_SCHEMA_ARRAY,
    INGEST_SCHEMA_MAP,
    INGEST_SCHEMA_UNION,
    INGEST_SCHEMA_RECORD
};

/* What a long or an int counts, as far as time stamps are concerned. */
enum ingest_schema_logical {
    INGEST_SCHEMA_PLAIN,  /* no logical type, or one that does not matter */
    INGEST_SCHEMA_MILLIS, /* timestamp-millis, local-timestamp-millis */
    INGEST_SCHEMA_MICROS, /* timestamp-micros, local-timestamp-micros */
    INGEST_SCHEMA_OTHER_TIME /* date, time of day, timestamp-nanos */
};

struct ingest_schema_node {
    enum ingest_schema_type type;
    enum ingest_schema_logical logical;
    uint32_t size;            /* fixed: bytes */
    uint32_t count;           /* fields, symbols, branches; array, map: 1 */
    const uint32_t *children; /* (count) nodes; NULL for enums */
    const char **names;       /* (count) fields or symbols, else NULL */
    const void *json;         /* (json_t) what defines it; for aliases and
                                 defaults, see resolve.h */
};

struct ingest_schema {
    uint32_t count;
    struct ingest_schema_node *nodes; /* (count) OWNS */
    void *avro; /* libavro's tree, which owns the names */
    void *json; /* (json_t) OWNS */
};

/* Parses and checks; BASE_DATA where the text is not a usable Avro schema with
 * a record at its top, BASE_LIMIT where it is larger than allowed. */
enum base_status ingest_schema_new(const char *json, size_t size,
                                   struct ingest_schema **schema,
                                   struct base_error *error) BASE_MUST_CHECK;
void ingest_schema_free(struct ingest_schema *schema);

/* "string", "record", ...; for error texts. */
const char *ingest_schema_type_name(enum ingest_schema_type type);

#endif
