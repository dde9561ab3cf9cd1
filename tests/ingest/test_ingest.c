/* SPDX-License-Identifier: Apache-2.0 */
/* Ingest as a whole against the mock cluster, with the real state: nothing is
 * lost or doubled through kill -9 (a child process: this program again), the
 * journal is the same to the bit, announcements leave once, a full journal
 * makes it wait, recorded decisions make a run from scratch the same, and
 * whoever ends by itself says why. */
#include "ingest/ingest.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "ingest/decode.h"
#include "kafka_fixture.h"

enum { PARTITIONS = 3, IMPRESSIONS = 12000 };

static uint64_t random_state = 3;
static unsigned draw(unsigned below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(random_state >> 33) % below;
}

/* ---- a stream with clicks, and runs over it ----------------------------- */

struct scene {
    struct kafka_fixture kafka;
    char folder[64];
    unsigned events;
    int64_t begin_ms;
};

static void send_stream(struct scene *scene, unsigned impressions)
{
    uint8_t bytes[256];
    char id[32], user[32], goods[32];
    for (unsigned i = 0; i < impressions; i++) {
        int64_t now = scene->begin_ms + 2 * (int64_t)i;
        unsigned number = draw(200);
        snprintf(id, sizeof id, "i%u", i);
        snprintf(user, sizeof user, "u%u", number);
        snprintf(goods, sizeof goods, "g%u", draw(50));
        size_t size = kafka_fixture_impression(bytes, id, user, now, goods);
        kafka_fixture_send(&scene->kafka, "impressions",
                           (int32_t)(number % PARTITIONS), bytes, size, now);
        scene->events++;
        if (draw(5) > 0)
            continue;
        size = kafka_fixture_click(bytes, draw(10) ? id : NULL, user, now + 1,
                                   goods);
        kafka_fixture_send(&scene->kafka, "clicks",
                           (int32_t)(number % PARTITIONS), bytes, size,
                           now + 1);
        scene->events++;
    }
    kafka_fixture_flush(&scene->kafka);
}

static void open_scene(struct scene *scene, unsigned impressions)
{
    memset(scene, 0, sizeof *scene);
    strcpy(scene->folder, "/tmp/interestd-ingest-XXXXXX");
    assert_non_null(mkdtemp(scene->folder));
    scene->begin_ms = base_wall_ms() - 3600000;
    kafka_fixture_open(&scene->kafka, PARTITIONS);
    send_stream(scene, impressions);
}

static void close_scene(struct scene *scene)
{
    kafka_fixture_close(&scene->kafka);
    assert_int_equal(base_file_remove(scene->folder, NULL), BASE_OK);
}

static void config_of(const struct scene *scene, const char *name,
                      struct ingest_config *config)
{
    char folder[128];
    snprintf(folder, sizeof folder, "%s/%s", scene->folder, name);
    assert_int_equal(base_file_make_folder(folder, NULL), BASE_OK);
    kafka_fixture_config(&scene->kafka, config, folder);
}

static void unexpected(void *self, const struct base_error *error)
{
    (void)self;
    fprintf(stderr, "ingest failed: %s\n", error->text);
    abort();
}

static struct ingest *start(const struct ingest_config *config)
{
    struct ingest *ingest = NULL;
    struct base_error error = {.text = ""};
    if (ingest_open(config, &ingest, &error))
        fail_msg("open: %s", error.text);
    assert_int_equal(ingest_start(ingest, unexpected, NULL, &error), BASE_OK);
    return ingest;
}

static struct ingest_status status;

static void await_events(struct ingest *ingest, uint64_t events)
{
    do {
        usleep(2000);
        ingest_get_status(ingest, &status);
    } while (status.events < events || !status.at_end);
}

static void stop(struct ingest *ingest)
{
    struct base_error error;
    assert_int_equal(ingest_stop(ingest, &error), BASE_OK);
    ingest_free(ingest);
}

/* The journal as the learner sees it: end, samples and the chained hash. */
struct digest {
    uint64_t end, batches, positives, hash[2];
};

static struct digest read_journal(struct ingest *ingest)
{
    struct digest digest = {0};
    struct learner_source source = ingest_source(ingest);
    struct learner_batch batch;
    struct base_error error;
    enum base_status code;
    while (!(code = source.next(source.self, digest.end, 0, &batch, &error))) {
        assert_int_equal(batch.first, digest.end);
        digest.end = batch.end;
        digest.batches++;
        for (uint32_t i = 0; i < batch.samples; i++)
            digest.positives += batch.label[i];
        memcpy(digest.hash, batch.journal_hash, sizeof digest.hash);
    }
    assert_int_equal(code, BASE_AGAIN);
    return digest;
}

