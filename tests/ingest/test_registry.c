/* SPDX-License-Identifier: Apache-2.0 */
/* The registry's client against a registry that answers right, wrongly, hugely
 * or not at all. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "ingest/registry.h"
#include "registry_server.h"

#define SCHEMA "{\"type\":\"record\",\"name\":\"r\",\"fields\":[]}"

struct bench {
    struct registry_server server;
    char folder[64], url[64];
    int event_fd;
    struct ingest_registry *registry;
};

static void open_bench(struct bench *bench)
{
    struct base_error error;
    *bench = (struct bench){.folder = "/tmp/interestd-registry-XXXXXX"};
    registry_server_start(&bench->server, SCHEMA);
    assert_non_null(mkdtemp(bench->folder));
    snprintf(bench->url, sizeof bench->url, "http://127.0.0.1:%u/registry/",
             bench->server.port);
    bench->event_fd = eventfd(0, EFD_NONBLOCK);
    struct ingest_registry_config config = {
        .url = bench->url, .user = "", .password = "",
        .folder = bench->folder, .event_fd = bench->event_fd};
    assert_int_equal(ingest_registry_new(&config, &bench->registry, &error),
                     BASE_OK);
}

static void close_bench(struct bench *bench)
{
    struct base_error error;
    ingest_registry_free(bench->registry);
    registry_server_stop(&bench->server);
    close(bench->event_fd);
    assert_int_equal(base_file_remove(bench->folder, &error), BASE_OK);
}

/* Asks until the state is decided or `want` has come; 10 s at most. */
static enum ingest_registry_state settle(struct bench *bench, uint32_t id,
                                         enum ingest_registry_state want)
{
    enum ingest_registry_state state = INGEST_REGISTRY_WANTED;
    for (int i = 0; i < 200; i++) {
        state = ingest_registry_ask(bench->registry, id);
        if (state == want)
            break;
        struct pollfd ready = {.fd = bench->event_fd, .events = POLLIN};
        uint64_t count;
        if (poll(&ready, 1, 50) > 0)
            assert_int_equal(read(bench->event_fd, &count, 8), 8);
    }
    return state;
}

static void known_id_becomes_a_file(void **state)
{
    (void)state;
    struct bench bench;
    open_bench(&bench);
    assert_int_equal(ingest_registry_ask(bench.registry, 7),
                     INGEST_REGISTRY_WANTED);
    assert_int_equal(settle(&bench, 7, INGEST_REGISTRY_READY),
                     INGEST_REGISTRY_READY);
    char path[200], *text;
    size_t size;
    struct base_error error;
    snprintf(path, sizeof path, "%s/7.avsc", bench.folder);
    assert_int_equal(base_file_read(path, 10000, &text, &size, &error),
                     BASE_OK);
    assert_string_equal(text, SCHEMA);
    free(text);
    unsigned requests = atomic_load(&bench.server.requests);
    assert_int_equal(ingest_registry_ask(bench.registry, 7),
                     INGEST_REGISTRY_READY);
    assert_int_equal(atomic_load(&bench.server.requests), requests);
    close_bench(&bench);
}

static void foreign_schema_is_said(void **state)
{
    (void)state;
    struct bench bench;
    open_bench(&bench);
    assert_int_equal(settle(&bench, 400, INGEST_REGISTRY_FOREIGN),
                     INGEST_REGISTRY_FOREIGN);
    close_bench(&bench);
}

static void unknown_id_is_believed_late(void **state)
{
    (void)state;
    struct bench bench;
    open_bench(&bench);
    assert_int_equal(settle(&bench, 100, INGEST_REGISTRY_ABSENT),
                     INGEST_REGISTRY_ABSENT);
    assert_int_equal(atomic_load(&bench.server.requests), 3);
    close_bench(&bench);
}

/* A 404 of others, garbage, too much, a cut answer: no verdict about the id,
 * asked again. */
static void trouble_is_no_verdict(void **state)
{
    (void)state;
    struct bench bench;
    open_bench(&bench);
    static const uint32_t ids[] = {200, 210, 220, 300, 500};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        struct ingest_registry_status status;
        ingest_registry_ask(bench.registry, ids[i]);
        for (int turn = 0; turn < 200; turn++) {
            ingest_registry_get_status(bench.registry, &status);
            if (status.failures > i)
                break;
            usleep(50000);
        }
        assert_true(status.failures > i);
        assert_non_null(strstr(status.trouble, "registry/schemas/ids/"));
        assert_int_equal(ingest_registry_ask(bench.registry, ids[i]),
                         INGEST_REGISTRY_WANTED);
        assert_int_equal(status.wanted, i + 1);
    }
    close_bench(&bench);
}

