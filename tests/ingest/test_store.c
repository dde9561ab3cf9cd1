/* SPDX-License-Identifier: Apache-2.0 */
/* The store: transactions, walks, readers, its lock, a full map. */
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "ingest/store.h"

struct fixture {
    char folder[200];
    struct ingest_store *store;
    struct base_error error;
};

static void must(struct fixture *fixture, enum base_status status)
{
    if (status)
        fail_msg("%s", fixture->error.text);
}

static void open_store(struct fixture *fixture)
{
    must(fixture, ingest_store_open(fixture->folder, 1 << 22, &fixture->store,
                                    &fixture->error));
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    const char *base = getenv("TMPDIR");
    snprintf(fixture->folder, sizeof fixture->folder, "%s/store-XXXXXX",
             base && *base ? base : "/tmp");
    assert_non_null(mkdtemp(fixture->folder));
    open_store(fixture);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    ingest_store_free(fixture->store);
    assert_int_equal(base_file_remove(fixture->folder, NULL), BASE_OK);
    free(fixture);
    return 0;
}

static struct ingest_bytes text(const char *string)
{
    return (struct ingest_bytes){string, strlen(string)};
}

static void put(struct fixture *fixture, const char *key, const char *value)
{
    must(fixture, ingest_store_put(fixture->store, INGEST_DB_META, text(key),
                                   text(value), &fixture->error));
}

static bool has(struct fixture *fixture, const char *key, const char *value)
{
    struct ingest_bytes found;
    must(fixture, ingest_store_get(fixture->store, INGEST_DB_META, text(key),
                                   &found, &fixture->error));
    if (!value || !found.data)
        return !value == !found.data;
    return found.size == strlen(value) &&
           memcmp(found.data, value, found.size) == 0;
}

static void commits_stay_and_aborts_do_not(void **state)
{
    struct fixture *fixture = *state;
    must(fixture, ingest_store_begin(fixture->store, &fixture->error));
    put(fixture, "a", "1");
    assert_true(has(fixture, "a", "1"));
    must(fixture, ingest_store_commit(fixture->store, &fixture->error));
    must(fixture, ingest_store_begin(fixture->store, &fixture->error));
    put(fixture, "a", "2");
    put(fixture, "b", "2");
    ingest_store_free(fixture->store); /* a kill, as the file sees it */
    open_store(fixture);
    must(fixture, ingest_store_begin(fixture->store, &fixture->error));
    assert_true(has(fixture, "a", "1"));
    assert_true(has(fixture, "b", NULL));
    assert_int_equal(ingest_store_count(fixture->store, INGEST_DB_META), 1);
    must(fixture, ingest_store_remove(fixture->store, INGEST_DB_META,
                                      text("a"), &fixture->error));
    must(fixture, ingest_store_remove(fixture->store, INGEST_DB_META,
                                      text("a"), &fixture->error));
    assert_true(has(fixture, "a", NULL));
    ingest_store_abort(fixture->store);
}

static void generation_tells_of_writes(void **state)
{
    struct fixture *fixture = *state;
    must(fixture, ingest_store_begin(fixture->store, &fixture->error));
    uint64_t before = ingest_store_generation(fixture->store);
    assert_true(has(fixture, "a", NULL));
    assert_int_equal(ingest_store_generation(fixture->store), before);
    put(fixture, "a", "1");
    assert_int_not_equal(ingest_store_generation(fixture->store), before);
    ingest_store_abort(fixture->store);
}

