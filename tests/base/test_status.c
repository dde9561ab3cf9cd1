/* SPDX-License-Identifier: Apache-2.0 */
/* Status names and error texts: how they are made, joined on the way up, and
 * cut where they are too long. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/status.h"

static void test_names_and_exits(void **state)
{
    (void)state;
    assert_int_equal(BASE_OK, 0);
    assert_string_equal(base_status_name(BASE_OK), "ok");
    assert_string_equal(base_status_name(BASE_STOPPED), "stopped");
    assert_int_equal(base_status_exit(BASE_OK), 0);
    assert_int_equal(base_status_exit(BASE_USAGE), 64);
    assert_int_equal(base_status_exit(BASE_CONFIG), 78);
    for (int status = BASE_OK + 1; status <= BASE_STOPPED; status++) {
        assert_in_range(base_status_exit(status), 64, 79);
        for (int other = BASE_OK; other < status; other++)
            assert_string_not_equal(base_status_name(status),
                                    base_status_name(other));
    }
}

static void test_fail(void **state)
{
    (void)state;
    struct base_error error;
    assert_int_equal(base_fail(&error, BASE_DATA, "%s %d", "record", 7),
                     BASE_DATA);
    assert_int_equal(error.status, BASE_DATA);
    assert_false(error.retriable);
    assert_string_equal(error.text, "record 7");
    assert_int_equal(base_fail(&error, BASE_AGAIN, "later"), BASE_AGAIN);
    assert_true(error.retriable);
    assert_int_equal(base_fail(&error, BASE_UNAVAILABLE, "no broker"),
                     BASE_UNAVAILABLE);
    assert_true(error.retriable);
    assert_int_equal(base_fail(NULL, BASE_IO, "unheard"), BASE_IO);
}

static void test_fail_errno(void **state)
{
    (void)state;
    static const struct {
        int value;
        enum base_status status;
        const char *text;
    } cases[] = {
        {ENOENT, BASE_NO_INPUT, "put 81: No such file or directory"},
        {EACCES, BASE_DENIED, "put 81: Permission denied"},
        {EPERM, BASE_DENIED, "put 81: Operation not permitted"},
        {ENOMEM, BASE_SYSTEM, "put 81: Cannot allocate memory"},
        {EMFILE, BASE_SYSTEM, "put 81: Too many open files"},
        {EAGAIN, BASE_SYSTEM,
         "put 81: Resource temporarily unavailable"},
        {EIO, BASE_IO, "put 81: Input/output error"},
        {ENOSPC, BASE_IO, "put 81: No space left on device"},
        {123456, BASE_IO, "put 81: Unknown error 123456"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct base_error error;
        errno = EINTR; /* the argument counts, not this */
        assert_int_equal(base_fail_errno(&error, cases[i].value, "put %d", 81),
                         cases[i].status);
        assert_int_equal(error.status, cases[i].status);
        assert_string_equal(error.text, cases[i].text);
        assert_int_equal(base_fail_errno(NULL, cases[i].value, "put"),
                         cases[i].status);
    }
}

static enum base_status deep(struct base_error *error)
{
    return base_fail(error, BASE_LIMIT, "map is %d GiB", 1);
}

static enum base_status middle(struct base_error *error)
{
    if (deep(error))
        return base_wrap(error, "put user %d", 81);
    return BASE_OK;
}

static void test_wrap(void **state)
{
    (void)state;
    struct base_error error;
    assert_int_equal(middle(&error), BASE_LIMIT);
    assert_string_equal(error.text, "put user 81: map is 1 GiB");
    assert_int_equal(base_wrap(&error, "store"), BASE_LIMIT);
    assert_string_equal(error.text, "store: put user 81: map is 1 GiB");
    assert_int_equal(error.status, BASE_LIMIT);
    base_fail(&error, BASE_AGAIN, "%s", "");
    assert_int_equal(base_wrap(&error, "%s", ""), BASE_AGAIN);
    assert_true(error.retriable);
    assert_string_equal(error.text, ": ");
    assert_int_not_equal(base_wrap(NULL, "nobody"), BASE_OK);
}

/* The text ends inside the object, with as much of both as there is room. */
static void check_joined(size_t context_size, size_t text_size)
{
    char context[2000], text[2000], expected[5000];
    struct {
        struct base_error error;
        char guard[8];
    } held;
    memset(held.guard, 'g', sizeof held.guard);
    memset(context, 'c', context_size);
    context[context_size] = '\0';
    memset(text, 't', text_size);
    text[text_size] = '\0';
    base_fail(&held.error, BASE_IO, "%s", text);
    size_t room = sizeof held.error.text;
    assert_int_equal(strlen(held.error.text),
                     text_size < room ? text_size : room - 1);
    assert_int_equal(base_wrap(&held.error, "%s", context), BASE_IO);
    size_t outer = context_size < room - 3 ? context_size : room - 3;
    size_t inner = room - 1 - outer - 2;
    memcpy(expected, context, outer);
    memcpy(expected + outer, ": ", 2);
    memcpy(expected + outer + 2, text, text_size);
    expected[outer + 2 + (text_size < inner ? text_size : inner)] = '\0';
    assert_string_equal(held.error.text, expected);
    assert_memory_equal(held.guard, "gggggggg", sizeof held.guard);
}

static void test_long_texts(void **state)
{
    (void)state;
    static const size_t sizes[] = {0,   1,   10,  496, 500,  990,  995, 996,
                                   997, 998, 999, 1000, 1001, 1500, 1999};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    for (unsigned i = 0; i < COUNT; i++)
        for (unsigned j = 0; j < COUNT; j++)
            check_joined(sizes[i], sizes[j]);
    struct base_error error;
    char text[2000];
    memset(text, 't', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (unsigned i = 0; i < COUNT; i++) {
        size_t start = sizeof text - 1 - sizes[i];
        base_fail_errno(&error, ENOENT, "%s", text + start);
        size_t length = strlen(error.text);
        assert_in_range(length, 0, sizeof error.text - 1);
        if (sizes[i] < 900)
            assert_string_equal(error.text + sizes[i],
                                ": No such file or directory");
        else
            assert_int_equal(length, sizeof error.text - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_and_exits),
        cmocka_unit_test(test_fail),
        cmocka_unit_test(test_fail_errno),
        cmocka_unit_test(test_wrap),
        cmocka_unit_test(test_long_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
