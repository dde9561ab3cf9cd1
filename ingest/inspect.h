/* SPDX-License-Identifier: Apache-2.0 */
/* What the state holds, as JSON lines for audits and tests: `interestd
 * inspect`. Each function opens the store read-only, beside a running daemon
 * or without one, and sees one commit. Lines have no blanks, fields have this
 * order, numbers are decimal, ids, users and hashes are hex digits in strings
 * (null: a place of a multi-hot field that is not used):
 *
 * ledger, by topic (impressions first), then partition; only buckets and
 * reasons that are not 0, in the order of reason.h:
 *   {"topic":"impressions","partition":0,"start":0,"next":10,
 *    "buckets":{"positive":1,"negative":9}}
 *   {"reasons":{"truncated":2}}
 *   {"totals":{"positive":1,"negative":9}}
 * sequences, ascending by user; behaviors oldest first:
 *   {"user":"00000000000000ff","partition":0,"next_ordinal":3,
 *    "behaviors":[[1700000000000,0,["%016x",...]],...]}
 * samples: the journal in its order; history oldest first, always whole:
 *   {"position":0,"user":"%016x","event_ms":1,"label":0,"kind":"window",
 *    "ids":["%016x",...],"history":[["%016x",...],...]}
 *   {"final":12,"label":1}
 *   {"batch_end":128}
 * with kind "window", "fnw_negative" or "fnw_positive".
 * decisions:
 *   {"topic":"clicks","partition":0,"offset":7,"kind":"floored+clamped",
 *    "own_ms":1,"apply_ms":2}
 * ("floored", "clamped", both, "ahead", "floored+ahead"),
 * where a stop ("stopped") and a changed configuration ("configuration") add
 * "text".
 * dead letters:
 *   {"reason":"wire","topic":"clicks","partition":0,"offset":7,
 *    "kafka_ms":-1,"size":3,"bytes":"00ff7a"}
 * with "size" of the record and the bytes that were kept.
 * meta, one line:
 *   {"format":1,"events":1,"commits":1,"next_position":128,"batch_end":128,
 *    "journal_begin":0,"chain":"<32 hex digits, high half first>",
 *    "cluster":"","epoch":0}
 *
 * A value that does not verify is BASE_CORRUPT with its place; the lines
 * before it are printed. BASE_NO_INPUT where there is no state.
 * Any thread, but not in a process that has the state open. */
#ifndef INGEST_INSPECT_H
#define INGEST_INSPECT_H

#include <stdio.h>

#include "base/status.h"

/* what, name */
#define INGEST_INSPECT_LIST(X)                 \
    X(INGEST_INSPECT_LEDGER, "ledger")         \
    X(INGEST_INSPECT_SEQUENCES, "sequences")   \
    X(INGEST_INSPECT_SAMPLES, "samples")       \
    X(INGEST_INSPECT_DECISIONS, "decisions")   \
    X(INGEST_INSPECT_DEAD_LETTERS, "dead-letters") \
    X(INGEST_INSPECT_META, "meta")

enum ingest_inspect {
#define X(code, name) code,
    INGEST_INSPECT_LIST(X)
#undef X
    INGEST_INSPECT_COUNT
};

/* Prints `what` of the store in `folder` (ingest_config.folder). */
enum base_status ingest_inspect(const char *folder, enum ingest_inspect what,
                                FILE *out,
                                struct base_error *error) BASE_MUST_CHECK;
/* INGEST_INSPECT_COUNT where `name` is none of the list. */
enum ingest_inspect ingest_inspect_named(const char *name);

#endif