static void walks_in_key_order(void **state)
{
    struct fixture *fixture = *state;
    struct ingest_cursor cursor;
    struct base_error *error = &fixture->error;
    must(fixture, ingest_store_begin(fixture->store, error));
    put(fixture, "c", "3");
    put(fixture, "a", "1");
    put(fixture, "b", "2");
    must(fixture, ingest_cursor_open(fixture->store, NULL, INGEST_DB_META,
                                     &cursor, error));
    must(fixture, ingest_cursor_move(&cursor, INGEST_MOVE_FIRST, error));
    assert_memory_equal(cursor.key.data, "a", 1);
    must(fixture, ingest_cursor_move(&cursor, INGEST_MOVE_NEXT, error));
    assert_memory_equal(cursor.value.data, "2", 1);
    must(fixture, ingest_cursor_seek(&cursor, text("bb"), error));
    assert_memory_equal(cursor.key.data, "c", 1);
    must(fixture, ingest_cursor_move(&cursor, INGEST_MOVE_NEXT, error));
    assert_null(cursor.key.data);
    must(fixture, ingest_cursor_move(&cursor, INGEST_MOVE_LAST, error));
    must(fixture, ingest_cursor_move(&cursor, INGEST_MOVE_PREVIOUS, error));
    assert_memory_equal(cursor.key.data, "b", 1);
    must(fixture, ingest_cursor_seek(&cursor, text("d"), error));
    assert_null(cursor.key.data);
    ingest_cursor_close(&cursor);
    ingest_store_abort(fixture->store);
}

static void readers_see_commits_only(void **state)
{
    struct fixture *fixture = *state;
    struct base_error *error = &fixture->error;
    struct ingest_reader *reader;
    struct ingest_bytes value;
    must(fixture, ingest_reader_new(fixture->store, &reader, error));
    must(fixture, ingest_store_begin(fixture->store, error));
    put(fixture, "a", "1");
    must(fixture, ingest_reader_begin(reader, error));
    must(fixture, ingest_reader_get(reader, INGEST_DB_META, text("a"), &value,
                                    error));
    assert_null(value.data);
    must(fixture, ingest_store_commit(fixture->store, error));
    must(fixture, ingest_reader_get(reader, INGEST_DB_META, text("a"), &value,
                                    error));
    assert_null(value.data); /* still its own view */
    ingest_reader_end(reader);
    must(fixture, ingest_reader_begin(reader, error));
    must(fixture, ingest_reader_get(reader, INGEST_DB_META, text("a"), &value,
                                    error));
    assert_int_equal(value.size, 1);
    ingest_reader_end(reader);
    ingest_reader_free(reader);
}

static void second_writer_is_refused_by_pid(void **state)
{
    struct fixture *fixture = *state;
    struct ingest_store *second = NULL;
    char pid[32];
    assert_int_equal(ingest_store_open(fixture->folder, 1 << 22, &second,
                                       &fixture->error),
                     BASE_UNAVAILABLE);
    snprintf(pid, sizeof pid, "process %ld;", (long)getpid());
    assert_non_null(strstr(fixture->error.text, pid));
    assert_null(second);
    ingest_store_free(fixture->store);
    open_store(fixture); /* the lock goes with its owner */
}

static void lock_goes_with_a_killed_owner(void **state)
{
    struct fixture *fixture = *state;
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    ingest_store_free(fixture->store);
    fixture->store = NULL;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct ingest_store *store;
        if (ingest_store_open(fixture->folder, 1 << 22, &store, NULL) ||
            ingest_store_begin(store, NULL) ||
            ingest_store_put(store, INGEST_DB_META, text("k"), text("v"),
                             NULL) ||
            write(ready[1], "x", 1) != 1)
            _exit(1);
        pause();
        _exit(1);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    assert_int_equal(ingest_store_open(fixture->folder, 1 << 22,
                                       &fixture->store, &fixture->error),
                     BASE_UNAVAILABLE);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    open_store(fixture);
    must(fixture, ingest_store_begin(fixture->store, &fixture->error));
    assert_true(has(fixture, "k", NULL));
    ingest_store_abort(fixture->store);
}

