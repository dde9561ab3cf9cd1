/* SPDX-License-Identifier: Apache-2.0 */
/* Forgetting in the state: what goes, where offsets go, what the journal says,
 * and that no stored byte names the user once the journal is trimmed. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "ingest/forget.h"
#include "ingest/store.h"
#include "state_fixture.h"

enum { ANN = 1001, BOB = 1002 };
#define ROW UINT64_C(0x5151515151515151)

static struct learner_forget forget_of(uint64_t user)
{
    return (struct learner_forget){.user = user,
                                   .rows = user != 0,
                                   .row = {{.table = 0, .key = ROW}}};
}

static void get_status(struct state_fixture *fixture,
                       struct ingest_status *status)
{
    ingest_state_status(fixture->state, status);
    assert_int_equal(status->unaccounted, 0);
}

static unsigned lines_with(struct state_fixture *fixture,
                           enum ingest_inspect what, const char *part)
{
    char *text = state_fixture_dump(fixture, what);
    unsigned count = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        count += strstr(line, part) != NULL;
    free(text);
    return count;
}

static unsigned lines_of(struct state_fixture *fixture,
                         enum ingest_inspect what, uint64_t user)
{
    char part[40];
    snprintf(part, sizeof part, "\"user\":\"%016llx\"",
             (unsigned long long)fixture_id(user));
    return lines_with(fixture, what, part);
}

/* Places in keys and values of the closed state's store where the eight bytes
 * stand, in either order. */
static unsigned places_of(struct state_fixture *fixture, uint64_t number)
{
    uint8_t little[8], big[8];
    unsigned places = 0;
    struct ingest_store *store = NULL;
    struct ingest_reader *reader = NULL;
    base_put_u64(little, number);
    base_put_u64_be(big, number);
    assert_int_equal(ingest_store_open_read(fixture->config.folder, &store,
                                            &fixture->error), BASE_OK);
    assert_int_equal(ingest_reader_new(store, &reader, &fixture->error),
                     BASE_OK);
    assert_int_equal(ingest_reader_begin(reader, &fixture->error), BASE_OK);
    for (int db = 0; db < INGEST_DB_COUNT; db++) {
        struct ingest_cursor cursor;
        assert_int_equal(ingest_cursor_open(store, reader, (enum ingest_db)db,
                                            &cursor, &fixture->error), 0);
        enum ingest_move move = INGEST_MOVE_FIRST;
        while (!ingest_cursor_move(&cursor, move, &fixture->error) &&
               cursor.key.data) {
            const struct ingest_bytes both[] = {cursor.key, cursor.value};
            for (int i = 0; i < 2; i++)
                places += memmem(both[i].data, both[i].size, little, 8) ||
                          memmem(both[i].data, both[i].size, big, 8);
            move = INGEST_MOVE_NEXT;
        }
        ingest_cursor_close(&cursor);
    }
    ingest_reader_free(reader);
    ingest_store_free(store);
    return places;
}

static void show(struct state_fixture *fixture, int64_t offset, int64_t ms,
                 uint64_t user, uint64_t impression)
{
    struct fixture_event made;
    fixture_impression(&made, offset, ms, user, impression, impression);
    made.ids[0] = user == ANN ? ROW : fixture_id(user); /* the user's own row */
    state_fixture_apply(fixture, &made.event);
}

static void click(struct state_fixture *fixture, int64_t offset, int64_t ms,
                  uint64_t user, uint64_t impression, uint64_t click)
{
    struct fixture_event made;
    fixture_click(&made, offset, ms, user, impression, click, click);
    state_fixture_apply(fixture, &made.event);
}

static void dead(struct state_fixture *fixture, int64_t offset,
                 const void *payload, uint32_t size)
{
    struct ingest_event event = {.kind = INGEST_EVENT_DEAD,
                                 .topic = INGEST_CLICKS,
                                 .reason = INGEST_REASON_TRUNCATED,
                                 .offset = offset,
                                 .own_ms = 1300,
                                 .apply_ms = 1300,
                                 .kafka_ms = -1,
                                 .payload = payload,
                                 .payload_size = size};
    state_fixture_apply(fixture, &event);
}

