/* SPDX-License-Identifier: Apache-2.0 */
/* Child processes: lines, exit statuses, death with the parent; and the
 * service manager's messages. This program is its own child. */
#include "daemon/child.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "daemon/notify.h"

static char folder[] = "/tmp/interestd-child-XXXXXX";
static char log_path[64];
static struct base_error error;

/* What a child does, by its first argument. */
static int act(const char *name)
{
    if (strcmp(name, "talk") == 0) {
        printf("one\ntwo\nrest");
        fprintf(stderr, "to the log\n");
        return 0;
    }
    if (strcmp(name, "long") == 0) {
        for (int i = 0; i < CHILD_LINE_MAX + 100; i++)
            putchar('x');
        putchar('\n');
        return 0;
    }
    if (strcmp(name, "fail") == 0)
        return 7;
    printf("up\n");
    fflush(stdout);
    for (;;)
        pause();
}

static void start(struct child *child, const char *name)
{
    const char *const arguments[] = {name, NULL};
    assert_int_equal(child_start(child, log_path, arguments, &error), BASE_OK);
}

/* The next line, waited for; false at the end. */
static bool next_line(struct child *child, char *line)
{
    while (!child_read_line(child, line)) {
        if (child->output < 0)
            return false;
        usleep(1000);
    }
    return true;
}

static void test_lines(void **state)
{
    (void)state;
    struct child child;
    char line[CHILD_LINE_MAX], *text;
    size_t size;
    start(&child, "talk");
    assert_true(next_line(&child, line));
    assert_string_equal(line, "one");
    assert_true(next_line(&child, line));
    assert_string_equal(line, "two");
    assert_false(next_line(&child, line));
    assert_true(child_wait(&child, 20000));
    assert_int_equal(child.exit_status, 0);
    child_fini(&child);
    assert_int_equal(base_file_read(log_path, 1000, &text, &size, &error),
                     BASE_OK);
    assert_string_equal(text, "to the log\n");
    free(text);
}

static void test_long_line_is_cut(void **state)
{
    (void)state;
    struct child child;
    char line[CHILD_LINE_MAX];
    start(&child, "long");
    assert_true(next_line(&child, line));
    assert_int_equal(strlen(line), CHILD_LINE_MAX - 1);
    assert_true(next_line(&child, line));
    assert_int_equal(strlen(line), 101);
    child_fini(&child);
}

static void test_exit_statuses(void **state)
{
    (void)state;
    struct child child;
    start(&child, "fail");
    assert_true(child_wait(&child, 20000));
    assert_int_equal(child.exit_status, 7);
    child_signal(&child, SIGTERM); /* gone: nothing happens */
    child_fini(&child);
    start(&child, "sleep");
    assert_false(child_wait(&child, 20));
    child_signal(&child, SIGTERM);
    assert_true(child_wait(&child, 20000));
    assert_int_equal(child.exit_status, 128 + SIGTERM);
    child_fini(&child);
}

static void ignore(int signal_number)
{
    (void)signal_number;
}

/* However early, a signal to a child ends it; our handlers are not its. */
static void test_early_signal(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = ignore}, before;
    assert_int_equal(sigaction(SIGTERM, &action, &before), 0);
    for (int i = 0; i < 50; i++) {
        struct child child;
        start(&child, "wait");
        child_signal(&child, SIGTERM);
        assert_true(child_wait(&child, 20000));
        assert_int_equal(child.exit_status, 128 + SIGTERM);
        child_fini(&child);
    }
    assert_int_equal(sigaction(SIGTERM, &before, NULL), 0);
}

static void test_fini_kills(void **state)
{
    (void)state;
    struct child child;
    start(&child, "sleep");
    pid_t pid = child.pid;
    child_fini(&child);
    assert_int_equal(kill(pid, 0), -1);
    child_fini(&child);
}

static void test_no_log(void **state)
{
    (void)state;
    struct child child;
    const char *const arguments[] = {"talk", NULL};
    assert_int_equal(child_start(&child, "/nowhere/log", arguments, &error),
                     BASE_NO_INPUT);
    child_fini(&child);
}

static void test_notify(void **state)
{
    (void)state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char text[64] = "";
    snprintf(address.sun_path, sizeof address.sun_path, "%s/notify", folder);
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    unsetenv("NOTIFY_SOCKET");
    daemon_notify("LOST=1");
    setenv("NOTIFY_SOCKET", address.sun_path, 1);
    daemon_notify("READY=1");
    assert_int_equal(recv(fd, text, sizeof text, MSG_DONTWAIT), 7);
    assert_memory_equal(text, "READY=1", 7);
    assert_int_equal(recv(fd, text, sizeof text, MSG_DONTWAIT), -1);
    close(fd);
    daemon_notify("GONE=1");
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    assert_true(daemon_notify_interval() == 0);
    setenv("WATCHDOG_USEC", "30000000", 1);
    assert_true(daemon_notify_interval() == 15);
    unsetenv("WATCHDOG_USEC");
}

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return 1;
    snprintf(log_path, sizeof log_path, "%s/log", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return base_file_remove(folder, &error) != BASE_OK;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_long_line_is_cut),
        cmocka_unit_test(test_exit_statuses),
        cmocka_unit_test(test_early_signal),
        cmocka_unit_test(test_fini_kills),
        cmocka_unit_test(test_no_log),
        cmocka_unit_test(test_notify),
    };
    if (argc > 1)
        return act(argv[1]);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
