/* SPDX-License-Identifier: Apache-2.0 */
/* The real processes together: broker, run, produce, rank, inspect. What was
 * produced is in the ledger, was trained, published and is scored; a second
 * daemon and a store older than its checkpoint are refused; kill -9 and a
 * restart lose nothing; without publish.delta_ms a version appears at the end
 * only. argv[1] is the program. */
#include <dirent.h>
#include <jansson.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "daemon/demo_status.h"

static const char *program;
static char folder[] = "/tmp/interestd-pipeline-XXXXXX";
static char config[128], model[128], request[128], brokers[128], said[1 << 16];
static struct demo_facts facts;
static struct base_error error;

/* Starts the program; its output goes into the pipe *output where given. */
static pid_t spawn(int *output, const char *const *words)
{
    char *argv[20] = {(char *)program};
    int pipes[2] = {-1, -1};
    for (int i = 0; words[i]; i++)
        argv[i + 1] = (char *)words[i];
    if (output)
        assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (output) {
            dup2(pipes[1], 1);
            dup2(pipes[1], 2);
            close(pipes[0]);
        }
        execv(program, argv);
        _exit(127);
    }
    if (output) {
        close(pipes[1]);
        *output = pipes[0];
    }
    return pid;
}

static int finish(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Runs to the end; what it said is in `said`. */
static int run(const char *const *words)
{
    int output;
    size_t used = 0;
    ssize_t got;
    pid_t pid = spawn(&output, words);
    while ((got = read(output, said + used, sizeof said - 1 - used)) > 0)
        used += (size_t)got;
    said[used] = '\0';
    close(output);
    return finish(pid);
}

static void copy(const char *from, const char *name)
{
    char to[128], *data;
    size_t size;
    snprintf(to, sizeof to, "%s/%s", folder, name);
    assert_int_equal(base_file_read(from, 1 << 20, &data, &size, &error),
                     BASE_OK);
    assert_int_equal(base_file_replace(to, data, size, &error), BASE_OK);
    free(data);
}

static pid_t start_broker(void)
{
    const char *const words[] = {"broker", "--topics", "impressions:2,clicks:2",
                                 NULL};
    int output;
    char line[100] = "";
    size_t used = 0;
    pid_t pid = spawn(&output, words);
    while (!memchr(line, '\n', used) && used < sizeof line - 1) {
        ssize_t got = read(output, line + used, sizeof line - 1 - used);
        assert_true(got > 0);
        used += (size_t)got;
    }
    *strchr(line, '\n') = '\0';
    snprintf(brokers, sizeof brokers, "kafka.brokers=%s",
             strchr(line, '=') + 1);
    close(output);
    return pid;
}

static pid_t start_daemon(const char *more, const char *still_more)
{
    const char *const words[] = {"run",
                                 "--config",
                                 config,
                                 "--set",
                                 brokers,
                                 "--set",
                                 "kafka.announcement_topic=",
                                 "--set",
                                 "log.level=error",
                                 "--set",
                                 more,
                                 "--set",
                                 still_more,
                                 NULL};
    char port[128];
    snprintf(port, sizeof port, "%s/state/http.port", folder);
    unlink(port);
    pid_t pid = spawn(NULL, words);
    while (access(port, F_OK)) {
        assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
        usleep(10000);
    }
    return pid;
}

/* Until all that was produced is applied and trained. */
static void wait_trained(pid_t pid)
{
    char path[128], *text;
    size_t size;
    snprintf(path, sizeof path, "%s/state/http.port", folder);
    assert_int_equal(base_file_read(path, 32, &text, &size, &error), BASE_OK);
    do {
        assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
        usleep(20000);
        demo_fetch_status((uint16_t)strtoul(text, NULL, 10), &facts);
    } while (facts.events < facts.produced || facts.lag_records != 0 ||
             facts.position < facts.journal_end);
    free(text);
}

static void produce(void)
{
    const char *const words[] = {"produce", "--config",  config, "--set",
                                 brokers,   "--seconds", "2",    "--rate",
                                 "1000",    NULL};
    uint64_t before = facts.produced;
    assert_int_equal(run(words), 0);
    char *last = strrchr(said, '{');
    assert_non_null(last);
    demo_parse_producer(last, &facts);
    assert_true(facts.produced > 1000);
    facts.produced += before;
}

static int inspect(const char *what)
{
    const char *const words[] = {"inspect", what, "--config", config, NULL};
    return run(words);
}

/* Of the version that CURRENT names. */
static json_t *load_manifest(void)
{
    char path[512], *current;
    size_t size;
    snprintf(path, sizeof path, "%s/CURRENT", model);
    assert_int_equal(base_file_read(path, 256, &current, &size, &error),
                     BASE_OK);
    current[strcspn(current, " ")] = '\0';
    snprintf(path, sizeof path, "%s/%.200s/manifest.json", model, current);
    free(current);
    json_t *manifest = json_load_file(path, 0, NULL);
    assert_non_null(manifest);
    return manifest;
}

static void check_manifest(void)
{
    json_t *manifest = load_manifest();
    const json_t *stream = json_object_get(manifest, "stream");
    const json_t *transforms = json_object_get(stream, "transforms");
    assert_int_equal(json_integer_value(json_object_get(stream, "history_max")),
                     20);
    assert_string_equal(
        json_string_value(json_object_get(stream, "label_mode")), "window");
    assert_true(json_number_value(json_object_get(stream, "negative_keep")) ==
                1);
    assert_int_equal(json_object_size(transforms), 1);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(transforms, "hour"),
                                          "transform")),
        "hour");
    assert_int_equal(
        json_object_size(json_object_get(manifest, "applied_offsets")), 4);
    json_decref(manifest);
}

