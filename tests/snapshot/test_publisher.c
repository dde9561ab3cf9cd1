/* SPDX-License-Identifier: Apache-2.0 */
/* Publishing: what becomes current, what is cleaned up, and that a failure or
 * a crash at any moment leaves the last version current (faults 20, 21). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "snapshot/current.h"
#include "snapshot/golden.h"
#include "snapshot/version.h"
#include "tests/snapshot/fixture.h"

static unsigned count_entries(const char *folder, const char *prefix)
{
    unsigned count = 0;
    DIR *open = opendir(folder);
    assert_non_null(open);
    for (struct dirent *at; (at = readdir(open));)
        count += strncmp(at->d_name, prefix, strlen(prefix)) == 0;
    closedir(open);
    return count;
}

/* Opens what CURRENT names, with all checks; its identity. */
static struct snapshot_current served(const char *folder)
{
    struct snapshot_current current;
    struct snapshot_version version;
    struct snapshot_weights weights;
    struct learner_model *model = NULL;
    struct base_error error;
    if (snapshot_current_read(folder, &current, &error) ||
        snapshot_version_begin(folder, &current, &version, &error) ||
        learner_model_new(&version.manifest.schema, &version.manifest.model,
                          &model, &error) ||
        snapshot_weights_open(version.folder, &version.manifest, model,
                              &weights, &error))
        fail_msg("%s", error.text);
    const struct learner_parameters parameters =
        snapshot_weights_parameters(&weights);
    if (snapshot_golden_check(&version.manifest, model, &parameters, &error))
        fail_msg("%s", error.text);
    snapshot_weights_fini(&weights);
    snapshot_version_fini(&version);
    learner_model_free(model);
    return current;
}

static enum base_status put(struct snapshot_publisher *publisher,
                            struct fixture *fixture, struct base_error *error)
{
    struct snapshot_announcement announcement;
    struct snapshot_manifest manifest;
    struct snapshot_content content = fixture_content(fixture);
    fixture_manifest(fixture, &manifest);
    enum base_status status = snapshot_publisher_put(
        publisher, &content, &manifest, &announcement, error);
    snapshot_manifest_fini(&manifest);
    return status;
}

static void test_chain(void **state)
{
    struct fixture fixture;
    struct snapshot_manifest manifest;
    struct base_error error;
    char path[2048], *text, first_hash[33];
    size_t size;
    fixture_init(&fixture, 1, 20);
    struct snapshot_publisher *publisher = fixture_publisher(*state);
    uint64_t epoch = snapshot_publisher_epoch(publisher);
    assert_true(epoch + 5 >= (uint64_t)(base_wall_ms() / 1000));
    for (uint64_t i = 1; i <= 7; i++) {
        struct snapshot_announcement said =
            fixture_publish(publisher, &fixture);
        struct snapshot_current current = served(*state);
        char hash[SNAPSHOT_HASH_TEXT];
        snapshot_hash_print(current.hash, hash);
        assert_true(current.epoch == epoch && current.version == i);
        assert_true(said.epoch == epoch && said.version == i);
        assert_string_equal(said.folder_name, current.name);
        assert_string_equal(said.manifest_hash, hash);
        assert_string_equal(said.model_name, "ctr");
        assert_true(said.position == 1);
        assert_true(said.created_ms > 1700000000000);
        if (i == 6)
            strcpy(first_hash, hash);
    }
    /* the parent is named; five are kept; nothing else lies about */
    snprintf(path, sizeof path, "%s/v%llu-7/manifest.json", (char *)*state,
             (unsigned long long)epoch);
    assert_int_equal(base_file_read(path, 1 << 20, &text, &size, &error), 0);
    assert_int_equal(snapshot_manifest_read(text, size, &manifest, &error), 0);
    snapshot_hash_print(manifest.parent_hash, path);
    assert_string_equal(path, first_hash);
    assert_true(manifest.parent_version == 6);
    assert_int_equal(manifest.golden_count, 4);
    snapshot_manifest_fini(&manifest);
    free(text);
    assert_int_equal(count_entries(*state, "v"), 5);
    assert_int_equal(count_entries(*state, ".tmp"), 0);
    assert_int_equal(count_entries(*state, "CURRENT"), 1);
    snapshot_publisher_free(publisher);
    fixture_fini(&fixture);
}

