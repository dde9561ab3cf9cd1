/* SPDX-License-Identifier: Apache-2.0 */
/* Which versions stay: what a reader needs to begin, what a reader holds, what
 * is pinned with the chain behind it; and that a base beside a delta is only
 * ever of that delta's rows. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "snapshot/catalog.h"
#include "snapshot/pins.h"
#include "tests/snapshot/chain.h"

struct bench {
    struct fixture fixture;
    struct snapshot_publisher *publisher;
    struct snapshot_announcement said;
    uint64_t seed;
};

static void set_up(struct bench *bench, const char *folder, unsigned versions,
                   unsigned bases)
{
    *bench = (struct bench){.seed = 1};
    fixture_init(&bench->fixture, 3, 40);
    bench->publisher = fixture_publisher(folder);
    bench->publisher->config.versions_kept = versions;
    bench->publisher->config.bases_kept = bases;
    bench->said = fixture_publish(bench->publisher, &bench->fixture);
}

static void tear_down(struct bench *bench)
{
    snapshot_publisher_free(bench->publisher);
    fixture_fini(&bench->fixture);
}

static void add_deltas(struct bench *bench, unsigned count)
{
    while (count--) {
        struct chain_change change;
        chain_change(&bench->fixture, bench->seed++, 8, &change);
        bench->said = chain_publish_delta(bench->publisher, &change);
        chain_change_fini(&change);
    }
}

static void add_base(struct bench *bench)
{
    chain_publish_beside(bench->publisher, &bench->fixture, &bench->said);
}

/* The versions that are there, by their numbers: "1 4b 5". */
static const char *there(const struct bench *bench)
{
    static char text[1000];
    struct snapshot_catalog catalog;
    struct base_error error;
    size_t at = 0;
    assert_int_equal(snapshot_catalog_read(bench->publisher->config.folder,
                                           &catalog, &error),
                     BASE_OK);
    text[0] = '\0';
    for (size_t i = 0; i < catalog.count; i++) {
        const struct snapshot_catalog_entry *entry = &catalog.entry[i];
        assert_true(entry->sound);
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%llu%s",
                               i ? " " : "",
                               (unsigned long long)entry->version,
                               entry->beside ? "b" : "");
    }
    snapshot_catalog_fini(&catalog);
    return text;
}

static int hold(const struct bench *bench, uint64_t version)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/v%llu-%llu/manifest.json",
             bench->publisher->config.folder,
             (unsigned long long)bench->said.epoch,
             (unsigned long long)version);
    int lock = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(lock >= 0 && flock(lock, LOCK_SH) == 0);
    return lock;
}

static void the_chain_from_the_oldest_kept_base_stays(void **state)
{
    struct bench bench;
    set_up(&bench, *state, 2, 2);
    add_deltas(&bench, 3);
    add_base(&bench);
    assert_string_equal(there(&bench), "1 2 3 4b");
    add_deltas(&bench, 3);
    add_base(&bench);
    assert_string_equal(there(&bench), "4b 5 6 7b");
    add_deltas(&bench, 1);
    fixture_publish(bench.publisher, &bench.fixture);
    assert_string_equal(there(&bench), "7b 8 9");
    tear_down(&bench);
}

static void check_chain(const struct bench *bench, uint64_t deltas,
                        uint64_t bytes)
{
    struct base_error error;
    uint64_t found, size;
    assert_int_equal(snapshot_publisher_chain(bench->publisher, &found, &size,
                                              &error),
                     BASE_OK);
    assert_int_equal(found, deltas);
    assert_int_equal(size, bytes);
}

static void a_new_process_knows_how_long_the_chain_is(void **state)
{
    struct bench bench;
    struct snapshot_announcement found;
    struct base_error error;
    set_up(&bench, *state, 2, 2);
    check_chain(&bench, 0, 0);
    add_deltas(&bench, 1);
    add_base(&bench);
    check_chain(&bench, 0, 0);
    add_deltas(&bench, 1);
    uint64_t bytes = bench.said.bytes;
    add_deltas(&bench, 1);
    bytes += bench.said.bytes;
    struct snapshot_config config = bench.publisher->config;
    snapshot_publisher_free(bench.publisher);
    assert_int_equal(snapshot_publisher_open(&config, 0, &bench.publisher,
                                             &found, &error),
                     BASE_OK);
    check_chain(&bench, 2, bytes);
    tear_down(&bench);
}

static void as_many_versions_as_asked_for_stay(void **state)
{
    struct bench bench;
    set_up(&bench, *state, 6, 1);
    add_deltas(&bench, 4);
    add_base(&bench); /* 5 */
    assert_string_equal(there(&bench), "1 2 3 4 5b");
    add_deltas(&bench, 4);
    add_base(&bench); /* 9: from there it is one, from 5 it is five */
    assert_string_equal(there(&bench), "1 2 3 4 5b 6 7 8 9b");
    add_deltas(&bench, 1);
    snapshot_publisher_retain(bench.publisher);
    assert_string_equal(there(&bench), "5b 6 7 8 9b 10");
    tear_down(&bench);
}

static void what_a_reader_holds_waits(void **state)
{
    struct bench bench;
    set_up(&bench, *state, 2, 1);
    add_deltas(&bench, 4);
    int lock = hold(&bench, 2);
    add_base(&bench);
    add_deltas(&bench, 1);
    snapshot_publisher_retain(bench.publisher);
    assert_string_equal(there(&bench), "2 5b 6");
    close(lock);
    snapshot_publisher_retain(bench.publisher);
    assert_string_equal(there(&bench), "5b 6");
    tear_down(&bench);
}