static void full_map_says_what_to_do(void **state)
{
    struct fixture *fixture = *state;
    static char big[100000];
    enum base_status status = BASE_OK;
    must(fixture, ingest_store_begin(fixture->store, &fixture->error));
    for (int i = 0; !status && i < 100; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        status = ingest_store_put(fixture->store, INGEST_DB_META, text(key),
                                  (struct ingest_bytes){big, sizeof big},
                                  &fixture->error);
    }
    assert_int_equal(status, BASE_LIMIT);
    assert_non_null(strstr(fixture->error.text, "store: put meta"));
    assert_non_null(strstr(fixture->error.text, "MDB_MAP_FULL"));
    assert_non_null(strstr(fixture->error.text, "raise ingest.map_mb"));
    ingest_store_abort(fixture->store);
    must(fixture, ingest_store_begin(fixture->store, &fixture->error));
    put(fixture, "a", "1");
    must(fixture, ingest_store_commit(fixture->store, &fixture->error));
}

/* Writes `count` values of 100,000 bytes, a transaction each. */
static void fill(struct fixture *fixture, unsigned begin, unsigned count)
{
    static char big[100000];
    for (unsigned i = begin; i < begin + count; i++) {
        char key[16];
        snprintf(key, sizeof key, "%u", i);
        must(fixture, ingest_store_begin(fixture->store, &fixture->error));
        must(fixture, ingest_store_put(fixture->store, INGEST_DB_META,
                                       text(key),
                                       (struct ingest_bytes){big, sizeof big},
                                       &fixture->error));
        must(fixture, ingest_store_commit(fixture->store, &fixture->error));
    }
}

static void reopen_small(struct fixture *fixture, uint64_t map_bytes)
{
    ingest_store_free(fixture->store);
    must(fixture, ingest_store_open_at(fixture->folder, 1 << 20, map_bytes,
                                       &fixture->store, &fixture->error));
}

static void map_grows_under_readers(void **state)
{
    struct fixture *fixture = *state;
    struct ingest_store *other;
    struct ingest_reader *near, *far;
    struct ingest_bytes value;
    struct base_error *error = &fixture->error;
    reopen_small(fixture, 1 << 26);
    assert_int_equal(ingest_store_map_bytes(fixture->store), 1 << 20);
    fill(fixture, 0, 1);
    must(fixture, ingest_reader_new(fixture->store, &near, error));
    pid_t child = fork(); /* a reader elsewhere, opened on the small map */
    assert_true(child >= 0);
    if (child == 0) {
        /* What the parent has open is not to be used here: its own. */
        bool good = !ingest_store_open_read(fixture->folder, &other, error) &&
                    !ingest_reader_new(other, &far, error);
        for (bool more = true; good && more; usleep(1000)) {
            good = !ingest_reader_begin(far, error) &&
                   !ingest_reader_get(far, INGEST_DB_META, text("0"), &value,
                                      error) &&
                   value.size == 100000 &&
                   !ingest_reader_get(far, INGEST_DB_META, text("99"), &value,
                                      error);
            more = good && !value.data;
            if (good)
                ingest_reader_end(far);
        }
        _exit(good ? 0 : 1);
    }
    for (unsigned i = 1; i < 100; i++) {
        must(fixture, ingest_reader_begin(near, error));
        must(fixture, ingest_reader_get(near, INGEST_DB_META, text("0"),
                                        &value, error));
        assert_int_equal(value.size, 100000);
        ingest_reader_end(near);
        fill(fixture, i, 1);
    }
    assert_true(ingest_store_map_bytes(fixture->store) >= 100 * 100000);
    assert_true(ingest_store_map_bytes(fixture->store) <= 1 << 26);
    int code;
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_int_equal(code, 0);
    ingest_reader_free(near);
    reopen_small(fixture, 1 << 20); /* never below what is used */
    must(fixture, ingest_store_begin(fixture->store, error));
    assert_int_equal(ingest_store_count(fixture->store, INGEST_DB_META), 100);
    ingest_store_abort(fixture->store);
}

