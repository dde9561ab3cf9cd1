/* SPDX-License-Identifier: Apache-2.0 */
/* The page's files are in the executable, and load nothing from elsewhere;
 * manifests are found by a version's name and by nothing else. */
#include "daemon/page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"

static void test_files(void **state)
{
    static const char *const own[] = {"/",
                                      "/page/page.css",
                                      "/page/page.js",
                                      "/page/charts.js",
                                      "/page/controls.js",
                                      "/page/diagnose.js",
                                      "/page/format.js"};
    struct daemon_page_file file;
    (void)state;
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        assert_true(daemon_page_find(own[i], &file));
        assert_true(file.size > 100);
        assert_null(memmem(file.data, file.size, "://", 3));
    }
#ifdef WITH_CHARTS
    assert_true(daemon_page_find("/page/chart.min.js", &file));
    assert_non_null(memmem(file.data, file.size, "MIT License", 11));
#else
    assert_false(daemon_page_find("/page/chart.min.js", &file));
#endif
    assert_false(daemon_page_find("/page/", &file));
    assert_false(daemon_page_find("/page/page", &file));
    assert_false(daemon_page_find("/page.js", &file));
    assert_false(daemon_page_find("", &file));
}

static void test_manifest(void **state)
{
    static const char *const wrong[] = {
        "",
        "v1",
        "v1-2x",
        "../v1-2",
        "v1-2/../v1-2",
        "CURRENT",
        "v1-2 ",
        "v99999999999999999999999999999999999999999999-1"};
    char folder[] = "/tmp/interestd-page-XXXXXX", path[200];
    struct base_error error;
    char *text = NULL;
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/v1-2", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/v1-2/manifest.json", folder);
    assert_int_equal(base_file_replace(path, "{\"a\": 1}", 8, &error), BASE_OK);
    assert_int_equal(daemon_page_manifest(folder, "v1-2", &text, &error),
                     BASE_OK);
    assert_string_equal(text, "{\"a\": 1}");
    free(text);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(daemon_page_manifest(folder, wrong[i], &text, &error),
                         BASE_USAGE);
    assert_int_equal(daemon_page_manifest(folder, "v1-3", &text, &error),
                     BASE_NO_INPUT);
    assert_int_equal(base_file_remove(folder, &error), BASE_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_files),
                                       cmocka_unit_test(test_manifest)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
