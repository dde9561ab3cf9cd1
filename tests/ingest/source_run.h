/* SPDX-License-Identifier: Apache-2.0 */
/* A run of the source with the test as its store: what comes is applied, and
 * where the source would go on after a restart is kept. */
#ifndef TESTS_INGEST_SOURCE_RUN_H
#define TESTS_INGEST_SOURCE_RUN_H

#include <pthread.h>
#include <stdbool.h>

#include "base/ring.h"
#include "ingest/source.h"
#include "kafka_fixture.h"

struct source_run {
    struct ingest_config config;
    struct ingest_source *source;
    struct base_ring *out, *back;
    pthread_t thread;
    bool ended; /* and joined */
    enum base_status status;
    struct base_error error;
    struct ingest_position positions[64], fresh[64];
    unsigned position_count, fresh_count;
    char cluster[256];
    struct ingest_event last;
    bool has_last;
    /* What came, without ids and payload. */
    struct ingest_event *events;
    size_t count, room;
    uint8_t last_payload[64];
    unsigned stops;
};

struct source_run *source_run_new(const struct kafka_fixture *kafka);
void source_run_free(struct source_run *run);

enum base_status source_run_try_start(struct source_run *run);
void source_run_start(struct source_run *run);
/* What the state would keep of an applied event. */
void source_run_apply(struct source_run *run,
                      const struct ingest_event *event);
/* Applies chunks until `events` events came in all, a stop, or the end. */
void source_run_collect(struct source_run *run, size_t events);
/* Until the thread ended by itself: status and error say why. */
void source_run_await_end(struct source_run *run);
void source_run_await_stop(struct source_run *run);
/* Ends the thread; what was not collected is dropped, as by a crash. */
void source_run_stop(struct source_run *run);

#endif
