/* SPDX-License-Identifier: Apache-2.0 */
/* Memory on the way of a record: none for one that decodes, whatever is in it;
 * none in the program for one that does not. The linker leads every malloc of
 * ours through the counters here (--wrap). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/log.h"
#include "ingest/decoder.h"
#include "kafka_fixture.h"
#include "learner/learner.h"
#include "tests/ingest/decode_all.h"

static unsigned long allocations;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);

void *__wrap_malloc(size_t size)
{
    allocations++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    allocations++;
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    allocations++;
    return __real_realloc(memory, size);
}

static struct ingest_config config;

static struct ingest_decoder *decoder_of(enum ingest_topic topic)
{
    struct ingest_decoder *decoder = NULL;
    struct base_error error = {.text = ""};
    if (ingest_decoder_new(&config, topic, NULL, &decoder, &error))
        fail_msg("%s", error.text);
    return decoder;
}

static void test_good_records(void **state)
{
    (void)state;
    enum { RECORDS = 10000 };
    struct ingest_decoder *decoders[] = {decoder_of(INGEST_IMPRESSIONS),
                                         decoder_of(INGEST_CLICKS)};
    assert_true(allocations > 0); /* the counters count */
    allocations = 0;
    for (int i = 0; i < RECORDS; i++) {
        uint8_t bytes[256];
        uint64_t ids[4];
        char name[32];
        snprintf(name, sizeof name, "i%d", i);
        struct ingest_event event = {.kafka_ms = 1700000000000};
        size_t size = i % 2 ? kafka_fixture_click(bytes, name, "u", 1 + i, "g")
                            : kafka_fixture_impression(bytes, name, "u",
                                                       1 + i, "g");
        ingest_decoder_read(decoders[i % 2], bytes, size, &event, ids);
        assert_int_equal(event.kind, i % 2 ? INGEST_EVENT_CLICK
                                           : INGEST_EVENT_IMPRESSION);
    }
    assert_int_equal(allocations, 0);
    ingest_decoder_free(decoders[0]);
    ingest_decoder_free(decoders[1]);
}

/* Every prefix and every changed byte of a record of all types. */
static void test_any_bytes(void **state)
{
    (void)state;
    struct ingest_program *program = NULL;
    struct base_error error;
    assert_int_equal(ingest_program_new(all_schema, strlen(all_schema),
                                        all_targets, ALL_TARGETS, &program,
                                        &error), BASE_OK);
    struct wire wire = {0};
    uint64_t slots[ALL_TARGETS];
    all_write(&wire);
    allocations = 0;
    for (size_t size = 0; size <= wire.size; size++)
        assert_int_equal(ingest_program_run(program, wire.bytes, size, slots),
                         size < wire.size ? INGEST_REASON_TRUNCATED
                                          : INGEST_REASON_NONE);
    for (size_t i = 0; i < wire.size; i++) {
        uint8_t original = wire.bytes[i];
        for (unsigned byte = 0; byte < 256; byte++) {
            wire.bytes[i] = (uint8_t)byte;
            ingest_program_run(program, wire.bytes, wire.size, slots);
        }
        wire.bytes[i] = original;
    }
    assert_int_equal(allocations, 0);
    ingest_program_free(program);
}

/* A dead letter costs its own bytes once, and no more than event_max. */
static void test_dead_letters(void **state)
{
    (void)state;
    struct ingest_decoder *decoder = decoder_of(INGEST_IMPRESSIONS);
    uint8_t bytes[256];
    uint64_t ids[4];
    size_t size = kafka_fixture_impression(bytes, "i", "u", 1, "g");
    for (size_t cut = 1; cut < size; cut++) {
        struct ingest_event event = {.kafka_ms = 1700000000000};
        allocations = 0;
        ingest_decoder_read(decoder, bytes, cut, &event, ids);
        assert_int_equal(event.kind, INGEST_EVENT_DEAD);
        assert_int_equal(allocations, 1);
        free((void *)event.payload);
    }
    enum { HUGE = 20000000 };
    uint8_t *huge = calloc(HUGE, 1);
    struct ingest_event event = {.kafka_ms = 1700000000000};
    allocations = 0;
    ingest_decoder_read(decoder, huge, HUGE, &event, ids);
    assert_int_equal(event.reason, INGEST_REASON_OVERSIZE);
    assert_int_equal(event.payload_size, config.event_max);
    assert_int_equal(allocations, 1);
    free((void *)event.payload);
    free(huge);
    ingest_decoder_free(decoder);
}

int main(void)
{
    struct kafka_fixture kafka;
    base_log_set_level(BASE_LOG_ERROR);
    kafka_fixture_open(&kafka, 1);
    kafka_fixture_config(&kafka, &config, "");
    kafka_fixture_close(&kafka);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_records),
        cmocka_unit_test(test_any_bytes),
        cmocka_unit_test(test_dead_letters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