static void a_pin_keeps_the_chain_behind_it(void **state)
{
    struct bench bench;
    struct snapshot_pins pins;
    struct base_error error;
    set_up(&bench, *state, 2, 1);
    add_deltas(&bench, 4);
    add_base(&bench);
    add_deltas(&bench, 1);
    assert_int_equal(snapshot_pins_read(*state, &pins, &error), BASE_OK);
    assert_int_equal(pins.count, 0);
    pins.count = 1;
    pins.pin[0].epoch = bench.said.epoch;
    pins.pin[0].version = 3;
    assert_int_equal(snapshot_pins_write(*state, &pins, &error), BASE_OK);
    snapshot_publisher_retain(bench.publisher);
    assert_string_equal(there(&bench), "1 2 3 5b 6");
    assert_int_equal(snapshot_pins_read(*state, &pins, &error), BASE_OK);
    assert_int_equal(snapshot_pins_find(&pins, bench.said.epoch, 3), 0);
    assert_int_equal(snapshot_pins_find(&pins, bench.said.epoch, 4), -1);
    pins.count = 0;
    assert_int_equal(snapshot_pins_write(*state, &pins, &error), BASE_OK);
    snapshot_publisher_retain(bench.publisher);
    assert_string_equal(there(&bench), "5b 6");
    tear_down(&bench);
}

static void note_listed(void *self, const struct snapshot_listed *version)
{
    unsigned *seen = self;
    seen[0] += version->delta;
    seen[1] += version->beside;
    seen[2] += version->pinned;
    seen[3] += version->current;
    seen[4] += version->loadable;
}

static void an_operator_pins_what_is_there(void **state)
{
    struct bench bench;
    struct base_error error;
    char name[64];
    unsigned seen[5] = {0};
    set_up(&bench, *state, 2, 1);
    add_deltas(&bench, 3);
    snprintf(name, sizeof name, "v%llu-2", (unsigned long long)bench.said.epoch);
    assert_int_equal(snapshot_pin(*state, "2", &error), BASE_USAGE);
    assert_int_equal(snapshot_pin(*state, "v1-2", &error), BASE_NO_INPUT);
    assert_int_equal(snapshot_unpin(*state, name, &error), BASE_NO_INPUT);
    assert_int_equal(snapshot_pin(*state, name, &error), BASE_OK);
    assert_int_equal(snapshot_pin(*state, name, &error), BASE_EXISTS);
    add_base(&bench);
    add_deltas(&bench, 1);
    snapshot_publisher_retain(bench.publisher);
    assert_string_equal(there(&bench), "1 2 4b 5");
    assert_int_equal(snapshot_list(*state, note_listed, seen, &error), BASE_OK);
    const unsigned expected[5] = {3, 1, 1, 1, 4};
    assert_memory_equal(seen, expected, sizeof seen);
    assert_int_equal(snapshot_unpin(*state, name, &error), BASE_OK);
    snapshot_publisher_retain(bench.publisher);
    assert_string_equal(there(&bench), "4b 5");
    tear_down(&bench);
}

/* Rather too much is kept than too little. */
static void a_bad_list_of_pins_removes_nothing(void **state)
{
    struct bench bench;
    struct snapshot_pins pins;
    struct base_error error;
    char path[1200];
    set_up(&bench, *state, 2, 1);
    add_deltas(&bench, 4);
    snprintf(path, sizeof path, "%s/PINNED", (char *)*state);
    FILE *file = fopen(path, "w");
    fputs("v1-2\n../x\n", file);
    fclose(file);
    assert_int_equal(snapshot_pins_read(*state, &pins, &error), BASE_CORRUPT);
    assert_non_null(strstr(error.text, "'../x'"));
    add_base(&bench);
    add_deltas(&bench, 1);
    snapshot_publisher_retain(bench.publisher);
    assert_string_equal(there(&bench), "1 2 3 4 5b 6");
    tear_down(&bench);
}

/* The base of another state is refused and leaves nothing. */
static void a_base_beside_has_the_versions_rows(void **state)
{
    struct bench bench;
    struct fixture other;
    struct snapshot_manifest manifest;
    struct base_error error;
    set_up(&bench, *state, 2, 1);
    add_deltas(&bench, 1);
    fixture_init(&other, 3, 41);
    struct snapshot_content content = fixture_content(&other);
    fixture_manifest(&bench.fixture, &manifest);
    manifest.epoch = bench.said.epoch;
    manifest.version = bench.said.version;
    for (unsigned t = 0; t < manifest.table_count; t++)
        manifest.rows[t] = 40;
    assert_int_equal(
        snapshot_publisher_put_beside(bench.publisher, &content, &manifest,
                                      (struct snapshot_hash){1, 2}, &error),
        BASE_BROKEN);
    assert_non_null(strstr(error.text, "41 rows; the version has 40"));
    snapshot_manifest_fini(&manifest);
    assert_string_equal(there(&bench), "1 2");
    fixture_fini(&other);
    tear_down(&bench);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_folder,      \
                                                   fixture_remove)
    const struct CMUnitTest tests[] = {
        TEST(the_chain_from_the_oldest_kept_base_stays),
        TEST(a_new_process_knows_how_long_the_chain_is),
        TEST(as_many_versions_as_asked_for_stay),
        TEST(what_a_reader_holds_waits),
        TEST(a_pin_keeps_the_chain_behind_it),
        TEST(an_operator_pins_what_is_there),
        TEST(a_bad_list_of_pins_removes_nothing),
        TEST(a_base_beside_has_the_versions_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
