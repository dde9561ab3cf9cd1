/* SPDX-License-Identifier: Apache-2.0 */
/* Avro records to slots: a writer's schema is compiled once into a program of
 * bounds-checked operations that runs over each record's bytes.
 *
 * Targets name paths in the writer's record ("user_id", "user.id"); each fills
 * one 64-bit slot: an id (learner_id of the value's canonical bytes; a null or
 * absent value is 0) or an integer; or a run of slots, from the elements of an
 * array. A component behind a map is a key. Slots stand in the order of the
 * targets. Running a program allocates nothing, reads nothing outside the bytes
 * given, and ends in a time bounded by their number. libavro only parses the
 * schema (FACTS 2: it cannot be let near foreign bytes). A compiled program is
 * immutable: any thread. */
#ifndef INGEST_DECODE_H
#define INGEST_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "ingest/ingest.h"

enum ingest_target_kind {
    INGEST_TARGET_ID,  /* string, bytes, fixed, int, long; of an enum the
                          symbol, of a boolean "true" or "false" */
    INGEST_TARGET_MS,  /* int or long; timestamp-micros becomes ms */
    INGEST_TARGET_HOUR, /* id of the UTC hour of day (0..23) of an MS value */
    INGEST_TARGET_WEEKDAY, /* id of its UTC day of the week, 0 = Monday */
    INGEST_TARGET_BUCKET,  /* id of how many bounds are <= the value; int,
                              long, float, double; of NaN 0 */
};

enum { INGEST_VALUES_MAX = LEARNER_FIELDS_MAX }; /* places of a target */

struct ingest_target {
    const char *path; /* dots between nested fields */
    enum ingest_target_kind kind;
    bool required; /* null, absent or empty text: INGEST_REASON_MISSING */
    uint64_t seed; /* of ids: learner_table_seed */
    /* BUCKET: (bound_count) strictly ascending, within +-2^53, so that an
     * integer and the same number as a double fall into the same bucket.
     * BORROWS until the program is made. */
    const double *bounds;
    unsigned bound_count;
    /* 0 or 1: one slot. More, of ID: an array whose first `values` elements
     * that are not null fill as many slots, LEARNER_ABSENT in the rest; a
     * value that is no array counts as an array of one. The path may go on
     * behind the array: into its records. Never required. */
    unsigned values;
    const char *name; /* of what it fills, in error texts; NULL: none */
};

struct ingest_program;
struct ingest_schema;

/* BASE_CONFIG where a path does not exist in the schema or has a type that
 * its kind cannot take, ends at a map, leads into an array and is no target
 * of several values, or into a map and is required; BASE_DATA where the
 * schema itself is not usable, BASE_LIMIT where it is too large. The text
 * names the path and what was found. A target may use the path of another. */
enum base_status ingest_program_new(const char *schema_json, size_t size,
                                    const struct ingest_target *targets,
                                    unsigned target_count,
                                    struct ingest_program **program,
                                    struct base_error *error) BASE_MUST_CHECK;
/* The same, with a reader's schema (may be NULL; BORROWS until the call's end)
 * that the paths name fields of: see resolve.h. */
struct ingest_program_wish {
    const char *schema_json; /* the writer's */
    size_t size;
    const struct ingest_schema *reader;
    const struct ingest_target *targets;
    unsigned target_count;
};
enum base_status
ingest_program_resolve(const struct ingest_program_wish *wish,
                       struct ingest_program **program,
                       struct base_error *error) BASE_MUST_CHECK;
void ingest_program_free(struct ingest_program *program);

/* Slots of all targets together. */
unsigned ingest_program_slots(const struct ingest_program *program);

/* Decodes one whole record into slots: ids, and for MS an int64_t as it is.
 * On a reason other than NONE the slots are unspecified. */
enum ingest_reason ingest_program_run(const struct ingest_program *program,
                                      const uint8_t *bytes, size_t size,
                                      uint64_t *slots);
/* The same; *cut is the number of elements of arrays that found no place. */
enum ingest_reason ingest_program_run_cut(const struct ingest_program *program,
                                          const uint8_t *bytes, size_t size,
                                          uint64_t *slots, uint32_t *cut);

#endif