static void test_epochs_and_leftovers(void **state)
{
    struct snapshot_config config = {.model_name = "ctr", .versions_kept = 5};
    struct snapshot_announcement said, current;
    struct snapshot_publisher *publisher;
    struct fixture fixture;
    struct base_error error;
    char path[2048];
    snprintf(config.folder, sizeof config.folder, "%s/a/b", (char *)*state);
    fixture_init(&fixture, 1, 4);
    assert_int_equal(snapshot_publisher_open(&config, 5000000000, &publisher,
                                             &current, &error),
                     BASE_OK);
    assert_true(current.version == 0);
    assert_true(snapshot_publisher_epoch(publisher) == 5000000001);
    said = fixture_publish(publisher, &fixture);
    snapshot_publisher_free(publisher);

    snprintf(path, sizeof path, "%s/v5000000001-2", config.folder);
    assert_int_equal(mkdir(path, 0700), 0); /* renamed, never current */
    snprintf(path, sizeof path, "%s/.tmp-v5000000001-3", config.folder);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/.tmp-v5000000001-3/x", config.folder);
    assert_int_equal(base_file_replace(path, "x", 1, &error), 0);
    snprintf(path, sizeof path, "%s/CURRENT.tmp", config.folder);
    assert_int_equal(base_file_replace(path, "x", 1, &error), 0);

    assert_int_equal(
        snapshot_publisher_open(&config, 0, &publisher, &current, &error),
        BASE_OK);
    assert_memory_equal(&current, &said, sizeof said);
    assert_int_equal(count_entries(config.folder, "v"), 1);
    assert_int_equal(count_entries(config.folder, ".tmp"), 0);
    assert_int_equal(count_entries(config.folder, "CURRENT"), 1);
    assert_true(snapshot_publisher_epoch(publisher) == 5000000002);
    said = fixture_publish(publisher, &fixture);
    assert_true(said.epoch == 5000000002 && said.version == 2);
    snapshot_publisher_free(publisher);
    fixture_fini(&fixture);
}

static void test_one_publisher(void **state)
{
    struct snapshot_config config = {.model_name = "ctr"};
    struct snapshot_announcement current;
    struct snapshot_publisher *first = fixture_publisher(*state), *second;
    struct base_error error;
    snprintf(config.folder, sizeof config.folder, "%s", (char *)*state);
    assert_int_equal(
        snapshot_publisher_open(&config, 0, &second, &current, &error),
        BASE_EXISTS);
    assert_non_null(strstr(error.text, "another process publishes"));
    assert_null(second);
    snapshot_publisher_free(first);
    assert_int_equal(
        snapshot_publisher_open(&config, 0, &second, &current, &error),
        BASE_OK);
    snapshot_publisher_free(second);
}

static void test_broken_current(void **state)
{
    struct snapshot_config config = {.model_name = "ctr"};
    struct snapshot_announcement current;
    struct snapshot_publisher *publisher;
    struct base_error error;
    char path[2048];
    static const char *const lines[] = {
        "", "\n", "v1-1\n", "v1-1 00\n",
        "v1-1 00000000000000000000000000000000\n", /* no such folder */
        "../v1-1 00000000000000000000000000000000\n"};
    snprintf(config.folder, sizeof config.folder, "%s", (char *)*state);
    snprintf(path, sizeof path, "%s/CURRENT", (char *)*state);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        assert_int_equal(base_file_replace(path, lines[i], strlen(lines[i]),
                                           &error),
                         0);
        assert_int_not_equal(
            snapshot_publisher_open(&config, 0, &publisher, &current, &error),
            BASE_OK);
        assert_non_null(strstr(error.text, "remove CURRENT"));
    }
}