/* ---- tests -------------------------------------------------------------- */

static void test_whole_and_again(void **unused)
{
    (void)unused;
    struct scene scene;
    open_scene(&scene, IMPRESSIONS);
    struct ingest_config config;
    config_of(&scene, "a", &config);
    int64_t begun = base_monotonic_us();
    struct ingest *ingest = start(&config);
    await_events(ingest, scene.events);
    print_message("%u events in %.0f ms\n", scene.events,
                  (double)(base_monotonic_us() - begun) / 1e3);
    assert_int_equal(status.events, scene.events);
    assert_int_equal(status.unaccounted, 0);
    assert_int_equal(status.lag_records, 0);
    assert_int_equal(status.partition_count, 2 * PARTITIONS);
    assert_string_equal(status.broker_error, "");
    assert_true(status.buckets[INGEST_POSITIVE] > IMPRESSIONS / 10);
    struct digest digest = read_journal(ingest);
    assert_int_equal(digest.end, status.batch_end);
    assert_true(digest.positives > 0);
    char json[1000];
    assert_true(ingest_offsets_json(ingest, json, sizeof json) < sizeof json);
    assert_non_null(strstr(json, "\"impressions/0\": "));
    stop(ingest);
    /* Once more: there is nothing to do, and nothing changes. */
    ingest = start(&config);
    do {
        usleep(2000);
        ingest_get_status(ingest, &status);
    } while (!status.at_end);
    assert_int_equal(status.events, scene.events);
    struct digest again = read_journal(ingest);
    assert_memory_equal(&again, &digest, sizeof digest);
    stop(ingest);
    close_scene(&scene);
}

/* The child of the next test: runs until it is killed. */
static int child(const char *brokers, const char *folder)
{
    static struct ingest_config config;
    struct kafka_fixture none = {0};
    kafka_fixture_open(&none, 1); /* only for its configuration */
    kafka_fixture_config(&none, &config, folder);
    kafka_fixture_close(&none);
    snprintf(config.properties[0].value, sizeof config.properties[0].value,
             "%s", brokers);
    kafka_fixture_property(&config, "fetch.message.max.bytes", "3000");
    config.commit_ms = 5;
    config.commit_events = 500;
    struct ingest *ingest = NULL;
    struct base_error error = {.text = ""};
    if (ingest_open(&config, &ingest, &error) ||
        ingest_start(ingest, unexpected, NULL, &error)) {
        fprintf(stderr, "child: %s\n", error.text);
        return 1;
    }
    for (;;)
        pause();
}

static void test_kills(void **unused)
{
    (void)unused;
    struct scene scene;
    open_scene(&scene, IMPRESSIONS);
    struct ingest_config config;
    config_of(&scene, "once", &config);
    struct ingest *ingest = start(&config);
    await_events(ingest, scene.events);
    struct digest wanted = read_journal(ingest);
    static struct ingest_status whole;
    ingest_get_status(ingest, &whole);
    stop(ingest);

    config_of(&scene, "killed", &config);
    for (int i = 0; i < 12; i++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            execl("/proc/self/exe", "test_ingest_ingest", "child",
                  config.properties[0].value, config.folder, NULL);
            _exit(127);
        }
        usleep(30000 + draw(400000));
        kill(pid, SIGKILL);
        int how;
        assert_int_equal(waitpid(pid, &how, 0), pid);
        assert_true(WIFSIGNALED(how)); /* did not end by itself */
    }
    ingest = start(&config);
    await_events(ingest, scene.events);
    struct digest got = read_journal(ingest);
    ingest_get_status(ingest, &status);
    stop(ingest);
    assert_int_equal(status.events, scene.events);
    assert_int_equal(status.unaccounted, 0);
    assert_int_equal(status.decisions, 0);
    assert_memory_equal(status.buckets, whole.buckets, sizeof whole.buckets);
    assert_memory_equal(&got, &wanted, sizeof wanted);
    close_scene(&scene);
}

static void test_outage(void **unused)
{
    (void)unused;
    struct scene scene;
    open_scene(&scene, IMPRESSIONS);
    struct ingest_config config;
    config_of(&scene, "a", &config);
    kafka_fixture_property(&config, "fetch.message.max.bytes", "3000");
    kafka_fixture_property(&config, "reconnect.backoff.max.ms", "200");
    struct ingest *ingest = start(&config);
    do
        ingest_get_status(ingest, &status);
    while (status.events == 0);
    rd_kafka_mock_broker_set_down(scene.kafka.cluster, 1);
    do {
        usleep(1000);
        ingest_get_status(ingest, &status);
    } while (!status.broker_error[0]);
    rd_kafka_mock_broker_set_up(scene.kafka.cluster, 1);
    await_events(ingest, scene.events);
    assert_int_equal(status.events, scene.events);
    assert_int_equal(status.unaccounted, 0);
    stop(ingest);
    close_scene(&scene);
}

