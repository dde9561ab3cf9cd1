/* SPDX-License-Identifier: Apache-2.0 */
/* The real program, forked: --help of every command, exit statuses, what a
 * wrong file or folder makes it say. argv[1] is the program. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"

static const char *program;
static char folder[] = "/tmp/interestd-commands-XXXXXX";
static char said[1 << 16]; /* standard output, then standard error */

/* Runs the program to its end; its exit status. */
static int run(const char *first, ...)
{
    char *argv[16] = {(char *)program, (char *)first};
    va_list arguments;
    int pipes[2], count = first ? 2 : 1, status;
    va_start(arguments, first);
    while (first && (argv[count] = va_arg(arguments, char *)))
        count++;
    va_end(arguments);
    assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(open("/dev/null", O_RDONLY), 0);
        dup2(pipes[1], 1);
        dup2(pipes[1], 2);
        close(pipes[0]);
        close(pipes[1]);
        execv(program, argv);
        _exit(127);
    }
    close(pipes[1]);
    size_t used = 0;
    ssize_t got;
    while ((got = read(pipes[0], said + used, sizeof said - 1 - used)) > 0)
        used += (size_t)got;
    said[used] = '\0';
    close(pipes[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void expect(const char *text)
{
    if (!strstr(said, text))
        fail_msg("expected \"%s\" in:\n%s", text, said);
}

static const char *write_file(const char *name, const char *text)
{
    static char path[200];
    struct base_error error;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(base_file_replace(path, text, strlen(text), &error),
                     BASE_OK);
    return path;
}

static const char *const commands[] = {
    "run",    "demo",    "rank",         "produce", "replay",
    "broker", "inspect", "check-config", "version",
    "pause",  "resume",  "checkpoint",   "publish", "skip",
    "fsck",   "backup",
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void test_help(void **state)
{
    (void)state;
    assert_int_equal(run("--help", NULL), 0);
    for (unsigned i = 0; i < COMMANDS; i++)
        expect(commands[i]);
    for (unsigned i = 0; i < COMMANDS; i++) {
        char usage[64];
        assert_int_equal(run(commands[i], "--help", NULL), 0);
        snprintf(usage, sizeof usage, "usage: interestd %s", commands[i]);
        expect(usage);
    }
}

static void test_usage(void **state)
{
    (void)state;
    assert_int_equal(run(NULL), 64);
    expect("usage: interestd COMMAND");
    assert_int_equal(run("nonsense", NULL), 64);
    expect("no command \"nonsense\"");
    for (unsigned i = 0; i < COMMANDS; i++)
        assert_int_equal(run(commands[i], "--no-such-option", NULL), 64);
    assert_int_equal(run("run", NULL), 64);
    expect("--config is required");
    assert_int_equal(run("inspect", "nothing", "--config", "x", NULL), 64);
    assert_int_equal(run("inspect", "ledger", "x", "--config", "x", NULL), 64);
    expect("\"x\" is not expected here");
    assert_int_equal(run("run", "--config", "", NULL), 64);
    expect("--config needs FILE");
    assert_int_equal(run("broker", "--topics", "a/b:1", NULL), 64);
    expect("topic \"a/b\"");
    assert_int_equal(run("demo", "--seconds", "0", NULL), 64);
    assert_int_equal(
        run("rank", "--model", "x", "--request", "x", "--every-ms", "0", NULL),
        64);
}

static void test_version(void **state)
{
    (void)state;
    assert_int_equal(run("version", NULL), 0);
    expect("interestd 0.");
    expect("arithmetic ");
}

static void test_check_config(void **state)
{
    (void)state;
    assert_int_equal(
        run("check-config", "--config", "configs/interestd.yaml", NULL), 0);
    expect("configs/interestd.yaml: good");
    assert_int_equal(run("check-config", "--config", "configs/interestd.yaml",
                         "--set", "ingest.idle_ms=0", NULL),
                     78);
    expect("--set: ingest.idle_ms: \"0\" is not allowed");
    assert_int_equal(run("check-config", "--reference", NULL), 0);
    expect("learner.learning_rate");
    assert_int_equal(run("check-config", "--config", "/nowhere.yaml", NULL),
                     66);
    assert_int_equal(run("check-config", NULL), 64);
}

/* The sample with one setting over it, judged without state or brokers. */
static void check_with(const char *set, int status, const char *text)
{
    assert_int_equal(run("check-config", "--config", "configs/interestd.yaml",
                         "--set", set, NULL),
                     status);
    expect(text);
}

static void test_check_config_reads(void **state)
{
    (void)state;
    check_with("impressions.schema=/nowhere.avsc", 66,
               "schema of topic impressions: /nowhere.avsc: No such file");
    check_with("clicks.schema=README.md", 65, "README.md of topic clicks");
    check_with("impressions.schema=schemas/click.avsc", 78,
               "path 'gender' does not exist; the fields there are:");
    check_with("impressions.user=nobody", 78, "path 'nobody' does not exist");
    check_with("clicks.framing=confluent", 78, "is not a folder");
    check_with("kafka.properties.bogus=1", 78, "kafka.properties: bogus:");
    check_with("kafka.properties.auto.offset.reset=latest", 78,
               "auto.offset.reset is fixed to error");
    check_with("kafka.properties.session.timeout.ms=900000", 78,
               "session.timeout.ms");
    assert_int_equal(run("check-config", "--config", "configs/interestd.yaml",
                         "--set", "clicks.framing=confluent", "--set",
                         "registry.url=http://user:word@registry:8081", NULL),
                     78);
    expect("registry.url \"..@..\" is no URL");
    check_with("ingest.decisions=/nowhere", 66, "/nowhere: No such file");
    check_with("http.listen=localhost", 78,
               "http.listen: \"localhost\" is not a numeric address");
}

static void check_group_with(const char *set, const char *text)
{
    assert_int_equal(run("check-config", "--config", "configs/interestd.yaml",
                         "--set", "kafka.assignment=group", "--set", set,
                         NULL),
                     78);
    expect(text);
}

static void test_check_config_group(void **state)
{
    (void)state;
    check_group_with("kafka.properties.partition.assignment.strategy="
                     "roundrobin",
                     "partition.assignment.strategy is fixed to range");
    check_group_with("kafka.properties.max.poll.interval.ms=2000",
                     "max.poll.interval.ms");
    check_group_with("ingest.decisions=/dev/null",
                     "group cannot work together with ingest.decisions");
    check_with("kafka.properties.partition.assignment.strategy=roundrobin", 0,
               "");
}

/* Runs `"$0" <line>` in a shell, for its redirections. */
static int run_line(const char *line)
{
    char command[400];
    snprintf(command, sizeof command, "\"%s\" %s", program, line);
    int status = system(command);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_full_output(void **state)
{
    (void)state;
    assert_int_equal(run_line("version >/dev/full 2>/dev/null"), 74);
    assert_int_equal(run_line("--help >/dev/full 2>/dev/null"), 74);
    assert_int_equal(run_line("run --help >/dev/full 2>/dev/null"), 74);
    assert_int_equal(
        run_line("check-config --reference >/dev/full 2>/dev/null"), 74);
}

/* What is opened next must not become the log. */
static void test_closed_descriptors(void **state)
{
    (void)state;
    assert_int_equal(run_line("version <&- >&- 2>&-"), 0);
    assert_int_equal(run_line("run --config /nowhere <&- >&- 2>&-"), 66);
}

static void test_broken_config(void **state)
{
    (void)state;
    const char *path = write_file("broken.yaml", "ingest: {window_ms: 5\n");
    assert_int_equal(run("run", "--config", path, NULL), 78);
    expect("broken.yaml:2:1: not YAML");
    path = write_file("wrong.yaml", "state: s\nkafka: {borkers: x}\n");
    assert_int_equal(run("run", "--config", path, NULL), 78);
    expect("wrong.yaml:2:18: kafka.borkers: no such setting; did you mean "
           "\"kafka.brokers\"?");
    assert_int_equal(run("produce", "--config", path, NULL), 78);
    assert_int_equal(run("inspect", "ledger", "--config", path, NULL), 78);
}

static void test_nothing_there(void **state)
{
    (void)state;
    char request[256];
    snprintf(request, sizeof request, "%s",
             write_file("request.json", "{\"candidates\":[{}]}"));
    assert_int_equal(run("rank", "--model", folder, "--request", request, NULL),
                     66);
    assert_int_equal(
        run("rank", "--model", folder, "--request", "/nowhere", NULL), 66);
    assert_int_equal(run("inspect", "checkpoint", "/nowhere", NULL), 66);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : 1;
}

static int tear_down(void **state)
{
    struct base_error error;
    (void)state;
    return base_file_remove(folder, &error) != BASE_OK;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_check_config),
        cmocka_unit_test(test_check_config_reads),
        cmocka_unit_test(test_check_config_group),
        cmocka_unit_test(test_full_output),
        cmocka_unit_test(test_closed_descriptors),
        cmocka_unit_test(test_broken_config),
        cmocka_unit_test(test_nothing_there),
    };
    program = argc > 1 ? argv[1] : "";
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
