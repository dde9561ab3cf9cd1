/* SPDX-License-Identifier: Apache-2.0 */
/* The history's ring: what a restart finds, more than a turn of it, damaged
 * records and files, a folder that cannot be written, and the columns that the
 * page gets. */
#include "daemon/history.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/file.h"

enum { STEP = DAEMON_HISTORY_STEP_MS, SIZE = 512 };

static char folder[] = "/tmp/interestd-history-XXXXXX";
static struct daemon_status *status;

static int set_up(void **state)
{
    (void)state;
    status = calloc(1, sizeof *status);
    status->model_count = 1;
    strcpy(status->models[0].name, "main");
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    struct base_error error;
    (void)state;
    free(status);
    return base_file_remove(folder, &error);
}

static char *path_of(void)
{
    static char path[200];
    snprintf(path, sizeof path, "%s/history.ring", folder);
    return path;
}

static void add(struct daemon_history *history, int64_t number)
{
    status->now_ms = number * STEP;
    status->ingest.events = (uint64_t)number * 100;
    status->models[0].learner.last_samples.auc = (double)number / 1e6;
    status->models[0].learner.last_samples.user_auc = NAN;
    status->publish.recent.fresh[3] = (uint64_t)number;
    daemon_history_add(history, status);
}

/* Columns over the last minutes, as the page reads them. */
static json_t *tell(const struct daemon_history *history, unsigned minutes)
{
    char *text = daemon_history_json(history, status, minutes);
    assert_non_null(text);
    json_t *root = json_loads(text, 0, NULL);
    assert_non_null(root);
    free(text);
    return root;
}

static json_int_t at(json_t *root, const char *name, size_t index)
{
    return json_integer_value(
        json_array_get(json_object_get(root, name), index));
}

static size_t length(json_t *root)
{
    return json_array_size(json_object_get(root, "at_ms"));
}

static void test_restart(void **state)
{
    struct stat info;
    (void)state;
    struct daemon_history *history = daemon_history_open(folder);
    for (int i = 1001; i <= 1030; i++)
        add(history, i);
    daemon_history_close(history);
    assert_int_equal(stat(path_of(), &info), 0);
    assert_int_equal(info.st_size, DAEMON_HISTORY_RECORDS * SIZE);
    history = daemon_history_open(folder);
    add(history, 1031);
    json_t *root = tell(history, 5); /* 30 steps back, and now */
    assert_int_equal(length(root), 31);
    assert_int_equal(at(root, "at_ms", 0), 1001 * STEP);
    assert_int_equal(at(root, "events", 30), 103100);
    json_t *model = json_object_get(json_object_get(root, "models"), "main");
    json_t *auc = json_object_get(model, "auc");
    assert_true(fabs(json_real_value(json_array_get(auc, 30)) - 0.001031) <
                1e-8);
    assert_true(
        json_is_null(json_array_get(json_object_get(model, "user_auc"), 0)));
    /* Growth over the time told, not what was before. */
    assert_int_equal(at(root, "fresh", 3), 30);
    json_decref(root);
    daemon_history_close(history);
}

static void damage(off_t offset)
{
    int fd = open(path_of(), O_RDWR);
    char byte;
    assert_int_equal(pread(fd, &byte, 1, offset), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
    close(fd);
}

/* One bit wrong: that record is passed over, the others stand. */
static void test_damage(void **state)
{
    (void)state;
    damage(5 * SIZE + 100);
    struct daemon_history *history = daemon_history_open(folder);
    json_t *root = tell(history, 6);
    assert_int_equal(length(root), 30);
    json_decref(root);
    daemon_history_close(history);
    assert_int_equal(truncate(path_of(), 10 * SIZE + 7), 0);
    history = daemon_history_open(folder);
    root = tell(history, 6);
    assert_int_equal(length(root), 9);
    json_decref(root);
    daemon_history_close(history);
}

/* More than a turn: a day is there, thinned to so many places, in order; where
 * the daemon started anew its counters fell. */
static void test_turn(void **state)
{
    (void)state;
    struct daemon_history *history = daemon_history_open(folder);
    for (int i = 2000; i < 2000 + DAEMON_HISTORY_RECORDS + 50; i++)
        add(history, i);
    json_t *root = tell(history, 1440);
    assert_int_equal(at(root, "step_ms", 0), 0); /* not a column */
    assert_in_range(length(root), DAEMON_HISTORY_POINTS - 1,
                    DAEMON_HISTORY_POINTS + 1);
    for (size_t i = 1; i < length(root); i++)
        assert_true(at(root, "at_ms", i) > at(root, "at_ms", i - 1));
    assert_int_equal(at(root, "at_ms", length(root) - 1), status->now_ms);
    assert_true(at(root, "at_ms", 0) <= status->now_ms - 1436 * 60000);
    json_decref(root);
    daemon_history_close(history);
}

static void test_memory_only(void **state)
{
    char file[200];
    (void)state;
    snprintf(file, sizeof file, "%s/not-a-folder", folder);
    struct daemon_history *history = daemon_history_open(file);
    assert_non_null(history);
    add(history, 10);
    json_t *root = tell(history, 5);
    assert_int_equal(length(root), 1);
    json_decref(root);
    daemon_history_close(history);
    daemon_history_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_restart), cmocka_unit_test(test_damage),
        cmocka_unit_test(test_turn), cmocka_unit_test(test_memory_only)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