/* Offsets on their way to a broker that is gone do not hold up the end. */
static void test_stop_without_broker(void **unused)
{
    (void)unused;
    struct scene scene;
    open_scene(&scene, IMPRESSIONS);
    struct ingest_config config;
    config_of(&scene, "a", &config);
    kafka_fixture_property(&config, "fetch.message.max.bytes", "3000");
    config.commit_ms = 5;
    struct ingest *ingest = start(&config);
    do
        ingest_get_status(ingest, &status);
    while (status.events == 0);
    rd_kafka_mock_broker_set_down(scene.kafka.cluster, 1);
    usleep(600000); /* several are told by then */
    int64_t begun = base_monotonic_ms();
    stop(ingest);
    assert_in_range(base_monotonic_ms() - begun, 0, 25000);
    close_scene(&scene);
}

/* A journal of few blocks: goes on only as the learner lets go of it. */
static void test_full_journal_waits(void **unused)
{
    (void)unused;
    struct scene scene;
    open_scene(&scene, 3 * IMPRESSIONS);
    struct ingest_config config;
    config_of(&scene, "a", &config);
    config.journal_keep = false;
    config.journal_max_bytes = 1 << 20;
    struct ingest *ingest = start(&config);
    /* Nobody reads: it fills up, and then does not touch the disk. */
    uint64_t commits;
    do {
        ingest_get_status(ingest, &status);
        commits = status.commits;
        usleep(200000);
        ingest_get_status(ingest, &status);
    } while (status.journal_bytes < 900 << 10 || status.commits != commits);
    assert_true(status.events < scene.events);
    stop(ingest);
    ingest = start(&config);
    struct learner_source source = ingest_source(ingest);
    struct learner_batch batch;
    struct base_error error;
    uint64_t position = 0, largest = 0;
    do {
        enum base_status code =
            source.next(source.self, position, 20, &batch, &error);
        if (!code)
            position = batch.end;
        else
            assert_int_equal(code, BASE_AGAIN);
        ingest_trim(ingest, position);
        ingest_get_status(ingest, &status);
        if (status.journal_bytes > largest)
            largest = status.journal_bytes;
    } while (status.events < scene.events || !status.at_end);
    assert_true(status.journal_begin > 0);
    assert_in_range(largest, 900 << 10, 1 << 20);
    assert_int_equal(status.unaccounted, 0);
    stop(ingest);
    close_scene(&scene);
}

static void test_timed_batch_end(void **unused)
{
    (void)unused;
    struct scene scene;
    open_scene(&scene, 1600); /* 3.2 s: a batch and some samples close */
    struct ingest_config config;
    config_of(&scene, "a", &config);
    config.flush_ms = 10;
    config.window_ms = 100;
    config.batch_size = 1000;
    struct ingest *ingest = start(&config);
    await_events(ingest, scene.events);
    uint64_t open = status.journal_end - status.batch_end;
    assert_true(open >= 32);
    usleep(100000);
    ingest_get_status(ingest, &status);
    assert_int_equal(status.journal_end - status.batch_end, open);
    ingest_trainer_idle(ingest, true);
    do {
        usleep(1000);
        ingest_get_status(ingest, &status);
    } while (status.batch_end < status.journal_end);
    stop(ingest);
    close_scene(&scene);
}

/* ---- announcements ------------------------------------------------------ */

static unsigned count_records(struct scene *scene, unsigned wanted)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers",
                      rd_kafka_mock_cluster_bootstraps(scene->kafka.cluster),
                      NULL, 0);
    rd_kafka_conf_set(conf, "group.id", "reader", NULL, 0);
    rd_kafka_conf_set(conf, "enable.partition.eof", "true", NULL, 0);
    rd_kafka_conf_set(conf, "fetch.wait.max.ms", "10", NULL, 0);
    rd_kafka_t *reader = rd_kafka_new(RD_KAFKA_CONSUMER, conf, NULL, 0);
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, "model-announcements", 0)->offset =
        0;
    rd_kafka_assign(reader, list);
    rd_kafka_topic_partition_list_destroy(list);
    unsigned count = 0;
    for (bool end = false; !end || count < wanted;) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(reader, 1000);
        if (!message)
            continue;
        count += message->err == 0;
        end = message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
        rd_kafka_message_destroy(message);
    }
    rd_kafka_destroy(reader);
    return count;
}

