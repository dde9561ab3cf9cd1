/* SPDX-License-Identifier: Apache-2.0 */
/* Resume: the state's side by hand (ledger, decisions, what waits), then the
 * whole against the mock cluster: a lost range, another log, another cluster,
 * and everything that must be refused. */
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "ingest/decisions.h"
#include "kafka_fixture.h"
#include "state_cases.h"

/* ---- the state ----------------------------------------------------------- */

static void give_up(struct state_fixture *fixture, unsigned topic,
                    int64_t start, int64_t to)
{
    const struct ingest_skip wanted = {
        .topic = (uint8_t)topic, .partition = 0, .start = start, .to = to};
    if (ingest_state_skip(fixture->state, &wanted, &fixture->error))
        fail_msg("%s", fixture->error.text);
}

static bool dump_has(struct state_fixture *fixture, enum ingest_inspect what,
                     const char *text)
{
    char *dump = state_fixture_dump(fixture, what);
    bool found = strstr(dump, text) != NULL;
    if (!found)
        print_message("not there: %s\nin: %s", text, dump);
    free(dump);
    return found;
}

static void a_lost_range_is_counted(void **state)
{
    struct state_fixture *fixture = *state;
    static struct ingest_status status;
    start(fixture);
    for (int64_t i = 0; i < 3; i++)
        show(fixture, i, 1000 + i, 1, (uint64_t)i + 1, 1);
    click(fixture, 0, 1004, 1, 77, 1); /* of nobody's impression: waits */
    state_fixture_commit(fixture);
    state_fixture_begin(fixture);
    give_up(fixture, INGEST_IMPRESSIONS, -1, 150);
    state_fixture_commit(fixture);
    reopen(fixture);
    get_status(fixture, &status);
    assert_int_equal(status.buckets[INGEST_LOST], 147);
    assert_int_equal(status.buckets[INGEST_UNLABELLED], 3);
    assert_int_equal(status.buckets[INGEST_ORGANIC], 1);
    assert_int_equal(status.buckets[INGEST_WAITING], 0);
    assert_int_equal(status.unaccounted, 0);
    unsigned count;
    const struct ingest_position *positions =
        ingest_state_positions(fixture->state, &count);
    for (unsigned i = 0; i < count; i++) {
        bool moved = positions[i].topic == INGEST_IMPRESSIONS &&
                     positions[i].partition == 0;
        if (moved) {
            assert_int_equal(positions[i].next, 150);
            assert_int_equal(positions[i].start, 0);
            assert_int_equal(positions[i].anchor_offset, -1);
            assert_int_equal(positions[i].own_ms, 1002);
        } else if (positions[i].partition == 0) {
            assert_int_equal(positions[i].anchor_offset, 0); /* the click's */
        }
    }
    show(fixture, 152, 2000, 1, 9, 1); /* its anchor is back */
    state_fixture_commit(fixture);
    state_fixture_close(fixture);
    assert_true(dump_has(fixture, INGEST_INSPECT_LEDGER,
                         "\"partition\":0,\"start\":0,\"next\":153,"
                         "\"buckets\":{\"unlabelled\":3,\"lost\":147,"
                         "\"control\":2,\"waiting\":1}}"));
    assert_true(dump_has(fixture, INGEST_INSPECT_DECISIONS,
                         "{\"topic\":\"impressions\",\"partition\":0,"
                         "\"offset\":3,\"kind\":\"skipped\",\"own_ms\":1004,"
                         "\"apply_ms\":1004,\"text\":\"lost [3, 150)\""));
}

