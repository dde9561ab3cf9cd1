/* SPDX-License-Identifier: Apache-2.0 */
/* The records of tests/adapters/globo.py's two files as they go to Kafka, and
 * a producer that sends them to the embedded broker. A page is five impressions
 * and the one click they got. One thread. */
#ifndef TESTS_BENCH_GLOBO_H
#define TESTS_BENCH_GLOBO_H

#include <stddef.h>
#include <stdint.h>

#include "../ingest/kafka_fixture.h"

enum { GLOBO_SHOWN = 5 };

struct globo_record {
    const uint8_t *bytes; /* BORROWS from the file */
    uint32_t size;
    uint32_t time_at, time_size; /* where its event time stands */
    int64_t event_ms;
    uint64_t user; /* hash */
};

struct globo_file {
    uint8_t *bytes; /* OWNS */
    struct globo_record *records; /* OWNS */
    size_t count;
};

/* At most `most` records of folder/name. Ends the process with the reason
 * where there are none. */
void globo_read(const char *folder, const char *name, size_t most,
                struct globo_file *file);
void globo_free(struct globo_file *file);

/* As it is, or as if it happened at event_ms (0: as it is). */
void globo_send(struct kafka_fixture *kafka, const char *topic,
                const struct globo_record *record, int64_t event_ms);

#endif
