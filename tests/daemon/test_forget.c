/* SPDX-License-Identifier: Apache-2.0 */
/* The steps behind a forget, against a made-up daemon: what is asked for, in
 * which order, and that none is asked for before it may. */
#include "daemon/forget.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct daemon_forget forget;
static struct daemon_forget_view view;

static enum daemon_forget_act look(void)
{
    return daemon_forget_next(&forget, &view);
}

/* A request at positions [100, 102) of a model that keeps two checkpoints. */
static void ask(bool purge)
{
    forget = (struct daemon_forget){0};
    view = (struct daemon_forget_view){
        .forget = {.serial = 1, .purge = purge, .first = 100, .position = 102},
        .journal_begin = 10,
        .trained = 90,
        .checkpointed = 80,
        .oldest = 60,
        .newest = 80,
        .published = true,
        .published_position = 80};
}

/* A checkpoint at `position` is durable. */
static void write_one(uint64_t position)
{
    view.oldest = view.checkpointed;
    view.checkpointed = view.newest = position;
}

static void nothing_is_done_without_a_request(void **state)
{
    (void)state;
    ask(false);
    view.forget.done = 1;
    assert_int_equal(look(), DAEMON_FORGET_WAIT);
    assert_int_equal(forget.phase, DAEMON_FORGET_NOTHING);
}

static void a_quiet_stream_is_moved_on(void **state)
{
    (void)state;
    ask(false);
    assert_int_equal(look(), DAEMON_FORGET_WAIT);
    assert_int_equal(forget.phase, DAEMON_FORGET_TRAINING);
    view.trained = 102;
    assert_int_equal(look(), DAEMON_FORGET_CHECKPOINT);
    assert_int_equal(look(), DAEMON_FORGET_WAIT); /* it was asked for */
    write_one(102);
    assert_int_equal(look(), DAEMON_FORGET_MARK);
    assert_int_equal(look(), DAEMON_FORGET_WAIT);
    view.trained = 103;
    assert_int_equal(look(), DAEMON_FORGET_CHECKPOINT);
    write_one(103);
    assert_int_equal(look(), DAEMON_FORGET_WAIT);
    assert_int_equal(forget.phase, DAEMON_FORGET_JOURNAL);
    view.journal_begin = 101; /* the block with the request's mark */
    assert_int_equal(look(), DAEMON_FORGET_PUBLISH);
    assert_int_equal(look(), DAEMON_FORGET_WAIT);
    view.published_position = 103;
    assert_int_equal(look(), DAEMON_FORGET_DONE);
    assert_int_equal(look(), DAEMON_FORGET_WAIT);
}

static void a_busy_stream_needs_no_mark(void **state)
{
    (void)state;
    ask(false);
    view.trained = 200;
    assert_int_equal(look(), DAEMON_FORGET_CHECKPOINT);
    view.trained = 300;
    write_one(210);
    assert_int_equal(look(), DAEMON_FORGET_CHECKPOINT); /* another one */
    write_one(300);
    view.journal_begin = 205;
    assert_int_equal(look(), DAEMON_FORGET_PUBLISH);
}

static void more_checkpoints_are_written_where_more_are_kept(void **state)
{
    (void)state;
    ask(false);
    view.trained = 102;
    for (uint64_t i = 0; i < 4; i++) {
        assert_int_equal(look(), DAEMON_FORGET_CHECKPOINT);
        view.checkpointed = view.newest = 102 + i; /* the oldest stays */
        assert_int_equal(look(), DAEMON_FORGET_MARK);
        view.trained = 103 + i;
    }
    view.oldest = 102;
    assert_int_equal(look(), DAEMON_FORGET_WAIT);
    assert_int_equal(forget.phase, DAEMON_FORGET_JOURNAL);
}