static void another_log_counts_anew(void **state)
{
    struct state_fixture *fixture = *state;
    static struct ingest_status status;
    start(fixture);
    for (int64_t i = 0; i < 5; i++)
        show(fixture, i, 1000 + i, 1, (uint64_t)i + 1, 1);
    give_up(fixture, INGEST_IMPRESSIONS, 2, 4);
    state_fixture_commit(fixture);
    reopen(fixture);
    show(fixture, 4, 1500, 1, 10, 1);
    struct fixture_event old; /* sent once more to the new topic */
    fixture_impression(&old, 5, 1001, 1, 20, 1);
    old.event.own_ms = old.event.apply_ms = 1500;
    state_fixture_apply(fixture, &old.event);
    state_fixture_commit(fixture);
    get_status(fixture, &status);
    assert_int_equal(status.unaccounted, 0);
    assert_int_equal(status.buckets[INGEST_LATE], 1);
    state_fixture_close(fixture);
    assert_true(dump_has(fixture, INGEST_INSPECT_LEDGER,
                         "\"start\":2,\"next\":6,\"before\":5,\"buckets\":{"
                         "\"late\":1,\"unlabelled\":5,\"lost\":2,"
                         "\"waiting\":1}}"));
    assert_true(dump_has(fixture, INGEST_INSPECT_DECISIONS,
                         "another log, from 2 on; lost [2, 4), and of the "
                         "former log all from 5 on"));
    /* And once more: all former logs are in `before`. */
    state_fixture_open(fixture);
    state_fixture_begin(fixture);
    give_up(fixture, INGEST_IMPRESSIONS, 0, 0);
    state_fixture_commit(fixture);
    get_status(fixture, &status);
    assert_int_equal(status.partitions[0].before, 9);
    assert_int_equal(status.partitions[0].next, 0);
    assert_int_equal(status.unaccounted, 0);
}

static void backwards_is_refused_and_nothing_stays(void **state)
{
    struct state_fixture *fixture = *state;
    const struct ingest_skip back = {.start = -1, .to = 1};
    const struct ingest_skip before = {.start = 5, .to = 4};
    const struct ingest_skip nobody = {.partition = 9, .start = -1, .to = 4};
    const struct ingest_skip *const wrong[] = {&back, &before, &nobody};
    start(fixture);
    show(fixture, 0, 1000, 1, 1, 1);
    show(fixture, 1, 1000, 1, 2, 1);
    state_fixture_commit(fixture);
    state_fixture_close(fixture);
    char *ledger = state_fixture_dump(fixture, INGEST_INSPECT_LEDGER);
    for (unsigned i = 0; i < 3; i++) {
        state_fixture_open(fixture);
        state_fixture_begin(fixture);
        assert_int_equal(
            ingest_state_skip(fixture->state, wrong[i], &fixture->error),
            BASE_USAGE);
        assert_int_equal(ingest_state_commit(fixture->state, &fixture->error),
                         BASE_BROKEN);
        state_fixture_close(fixture);
    }
    /* A good one that is never committed leaves nothing either. */
    state_fixture_open(fixture);
    state_fixture_begin(fixture);
    give_up(fixture, INGEST_IMPRESSIONS, -1, 90);
    state_fixture_close(fixture);
    assert_true(dump_has(fixture, INGEST_INSPECT_LEDGER, ledger));
    assert_int_equal(
        lines_with(fixture, INGEST_INSPECT_DECISIONS, "skipped"), 0);
    free(ledger);
}

static enum base_status read_own_decisions(struct state_fixture *fixture,
                                           struct ingest_decisions **given)
{
    char path[300];
    char *text = state_fixture_dump(fixture, INGEST_INSPECT_DECISIONS);
    snprintf(path, sizeof path, "%s/decisions", fixture->folder);
    assert_int_equal(base_file_replace(path, text, strlen(text), NULL),
                     BASE_OK);
    free(text);
    return ingest_decisions_read(path, given, &fixture->error);
}

/* What a rebuild is to pass over, and behind which record. */
static void a_rebuild_takes_skipped_ranges(void **state)
{
    struct state_fixture *fixture = *state;
    struct ingest_decisions *given = NULL;
    start(fixture);
    show(fixture, 0, 1000, 1, 1, 1);
    give_up(fixture, INGEST_IMPRESSIONS, -1, 5);
    state_fixture_commit(fixture);
    state_fixture_close(fixture);
    if (read_own_decisions(fixture, &given))
        fail_msg("%s", fixture->error.text);
    const struct ingest_repeats *all = ingest_decisions_repeats(given);
    assert_int_equal(all->count, 1);
    assert_int_equal(all->items[0].behind.topic, INGEST_IMPRESSIONS);
    assert_int_equal(all->items[0].behind.partition, 0);
    assert_int_equal(all->items[0].behind.offset, 0);
    assert_int_equal(all->items[0].behind.apply_ms, 1000);
    assert_int_equal(all->items[0].from, 1);
    assert_int_equal(all->items[0].to, 5);
    assert_true(ingest_repeats_passed(all, INGEST_IMPRESSIONS, 0, 1));
    assert_true(ingest_repeats_passed(all, INGEST_IMPRESSIONS, 0, 4));
    assert_false(ingest_repeats_passed(all, INGEST_IMPRESSIONS, 0, 5));
    assert_false(ingest_repeats_passed(all, INGEST_CLICKS, 0, 2));
    ingest_decisions_free(given);
}