static void test_announcements(void **unused)
{
    (void)unused;
    struct scene scene;
    open_scene(&scene, 10);
    rd_kafka_mock_topic_create(scene.kafka.cluster, "model-announcements", 1,
                               1);
    struct ingest_config config;
    config_of(&scene, "a", &config);
    struct ingest *ingest = start(&config);
    assert_int_equal(ingest_epoch(ingest), 0);
    struct ingest_announcement said = {.model_name = "ctr", .epoch = 17,
                                       .folder_name = "v17-1"};
    for (said.version = 1; said.version <= 3; said.version++)
        ingest_announce(ingest, &said);
    assert_int_equal(count_records(&scene, 3), 3);
    assert_int_equal(ingest_epoch(ingest), 17);
    stop(ingest);
    /* The state knows what left. */
    ingest = start(&config);
    assert_int_equal(ingest_epoch(ingest), 17);
    said.version = 3;
    ingest_announce(ingest, &said);
    said.version = 4;
    ingest_announce(ingest, &said);
    count_records(&scene, 4);
    stop(ingest); /* waits for receipts */
    unsigned count = count_records(&scene, 4);
    assert_in_range(count, 4, 5); /* a heartbeat of 3 may lie between */
    close_scene(&scene);
}

/* ---- decisions ---------------------------------------------------------- */

/* Events in no order, some of them `ahead` of every clock: clamped, or too
 * far for that. */
static void send_disorder(struct scene *scene, unsigned first, unsigned count,
                          bool ahead)
{
    uint8_t bytes[256];
    char id[32], user[32];
    for (unsigned i = first; i < first + count; i++) {
        bool click = draw(3) == 0;
        unsigned number = click || draw(9) == 0 ? draw(i + 1) : i;
        int64_t now = scene->begin_ms + 5 * (int64_t)first + draw(2500);
        if (ahead && draw(20) == 0)
            now = base_wall_ms() + (draw(2) ? 200000 : 600000);
        snprintf(id, sizeof id, "d%u", number);
        snprintf(user, sizeof user, "u%u", number % 40);
        size_t size = click ? kafka_fixture_click(bytes, draw(5) ? id : NULL,
                                                  user, now, "g")
                            : kafka_fixture_impression(bytes, id, user, now,
                                                       "g");
        kafka_fixture_send(&scene->kafka, click ? "clicks" : "impressions",
                           (int32_t)(number % 40 % PARTITIONS), bytes,
                           draw(50) ? size : size / 2, now);
    }
    kafka_fixture_flush(&scene->kafka);
    scene->events += count;
}

static void save_decisions(const struct ingest_config *config,
                           const char *path)
{
    struct base_error error;
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    assert_int_equal(ingest_inspect(config->folder, INGEST_INSPECT_DECISIONS,
                                    out, &error), BASE_OK);
    assert_int_equal(fclose(out), 0);
}

/* What idleness and a clock decided in a live run, with a stop in it, makes a
 * run from scratch the same to the bit. */
static void test_recorded_decisions_make_it_the_same(void **unused)
{
    (void)unused;
    struct scene scene;
    random_state = 7;
    open_scene(&scene, 0);
    static struct ingest_config config;
    config_of(&scene, "live", &config);
    config.idle_ms = 10;
    config.batch_size = 16;
    struct ingest *ingest = start(&config);
    for (unsigned round = 0; round < 24; round++) {
        send_disorder(&scene, 100 * round, 100, round > 21);
        if (round % 3)
            await_events(ingest, scene.events);
        if (round != 6)
            continue;
        stop(ingest);
        ingest = start(&config);
    }
    await_events(ingest, scene.events);
    struct digest wanted = read_journal(ingest);
    static struct ingest_status live;
    ingest_get_status(ingest, &live);
    stop(ingest);
    print_message("%llu floored, %llu clamped, %llu samples, %llu positive\n",
                  (unsigned long long)live.floored_records,
                  (unsigned long long)live.clamped_records,
                  (unsigned long long)wanted.end,
                  (unsigned long long)wanted.positives);
    assert_true(live.floored_records > 0 && live.clamped_records > 0);
    assert_true(live.reasons[INGEST_REASON_TIME] > 0);
    assert_true(wanted.end > 0 && wanted.positives > 0);
    char path[128];
    snprintf(path, sizeof path, "%s/decisions", scene.folder);
    save_decisions(&config, path);

    config_of(&scene, "again", &config);
    config.batch_size = 16;
    snprintf(config.decisions, sizeof config.decisions, "%s", path);
    ingest = start(&config);
    await_events(ingest, scene.events);
    struct digest got = read_journal(ingest);
    ingest_get_status(ingest, &status);
    stop(ingest);
    assert_memory_equal(status.buckets, live.buckets, sizeof live.buckets);
    assert_memory_equal(status.reasons, live.reasons, sizeof live.reasons);
    assert_int_equal(status.decisions, live.decisions);
    assert_int_equal(status.floored_records, live.floored_records);
    assert_int_equal(status.clamped_records, live.clamped_records);
    assert_memory_equal(&got, &wanted, sizeof wanted);
    close_scene(&scene);
}