static void comes_back_after_trouble(void **state)
{
    (void)state;
    struct bench bench;
    open_bench(&bench);
    atomic_store(&bench.server.broken, true);
    struct ingest_registry_status status = {0};
    ingest_registry_ask(bench.registry, 9);
    for (int turn = 0; turn < 200 && !status.failures; turn++) {
        ingest_registry_get_status(bench.registry, &status);
        usleep(50000);
    }
    assert_non_null(strstr(status.trouble, "HTTP status 500"));
    assert_int_equal(ingest_registry_ask(bench.registry, 9),
                     INGEST_REGISTRY_WANTED);
    atomic_store(&bench.server.broken, false);
    assert_int_equal(settle(&bench, 9, INGEST_REGISTRY_READY),
                     INGEST_REGISTRY_READY);
    ingest_registry_get_status(bench.registry, &status);
    assert_string_equal(status.trouble, "");
    close_bench(&bench);
}

/* Random ids: each is asked for once a flood is seen, and ten a second. */
static void flood_of_ids_is_no_storm(void **state)
{
    (void)state;
    struct bench bench;
    open_bench(&bench);
    int64_t begin_ms = base_monotonic_ms();
    for (uint32_t i = 0; i < 2 * INGEST_REGISTRY_IDS_MAX; i++)
        ingest_registry_ask(bench.registry, 1000000u + i);
    usleep(1000000);
    int64_t elapsed_ms = base_monotonic_ms() - begin_ms;
    assert_true(atomic_load(&bench.server.requests) <= elapsed_ms / 100 + 12);
    /* No place is left: no memory grows, and no verdict is made up. */
    assert_int_equal(ingest_registry_ask(bench.registry, 5),
                     INGEST_REGISTRY_WANTED);
    close_bench(&bench);
}

static void wait_for_requests(struct bench *bench, unsigned count)
{
    for (int i = 0; i < 200; i++)
        if (atomic_load(&bench->server.requests) < count)
            usleep(50000);
    assert_true(atomic_load(&bench->server.requests) >= count);
}

/* An absent id is asked for again only when a record names it, and an id that
 * a partition waits for goes before all of those. */
static void absent_ids_wait_behind_new_ones(void **state)
{
    (void)state;
    enum { IDS = 10 };
    struct bench bench;
    open_bench(&bench);
    for (uint32_t id = 100; id < 100 + IDS; id++)
        ingest_registry_ask(bench.registry, id);
    for (uint32_t id = 100; id < 100 + IDS; id++)
        assert_int_equal(settle(&bench, id, INGEST_REGISTRY_ABSENT),
                         INGEST_REGISTRY_ABSENT);
    unsigned requests = atomic_load(&bench.server.requests);
    usleep(5200000); /* all could be asked for again */
    assert_int_equal(atomic_load(&bench.server.requests), requests);
    for (uint32_t id = 100; id < 100 + IDS; id++)
        assert_int_equal(ingest_registry_ask(bench.registry, id),
                         INGEST_REGISTRY_ABSENT);
    requests = atomic_load(&bench.server.requests);
    ingest_registry_ask(bench.registry, 7);
    assert_int_equal(settle(&bench, 7, INGEST_REGISTRY_READY),
                     INGEST_REGISTRY_READY);
    /* One under way, its own, and one that began while we looked. */
    assert_true(atomic_load(&bench.server.requests) <= requests + 3);
    wait_for_requests(&bench, requests + IDS);
    close_bench(&bench);
}

/* The registry's own trouble: nothing else is asked meanwhile. */
static void trouble_is_not_a_storm(void **state)
{
    (void)state;
    struct bench bench;
    open_bench(&bench);
    atomic_store(&bench.server.broken, true);
    for (uint32_t id = 1; id <= 6; id++)
        ingest_registry_ask(bench.registry, id);
    wait_for_requests(&bench, 2);
    usleep(1000000);
    /* After 1 s, 2 s, 4 s. */
    assert_true(atomic_load(&bench.server.requests) <= 3);
    atomic_store(&bench.server.broken, false);
    assert_int_equal(settle(&bench, 6, INGEST_REGISTRY_READY),
                     INGEST_REGISTRY_READY);
    close_bench(&bench);
}