static void a_rebuild_refuses_another_log(void **state)
{
    struct state_fixture *fixture = *state;
    struct ingest_decisions *given = NULL;
    start(fixture);
    show(fixture, 0, 1000, 1, 1, 1);
    give_up(fixture, INGEST_IMPRESSIONS, 0, 5);
    state_fixture_commit(fixture);
    state_fixture_close(fixture);
    assert_int_equal(read_own_decisions(fixture, &given), BASE_DATA);
    assert_non_null(strstr(fixture->error.text,
                           "decisions:1: another log was taken"));
}

/* ---- with brokers -------------------------------------------------------- */

struct scene {
    struct kafka_fixture kafka;
    struct ingest_config config;
    char folder[64];
    int64_t now_ms;
    unsigned sent;
    char *said;
    struct base_error error;
};

static void open_scene(struct scene *scene)
{
    memset(scene, 0, sizeof *scene);
    strcpy(scene->folder, "/tmp/interestd-resume-XXXXXX");
    assert_non_null(mkdtemp(scene->folder));
    kafka_fixture_open(&scene->kafka, 2);
    kafka_fixture_config(&scene->kafka, &scene->config, scene->folder);
    scene->config.announcement_topic[0] = '\0';
    scene->now_ms = base_wall_ms() - 60000;
}

static void close_scene(struct scene *scene)
{
    kafka_fixture_close(&scene->kafka);
    free(scene->said);
    assert_int_equal(base_file_remove(scene->folder, NULL), BASE_OK);
}

/* `count` impressions to each partition, a second apart. */
static void send_some(struct scene *scene, unsigned count)
{
    uint8_t bytes[256];
    char id[32];
    for (unsigned i = 0; i < 2 * count; i++) {
        int64_t at = scene->now_ms + 10 * (int64_t)scene->sent;
        snprintf(id, sizeof id, "i%u", scene->sent++);
        size_t size = kafka_fixture_impression(bytes, id, "u", at, "g");
        kafka_fixture_send(&scene->kafka, "impressions", (int32_t)(i % 2),
                           bytes, size, at);
    }
    kafka_fixture_flush(&scene->kafka);
}

static void unexpected(void *self, const struct base_error *error)
{
    (void)self;
    fprintf(stderr, "ingest failed: %s\n", error->text);
    abort();
}

static struct ingest *run(struct scene *scene)
{
    struct ingest *ingest = NULL;
    if (ingest_open(&scene->config, &ingest, &scene->error))
        fail_msg("%s", scene->error.text);
    assert_int_equal(ingest_start(ingest, unexpected, NULL, &scene->error),
                     BASE_OK);
    return ingest;
}

static struct ingest_status seen;

static void run_to_end(struct scene *scene)
{
    struct ingest *ingest = run(scene);
    do {
        usleep(2000);
        ingest_get_status(ingest, &seen);
    } while (!seen.at_end);
    assert_int_equal(ingest_stop(ingest, &scene->error), BASE_OK);
    ingest_get_status(ingest, &seen);
    ingest_free(ingest);
    assert_int_equal(seen.unaccounted, 0);
}

static const struct ingest_partition_status *seen_of(unsigned topic,
                                                     int32_t partition)
{
    for (unsigned i = 0; i < seen.partition_count; i++)
        if (seen.partitions[i].topic == topic &&
            seen.partitions[i].partition == partition)
            return &seen.partitions[i];
    fail_msg("partition %d is not there", (int)partition);
    return NULL;
}

