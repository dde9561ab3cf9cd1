/* SPDX-License-Identifier: Apache-2.0 */
/* Key and headers; see envelope.h. librdkafka parses the headers on the first
 * call, and of a record without any says so at once. */
#include "ingest/envelope.h"

#include <string.h>

enum ingest_reason
ingest_envelope_judge(const rd_kafka_message_t *message, uint32_t event_max,
                      enum ingest_framing framing)
{
    size_t size = message->len + message->key_len;
    rd_kafka_headers_t *headers;
    if (size > event_max)
        return INGEST_REASON_OVERSIZE;
    if (rd_kafka_message_headers(message, &headers))
        return INGEST_REASON_NONE;
    if (rd_kafka_header_cnt(headers) > INGEST_HEADERS_MAX)
        return INGEST_REASON_OVERSIZE;
    const char *name;
    const void *value;
    size_t length;
    bool framed = true;
    for (size_t i = 0;
         !rd_kafka_header_get_all(headers, i, &name, &value, &length); i++) {
        size += strlen(name) + length;
        framed = framed && strcmp(name, "__value_schema_id") != 0;
    }
    if (size > event_max)
        return INGEST_REASON_OVERSIZE;
    return framed || framing == INGEST_PLAIN ? INGEST_REASON_NONE
                                             : INGEST_REASON_WIRE;
}