/* Versions outlive a CURRENT that an operator had to remove. */
static void test_removed_current(void **state)
{
    struct snapshot_config config = {.model_name = "ctr", .versions_kept = 5};
    struct snapshot_announcement said, again, current;
    struct snapshot_publisher *publisher;
    struct fixture fixture;
    struct base_error error;
    char path[2048];
    snprintf(config.folder, sizeof config.folder, "%s", (char *)*state);
    fixture_init(&fixture, 1, 4);
    assert_int_equal(snapshot_publisher_open(&config, 5000000000, &publisher,
                                             &current, &error),
                     BASE_OK);
    said = fixture_publish(publisher, &fixture);
    snapshot_publisher_free(publisher);
    snprintf(path, sizeof path, "%s/CURRENT", (char *)*state);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(
        snapshot_publisher_open(&config, 0, &publisher, &current, &error),
        BASE_OK);
    assert_true(current.version == 0);
    assert_int_equal(count_entries(config.folder, said.folder_name), 1);
    again = fixture_publish(publisher, &fixture);
    assert_true(again.epoch > said.epoch);
    assert_int_equal(count_entries(config.folder, said.folder_name), 1);
    snapshot_publisher_free(publisher);
    fixture_fini(&fixture);
}

/* Weights that are not finite are never published, wherever they are. */
static void test_not_finite(void **state)
{
    struct fixture fixture;
    struct base_error error;
    fixture_init(&fixture, 1, 20);
    struct snapshot_publisher *publisher = fixture_publisher(*state);
    fixture_publish(publisher, &fixture);
    struct snapshot_current good = served(*state), now;
    float *places[] = {&fixture.dense[0],
                       &fixture.dense[learner_tensor(fixture.model, 8)->offset],
                       &fixture.values[1][0], &fixture.values[3][20 * 4 - 1]};
    static const char *const names[] = {"tensor bn.gamma",
                                        "tensor mlp.0.weight", "table goods",
                                        "table pid"};
    for (unsigned i = 0; i < 4; i++) {
        float kept = *places[i];
        *places[i] = i % 2 ? NAN : -INFINITY;
        assert_int_equal(put(publisher, &fixture, &error), BASE_DATA);
        assert_non_null(strstr(error.text, names[i]));
        assert_non_null(strstr(error.text, "not finite"));
        *places[i] = kept;
        now = served(*state);
        assert_int_equal(snapshot_current_compare(&now, &good), 0);
        assert_int_equal(count_entries(*state, ".tmp"), 0);
    }
    assert_int_equal(put(publisher, &fixture, &error), BASE_OK);
    now = served(*state);
    assert_true(now.version == good.version + 1);
    snapshot_publisher_free(publisher);
    fixture_fini(&fixture);
}

/* A folder of the next number, left where neither it could be made current
 * nor be removed, does not keep the next version out. */
static void test_leftover_of_this_number(void **state)
{
    struct fixture fixture;
    char path[512], name[SNAPSHOT_FOLDER_NAME];
    fixture_init(&fixture, 1, 20);
    struct snapshot_publisher *publisher = fixture_publisher(*state);
    fixture_publish(publisher, &fixture);
    struct snapshot_current good = served(*state);
    snapshot_folder_print(good.epoch, good.version + 1, name);
    snprintf(path, sizeof path, "%s/%s", (char *)*state, name);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/%s/manifest.json", (char *)*state, name);
    assert_int_equal(base_file_replace(path, "{", 1, NULL), BASE_OK);
    fixture_publish(publisher, &fixture);
    struct snapshot_current now = served(*state);
    assert_true(now.version == good.version + 1);
    snapshot_publisher_free(publisher);
    fixture_fini(&fixture);
}

/* Where CURRENT cannot be read after a failure it may name the new version:
 * that must not be removed, nor its number be used again. */
static void test_unknown_current(void **state)
{
    struct fixture fixture;
    struct base_error error;
    char path[512];
    fixture_init(&fixture, 1, 20);
    struct snapshot_publisher *publisher = fixture_publisher(*state);
    fixture_publish(publisher, &fixture);
    struct snapshot_current good = served(*state);
    snprintf(path, sizeof path, "%s/CURRENT", (char *)*state);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_not_equal(put(publisher, &fixture, &error), BASE_OK);
    assert_int_equal(count_entries(*state, "v"), 2);
    assert_int_equal(rmdir(path), 0);
    fixture_publish(publisher, &fixture);
    struct snapshot_current now = served(*state);
    assert_true(now.version == good.version + 2);
    snapshot_publisher_free(publisher);
    fixture_fini(&fixture);
}

