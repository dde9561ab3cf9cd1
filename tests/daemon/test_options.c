/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines: values, flags, lists, words, and every way to be wrong. */
#include "daemon/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const char *file, *words[2];
static uint64_t number;
static bool flag;
static struct option_list list;
static struct base_error error;

static const struct option table[] = {
    {"file", OPTION_TEXT, &file, "FILE", true, "a file"},
    {"number", OPTION_UNSIGNED, &number, "N", false, "a number"},
    {"flag", OPTION_FLAG, &flag, NULL, false, "a flag"},
    {"set", OPTION_LIST, &list, "K=V", false, "a list"},
};
static const struct options options = {.usage = "interestd x --file FILE",
                                       .about = "Tests.",
                                       .table = table,
                                       .count = 4,
                                       .positional_max = 2,
                                       .positional = words};

static enum base_status parse(int count, ...)
{
    char *argv[16] = {(char *)"x"};
    va_list arguments;
    file = words[0] = words[1] = NULL;
    number = 5;
    flag = false;
    list.count = 0;
    va_start(arguments, count);
    for (int i = 0; i < count; i++)
        argv[i + 1] = va_arg(arguments, char *);
    va_end(arguments);
    return options_parse(&options, count + 1, argv, &error);
}

static void test_good(void **state)
{
    (void)state;
    assert_int_equal(parse(2, "--file", "a"), BASE_OK);
    assert_string_equal(file, "a");
    assert_int_equal(number, 5);
    assert_false(flag);
    assert_int_equal(parse(8, "w", "--number=7", "--flag", "--set", "a=b",
                           "--set=c=d", "v", "--file=f=g"),
                     BASE_OK);
    assert_string_equal(file, "f=g");
    assert_int_equal(number, 7);
    assert_true(flag);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.values[1], "c=d");
    assert_string_equal(words[0], "w");
    assert_string_equal(words[1], "v");
}

static void wrong(enum base_status status, const char *text)
{
    assert_int_equal(status, BASE_USAGE);
    assert_string_equal(error.text, text);
}

static void test_wrong(void **state)
{
    (void)state;
    wrong(parse(0), "--file is required");
    wrong(parse(1, "--file"), "--file needs FILE");
    wrong(parse(3, "--file", "a", "--fil"),
          "no option --fil; --help lists them");
    wrong(parse(2, "--number", "x"), "--number: \"x\" is not a whole number");
    wrong(parse(2, "--number", "-1"), "--number: \"-1\" is not a whole number");
    wrong(parse(1, "--number="), "--number needs N, not an empty text");
    wrong(parse(2, "--file", ""), "--file needs FILE, not an empty text");
    wrong(parse(2, "--number", "99999999999999999999"),
          "--number: \"99999999999999999999\" is not a whole number");
    wrong(parse(1, "--flag=yes"), "--flag takes no value");
    wrong(parse(3, "a", "b", "c"), "\"c\" is not expected here");
}

static void test_too_often(void **state)
{
    (void)state;
    char *argv[2 + OPTION_LIST_MAX + 1] = {(char *)"x", (char *)"--file=a"};
    parse(0);
    for (int i = 0; i <= OPTION_LIST_MAX; i++)
        argv[2 + i] = (char *)"--set=a";
    list.count = 0;
    assert_int_equal(options_parse(&options, 2 + OPTION_LIST_MAX, argv, &error),
                     BASE_OK);
    list.count = 0;
    wrong(options_parse(&options, 3 + OPTION_LIST_MAX, argv, &error),
          "--set is given too often");
}

static void test_exit(void **state)
{
    (void)state;
    assert_int_equal(parse(1, "--help"), BASE_STOPPED);
    assert_int_equal(options_exit("x", BASE_STOPPED, &error), 0);
    assert_int_equal(options_exit("x", BASE_OK, NULL), 0);
    base_fail(&error, BASE_CONFIG, "wrong");
    assert_int_equal(options_exit("x", BASE_CONFIG, &error), 78);
    base_fail(&error, BASE_STOPPED, "asked");
    assert_int_equal(options_exit("x", BASE_STOPPED, &error), 79);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_too_often),
        cmocka_unit_test(test_exit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
