/* SPDX-License-Identifier: Apache-2.0 */
/* A walk over the state that takes longer than a view may stand, beside a
 * daemon that commits: it goes on in the newer commit, with no entry left out,
 * told twice or torn. */
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "state_cases.h"

enum { USERS = 30, MORE = 60 };

struct slow {
    struct state_fixture *fixture;
    bool told;
    FILE *copy;
};

/* The other process: everybody clicks once more, and new users do. */
static void commit_more(struct state_fixture *fixture)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        state_fixture_open(fixture);
        state_fixture_begin(fixture);
        for (int i = 0; i < MORE; i++)
            click(fixture, USERS + i, 2000 + i, (uint64_t)i + 1, 0, 2);
        state_fixture_commit(fixture);
        state_fixture_close(fixture);
        _exit(0);
    }
    int status = 1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static ssize_t write_slowly(void *self, const char *text, size_t size)
{
    struct slow *slow = self;
    if (!slow->told) {
        slow->told = true;
        commit_more(slow->fixture);
        nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 100000000}, NULL);
    }
    return (ssize_t)fwrite(text, 1, size, slow->copy);
}

static void fill(struct state_fixture *fixture)
{
    start(fixture);
    for (int i = 0; i < USERS; i++)
        click(fixture, i, 1000 + i, (uint64_t)i + 1, 0, 1);
    state_fixture_commit(fixture);
    state_fixture_close(fixture);
}

static char *walk_slowly(struct state_fixture *fixture,
                         enum ingest_inspect what)
{
    char *text = NULL;
    size_t size;
    struct slow slow = {.fixture = fixture,
                        .copy = open_memstream(&text, &size)};
    FILE *out = fopencookie(
        &slow, "w", (cookie_io_functions_t){.write = write_slowly});
    assert_true(slow.copy && out);
    setvbuf(out, NULL, _IONBF, 0);
    if (ingest_inspect(fixture->config.folder, what, out, &fixture->error))
        fail_msg("%s", fixture->error.text);
    fclose(out);
    fclose(slow.copy);
    return text;
}

static void sequences_go_on_in_a_newer_commit(void **state)
{
    struct state_fixture *fixture = *state;
    fill(fixture);
    char *text = walk_slowly(fixture, INGEST_INSPECT_SEQUENCES);
    char last[40] = "", user[40];
    unsigned old = 0, more = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        assert_int_equal(sscanf(line, "{\"user\":\"%16[0-9a-f]\"", user), 1);
        assert_true(strcmp(user, last) > 0); /* in order, none twice */
        strcpy(last, user);
        old += strstr(line, "\"next_ordinal\":1") != NULL;
        more += strstr(line, "\"next_ordinal\":2") != NULL;
    }
    free(text);
    /* The first line is of the old commit; of the new users those that come
     * before it in order are not told. */
    assert_true(old >= 1);
    assert_int_equal(more, USERS - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sequences_go_on_in_a_newer_commit,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