static enum base_status resume(struct scene *scene,
                               struct ingest_resume asked)
{
    size_t size;
    free(scene->said);
    FILE *out = open_memstream(&scene->said, &size);
    enum base_status status =
        ingest_resume(&scene->config, &asked, out, &scene->error);
    fclose(out);
    return status;
}

static void said(struct scene *scene, const char *text)
{
    if (!strstr(scene->said, text))
        fail_msg("expected \"%s\" in:\n%s", text, scene->said);
}

static char *view(struct scene *scene, enum ingest_inspect what)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_int_equal(
        ingest_inspect(scene->folder, what, out, &scene->error), BASE_OK);
    fclose(out);
    return text;
}

/* The mock keeps 5 MiB a partition: the begin of impressions/1 goes. */
static void overtake(struct scene *scene)
{
    static uint8_t filler[60000];
    for (int i = 0; i < 150; i++)
        kafka_fixture_send(&scene->kafka, "impressions", 1, filler,
                           sizeof filler, scene->now_ms);
    kafka_fixture_flush(&scene->kafka);
}

static void await_stopped(struct ingest *ingest, uint64_t others)
{
    do {
        usleep(2000);
        ingest_get_status(ingest, &seen);
    } while (!seen_of(INGEST_CLICKS, 1)->stopped ||
             seen.buckets[INGEST_UNLABELLED] == 0 || seen.events < others);
}

static void retention_overtakes_and_it_goes_on(void **state)
{
    (void)state;
    struct scene scene;
    const struct ingest_resume earliest = {.partition = 1, .topic = -1};
    open_scene(&scene);
    send_some(&scene, 5);
    run_to_end(&scene);
    overtake(&scene);
    send_some(&scene, 5);
    snprintf(scene.config.file, sizeof scene.config.file, "a.yaml");
    struct ingest *ingest = run(&scene);
    await_stopped(ingest, 15); /* partition 0 goes on */
    const struct ingest_partition_status *lost =
        seen_of(INGEST_IMPRESSIONS, 1);
    assert_int_equal(lost->lost_from, 5);
    assert_true(lost->lost_to > 6 && lost->lost_to < 155);
    assert_string_equal(lost->resume, "--partition 1 --from earliest");
    assert_int_equal(seen_of(INGEST_CLICKS, 1)->lost_from, -1);
    int64_t to = lost->lost_to;
    assert_int_equal(resume(&scene, earliest), BASE_UNAVAILABLE);
    assert_non_null(strstr(scene.error.text, "stop the daemon first"));
    assert_int_equal(ingest_stop(ingest, &scene.error), BASE_OK);
    ingest_free(ingest);

    char *before = view(&scene, INGEST_INSPECT_LEDGER), text[100];
    assert_int_equal(resume(&scene, earliest), BASE_OK);
    said(&scene, "Nothing is changed yet");
    snprintf(text, sizeof text, "lost: offsets 5 to %lld, %lld of them",
             (long long)to - 1, (long long)to - 5);
    said(&scene, text);
    said(&scene, "clicks/1: comes next 0, the log holds [0, 0)\n  goes on");
    char *after = view(&scene, INGEST_INSPECT_LEDGER);
    assert_string_equal(before, after);
    free(before);
    free(after);
    struct ingest_resume sure = earliest;
    sure.yes = true;
    assert_int_equal(resume(&scene, sure), BASE_OK);
    assert_int_equal(resume(&scene, sure), BASE_OK);
    said(&scene, "There is nothing to change.");
    run_to_end(&scene);
    lost = seen_of(INGEST_IMPRESSIONS, 1);
    assert_false(lost->stopped);
    assert_int_equal(lost->start, 0);
    assert_int_equal(lost->next, 160);
    assert_int_equal(lost->buckets[INGEST_LOST], to - 5);
    assert_int_equal(lost->buckets[INGEST_DEAD_LETTER], 155 - to);
    char *decisions = view(&scene, INGEST_INSPECT_DECISIONS);
    snprintf(text, sizeof text, "\"text\":\"lost [5, %lld)\"", (long long)to);
    assert_non_null(strstr(decisions, text));
    free(decisions);
    close_scene(&scene);
}

