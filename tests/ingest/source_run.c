/* SPDX-License-Identifier: Apache-2.0 */
/* A run of the source; see source_run.h. */
#include "source_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void on_opened(void *self, const char *cluster,
                      const struct ingest_position *fresh, unsigned count)
{
    struct source_run *run = self;
    snprintf(run->cluster, sizeof run->cluster, "%s", cluster);
    memcpy(run->fresh, fresh, count * sizeof *fresh);
    run->fresh_count = count;
}

static void *body(void *argument)
{
    struct source_run *run = argument;
    run->status = ingest_source_run(run->source, &run->error);
    return NULL;
}

enum base_status source_run_try_start(struct source_run *run)
{
    struct ingest_source_config config = {
        .config = &run->config, .positions = run->positions,
        .position_count = run->position_count, .cluster = run->cluster,
        .last = run->has_last ? &run->last : NULL, .self = run,
        .opened = on_opened};
    assert_int_equal(base_ring_new(&run->out, INGEST_CHUNKS, NULL), BASE_OK);
    assert_int_equal(base_ring_new(&run->back, INGEST_CHUNKS, NULL), BASE_OK);
    config.out = run->out;
    config.back = run->back;
    run->stops = 0;
    enum base_status status =
        ingest_source_new(&config, &run->source, &run->error);
    if (status)
        return status;
    for (int i = 0; i < INGEST_CHUNKS; i++)
        assert_true(base_ring_push(run->back,
                                   ingest_source_chunk(run->source), 0));
    run->ended = false;
    assert_int_equal(pthread_create(&run->thread, NULL, body, run), 0);
    return BASE_OK;
}

void source_run_await_end(struct source_run *run)
{
    assert_int_equal(pthread_join(run->thread, NULL), 0);
    run->ended = true;
}

void source_run_start(struct source_run *run)
{
    assert_int_equal(source_run_try_start(run), BASE_OK);
}

void source_run_apply(struct source_run *run, const struct ingest_event *event)
{
    if (run->count == run->room) {
        run->room = run->room ? 2 * run->room : 1024;
        run->events = realloc(run->events, run->room * sizeof *run->events);
        assert_non_null(run->events);
    }
    run->events[run->count++] = *event;
    run->last = *event;
    run->has_last = true;
    if (event->payload)
        memcpy(run->last_payload, event->payload,
               event->payload_size < 64 ? event->payload_size : 64);
    unsigned i = 0;
    while (i < run->position_count &&
           (run->positions[i].topic != event->topic ||
            run->positions[i].partition != event->partition))
        i++;
    if (i == run->position_count)
        run->position_count++;
    run->positions[i] = (struct ingest_position){
        .topic = event->topic, .partition = event->partition,
        .next = event->offset + 1, .own_ms = event->own_ms,
        .apply_ms = event->apply_ms, .anchor_offset = event->offset,
        .anchor_ms = event->kafka_ms, .anchor_crc = event->crc};
}

void source_run_collect(struct source_run *run, size_t events)
{
    while (run->count < events) {
        struct ingest_chunk *chunk = base_ring_pop(run->out, 20000);
        assert_non_null(chunk);
        for (uint32_t i = 0; i < chunk->count; i++)
            source_run_apply(run, &chunk->events[i]);
        run->stops += chunk->stop_partition >= 0;
        assert_true(base_ring_push(run->back, chunk, 0));
        ingest_source_wake(run->source);
    }
}

void source_run_await_stop(struct source_run *run)
{
    while (run->stops == 0) {
        struct ingest_chunk *chunk = base_ring_pop(run->out, 20000);
        assert_non_null(chunk);
        run->stops += chunk->stop_partition >= 0;
        for (uint32_t i = 0; i < chunk->count; i++)
            source_run_apply(run, &chunk->events[i]);
        assert_true(base_ring_push(run->back, chunk, 0));
    }
}

void source_run_stop(struct source_run *run)
{
    ingest_source_stop(run->source);
    if (!run->ended)
        source_run_await_end(run);
    struct ingest_chunk *chunk;
    while ((chunk = base_ring_pop(run->out, 0)))
        ingest_chunk_free(chunk);
    while ((chunk = base_ring_pop(run->back, 0)))
        ingest_chunk_free(chunk);
    ingest_source_free(run->source);
    base_ring_free(run->out);
    base_ring_free(run->back);
}

struct source_run *source_run_new(const struct kafka_fixture *kafka)
{
    struct source_run *run = calloc(1, sizeof *run);
    assert_non_null(run);
    kafka_fixture_config(kafka, &run->config, "");
    return run;
}

void source_run_free(struct source_run *run)
{
    free(run->events);
    free(run);
}