/* Ann and Bob alike: a closed impression with its click, one that is open, a
 * click that waits. Ends in a begun transaction. */
static void fill(struct state_fixture *fixture)
{
    state_fixture_open(fixture);
    state_fixture_begin(fixture);
    state_fixture_start(fixture, 1);
    show(fixture, 0, 1000, ANN, 1);
    show(fixture, 1, 1000, BOB, 2);
    click(fixture, 0, 1005, ANN, 1, 11);
    click(fixture, 1, 1005, BOB, 2, 12);
    show(fixture, 2, 1290, ANN, 3); /* closes 1 and 2 */
    show(fixture, 3, 1290, BOB, 4);
    click(fixture, 2, 1290, ANN, 77, 13);
    click(fixture, 3, 1290, BOB, 78, 14);
}

static void forget(struct state_fixture *fixture, uint64_t user)
{
    const struct learner_forget both[] = {forget_of(user), {0}};
    if (ingest_state_forget(fixture->state, both, 2, &fixture->error) ||
        ingest_state_forget_asked(fixture->state,
                                  ingest_state_forgets(fixture->state) + 1,
                                  false, &fixture->error))
        fail_msg("%s", fixture->error.text);
}

static void all_that_is_held_goes(void **state)
{
    struct state_fixture *fixture = *state;
    static struct ingest_status status;
    fill(fixture);
    get_status(fixture, &status);
    forget(fixture, fixture_id(ANN));
    state_fixture_commit(fixture);
    get_status(fixture, &status);
    assert_int_equal(status.buckets[INGEST_FORGOTTEN], 2);
    assert_int_equal(status.buckets[INGEST_WAITING], 2); /* Bob's */
    assert_int_equal(status.buckets[INGEST_POSITIVE], 2);
    assert_int_equal(status.pending, 2);
    assert_int_equal(status.users, 1);
    const struct ingest_forget_status *told = &status.forget;
    assert_int_equal(told->serial, 1);
    assert_int_equal(told->done, 0);
    assert_int_equal(told->users, 1);
    assert_int_equal(told->sequences, 1);
    assert_int_equal(told->impressions, 1);
    assert_int_equal(told->clicks, 1);
    assert_int_equal(told->offsets, 2);
    assert_int_equal(told->remembered, 2);
    assert_int_equal(told->first, 2);
    assert_int_equal(told->position, 4);
    state_fixture_close(fixture);
    assert_int_equal(lines_of(fixture, INGEST_INSPECT_SEQUENCES, ANN), 0);
    assert_int_equal(lines_of(fixture, INGEST_INSPECT_SEQUENCES, BOB), 1);
    assert_int_equal(lines_of(fixture, INGEST_INSPECT_WAITING, ANN), 0);
    assert_int_equal(lines_of(fixture, INGEST_INSPECT_WAITING, BOB), 2);
    assert_int_equal(lines_with(fixture, INGEST_INSPECT_DECISIONS,
                                "\"kind\":\"forget\""), 2);
    assert_int_equal(lines_with(fixture, INGEST_INSPECT_SAMPLES,
                                "\"rows\":[[0,\"5151515151515151\"]]}"), 1);
    assert_int_equal(lines_with(fixture, INGEST_INSPECT_SAMPLES,
                                "{\"batch_end\":4}"), 1);
}

static void no_byte_names_the_user_once_trimmed(void **state)
{
    struct state_fixture *fixture = *state;
    const struct learner_forget nobody = {0};
    uint64_t ann = fixture_id(ANN), bob = fixture_id(BOB);
    fill(fixture);
    state_fixture_commit(fixture);
    state_fixture_close(fixture);
    assert_true(places_of(fixture, ann) > 2);
    assert_true(places_of(fixture, ROW) > 0);
    unsigned bobs = places_of(fixture, bob);
    state_fixture_open(fixture);
    state_fixture_begin(fixture);
    forget(fixture, ann);
    state_fixture_commit(fixture);
    state_fixture_begin(fixture);
    /* Of the journal alone it is left; nothing comes behind it but a mark. */
    assert_int_equal(ingest_state_trim(fixture->state, 4, &fixture->error), 0);
    assert_int_equal(ingest_state_forget(fixture->state, &nobody, 1,
                                         &fixture->error), 0);
    state_fixture_commit(fixture);
    state_fixture_close(fixture);
    assert_int_equal(places_of(fixture, ann), 0);
    assert_int_equal(places_of(fixture, ROW), 0);
    assert_true(places_of(fixture, bob) > 0);
    assert_true(places_of(fixture, bob) <= bobs);
}

