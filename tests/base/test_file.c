/* SPDX-License-Identifier: Apache-2.0 */
/* Whole reads, whole writes and replacement in a folder of their own; what
 * goes wrong is said with the path, and a failed replacement leaves the old
 * file as it was. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"

static char folder[512];

static int make_folder(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/interestd-file-XXXXXX",
             base && *base ? base : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    struct base_error error;
    return base_file_remove(folder, &error) ? -1 : 0;
}

/* A name in the folder; the last four stay valid. */
static const char *in_folder(const char *name)
{
    static char paths[4][PATH_MAX];
    static unsigned next;
    char *path = paths[next++ % 4];
    struct base_error error;
    assert_int_equal(base_file_join(path, PATH_MAX, folder, name, &error),
                     BASE_OK);
    return path;
}

static void expect_content(const char *path, const char *content, size_t size)
{
    struct base_error error = {.text = ""};
    char *data = NULL;
    size_t got = 0;
    if (base_file_read(path, 1 << 24, &data, &got, &error))
        fail_msg("%s", error.text);
    assert_int_equal(got, size);
    assert_memory_equal(data, content, size);
    assert_int_equal(data[size], '\0');
    free(data);
}

static void replace(const char *path, const void *data, size_t size)
{
    struct base_error error = {.text = ""};
    if (base_file_replace(path, data, size, &error))
        fail_msg("%s", error.text);
}

static void test_read_sizes(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, 131072, 300001};
    const char *path = in_folder("sizes");
    char *content = malloc(300001);
    assert_non_null(content);
    for (size_t i = 0; i < 300001; i++)
        content[i] = (char)(i * 31 >> 3);
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct base_error error = {.text = ""};
        char *data;
        size_t size;
        replace(path, content, sizes[i]);
        expect_content(path, content, sizes[i]);
        assert_int_equal(base_file_read(path, sizes[i], &data, &size, &error),
                         BASE_OK);
        free(data);
        if (sizes[i] == 0)
            continue;
        assert_int_equal(base_file_read(path, sizes[i] - 1, &data, &size,
                                        &error), BASE_LIMIT);
        assert_non_null(strstr(error.text, path));
        assert_non_null(strstr(error.text, "limit"));
    }
    free(content);
}

static void test_read_errors(void **state)
{
    (void)state;
    struct base_error error;
    char *data;
    size_t size;
    const char *path = in_folder("absent");
    assert_int_equal(base_file_read(path, 10, &data, &size, &error),
                     BASE_NO_INPUT);
    assert_non_null(strstr(error.text, path));
    assert_int_equal(base_file_read(folder, 10, &data, &size, &error),
                     BASE_IO);
    assert_non_null(strstr(error.text, folder));
}

/* A replacement that cannot be written, or not renamed, changes nothing and
 * leaves no temporary file. */
static void test_failed_replace(void **state)
{
    (void)state;
    struct base_error error = {.text = ""};
    const char *path = in_folder("kept"), *temporary = in_folder("kept.tmp");
    replace(path, "old", 3);
    char *large = calloc(1, 1 << 20);
    assert_non_null(large);
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 4096;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    enum base_status status =
        base_file_replace(path, large, 1 << 20, &error);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    free(large);
    assert_int_equal(status, BASE_IO);
    assert_non_null(strstr(error.text, "kept"));
    expect_content(path, "old", 3);
    assert_int_equal(access(temporary, F_OK), -1);

    const char *taken = in_folder("taken");
    assert_int_equal(base_file_make_folder(taken, &error), BASE_OK);
    assert_int_not_equal(base_file_replace(taken, "x", 1, &error), BASE_OK);
    assert_non_null(strstr(error.text, "rename"));
    assert_int_equal(access(in_folder("taken.tmp"), F_OK), -1);
    assert_int_equal(base_file_replace(in_folder("no/where"), "x", 1, &error),
                     BASE_NO_INPUT);
    char endless[PATH_MAX + 10];
    memset(endless, 'a', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    assert_int_equal(base_file_replace(endless, "x", 1, &error), BASE_LIMIT);
}

struct watch {
    const char *path;
    bool mixed;
    _Atomic bool stop;
};

/* Reads again and again; each content must be one letter throughout. */
static void *watch_content(void *argument)
{
    struct watch *watch = argument;
    while (!watch->stop) {
        struct base_error error;
        char *data;
        size_t size;
        if (base_file_read(watch->path, 1 << 24, &data, &size, &error)) {
            watch->mixed = true;
            break;
        }
        for (size_t i = 1; i < size; i++)
            watch->mixed |= data[i] != data[0];
        watch->mixed |= size != 100000 + (size_t)(data[0] - 'a');
        free(data);
    }
    return NULL;
}

static void test_readers_see_one_content(void **state)
{
    (void)state;
    struct watch watch = {.path = in_folder("watched")};
    static char content[100001];
    memset(content, 'a', sizeof content);
    replace(watch.path, content, 100000);
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, watch_content, &watch), 0);
    for (int round = 0; round < 50; round++) {
        memset(content, 'a' + round % 2, sizeof content);
        replace(watch.path, content, 100000 + (size_t)(round % 2));
    }
    watch.stop = true;
    assert_int_equal(pthread_join(reader, NULL), 0);
    assert_false(watch.mixed);
}