static void tight_says_when_a_commit_makes_room(void **state)
{
    struct fixture *fixture = *state;
    static char big[100000];
    unsigned wrote = 0;
    reopen_small(fixture, 1 << 26);
    must(fixture, ingest_store_begin(fixture->store, &fixture->error));
    while (!ingest_store_tight(fixture->store)) {
        char key[16];
        snprintf(key, sizeof key, "%u", wrote++);
        must(fixture, ingest_store_put(fixture->store, INGEST_DB_META,
                                       text(key),
                                       (struct ingest_bytes){big, sizeof big},
                                       &fixture->error));
    }
    assert_in_range(wrote, 5, 10); /* of 1 MiB */
    must(fixture, ingest_store_commit(fixture->store, &fixture->error));
    must(fixture, ingest_store_begin(fixture->store, &fixture->error));
    assert_false(ingest_store_tight(fixture->store));
    assert_true(ingest_store_map_bytes(fixture->store) > 1 << 20);
    ingest_store_abort(fixture->store);
}

/* A parked view keeps what is freed; a dead reader's too, until it is found. */
static void reader_table_is_known(void **state)
{
    struct fixture *fixture = *state;
    struct ingest_reader *reader;
    struct ingest_store_readers readers;
    char byte;
    int ready[2];
    fill(fixture, 0, 1);
    ingest_store_get_readers(fixture->store, &readers);
    assert_int_equal(readers.slots, 0);
    must(fixture, ingest_reader_new(fixture->store, &reader, &fixture->error));
    must(fixture, ingest_reader_begin(reader, &fixture->error));
    must(fixture, ingest_store_begin(fixture->store, &fixture->error));
    put(fixture, "a", "1");
    must(fixture, ingest_store_commit(fixture->store, &fixture->error));
    ingest_store_get_readers(fixture->store, &readers);
    assert_int_equal(readers.slots, 1);
    assert_int_equal(readers.lag_commits, 1);
    ingest_reader_free(reader);
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct ingest_store *store;
        if (ingest_store_open_read(fixture->folder, &store, NULL) ||
            ingest_reader_new(store, &reader, NULL) ||
            ingest_reader_begin(reader, NULL) || write(ready[1], "x", 1) != 1)
            _exit(1);
        pause();
        _exit(1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    fill(fixture, 0, 3);
    ingest_store_get_readers(fixture->store, &readers);
    assert_int_equal(readers.slots, 1);
    assert_int_equal(readers.lag_commits, 3);
    assert_int_equal(ingest_store_check_readers(fixture->store), 0);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(ingest_store_check_readers(fixture->store), 1);
    ingest_store_get_readers(fixture->store, &readers);
    assert_int_equal(readers.slots, 0);
    assert_int_equal(readers.lag_commits, 0);
}

/* LMDB's own default is 126 slots. */
static void more_readers_than_usual(void **state)
{
    enum { MANY = 200 };
    struct fixture *fixture = *state;
    struct ingest_reader *readers[MANY];
    struct ingest_store_readers table;
    fill(fixture, 0, 1);
    for (unsigned i = 0; i < MANY; i++)
        must(fixture, ingest_reader_new(fixture->store, &readers[i],
                                        &fixture->error));
    ingest_store_get_readers(fixture->store, &table);
    assert_int_equal(table.slots, MANY);
    for (unsigned i = 0; i < MANY; i++)
        ingest_reader_free(readers[i]);
}

/* Whatever is cut off, the answer is a word and never a signal. */
static void a_cut_file_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct ingest_store *store = NULL;
    struct stat file;
    char path[300];
    fill(fixture, 0, 20);
    ingest_store_free(fixture->store);
    fixture->store = NULL;
    snprintf(path, sizeof path, "%s/data.mdb", fixture->folder);
    assert_int_equal(stat(path, &file), 0);
    off_t cuts[] = {file.st_size - 1, file.st_size - 4096, file.st_size / 2,
                    3 * 4096, 2 * 4096 + 1, 2 * 4096, 4096, 100};
    for (unsigned i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        assert_int_equal(truncate(path, cuts[i]), 0);
        assert_int_equal(ingest_store_open(fixture->folder, 1 << 22, &store,
                                           &fixture->error),
                         BASE_CORRUPT);
        assert_int_equal(ingest_store_open_read(fixture->folder, &store,
                                                &fixture->error),
                         BASE_CORRUPT);
        if (cuts[i] >= 2 * 4096)
            assert_non_null(strstr(fixture->error.text, "was cut"));
    }
}