/* Checkpoints beyond position 0. */
static unsigned count_checkpoints(void)
{
    char path[128];
    unsigned count = 0;
    snprintf(path, sizeof path, "%s/state/checkpoints", folder);
    DIR *entries = opendir(path);
    for (struct dirent *at; entries && (at = readdir(entries));)
        count += strncmp(at->d_name, "ck-", 3) == 0 &&
                 strtoull(at->d_name + 3, NULL, 10) > 0;
    if (entries)
        closedir(entries);
    return count;
}

static void test_versions_at_the_end_only(void **state)
{
    char current[160];
    (void)state;
    assert_int_equal(base_file_remove(model, &error), BASE_OK);
    snprintf(current, sizeof current, "%s/state", folder);
    assert_int_equal(base_file_remove(current, &error), BASE_OK);
    snprintf(current, sizeof current, "%s/CURRENT", model);
    memset(&facts, 0, sizeof facts);
    pid_t broker = start_broker();
    pid_t daemon =
        start_daemon("publish.delta_ms=0", "learner.checkpoint_seconds=1");
    while (count_checkpoints() < 2) {
        produce();
        assert_int_equal(waitpid(daemon, NULL, WNOHANG), 0);
    }
    assert_int_not_equal(access(current, F_OK), 0);
    kill(daemon, SIGTERM);
    assert_int_equal(finish(daemon), 0);
    assert_int_equal(access(current, F_OK), 0);
    kill(broker, SIGTERM);
    assert_int_equal(finish(broker), 0);
}

static void test_pipeline(void **state)
{
    (void)state;
    const char *const second[] = {"run",   "--config", config,
                                  "--set", brokers,    NULL};
    const char *const rank[] = {"rank",  "--model", model, "--request",
                                request, "--json",  NULL};
    pid_t broker = start_broker();
    pid_t daemon = start_daemon("publish.delta_ms=3000", "http.port=0");
    assert_int_equal(run(second), 69);
    assert_non_null(strstr(said, "in use"));
    produce();
    kill(daemon, SIGKILL);
    assert_int_equal(finish(daemon), 128 + SIGKILL);
    daemon = start_daemon("publish.delta_ms=3000", "http.port=0");
    produce();
    wait_trained(daemon);
    assert_int_equal(facts.events, facts.produced);
    assert_int_equal(facts.unaccounted, 0);
    kill(daemon, SIGTERM);
    assert_int_equal(finish(daemon), 0);

    assert_int_equal(run(rank), 0);
    json_t *scores = json_loads(said, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(scores, "scores")), 2);
    assert_int_equal(json_integer_value(json_object_get(scores, "position")),
                     facts.position);
    json_decref(scores);
    check_manifest();
    assert_int_equal(inspect("ledger"), 0);
    assert_non_null(strstr(said, "{\"totals\":{\"positive\":"));
    assert_int_equal(inspect("checkpoint"), 0);
    json_t *checkpoint = json_loads(said, 0, NULL);
    assert_int_equal(
        json_integer_value(json_object_get(checkpoint, "position")),
        facts.position);
    assert_int_equal(json_string_length(json_object_get(checkpoint, "digest")),
                     32);
    json_decref(checkpoint);

    /* checkpoints/ without the store/ they belong to. */
    char store[128];
    snprintf(store, sizeof store, "%s/state/store", folder);
    assert_int_equal(base_file_remove(store, &error), BASE_OK);
    assert_int_equal(run(second), 76);
    assert_non_null(strstr(said, "store/ is older than checkpoints/"));
    kill(broker, SIGTERM);
    assert_int_equal(finish(broker), 0);
}

static int set_up(void **state)
{
    static const char text[] =
        "{\"time_ms\":1763789000000,\"candidates\":[{\"goods\":\"g1\"},{}]}";
    (void)state;
    if (!mkdtemp(folder))
        return 1;
    snprintf(config, sizeof config, "%s/demo.yaml", folder);
    snprintf(model, sizeof model, "%s/model", folder);
    snprintf(request, sizeof request, "%s/request.json", folder);
    copy("configs/demo.yaml", "demo.yaml");
    copy("schemas/impression.avsc", "impression.avsc");
    copy("schemas/click.avsc", "click.avsc");
    copy("schemas/announcement.avsc", "announcement.avsc");
    return base_file_replace(request, text, sizeof text - 1, &error) != BASE_OK;
}

static int tear_down(void **state)
{
    (void)state;
    return base_file_remove(folder, &error) != BASE_OK;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pipeline),
        cmocka_unit_test(test_versions_at_the_end_only)};
    program = argc > 1 ? argv[1] : "";
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
