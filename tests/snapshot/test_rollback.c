/* SPDX-License-Identifier: Apache-2.0 */
/* A rollback is a newer version with an older one's bits: its files have the
 * hashes of a base that was written beside that version, for each type of row;
 * a reader that follows goes forward to it and scores as that version did;
 * what cannot be loaded is refused and changes nothing. And the listing: found
 * by name, pinned. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "snapshot/interest.h"
#include "snapshot/version.h"
#include "tests/snapshot/chain.h"

enum { VERSIONS = 8, TARGET = 4, CANDIDATES = 20, HISTORY = 12 };

struct bench {
    const char *folder;
    struct fixture fixture;
    struct snapshot_publisher *publisher;
    struct snapshot_announcement said[VERSIONS + 1]; /* by version */
    float scored[CANDIDATES]; /* by a reader, of version TARGET */
    struct interest_model *model;
};

static void score(struct bench *bench, float *scores,
                  struct interest_version *version)
{
    struct fixture_request drawn;
    struct interest_scorer *scorer;
    struct interest_error error;
    struct fixture same;
    fixture_init(&same, 3, 40); /* the same request at any time */
    fixture_request(&same, 5, HISTORY, CANDIDATES, &drawn);
    const struct interest_request request = {
        .profile = drawn.profile, .history = drawn.history,
        .history_size = HISTORY, .items = drawn.items,
        .candidates = CANDIDATES, .context = drawn.context};
    if (interest_scorer_open(bench->model, HISTORY, CANDIDATES, &scorer,
                             &error) ||
        interest_score(scorer, &request, scores, NULL, version, &error))
        fail_msg("%s", error.text);
    interest_scorer_close(scorer);
    fixture_fini(&same);
}

static void refresh(struct bench *bench)
{
    struct interest_error error;
    if (interest_refresh(bench->model, NULL, &error))
        fail_msg("%s", error.text);
}

/* A chain of VERSIONS, a base beside 3 (`beside`: and beside TARGET). */
static void set_up(struct bench *bench, const char *folder,
                   enum snapshot_row_type type, bool beside)
{
    struct interest_error error;
    *bench = (struct bench){.folder = folder};
    fixture_init(&bench->fixture, 3, 40);
    bench->publisher = fixture_publisher(folder);
    bench->publisher->config.versions_kept = 1000;
    bench->publisher->config.row_type = type;
    bench->said[1] = fixture_publish(bench->publisher, &bench->fixture);
    if (interest_open(folder, &bench->model, &error))
        fail_msg("%s", error.text);
    for (unsigned v = 2; v <= VERSIONS; v++) {
        struct chain_change change;
        chain_change(&bench->fixture, v, 8, &change);
        bench->said[v] = chain_publish_delta(bench->publisher, &change);
        chain_change_fini(&change);
        if (v == 3 || (beside && v == TARGET))
            chain_publish_beside(bench->publisher, &bench->fixture,
                                 &bench->said[v]);
        refresh(bench);
        if (v == TARGET)
            score(bench, bench->scored, NULL);
    }
}

static void tear_down(struct bench *bench)
{
    interest_close(bench->model);
    snapshot_publisher_free(bench->publisher);
    fixture_fini(&bench->fixture);
}

static struct snapshot_announcement roll_back(struct bench *bench,
                                              unsigned version)
{
    struct snapshot_announcement said;
    struct base_error error;
    if (snapshot_rollback(bench->publisher, bench->said[version].epoch,
                          version, &said, &error))
        fail_msg("%s", error.text);
    return said;
}