static void a_purge_is_asked_for_until_it_is_done(void **state)
{
    (void)state;
    ask(true);
    view.oldest = 102;
    view.journal_begin = 101;
    view.published_position = 103;
    assert_int_equal(look(), DAEMON_FORGET_PURGE);
    unsigned asked = 0;
    for (int i = 0; i < 2 * DAEMON_FORGET_PURGE_LOOKS; i++)
        asked += look() == DAEMON_FORGET_PURGE;
    assert_int_equal(asked, 2);
    view.purged = 1;
    assert_int_equal(look(), DAEMON_FORGET_DONE);
}

/* Behind the users' records, before the request's mark. */
static void a_base_between_users_and_mark_will_do(void **state)
{
    (void)state;
    ask(false);
    view.oldest = view.trained = 104;
    view.journal_begin = 101;
    view.version_position = 104; /* deltas of that base */
    view.published_position = 101;
    assert_int_equal(look(), DAEMON_FORGET_DONE);
}

static void a_base_that_a_restart_forgot_is_made_again(void **state)
{
    (void)state;
    ask(false);
    view.oldest = view.trained = 104;
    view.journal_begin = 101;
    view.version_position = 104; /* nothing newer is trained */
    view.published_position = 0;
    assert_int_equal(look(), DAEMON_FORGET_MARK);
    assert_int_equal(look(), DAEMON_FORGET_WAIT);
    view.trained = 105;
    assert_int_equal(look(), DAEMON_FORGET_PUBLISH);
    assert_int_equal(look(), DAEMON_FORGET_WAIT);
    view.published_position = view.version_position = 105;
    assert_int_equal(look(), DAEMON_FORGET_DONE);
}

static void without_versions_none_is_made(void **state)
{
    (void)state;
    ask(false);
    view.oldest = 102;
    view.journal_begin = 101;
    view.published = false;
    assert_int_equal(look(), DAEMON_FORGET_DONE);
}

static void a_later_request_begins_anew(void **state)
{
    (void)state;
    ask(false);
    view.trained = 102;
    assert_int_equal(look(), DAEMON_FORGET_CHECKPOINT);
    view.forget.serial = 2;
    view.forget.position = 110;
    assert_int_equal(look(), DAEMON_FORGET_WAIT);
    view.trained = 110;
    assert_int_equal(look(), DAEMON_FORGET_CHECKPOINT);
}

static void the_slowest_model_counts(void **state)
{
    (void)state;
    struct daemon_status *status = calloc(1, sizeof *status);
    status->model_count = 3;
    for (unsigned i = 0; i < 3; i++) {
        struct learner_status *learner = &status->models[i].learner;
        learner->position = 100 + i;
        learner->checkpoint_position = 90 - i;
        learner->oldest_checkpoint = 70 + i;
    }
    status->models[2].state = DAEMON_MODEL_FAILED; /* it trains no more */
    status->models[2].learner.position = 5;
    status->models[1].published = true;
    status->publish.version = 4;
    status->publish.base_position = 77;
    status->publish.position = 79;
    daemon_forget_look(status, &view);
    assert_int_equal(view.trained, 100);
    assert_int_equal(view.checkpointed, 89);
    assert_int_equal(view.newest, 90);
    assert_int_equal(view.oldest, 70);
    assert_true(view.published);
    assert_int_equal(view.published_position, 77);
    assert_int_equal(view.version_position, 79);
    free(status);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_done_without_a_request),
        cmocka_unit_test(a_quiet_stream_is_moved_on),
        cmocka_unit_test(a_busy_stream_needs_no_mark),
        cmocka_unit_test(more_checkpoints_are_written_where_more_are_kept),
        cmocka_unit_test(a_purge_is_asked_for_until_it_is_done),
        cmocka_unit_test(a_base_between_users_and_mark_will_do),
        cmocka_unit_test(a_base_that_a_restart_forgot_is_made_again),
        cmocka_unit_test(without_versions_none_is_made),
        cmocka_unit_test(a_later_request_begins_anew),
        cmocka_unit_test(the_slowest_model_counts),
    };
    return cmocka_run_group_tests_name("forget", tests, NULL, NULL);
}
