/* SPDX-License-Identifier: Apache-2.0 */
/* Why a record became a dead letter, and the buckets of the offset ledger. */
#ifndef INGEST_REASON_H
#define INGEST_REASON_H

/* code, name, what it says */
#define INGEST_REASON_LIST(X)                                               \
    X(INGEST_REASON_NONE, "none", "decoded")                                \
    X(INGEST_REASON_TOMBSTONE, "tombstone", "the record has no value")      \
    X(INGEST_REASON_OVERSIZE, "oversize",                                   \
      "larger than ingest.event_max, or more than 1,000 headers")           \
    X(INGEST_REASON_WIRE, "wire", "not in the configured framing")          \
    X(INGEST_REASON_SCHEMA_UNKNOWN, "schema_unknown",                       \
      "the schema id is not known here")                                    \
    X(INGEST_REASON_SCHEMA, "schema", "the writer's schema cannot be used") \
    X(INGEST_REASON_TRUNCATED, "truncated", "ends inside a value")          \
    X(INGEST_REASON_LENGTH, "bad_length", "a length is negative or too long") \
    X(INGEST_REASON_LIMITS, "limits", "too deep or too many items")         \
    X(INGEST_REASON_VARINT, "varint", "an integer is too long")             \
    X(INGEST_REASON_INDEX, "index", "a union or enum index is out of range") \
    X(INGEST_REASON_BOOLEAN, "boolean", "a boolean is neither 0 nor 1")     \
    X(INGEST_REASON_TRAILING, "trailing", "bytes follow the record")        \
    X(INGEST_REASON_MISSING, "missing", "a required field has no value")    \
    X(INGEST_REASON_TIME, "time",                                           \
      "event time not above 0, or more than 5 minutes ahead of its Kafka "  \
      "timestamp or of the clock")                                          \
    X(INGEST_REASON_CORRUPT, "corrupt", "the broker's batch is damaged")

enum ingest_reason {
#define X(code, name, text) code,
    INGEST_REASON_LIST(X)
#undef X
    INGEST_REASON_COUNT
};

/* Every consumed offset is in exactly one bucket. `waiting` is the only one
 * that an offset may leave. */
#define INGEST_BUCKET_LIST(X)                                               \
    X(INGEST_POSITIVE, "positive", "a clicked impression; in fnw its click") \
    X(INGEST_NEGATIVE, "negative", "impression trained as not clicked")     \
    X(INGEST_JOINED_CLICK, "joined_click", "click that labelled, or repeats") \
    X(INGEST_BEHAVIOR, "behavior", "click without an impression id")        \
    X(INGEST_ORGANIC, "organic", "click whose impression never came")       \
    X(INGEST_DUPLICATE, "duplicate", "event id seen before")                \
    X(INGEST_LATE, "late", "older than its partition's lateness")           \
    X(INGEST_ORPHAN, "orphan", "click that does not fit its impression")    \
    X(INGEST_EVICTED, "evicted", "left early at pending_max, no label")     \
    X(INGEST_UNLABELLED, "unlabelled", "pending in a stopped partition")    \
    X(INGEST_DOWN_SAMPLED, "down_sampled", "negative left out by its hash") \
    X(INGEST_FORGOTTEN, "forgotten", "user asked to be forgotten")          \
    X(INGEST_LOST, "lost", "the broker no longer had it")                   \
    X(INGEST_DEAD_LETTER, "dead_letter", "kept with reason and bytes")      \
    X(INGEST_CONTROL, "control", "offset without a record (transactions, " \
                                 "compaction)")                             \
    X(INGEST_WAITING, "waiting", "pending impression or early click")

enum ingest_bucket {
#define X(code, name, text) code,
    INGEST_BUCKET_LIST(X)
#undef X
    INGEST_BUCKET_COUNT
};

const char *ingest_reason_name(enum ingest_reason reason);
const char *ingest_reason_text(enum ingest_reason reason);
const char *ingest_bucket_name(enum ingest_bucket bucket);

#endif
