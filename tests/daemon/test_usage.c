/* SPDX-License-Identifier: Apache-2.0 */
/* What a process takes of its machine: of this one, which takes more and says
 * how much. */
#include "daemon/usage.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { BLOCK = 32 << 20 };

static struct daemon_config *make(void)
{
    struct daemon_config *config = calloc(1, sizeof *config);
    assert_non_null(config);
    strcpy(config->state, "/");
    strcpy(config->snapshot.folder, "/no/such/folder");
    config->ingest.journal_max_bytes = 7;
    config->ingest.map_bytes = 9;
    config->publish.delta_ms = 11;
    return config;
}

static void test_caps_and_disks(void **state)
{
    (void)state;
    struct daemon_config *config = make();
    struct daemon_usage usage;
    daemon_usage_read(config, &usage);
    assert_int_equal(usage.journal_max_bytes, 7);
    assert_int_equal(usage.map_max_bytes, 9);
    assert_int_equal(usage.publish_interval_ms, 11);
    const struct daemon_disk *disk = &usage.disks[DAEMON_DISK_STATE];
    assert_true(disk->size_bytes > 0 && disk->available_bytes >= 0);
    assert_true(disk->available_bytes <= disk->size_bytes);
    assert_int_equal(usage.disks[DAEMON_DISK_MODEL].size_bytes, -1);
    assert_int_equal(usage.disks[DAEMON_DISK_MODEL].available_bytes, -1);
    assert_string_equal(daemon_disk_words[DAEMON_DISK_MODEL], "model");
    free(config);
}

static void test_process(void **state)
{
    (void)state;
    struct daemon_config *config = make();
    struct daemon_usage before, after;
    daemon_usage_read(config, &before);
    char *block = malloc(BLOCK);
    assert_non_null(block);
    memset(block, 1, BLOCK);
    int first = open("/dev/null", O_RDONLY), second = dup(first);
    daemon_usage_read(config, &after);
    assert_int_equal(block[BLOCK / 2], 1);
    assert_true(after.resident_bytes >= before.resident_bytes + BLOCK / 2);
    assert_true(after.virtual_bytes >= after.resident_bytes);
    assert_int_equal(after.open_files, before.open_files + 2);
    assert_true(after.cpu_seconds >= before.cpu_seconds);
    assert_true(after.cpu_seconds > 0);
    close(first);
    close(second);
    free(block);
    free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_caps_and_disks),
        cmocka_unit_test(test_process),
    };
    return cmocka_run_group_tests_name("daemon.usage", tests, NULL, NULL);
}