/* Pages that a transaction took at the end and gave back are free and perhaps
 * were never written: no damage. */
static void a_file_that_ends_in_free_pages_is_whole(void **state)
{
    struct fixture *fixture = *state;
    struct stat file;
    char path[300];
    fill(fixture, 0, 2);
    fill(fixture, 5, 1);
    must(fixture, ingest_store_begin(fixture->store, &fixture->error));
    must(fixture, ingest_store_remove(fixture->store, INGEST_DB_META,
                                      text("5"), &fixture->error));
    must(fixture, ingest_store_commit(fixture->store, &fixture->error));
    uint64_t used = ingest_store_used(fixture->store);
    ingest_store_free(fixture->store);
    fixture->store = NULL;
    snprintf(path, sizeof path, "%s/data.mdb", fixture->folder);
    assert_int_equal(stat(path, &file), 0);
    assert_true((uint64_t)file.st_size == used);
    unsigned cut = 0; /* the value's pages but for those of the last commit */
    struct ingest_store *store = NULL;
    while (cut < 100 &&
           truncate(path, file.st_size - 4096 * (off_t)(cut + 1)) == 0 &&
           !ingest_store_open_read(fixture->folder, &store, NULL)) {
        ingest_store_free(store);
        cut++;
    }
    assert_in_range(cut, 1, 99);
}

static void a_copy_is_the_newest_commit(void **state)
{
    struct fixture *fixture = *state;
    struct base_error *error = &fixture->error;
    fill(fixture, 0, 3);
    for (int compact = 0; compact < 2; compact++) {
        char to[300];
        struct ingest_store *store;
        snprintf(to, sizeof to, "%s/copy%d", fixture->folder, compact);
        must(fixture, base_file_make_folder(to, error));
        must(fixture, ingest_store_begin(fixture->store, error));
        put(fixture, "a", "1");
        ingest_store_abort(fixture->store);
        must(fixture,
             ingest_store_copy(fixture->store, to, compact == 1, error));
        must(fixture, ingest_store_open(to, 1 << 22, &store, error));
        must(fixture, ingest_store_begin(store, error));
        assert_int_equal(ingest_store_count(store, INGEST_DB_META), 3);
        ingest_store_free(store);
    }
}

static void reading_needs_a_store(void **state)
{
    struct fixture *fixture = *state;
    struct ingest_store *store = NULL;
    char nowhere[300];
    snprintf(nowhere, sizeof nowhere, "%s/nowhere", fixture->folder);
    assert_int_equal(ingest_store_open_read(nowhere, &store, &fixture->error),
                     BASE_NO_INPUT);
    assert_null(store);
}

static void foreign_file_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct ingest_store *store = NULL;
    char path[300];
    ingest_store_free(fixture->store);
    fixture->store = NULL;
    snprintf(path, sizeof path, "%s/data.mdb", fixture->folder);
    char junk[8192];
    memset(junk, 'j', sizeof junk);
    must(fixture, base_file_replace(path, junk, sizeof junk, &fixture->error));
    enum base_status status = ingest_store_open(fixture->folder, 1 << 22,
                                                &store, &fixture->error);
    assert_int_equal(status, BASE_CORRUPT);
    assert_non_null(strstr(fixture->error.text, fixture->folder));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(commits_stay_and_aborts_do_not),
        TEST(generation_tells_of_writes),
        TEST(walks_in_key_order),
        TEST(readers_see_commits_only),
        TEST(second_writer_is_refused_by_pid),
        TEST(lock_goes_with_a_killed_owner),
        TEST(full_map_says_what_to_do),
        TEST(map_grows_under_readers),
        TEST(tight_says_when_a_commit_makes_room),
        TEST(reader_table_is_known),
        TEST(more_readers_than_usual),
        TEST(a_cut_file_is_refused),
        TEST(a_file_that_ends_in_free_pages_is_whole),
        TEST(a_copy_is_the_newest_commit),
        TEST(reading_needs_a_store),
        TEST(foreign_file_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
