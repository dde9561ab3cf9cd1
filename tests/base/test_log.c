/* SPDX-License-Identifier: Apache-2.0 */
/* The log sink on a pipe in place of standard error: the shape of a line,
 * levels, control characters, cutting, and lines lost to a full pipe. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/log.h"

/* What base_log wrote since `start_capture`. */
static int saved = -1, ends[2];
static char captured[1 << 20];

static void start_capture(void)
{
    assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    saved = dup(STDERR_FILENO);
    assert_true(saved >= 0);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
}

/* Takes what is in the pipe now. */
static size_t take_captured(void)
{
    size_t used = 0;
    ssize_t got;
    while ((got = read(ends[0], captured + used,
                       sizeof captured - 1 - used)) > 0)
        used += (size_t)got;
    captured[used] = '\0';
    return used;
}

static void end_capture(void)
{
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[0]);
    close(ends[1]);
}

static void test_line(void **state)
{
    (void)state;
    start_capture();
    time_t before = time(NULL);
    base_log(BASE_LOG_WARN, "event=test n=%d text=\"%s\"", 5, "a b");
    time_t after = time(NULL);
    take_captured();
    end_capture();
    struct tm utc = {0};
    unsigned ms;
    int read = 0;
    assert_int_equal(sscanf(captured, "ts=%4d-%2d-%2dT%2d:%2d:%2d.%3uZ%n",
                            &utc.tm_year, &utc.tm_mon, &utc.tm_mday,
                            &utc.tm_hour, &utc.tm_min, &utc.tm_sec, &ms,
                            &read), 7);
    assert_int_equal(read, 27); /* ts=2026-11-22T05:04:03.123Z */
    utc.tm_year -= 1900;
    utc.tm_mon -= 1;
    assert_in_range(timegm(&utc), before, after);
    assert_string_equal(captured + read,
                        " level=warn event=test n=5 text=\"a b\"\n");
}

static void test_levels(void **state)
{
    (void)state;
    static const enum base_log_level levels[] = {
        BASE_LOG_DEBUG, BASE_LOG_INFO, BASE_LOG_WARN, BASE_LOG_ERROR};
    static const char *const names[] = {"level=debug ", "level=info ",
                                        "level=warn ", "level=error "};
    for (unsigned minimum = 0; minimum < 4; minimum++) {
        base_log_set_level(levels[minimum]);
        start_capture();
        for (unsigned i = 0; i < 4; i++)
            base_log(levels[i], "event=x");
        take_captured();
        end_capture();
        for (unsigned i = 0; i < 4; i++)
            assert_int_equal(strstr(captured, names[i]) != NULL,
                             i >= minimum);
    }
    base_log_set_level(BASE_LOG_INFO);
}

/* Warnings and errors are kept, the newest; what is long is cut. */
static void test_recent(void **state)
{
    static struct base_log_line lines[BASE_LOG_KEPT];
    char text[600];
    (void)state;
    start_capture();
    for (int i = 0; i < BASE_LOG_KEPT + 3; i++)
        base_log(BASE_LOG_WARN, "event=kept n=%d", i);
    base_log(BASE_LOG_INFO, "event=not_kept");
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    base_log(BASE_LOG_ERROR, "event=long text=%s", text);
    take_captured();
    end_capture();
    assert_int_equal(base_log_recent(lines, 2), 2);
    assert_non_null(strstr(lines[0].text, "level=warn event=kept n=18"));
    assert_non_null(strstr(lines[1].text, "level=error event=long text=xx"));
    assert_int_equal(strlen(lines[1].text), BASE_LOG_KEPT_SIZE - 1);
    assert_int_equal(base_log_recent(lines, BASE_LOG_KEPT), BASE_LOG_KEPT);
    assert_non_null(strstr(lines[0].text, "event=kept n=4"));
}

static void test_control_characters(void **state)
{
    (void)state;
    start_capture();
    base_log(BASE_LOG_INFO, "event=x a=%s",
             "\n\r\t\x1b[2J\x7f\x01 gr\xc3\xbc\xc3\x9f");
    take_captured();
    end_capture();
    assert_non_null(strstr(captured,
                           " event=x a=????[2J?? gr\xc3\xbc\xc3\x9f\n"));
    assert_ptr_equal(strchr(captured, '\n'),
                     captured + strlen(captured) - 1);
}

static void test_long_line(void **state)
{
    (void)state;
    static char value[5000];
    memset(value, 'v', sizeof value - 1);
    static const size_t sizes[] = {1900, 1980, 2006, 2007, 2008,
                                   2009, 2047, 2048, 4999};
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        start_capture();
        base_log(BASE_LOG_INFO, "%s", value + sizeof value - 1 - sizes[i]);
        base_log(BASE_LOG_INFO, "event=next");
        size_t used = take_captured();
        end_capture();
        const char *end = strchr(captured, '\n');
        assert_non_null(end);
        size_t length = (size_t)(end - captured) + 1;
        assert_in_range(length, 0, 2048);
        size_t whole = strlen("ts=2026-11-22T05:04:03.123Z level=info ") +
                       sizes[i] + 1;
        assert_int_equal(length, whole < 2047 ? whole : 2047);
        assert_int_equal(strncmp(end + 1, "ts=", 3), 0);
        assert_int_equal(captured[used - 1], '\n');
    }
}

/* A full pipe loses lines without blocking, and the next line that gets
 * through says how many, over all attempts in between. */
static void test_lost_lines(void **state)
{
    (void)state;
    start_capture();
    char byte = 0;
    int flags = fcntl(ends[1], F_GETFL);
    while (write(ends[1], &byte, 1) == 1)
        continue;
    fcntl(ends[1], F_SETFL, flags & ~O_NONBLOCK);
    for (int i = 0; i < 5; i++)
        base_log(BASE_LOG_INFO, "event=lost i=%d", i);
    take_captured();
    base_log(BASE_LOG_INFO, "event=first");
    base_log(BASE_LOG_INFO, "event=second");
    take_captured();
    end_capture();
    assert_null(strstr(captured, "event=lost"));
    assert_non_null(strstr(captured, " lost_lines=5 event=first\n"));
    assert_non_null(strstr(captured, "level=info event=second\n"));
}

static void *log_many(void *letter)
{
    char text[101];
    memset(text, *(char *)letter, 100);
    text[100] = '\0';
    for (int i = 0; i < 40; i++)
        base_log(BASE_LOG_INFO, "event=mix text=%s", text);
    return NULL;
}

static void test_lines_do_not_mix(void **state)
{
    (void)state;
    static char letters[] = "abcd";
    pthread_t threads[4];
    start_capture();
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, log_many,
                                        &letters[i]), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    take_captured();
    end_capture();
    unsigned lines = 0;
    for (char *line = captured, *end; (end = strchr(line, '\n'));
         line = end + 1, lines++) {
        assert_int_equal(strncmp(line, "ts=", 3), 0);
        assert_true(end - line > 101);
        for (int i = 1; i <= 100; i++)
            assert_int_equal(end[-i], end[-1]);
        assert_int_equal(end[-101], '=');
    }
    assert_int_equal(lines, 160);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_recent),
        cmocka_unit_test(test_control_characters),
        cmocka_unit_test(test_long_line),
        cmocka_unit_test(test_lost_lines),
        cmocka_unit_test(test_lines_do_not_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