static void read_manifest(const struct bench *bench, const char *name,
                          struct snapshot_manifest *manifest)
{
    char path[1200], *text;
    size_t size;
    struct base_error error;
    int folder = open(bench->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    snprintf(path, sizeof path, "%s/manifest.json", name);
    if (snapshot_file_read(folder, path, SNAPSHOT_MANIFEST_MAX, &text, &size,
                           &error) ||
        snapshot_manifest_read(text, size, manifest, &error))
        fail_msg("%s", error.text);
    free(text);
    close(folder);
}

static void remove_version(const struct bench *bench, unsigned version)
{
    char path[1200];
    struct base_error error;
    snprintf(path, sizeof path, "%s/%s", bench->folder,
             bench->said[version].folder_name);
    assert_int_equal(base_file_remove(path, &error), BASE_OK);
}

/* The files of version TARGET's base, byte for byte. */
static void the_bits_are_those_of_the_old_version(void **state)
{
    static const enum snapshot_row_type types[] = {
        SNAPSHOT_ROW_F32, SNAPSHOT_ROW_F16, SNAPSHOT_ROW_I8};
    for (unsigned i = 0; i < 3; i++) {
        struct bench bench;
        struct snapshot_manifest old, again;
        char name[SNAPSHOT_FOLDER_NAME], folder[1100];
        struct base_error error;
        snprintf(folder, sizeof folder, "%s/%u", (char *)*state, i);
        assert_int_equal(base_file_make_folder(folder, &error), BASE_OK);
        set_up(&bench, folder, types[i], true);
        struct snapshot_announcement said = roll_back(&bench, TARGET);
        snapshot_beside_print(bench.said[TARGET].epoch, TARGET, name);
        read_manifest(&bench, name, &old);
        read_manifest(&bench, said.folder_name, &again);
        assert_int_equal(again.kind, SNAPSHOT_BASE);
        assert_false(again.is_beside);
        assert_true(again.position == old.position);
        assert_true(again.rollback_epoch == bench.said[TARGET].epoch &&
                    again.rollback_version == TARGET);
        assert_int_equal(again.file_count, old.file_count);
        for (unsigned f = 0; f < old.file_count; f++) {
            assert_string_equal(again.files[f].name, old.files[f].name);
            assert_true(again.files[f].hash.low == old.files[f].hash.low &&
                        again.files[f].hash.high == old.files[f].hash.high);
        }
        snapshot_manifest_fini(&old);
        snapshot_manifest_fini(&again);
        tear_down(&bench);
    }
}

static void a_follower_goes_forward_to_the_old_scores(void **state)
{
    struct bench bench;
    struct interest_version before, after;
    float scores[CANDIDATES];
    set_up(&bench, *state, SNAPSHOT_ROW_F32, false);
    score(&bench, scores, &before);
    assert_true(before.version == VERSIONS);
    assert_memory_not_equal(scores, bench.scored, sizeof scores);
    struct snapshot_announcement said = roll_back(&bench, TARGET);
    assert_true(said.version == VERSIONS + 1 && said.epoch > before.epoch);
    assert_true(said.rollback_version == TARGET && !said.delta);
    assert_true(said.position == bench.said[TARGET].position);
    refresh(&bench);
    score(&bench, scores, &after);
    assert_true(after.version == said.version && after.epoch == said.epoch);
    assert_memory_equal(scores, bench.scored, sizeof scores);
    tear_down(&bench);
}

/* Who opens the folder anew knows that it was rolled back, and the chain may
 * go on from there. */
static void it_is_known_after_a_restart(void **state)
{
    struct bench bench;
    struct snapshot_announcement said, found;
    struct base_error error;
    set_up(&bench, *state, SNAPSHOT_ROW_F32, false);
    said = roll_back(&bench, TARGET);
    struct snapshot_config config = bench.publisher->config;
    snapshot_publisher_free(bench.publisher);
    assert_int_equal(snapshot_publisher_open(&config, 0, &bench.publisher,
                                             &found, &error),
                     BASE_OK);
    assert_true(found.version == said.version &&
                found.rollback_version == TARGET);
    assert_true(snapshot_publisher_epoch(bench.publisher) > said.epoch);
    said = fixture_publish(bench.publisher, &bench.fixture);
    assert_true(said.version == VERSIONS + 2 && said.rollback_version == 0);
    refresh(&bench);
    tear_down(&bench);
}

static void what_cannot_be_loaded_changes_nothing(void **state)
{
    struct bench bench;
    struct snapshot_current before, after;
    struct snapshot_announcement said;
    struct base_error error;
    set_up(&bench, *state, SNAPSHOT_ROW_F32, false);
    assert_int_equal(snapshot_current_read(*state, &before, &error), BASE_OK);
    assert_int_equal(snapshot_rollback(bench.publisher, before.epoch, 99,
                                       &said, &error),
                     BASE_NO_INPUT);
    assert_non_null(strstr(error.text, "-99"));
    remove_version(&bench, 5); /* which 6 builds on */
    assert_int_equal(snapshot_rollback(bench.publisher, before.epoch, 6,
                                       &said, &error),
                     BASE_NO_INPUT);
    assert_int_equal(snapshot_current_read(*state, &after, &error), BASE_OK);
    assert_true(snapshot_current_equal(&before, &after));
    roll_back(&bench, TARGET); /* from the base beside 3 */
    tear_down(&bench);
}

static void keep(void *self, const struct snapshot_listed *version)
{
    ((struct snapshot_listed *)self)[version->version] = *version;
}

static void versions_are_listed_and_found(void **state)
{
    struct bench bench;
    struct snapshot_listed list[VERSIONS + 2] = {0}, found;
    struct base_error error;
    set_up(&bench, *state, SNAPSHOT_ROW_F32, false);
    struct snapshot_announcement said = roll_back(&bench, TARGET);
    remove_version(&bench, 5);
    assert_int_equal(snapshot_list(*state, keep, list, &error), BASE_OK);
    assert_true(list[1].sound && !list[1].delta && list[3].beside);
    assert_false(list[5].sound);
    assert_true(!list[6].loadable && list[4].loadable);
    assert_true(list[2].position == bench.said[2].position &&
                list[2].bytes == bench.said[2].bytes &&
                list[2].created_ms == bench.said[2].created_ms);
    assert_true(list[VERSIONS + 1].current &&
                list[VERSIONS + 1].rollback_version == TARGET);
    assert_int_equal(snapshot_find(*state, "4", &found, &error), BASE_OK);
    assert_string_equal(found.name, bench.said[4].folder_name);
    assert_int_equal(snapshot_find(*state, said.folder_name, &found, &error),
                     BASE_OK);
    assert_int_equal(snapshot_find(*state, "5", &found, &error),
                     BASE_NO_INPUT);
    assert_non_null(strstr(error.text, "there is no version 5"));
    assert_int_equal(snapshot_find(*state, "6", &found, &error),
                     BASE_NO_INPUT);
    assert_non_null(strstr(error.text, "cannot be loaded"));
    tear_down(&bench);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_folder,      \
                                                   fixture_remove)
    const struct CMUnitTest tests[] = {
        TEST(the_bits_are_those_of_the_old_version),
        TEST(a_follower_goes_forward_to_the_old_scores),
        TEST(it_is_known_after_a_restart),
        TEST(what_cannot_be_loaded_changes_nothing),
        TEST(versions_are_listed_and_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