static void wrong_places_are_refused(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    assert_int_equal(resume(&scene, (struct ingest_resume){.topic = -1}),
                     BASE_NO_INPUT);
    send_some(&scene, 5);
    run_to_end(&scene);
    send_some(&scene, 2);
    static const struct {
        struct ingest_resume asked;
        const char *text;
    } wrong[] = {
        {{.from = INGEST_OFFSET, .offset = 4}, "from 5 to 7, not at 4"},
        {{.from = INGEST_OFFSET, .offset = 8}, "from 5 to 7, not at 8"},
        {{.partition = 2, .topic = -1}, "never read partition 2"},
        {{.topic = -1, .from = INGEST_OFFSET, .offset = 6}, "one topic"},
        {{.partition = -1, .from = INGEST_OFFSET, .offset = 6}, "one topic"},
        {{.topic = -1, .accept_cluster = true}, "for all partitions"},
    };
    for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct ingest_resume asked = wrong[i].asked;
        asked.yes = true;
        assert_int_equal(resume(&scene, asked), BASE_USAGE);
        if (!strstr(scene.error.text, wrong[i].text))
            fail_msg("%s", scene.error.text);
    }
    /* One offset further on is fine, and counted. */
    assert_int_equal(resume(&scene, (struct ingest_resume){
                                        .from = INGEST_OFFSET, .offset = 6,
                                        .yes = true}), BASE_OK);
    run_to_end(&scene);
    assert_int_equal(seen.buckets[INGEST_LOST], 1);
    assert_int_equal(seen.events, 13);
    assert_int_equal(
        resume(&scene, (struct ingest_resume){.partition = -1, .topic = -1,
                                              .from = INGEST_LATEST}),
        BASE_OK);
    said(&scene, "There is nothing to change.");
    close_scene(&scene);
}

/* A state that was read from a log with other records at the same offsets. */
static void a_topic_made_anew(void **state)
{
    (void)state;
    struct scene scene;
    struct state_fixture fixture = {.state = NULL};
    open_scene(&scene);
    fixture.config = scene.config;
    state_fixture_open(&fixture);
    state_fixture_begin(&fixture);
    state_fixture_start(&fixture, 2);
    for (int64_t i = 0; i < 3; i++)
        show(&fixture, i, scene.now_ms - 50 + i, 1, (uint64_t)i + 1, 1);
    state_fixture_commit(&fixture);
    state_fixture_close(&fixture);
    send_some(&scene, 5);
    struct ingest *ingest = run(&scene);
    do {
        usleep(2000);
        ingest_get_status(ingest, &seen);
    } while (!seen_of(INGEST_IMPRESSIONS, 0)->stopped || seen.events < 8);
    assert_int_equal(seen_of(INGEST_IMPRESSIONS, 0)->lost_from, 3);
    assert_int_equal(seen_of(INGEST_IMPRESSIONS, 0)->lost_to, -1);
    assert_int_equal(ingest_stop(ingest, &scene.error), BASE_OK);
    ingest_free(ingest);
    assert_int_equal(resume(&scene, (struct ingest_resume){
                                        .topic = INGEST_CLICKS}), BASE_OK);
    said(&scene, "does not fit and is not asked for");
    assert_int_equal(
        resume(&scene, (struct ingest_resume){.topic = -1, .yes = true}),
        BASE_OK);
    said(&scene, "it is another log than the one that was read");
    run_to_end(&scene);
    const struct ingest_partition_status *anew =
        seen_of(INGEST_IMPRESSIONS, 0);
    assert_int_equal(anew->before, 3);
    assert_int_equal(anew->start, 0);
    assert_int_equal(anew->next, 5);
    assert_int_equal(anew->buckets[INGEST_LOST], 0);
    assert_int_equal(seen.events, 13);
    close_scene(&scene);
}