static void on_alarm(int number)
{
    (void)number;
}

struct drain {
    int fd;
    size_t read;
    bool in_order;
};

static void *drain_slowly(void *argument)
{
    struct drain *drain = argument;
    unsigned char bytes[3001];
    ssize_t got;
    drain->in_order = true;
    while ((got = read(drain->fd, bytes, sizeof bytes)) != 0) {
        for (ssize_t i = 0; i < got; i++)
            drain->in_order &= bytes[i] == (drain->read + (size_t)i) % 251;
        drain->read += got > 0 ? (size_t)got : 0;
    }
    return NULL;
}

/* A pipe takes a little at a time and a timer interrupts the writes. */
static void test_write_all(void **state)
{
    (void)state;
    int ends[2];
    struct base_error error = {.text = ""};
    enum { SIZE = 3000000 };
    unsigned char *data = malloc(SIZE);
    assert_non_null(data);
    for (size_t i = 0; i < SIZE; i++)
        data[i] = (unsigned char)(i % 251);
    assert_int_equal(pipe(ends), 0);
    struct sigaction action = {.sa_handler = on_alarm}; /* no SA_RESTART */
    sigaction(SIGALRM, &action, NULL);
    struct drain drain = {.fd = ends[0]};
    sigset_t alarms;
    sigemptyset(&alarms);
    sigaddset(&alarms, SIGALRM);
    pthread_t reader;
    pthread_sigmask(SIG_BLOCK, &alarms, NULL); /* only the writer has them */
    assert_int_equal(pthread_create(&reader, NULL, drain_slowly, &drain), 0);
    pthread_sigmask(SIG_UNBLOCK, &alarms, NULL);
    ualarm(1000, 1000);
    enum base_status status =
        base_file_write_all(ends[1], data, SIZE, "pipe", &error);
    ualarm(0, 0);
    close(ends[1]);
    assert_int_equal(pthread_join(reader, NULL), 0);
    close(ends[0]);
    free(data);
    assert_int_equal(status, BASE_OK);
    assert_int_equal(drain.read, SIZE);
    assert_true(drain.in_order);
    assert_int_equal(base_file_write_all(-1, "x", 1, "nowhere", &error),
                     BASE_IO);
    assert_non_null(strstr(error.text, "nowhere: write"));
}

static void test_folders(void **state)
{
    (void)state;
    struct base_error error = {.text = ""};
    struct stat info;
    const char *deep = in_folder("one/two//three/");
    assert_int_equal(base_file_make_folder(deep, &error), BASE_OK);
    assert_int_equal(base_file_make_folder(deep, &error), BASE_OK);
    assert_int_equal(stat(deep, &info), 0);
    assert_true(S_ISDIR(info.st_mode));
    assert_int_equal(info.st_mode & 07, 0); /* nothing for strangers */
    assert_int_equal(base_file_sync_folder(deep, &error), BASE_OK);
    assert_int_equal(base_file_sync_folder(in_folder("absent"), &error),
                     BASE_NO_INPUT);
    replace(in_folder("one/two/file"), "x", 1);
    assert_int_equal(base_file_make_folder(in_folder("one/two/file"), &error),
                     BASE_EXISTS);
    assert_int_not_equal(base_file_make_folder(in_folder("one/two/file/below"),
                                               &error), BASE_OK);
    assert_int_equal(base_file_make_folder("", &error), BASE_LIMIT);
    /* A link is removed, not what it leads to. */
    assert_int_equal(symlink(folder, in_folder("one/link")), 0);
    replace(in_folder("beside"), "y", 1);
    assert_int_equal(base_file_remove(in_folder("one"), &error), BASE_OK);
    assert_int_equal(access(in_folder("one"), F_OK), -1);
    expect_content(in_folder("beside"), "y", 1);
    assert_int_equal(base_file_remove(in_folder("one"), &error), BASE_OK);
    assert_int_equal(base_file_remove(in_folder("beside"), &error), BASE_OK);
    assert_int_equal(access(in_folder("beside"), F_OK), -1);
}

static void test_join(void **state)
{
    (void)state;
    struct base_error error;
    char path[8];
    assert_int_equal(base_file_join(path, sizeof path, "abc", "def", &error),
                     BASE_OK);
    assert_string_equal(path, "abc/def");
    assert_int_equal(base_file_join(path, sizeof path, "abc", "defg", &error),
                     BASE_LIMIT);
    assert_non_null(strstr(error.text, "abc/defg"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_sizes),
        cmocka_unit_test(test_read_errors),
        cmocka_unit_test(test_failed_replace),
        cmocka_unit_test(test_readers_see_one_content),
        cmocka_unit_test(test_write_all),
        cmocka_unit_test(test_folders),
        cmocka_unit_test(test_join),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
