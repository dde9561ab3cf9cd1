/* SPDX-License-Identifier: Apache-2.0 */
/* What is around a record's value: key and headers. Neither is used, but a
 * record that is large by them is too large, and a schema id in the headers
 * means that the value is not framed as we read it. Any thread. */
#ifndef INGEST_ENVELOPE_H
#define INGEST_ENVELOPE_H

#include "ingest/ingest.h"

#include <librdkafka/rdkafka.h>

enum { INGEST_HEADERS_MAX = 1000 };

/* NONE, OVERSIZE (value, key and headers together above event_max, or more
 * headers than INGEST_HEADERS_MAX), or WIRE. */
enum ingest_reason
ingest_envelope_judge(const rd_kafka_message_t *message, uint32_t event_max,
                      enum ingest_framing framing);

#endif