static void another_cluster_is_accepted(void **state)
{
    (void)state;
    struct scene scene, other;
    struct ingest_resume asked = {.partition = -1, .topic = -1, .yes = true};
    open_scene(&scene);
    send_some(&scene, 5);
    run_to_end(&scene);
    open_scene(&other);
    other.now_ms = scene.now_ms + 1000;
    send_some(&other, 9);
    memcpy(scene.config.properties, other.config.properties,
           sizeof scene.config.properties);
    assert_int_equal(resume(&scene, asked), BASE_CONFIG);
    assert_non_null(strstr(scene.error.text, "--accept-cluster"));
    asked.accept_cluster = true;
    assert_int_equal(resume(&scene, asked), BASE_OK);
    said(&scene, "(another cluster)");
    run_to_end(&scene);
    assert_int_equal(seen.events, 10 + 18);
    for (int32_t i = 0; i < 2; i++) {
        assert_int_equal(seen_of(INGEST_IMPRESSIONS, i)->before, 5);
        assert_int_equal(seen_of(INGEST_IMPRESSIONS, i)->next, 9);
    }
    char *decisions = view(&scene, INGEST_INSPECT_DECISIONS);
    assert_non_null(strstr(decisions, "\"kind\":\"configuration\""));
    assert_non_null(strstr(decisions, "\"text\":\"cluster: "));
    free(decisions);
    close_scene(&other);
    close_scene(&scene);
}

/* All that may not differ; OWNS. */
static char *views_of(struct scene *scene)
{
    static const enum ingest_inspect views[] = {
        INGEST_INSPECT_LEDGER, INGEST_INSPECT_SAMPLES,
        INGEST_INSPECT_SEQUENCES, INGEST_INSPECT_WAITING,
        INGEST_INSPECT_DECISIONS};
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    for (unsigned i = 0; i < sizeof views / sizeof *views; i++)
        assert_int_equal(ingest_inspect(scene->config.folder, views[i], out,
                                        &scene->error),
                         BASE_OK);
    fclose(out);
    return text;
}

/* The range that was given up is in the log still; a rebuild that is given the
 * decisions passes it over, and lets go of what waited when the first did. */
static void a_rebuild_given_the_decisions_ends_the_same(void **state)
{
    struct scene scene;
    char *decisions = NULL;
    size_t size;
    (void)state;
    open_scene(&scene);
    send_some(&scene, 10);
    run_to_end(&scene);
    send_some(&scene, 10);
    assert_int_equal(resume(&scene, (struct ingest_resume){
                                        .partition = 0,
                                        .topic = INGEST_IMPRESSIONS,
                                        .from = INGEST_LATEST,
                                        .yes = true}),
                     BASE_OK);
    send_some(&scene, 200);
    run_to_end(&scene);
    assert_int_equal(seen_of(INGEST_IMPRESSIONS, 0)->buckets[INGEST_LOST], 10);
    assert_true(seen_of(INGEST_IMPRESSIONS, 0)->buckets[INGEST_UNLABELLED] > 0);
    assert_true(seen_of(INGEST_IMPRESSIONS, 0)->buckets[INGEST_NEGATIVE] > 0);
    char *first = views_of(&scene);
    FILE *out = open_memstream(&decisions, &size);
    assert_int_equal(ingest_inspect(scene.config.folder,
                                    INGEST_INSPECT_DECISIONS, out,
                                    &scene.error), BASE_OK);
    fclose(out);
    snprintf(scene.config.decisions, sizeof scene.config.decisions,
             "%s/decisions", scene.folder);
    assert_int_equal(base_file_replace(scene.config.decisions, decisions, size,
                                       &scene.error), BASE_OK);
    strcat(scene.config.folder, "/again");
    run_to_end(&scene);
    char *again = views_of(&scene);
    assert_string_equal(again, first);
    /* Opened once more, nothing is repeated a second time. */
    run_to_end(&scene);
    free(again);
    again = views_of(&scene);
    assert_string_equal(again, first);
    free(again);
    free(first);
    free(decisions);
    close_scene(&scene);
}

int main(void)
{
    base_log_set_level(getenv("VERBOSE") ? BASE_LOG_DEBUG : BASE_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        TEST(a_lost_range_is_counted),
        TEST(another_log_counts_anew),
        TEST(backwards_is_refused_and_nothing_stays),
        TEST(a_rebuild_takes_skipped_ranges),
        TEST(a_rebuild_refuses_another_log),
        cmocka_unit_test(retention_overtakes_and_it_goes_on),
        cmocka_unit_test(wrong_places_are_refused),
        cmocka_unit_test(a_topic_made_anew),
        cmocka_unit_test(another_cluster_is_accepted),
        cmocka_unit_test(a_rebuild_given_the_decisions_ends_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