static void it_begins_anew_afterwards(void **state)
{
    struct state_fixture *fixture = *state;
    static struct ingest_status status;
    fill(fixture);
    forget(fixture, fixture_id(ANN));
    click(fixture, 4, 1300, ANN, 0, 15); /* a new, empty sequence */
    show(fixture, 4, 1301, ANN, 3);      /* its id is not remembered */
    show(fixture, 5, 1301, BOB, 4);
    show(fixture, 6, 1301, ANN, 77);     /* whose early click is gone */
    state_fixture_commit(fixture);
    get_status(fixture, &status);
    assert_int_equal(status.buckets[INGEST_DUPLICATE], 1); /* Bob's */
    assert_int_equal(status.buckets[INGEST_JOINED_CLICK], 2);
    assert_int_equal(status.buckets[INGEST_BEHAVIOR], 1);
    assert_int_equal(status.pending, 4);
    state_fixture_close(fixture);
    assert_int_equal(lines_with(fixture, INGEST_INSPECT_SEQUENCES,
                                "\"next_ordinal\":1,\"behaviors\":[[1300,0,"),
                     1);
    state_fixture_open(fixture); /* emptied slots load */
    get_status(fixture, &status);
    assert_int_equal(status.pending, 4);
}

static void fnw_impressions_go_without_a_final(void **state)
{
    struct state_fixture *fixture = *state;
    static struct ingest_status status;
    fixture->config.label_mode = INGEST_LABEL_FNW;
    fill(fixture);
    forget(fixture, fixture_id(ANN));
    show(fixture, 4, 2000, BOB, 5);
    state_fixture_commit(fixture);
    get_status(fixture, &status);
    assert_int_equal(status.buckets[INGEST_FORGOTTEN], 1); /* the click */
    assert_int_equal(status.buckets[INGEST_NEGATIVE], 5);
    state_fixture_close(fixture);
    /* Of the four that closed by now, Ann's second one has none. */
    assert_int_equal(lines_with(fixture, INGEST_INSPECT_SAMPLES, "{\"final\":"),
                     3);
}

static void a_kill_before_the_commit_forgets_nothing(void **state)
{
    struct state_fixture *fixture = *state;
    static struct ingest_status status;
    fill(fixture);
    state_fixture_commit(fixture);
    state_fixture_begin(fixture);
    forget(fixture, fixture_id(ANN));
    state_fixture_close(fixture);
    state_fixture_open(fixture);
    get_status(fixture, &status);
    assert_int_equal(status.forget.serial, 0);
    assert_int_equal(status.buckets[INGEST_FORGOTTEN], 0);
    assert_int_equal(status.users, 2);
    assert_int_equal(status.pending, 4);
}

/* All of a state that its readers see. */
static char *everything(struct state_fixture *fixture)
{
    char *all = strdup("");
    static const enum ingest_inspect views[] = {
        INGEST_INSPECT_LEDGER, INGEST_INSPECT_SEQUENCES,
        INGEST_INSPECT_SAMPLES, INGEST_INSPECT_WAITING,
        INGEST_INSPECT_DECISIONS, INGEST_INSPECT_META};
    for (unsigned i = 0; i < sizeof views / sizeof views[0]; i++) {
        char *part = state_fixture_dump(fixture, views[i]);
        char *both = malloc(strlen(all) + strlen(part) + 1);
        strcpy(both, all);
        strcat(both, part);
        free(all);
        free(part);
        all = both;
    }
    char *commits = strstr(all, "\"commits\":");
    assert_non_null(commits);
    memset(commits, '-', strcspn(commits, ","));
    return all;
}