static void busy_registry_is_left_alone(void **state)
{
    (void)state;
    struct bench bench;
    open_bench(&bench);
    atomic_store(&bench.server.busy, true);
    ingest_registry_ask(bench.registry, 7);
    wait_for_requests(&bench, 1);
    int64_t begin_ms = base_monotonic_ms();
    struct ingest_registry_status status = {0};
    for (int turn = 0; turn < 200 && !status.failures; turn++) {
        ingest_registry_get_status(bench.registry, &status);
        usleep(5000);
    }
    assert_non_null(strstr(status.trouble, "HTTP status 429"));
    atomic_store(&bench.server.busy, false);
    assert_int_equal(settle(&bench, 7, INGEST_REGISTRY_READY),
                     INGEST_REGISTRY_READY);
    assert_true(base_monotonic_ms() - begin_ms >= 1900);
    close_bench(&bench);
}

static void slow_registry_is_trouble(void **state)
{
    (void)state;
    struct bench bench;
    open_bench(&bench);
    struct ingest_registry *other = bench.registry;
    struct base_error error;
    struct ingest_registry_config config = {
        .url = bench.url, .user = "", .password = "", .folder = bench.folder,
        .event_fd = bench.event_fd, .timeout_ms = 200};
    assert_int_equal(ingest_registry_new(&config, &bench.registry, &error),
                     BASE_OK);
    ingest_registry_free(other);
    atomic_store(&bench.server.slow, true);
    struct ingest_registry_status status = {0};
    ingest_registry_ask(bench.registry, 9);
    for (int turn = 0; turn < 200 && !status.failures; turn++) {
        ingest_registry_get_status(bench.registry, &status);
        usleep(50000);
    }
    assert_non_null(strstr(status.trouble, "imeout"));
    assert_int_equal(ingest_registry_ask(bench.registry, 9),
                     INGEST_REGISTRY_WANTED);
    atomic_store(&bench.server.slow, false);
    assert_int_equal(settle(&bench, 9, INGEST_REGISTRY_READY),
                     INGEST_REGISTRY_READY);
    close_bench(&bench);
}

/* Ids far above those that are known: the first are believed at one denial,
 * then none is waited for. A new id that is the registry's own still is. */
static void flood_of_far_ids_is_not_waited_for(void **state)
{
    (void)state;
    enum { FLOOD = 16, MANY = 100000 };
    struct bench bench;
    open_bench(&bench);
    assert_int_equal(settle(&bench, 7, INGEST_REGISTRY_READY),
                     INGEST_REGISTRY_READY);
    for (uint32_t id = 0; id < FLOOD; id++)
        assert_int_equal(ingest_registry_ask(bench.registry, 1000000 + id),
                         INGEST_REGISTRY_WANTED);
    for (uint32_t id = 0; id < FLOOD; id++)
        assert_int_equal(settle(&bench, 1000000 + id, INGEST_REGISTRY_ABSENT),
                         INGEST_REGISTRY_ABSENT);
    assert_int_equal(atomic_load(&bench.server.requests), FLOOD + 1);
    for (uint32_t id = 0; id < MANY; id++)
        assert_int_equal(ingest_registry_ask(bench.registry, 2000000 + id),
                         INGEST_REGISTRY_ABSENT);
    assert_int_equal(ingest_registry_ask(bench.registry, 8),
                     INGEST_REGISTRY_WANTED);
    assert_int_equal(settle(&bench, 8, INGEST_REGISTRY_READY),
                     INGEST_REGISTRY_READY);
    close_bench(&bench);
}

static void urls_are_checked(void **state)
{
    (void)state;
    static const char *const wrong[] = {"", "registry:8081", "ftp://a",
                                        "http://user:word@host"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct base_error error;
        struct ingest_registry *registry;
        struct ingest_registry_config config = {
            .url = wrong[i], .user = "", .password = "", .folder = "/tmp",
            .event_fd = -1};
        assert_int_equal(ingest_registry_new(&config, &registry, &error),
                         BASE_CONFIG);
        assert_non_null(strstr(error.text, "registry.url"));
        assert_null(strstr(error.text, "word@"));
        assert_null(registry);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_id_becomes_a_file),
        cmocka_unit_test(foreign_schema_is_said),
        cmocka_unit_test(unknown_id_is_believed_late),
        cmocka_unit_test(trouble_is_no_verdict),
        cmocka_unit_test(comes_back_after_trouble),
        cmocka_unit_test(flood_of_ids_is_no_storm),
        cmocka_unit_test(absent_ids_wait_behind_new_ones),
        cmocka_unit_test(trouble_is_not_a_storm),
        cmocka_unit_test(busy_registry_is_left_alone),
        cmocka_unit_test(slow_registry_is_trouble),
        cmocka_unit_test(flood_of_far_ids_is_not_waited_for),
        cmocka_unit_test(urls_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
