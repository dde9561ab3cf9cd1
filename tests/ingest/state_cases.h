/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the state share beside the fixture: a fixture a case, and
 * events with few words. */
#ifndef TESTS_INGEST_STATE_CASES_H
#define TESTS_INGEST_STATE_CASES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "state_fixture.h"

static inline int set_up(void **state)
{
    struct state_fixture *fixture = calloc(1, sizeof *fixture);
    state_fixture_init(fixture);
    *state = fixture;
    return 0;
}

static inline int tear_down(void **state)
{
    state_fixture_fini(*state);
    free(*state);
    return 0;
}

static inline void start(struct state_fixture *fixture)
{
    state_fixture_open(fixture);
    state_fixture_begin(fixture);
    state_fixture_start(fixture, 2);
}

static inline void reopen(struct state_fixture *fixture)
{
    state_fixture_close(fixture);
    state_fixture_open(fixture);
    state_fixture_begin(fixture);
}

static inline void show(struct state_fixture *fixture, int64_t offset,
                        int64_t ms, uint64_t user, uint64_t impression,
                        uint64_t item)
{
    struct fixture_event made;
    fixture_impression(&made, offset, ms, user, impression, item);
    state_fixture_apply(fixture, &made.event);
}

static inline void click(struct state_fixture *fixture, int64_t offset,
                         int64_t ms, uint64_t user, uint64_t impression,
                         uint64_t item)
{
    struct fixture_event made;
    fixture_click(&made, offset, ms, user, impression, (uint64_t)offset + 1,
                  item);
    state_fixture_apply(fixture, &made.event);
}

static inline void get_status(struct state_fixture *fixture,
                              struct ingest_status *status)
{
    memset(status, 0, sizeof *status);
    ingest_state_status(fixture->state, status);
}

static inline unsigned lines_with(struct state_fixture *fixture,
                                  enum ingest_inspect what, const char *part)
{
    char *text = state_fixture_dump(fixture, what);
    unsigned count = 0;
    for (char *at = text; (at = strstr(at, part)) != NULL; at++)
        count++;
    free(text);
    return count;
}

static inline void expect_refusal(struct state_fixture *fixture,
                                  const char *name)
{
    assert_int_equal(ingest_state_open(&fixture->config, &fixture->state,
                                       &fixture->error),
                     BASE_CONFIG);
    assert_non_null(strstr(fixture->error.text, name));
    assert_null(fixture->state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