/* ---- whoever ends says why ---------------------------------------------- */

static atomic_int failures;
static char failure[1000];

static void on_failure(void *self, const struct base_error *error)
{
    (void)self;
    memcpy(failure, error->text, sizeof failure);
    atomic_fetch_add(&failures, 1);
}

static void test_another_cluster_is_refused(void **unused)
{
    (void)unused;
    struct scene scene, other;
    open_scene(&scene, 100);
    struct ingest_config config;
    config_of(&scene, "a", &config);
    struct ingest *ingest = start(&config);
    await_events(ingest, scene.events);
    stop(ingest);
    open_scene(&other, 100);
    snprintf(config.properties[0].value, sizeof config.properties[0].value,
             "%s", rd_kafka_mock_cluster_bootstraps(other.kafka.cluster));
    struct base_error error = {.text = ""};
    assert_int_equal(ingest_open(&config, &ingest, &error), BASE_OK);
    atomic_store(&failures, 0);
    assert_int_equal(ingest_start(ingest, on_failure, NULL, &error), BASE_OK);
    while (atomic_load(&failures) == 0)
        usleep(1000);
    assert_non_null(strstr(failure, "cluster"));
    /* The cause once more, for who stops without having listened. */
    assert_int_equal(ingest_stop(ingest, &error), BASE_CONFIG);
    assert_non_null(strstr(error.text, "cluster"));
    assert_int_equal(atomic_load(&failures), 1);
    ingest_free(ingest);
    close_scene(&other);
    close_scene(&scene);
}

/* A disk that takes no more ends it; with room again it goes on as if nothing
 * had been. */
static void test_full_disk(void **unused)
{
    (void)unused;
    struct scene scene;
    struct ingest_config config;
    struct base_error error = {.text = ""};
    open_scene(&scene, IMPRESSIONS);
    config_of(&scene, "whole", &config);
    struct ingest *ingest = start(&config);
    await_events(ingest, scene.events);
    struct digest wanted = read_journal(ingest);
    stop(ingest);

    config_of(&scene, "full", &config);
    config.commit_events = 500;
    config.commit_ms = 5;
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){2 << 20, before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (int i = 0; i < 2; i++) {
        atomic_store(&failures, 0);
        assert_int_equal(ingest_open(&config, &ingest, &error), BASE_OK);
        assert_int_equal(ingest_start(ingest, on_failure, NULL, &error),
                         BASE_OK);
        while (atomic_load(&failures) == 0)
            usleep(1000);
        assert_non_null(strstr(failure, "store: "));
        ingest_get_status(ingest, &status);
        assert_int_equal(ingest_stop(ingest, &error), BASE_IO);
        ingest_free(ingest);
        assert_true(status.events < scene.events);
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    ingest = start(&config);
    await_events(ingest, scene.events);
    assert_int_equal(status.events, scene.events);
    struct digest got = read_journal(ingest);
    assert_memory_equal(&got, &wanted, sizeof wanted);
    stop(ingest);
    close_scene(&scene);
}

int main(int argc, char **argv)
{
    base_log_set_level(getenv("VERBOSE") ? BASE_LOG_DEBUG : BASE_LOG_ERROR);
    if (argc == 4 && strcmp(argv[1], "child") == 0)
        return child(argv[2], argv[3]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_and_again),
        cmocka_unit_test(test_kills),
        cmocka_unit_test(test_outage),
        cmocka_unit_test(test_stop_without_broker),
        cmocka_unit_test(test_full_journal_waits),
        cmocka_unit_test(test_timed_batch_end),
        cmocka_unit_test(test_announcements),
        cmocka_unit_test(test_recorded_decisions_make_it_the_same),
        cmocka_unit_test(test_another_cluster_is_refused),
        cmocka_unit_test(test_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