static void run_to_the_end(struct state_fixture *fixture, bool restarts)
{
    fill(fixture);
    if (restarts) {
        state_fixture_commit(fixture);
        state_fixture_close(fixture);
        state_fixture_open(fixture);
        state_fixture_begin(fixture);
    }
    forget(fixture, fixture_id(ANN));
    if (restarts) {
        state_fixture_commit(fixture);
        state_fixture_close(fixture);
        state_fixture_open(fixture);
        state_fixture_begin(fixture);
    }
    for (int64_t i = 0; i < 12; i++)
        show(fixture, 4 + i, 1300 + 100 * i, i % 2 ? ANN : BOB,
             100 + (uint64_t)i);
    state_fixture_commit(fixture);
    state_fixture_close(fixture);
}

static void restarts_around_it_change_no_byte(void **state)
{
    struct state_fixture *fixture = *state;
    struct state_fixture other;
    state_fixture_init(&other);
    run_to_the_end(fixture, false);
    run_to_the_end(&other, true);
    char *one = everything(fixture), *two = everything(&other);
    assert_string_equal(one, two);
    free(one);
    free(two);
    state_fixture_fini(&other);
}

static void dead_letters_that_name_the_user_go(void **state)
{
    struct state_fixture *fixture = *state;
    static struct ingest_status status;
    struct learner_forget ann, number;
    struct ingest_config *config = &fixture->config;
    assert_int_equal(ingest_forget_name(config, "ann", &ann, NULL), BASE_OK);
    assert_int_equal(ingest_forget_name(config, "-70000", &number, NULL),
                     BASE_OK);
    fill(fixture);
    dead(fixture, 4, "\x02x\x06" "ann\xff", 6); /* a string of three */
    dead(fixture, 5, "\x02x\x06" "anna", 6);    /* 3 bytes "ann" of it */
    dead(fixture, 6, "\x08" "anna", 5);         /* another string */
    dead(fixture, 7, "\x00\xdf\xc5\x08\x04", 5); /* -70000 */
    dead(fixture, 8, NULL, 0);
    const struct learner_forget all[] = {ann, number, {0}};
    assert_int_equal(ingest_state_forget(fixture->state, all, 3,
                                         &fixture->error), BASE_OK);
    state_fixture_commit(fixture);
    get_status(fixture, &status);
    assert_int_equal(status.forget.letters, 3);
    assert_int_equal(status.forget.users, 2);
    assert_int_equal(status.buckets[INGEST_DEAD_LETTER], 5); /* they were */
    state_fixture_close(fixture);
    assert_int_equal(lines_with(fixture, INGEST_INSPECT_DEAD_LETTERS,
                                "\"offset\":"), 2);
    assert_int_equal(lines_with(fixture, INGEST_INSPECT_DEAD_LETTERS,
                                "\"offset\":6,"), 1);
}

static void a_name_gives_the_rows_of_its_id(void **state)
{
    struct state_fixture *fixture = *state;
    struct ingest_config *config = &fixture->config;
    struct ingest_mapping *mapping =
        &config->topics[INGEST_IMPRESSIONS].mapping;
    struct learner_forget made, again;
    char text[INGEST_FORGET_TEXT];
    snprintf(mapping->user, sizeof mapping->user, "reader");
    snprintf(mapping->fields[0], sizeof mapping->fields[0], "reader");
    snprintf(mapping->fields[3], sizeof mapping->fields[3], "reader");
    config->transforms[3].kind = INGEST_TRANSFORM_BUCKET; /* no id of it */
    assert_int_equal(ingest_forget_name(config, "42", &made, NULL), BASE_OK);
    assert_true(made.user ==
                learner_id_of_int(learner_table_seed("user"), 42));
    assert_int_equal(made.rows, 1);
    assert_true(made.row[0].key ==
                learner_id_of_int(learner_table_seed("field0"), 42));
    ingest_forget_print(&made, text);
    assert_true(ingest_forget_parse(text, &again));
    assert_memory_equal(&made, &again, sizeof made);
    assert_false(ingest_forget_parse("12", &again));
    assert_false(ingest_forget_parse("00000000000000ff 1", &again));
    assert_false(ingest_forget_parse("00000000000000ff 99:00000000000000ff",
                                     &again));
    assert_int_equal(ingest_forget_id(config, "00000000000000ff", &made,
                                      &fixture->error), BASE_USAGE);
    assert_non_null(strstr(fixture->error.text, "field0"));
    mapping->fields[0][0] = '\0';
    assert_int_equal(ingest_forget_id(config, "00000000000000ff", &made,
                                      &fixture->error), BASE_OK);
    assert_int_equal(made.user, 255);
    assert_int_equal(ingest_forget_id(config, "xyz", &made, &fixture->error),
                     BASE_USAGE);
    assert_int_equal(ingest_forget_name(config, "", &made, &fixture->error),
                     BASE_USAGE);
}