/* A first version that could not be made current leaves nothing. */
static void test_first_fails(void **state)
{
    struct fixture fixture;
    struct base_error error;
    char path[512];
    fixture_init(&fixture, 1, 20);
    struct snapshot_publisher *publisher = fixture_publisher(*state);
    snprintf(path, sizeof path, "%s/CURRENT.tmp", (char *)*state);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_not_equal(put(publisher, &fixture, &error), BASE_OK);
    assert_int_equal(count_entries(*state, "v"), 0);
    assert_int_equal(rmdir(path), 0);
    fixture_publish(publisher, &fixture);
    assert_true(served(*state).version == 1);
    snapshot_publisher_free(publisher);
    fixture_fini(&fixture);
}

/* A full disk, as a limit on the size of files: at each stage of the writing
 * the error is told, nothing is left behind and the old version serves. */
static void test_disk_full(void **state)
{
    struct fixture fixture;
    struct base_error error;
    struct rlimit unlimited, small;
    fixture_init(&fixture, 1, 3000);
    struct snapshot_publisher *publisher = fixture_publisher(*state);
    fixture_publish(publisher, &fixture);
    struct snapshot_current good = served(*state), now;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
    /* CURRENT, dense file, small table, large table */
    static const rlim_t limits[] = {0, 100, 20000, 270000};
    for (unsigned i = 0; i < 4; i++) {
        small = unlimited;
        small.rlim_cur = limits[i];
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        enum base_status status = put(publisher, &fixture, &error);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
        assert_int_equal(status, BASE_IO);
        assert_non_null(strstr(error.text, "write"));
        now = served(*state);
        assert_int_equal(snapshot_current_compare(&now, &good), 0);
        assert_int_equal(count_entries(*state, ".tmp"), 0);
        assert_int_equal(count_entries(*state, "v"), 1);
    }
    fixture_publish(publisher, &fixture);
    snapshot_publisher_free(publisher);
    fixture_fini(&fixture);
}

/* A process that publishes is killed at 25 moments; each time the folder
 * opens for a reader, and the next publisher goes on with larger numbers. */
static void test_killed(void **state)
{
    struct fixture fixture;
    struct snapshot_current last = {0};
    fixture_init(&fixture, 1, 500);
    struct snapshot_publisher *publisher = fixture_publisher(*state);
    fixture_publish(publisher, &fixture);
    snapshot_publisher_free(publisher);
    for (unsigned i = 0; i < 25; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            publisher = fixture_publisher(*state);
            for (;;)
                fixture_publish(publisher, &fixture);
        }
        usleep(2000 + 1700 * i);
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        struct snapshot_current now = served(*state);
        assert_true(snapshot_current_compare(&now, &last) >= 0);
        last = now;
    }
    publisher = fixture_publisher(*state);
    assert_int_equal(count_entries(*state, ".tmp"), 0);
    assert_true(snapshot_publisher_epoch(publisher) > last.epoch);
    struct snapshot_announcement said = fixture_publish(publisher, &fixture);
    assert_true(said.version == last.version + 1);
    snapshot_publisher_free(publisher);
    fixture_fini(&fixture);
}

/* A table's name becomes a file name; the folder is not left. */
static void test_table_name(void **state)
{
    struct fixture fixture;
    struct base_error error;
    fixture_init(&fixture, 1, 4);
    strcpy(fixture.schema.tables[2].name, "../cate");
    learner_model_free(fixture.model);
    assert_int_equal(learner_model_new(&fixture.schema, &fixture.config,
                                       &fixture.model, &error),
                     BASE_OK);
    struct snapshot_publisher *publisher = fixture_publisher(*state);
    assert_int_equal(put(publisher, &fixture, &error), BASE_CONFIG);
    assert_non_null(strstr(error.text, "table '../cate'"));
    snapshot_publisher_free(publisher);
    fixture_fini(&fixture);
}

#define WITH_FOLDER(test) \
    cmocka_unit_test_setup_teardown(test, fixture_folder, fixture_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_chain),
        WITH_FOLDER(test_epochs_and_leftovers),
        WITH_FOLDER(test_one_publisher),
        WITH_FOLDER(test_broken_current),
        WITH_FOLDER(test_removed_current),
        WITH_FOLDER(test_not_finite),
        WITH_FOLDER(test_leftover_of_this_number),
        WITH_FOLDER(test_unknown_current),
        WITH_FOLDER(test_first_fails),
        WITH_FOLDER(test_disk_full),
        WITH_FOLDER(test_killed),
        WITH_FOLDER(test_table_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
