/* SPDX-License-Identifier: Apache-2.0 */
/* Names of dead-letter reasons and ledger buckets; see reason.h. */
#include "ingest/reason.h"

static const struct {
    const char *name, *text;
} reasons[] = {
#define X(code, name, text) [code] = {name, text},
    INGEST_REASON_LIST(X)
#undef X
};

static const char *const buckets[] = {
#define X(code, name, text) [code] = name,
    INGEST_BUCKET_LIST(X)
#undef X
};

const char *ingest_reason_name(enum ingest_reason reason)
{
    return reasons[reason].name;
}

const char *ingest_reason_text(enum ingest_reason reason)
{
    return reasons[reason].text;
}

const char *ingest_bucket_name(enum ingest_bucket bucket)
{
    return buckets[bucket];
}