static void a_request_is_known_until_it_is_done(void **state)
{
    struct state_fixture *fixture = *state;
    static struct ingest_status status;
    fill(fixture);
    forget(fixture, fixture_id(ANN));
    forget(fixture, fixture_id(BOB));
    state_fixture_commit(fixture);
    state_fixture_close(fixture);
    state_fixture_open(fixture);
    get_status(fixture, &status);
    assert_int_equal(status.forget.serial, 2);
    assert_int_equal(status.forget.users, 2); /* of both */
    assert_int_equal(status.forget.first, 2);
    assert_int_equal(status.forget.position, 6);
    state_fixture_begin(fixture);
    assert_int_equal(ingest_state_forget_done(fixture->state, 2,
                                              &fixture->error), BASE_OK);
    forget(fixture, fixture_id(ANN)); /* known to nobody any more */
    state_fixture_commit(fixture);
    get_status(fixture, &status);
    assert_int_equal(status.forget.done, 2);
    assert_int_equal(status.forget.serial, 3);
    assert_int_equal(status.forget.first, 6);
    assert_int_equal(status.forget.users, 1);
    assert_int_equal(status.forget.sequences, 0);
    assert_int_equal(status.forget.offsets, 0);
}

static void the_learner_is_told(void **state)
{
    struct state_fixture *fixture = *state;
    struct ingest_journal *journal = NULL;
    struct learner_batch batch;
    fill(fixture);
    forget(fixture, fixture_id(ANN));
    state_fixture_commit(fixture);
    assert_int_equal(ingest_journal_new(fixture->state, &journal,
                                        &fixture->error), BASE_OK);
    assert_int_equal(ingest_journal_next(journal, 0, 0, &batch,
                                         &fixture->error), BASE_OK);
    assert_int_equal(batch.samples, 2); /* ended by the forget */
    assert_int_equal(batch.forgets, 0);
    assert_int_equal(ingest_journal_next(journal, 2, 0, &batch,
                                         &fixture->error), BASE_OK);
    assert_int_equal(batch.samples, 0);
    assert_int_equal(batch.forgets, 1);
    assert_true(batch.forget[0].user == fixture_id(ANN));
    assert_int_equal(batch.forget[0].rows, 1);
    assert_true(batch.forget[0].row[0].key == ROW);
    assert_int_equal(batch.end, 3);
    assert_int_equal(ingest_journal_next(journal, 3, 0, &batch,
                                         &fixture->error), BASE_OK);
    assert_int_equal(batch.forget[0].user, 0);
    ingest_journal_free(journal);
}

static int set_up(void **state)
{
    struct state_fixture *fixture = malloc(sizeof *fixture);
    state_fixture_init(fixture);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    state_fixture_fini(*state);
    free(*state);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_that_is_held_goes),
        TEST(no_byte_names_the_user_once_trimmed),
        TEST(it_begins_anew_afterwards),
        TEST(fnw_impressions_go_without_a_final),
        TEST(a_kill_before_the_commit_forgets_nothing),
        TEST(restarts_around_it_change_no_byte),
        TEST(dead_letters_that_name_the_user_go),
        TEST(a_name_gives_the_rows_of_its_id),
        TEST(a_request_is_known_until_it_is_done),
        TEST(the_learner_is_told),
    };
    return cmocka_run_group_tests_name("forget", tests, NULL, NULL);
}
