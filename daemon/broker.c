/* SPDX-License-Identifier: Apache-2.0 */
/* `interestd broker`: librdkafka's mock cluster as a process, for the demo
 * and the tests; in memory, 5 MiB a partition. Prints `bootstrap=HOST:PORT`
 * and lives until SIGTERM or SIGINT; with --stdin also until standard input
 * ends, and obeys one command a line there, each answered by `ok` or
 * `error: ...`, so that a test can wait for its effect. One thread of ours:
 * it waits in poll(2) for a signal or a line. */
#include "daemon/commands.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/status.h"
#include "daemon/options.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

static const char about[] =
    "A mock Kafka cluster on loopback, in memory, for demos and tests. Prints\n"
    "bootstrap=HOST:PORT and lives until SIGTERM or SIGINT. With --stdin also\n"
    "until standard input ends; it obeys there, one a line:\n"
    "  down BROKER | up BROKER | rtt BROKER MS |\n"
    "  topic NAME COUNT | leader TOPIC PARTITION BROKER |\n"
    "  coordinator GROUP BROKER | errors API COUNT CODE\n"
    "  (API: number of the request, CODE: Kafka's error for the next COUNT of\n"
    "  these, 0: no more; -195 cuts the connection)";

enum { BROKERS_MAX = 16 };

struct broker {
    rd_kafka_t *handle;
    rd_kafka_mock_cluster_t *cluster;
    int brokers;
    const char *topics;
    bool input;
};

static bool number(const char *text, long low, long high, int *value)
{
    char *end;
    errno = 0;
    long parsed = text ? strtol(text, &end, 10) : 0;
    if (!text || errno || end == text || *end || parsed < low || parsed > high)
        return false;
    *value = (int)parsed;
    return true;
}

/* ---- commands --------------------------------------------------------------
 * Each gets its words; returns NULL or what is wrong. */

static const char *outcome(rd_kafka_resp_err_t code)
{
    return code ? rd_kafka_err2str(code) : NULL;
}

static const char *set_down(struct broker *broker, char **words)
{
    int id;
    if (!number(words[0], 1, broker->brokers, &id))
        return "no such broker";
    return outcome(rd_kafka_mock_broker_set_down(broker->cluster, id));
}

static const char *set_up(struct broker *broker, char **words)
{
    int id;
    if (!number(words[0], 1, broker->brokers, &id))
        return "no such broker";
    return outcome(rd_kafka_mock_broker_set_up(broker->cluster, id));
}

static const char *set_rtt(struct broker *broker, char **words)
{
    int id, ms;
    if (!number(words[0], 1, broker->brokers, &id))
        return "no such broker";
    if (!number(words[1], 0, 600000, &ms))
        return "milliseconds must be 0 to 600000";
    return outcome(rd_kafka_mock_broker_set_rtt(broker->cluster, id, ms));
}

static const char topic_characters[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

static const char *make_topic(struct broker *broker, char **words)
{
    int partitions;
    if (!words[0] || !*words[0])
        return "the topic has no name";
    if (words[0][strspn(words[0], topic_characters)])
        return "a topic's name has letters, digits, \".\", \"_\" and \"-\"";
    if (!number(words[1], 1, 1024, &partitions))
        return "partitions must be 1 to 1024";
    return outcome(rd_kafka_mock_topic_create(broker->cluster, words[0],
                                              partitions, 1));
}

static const char *set_leader(struct broker *broker, char **words)
{
    int partition, id;
    if (!number(words[1], 0, 1023, &partition))
        return "no such partition";
    if (!number(words[2], -1, broker->brokers, &id) || id == 0)
        return "no such broker";
    return outcome(rd_kafka_mock_partition_set_leader(
        broker->cluster, words[0], partition, id));
}

static const char *set_coordinator(struct broker *broker, char **words)
{
    int id;
    if (!number(words[1], 1, broker->brokers, &id))
        return "no such broker";
    return outcome(rd_kafka_mock_coordinator_set(broker->cluster, "group",
                                                 words[0], id));
}

static const char *push_errors(struct broker *broker, char **words)
{
    enum { MOST = 1000 };
    rd_kafka_resp_err_t codes[MOST];
    int api, count, code;
    if (!number(words[0], 0, 67, &api))
        return "no such request";
    if (!number(words[1], 0, MOST, &count))
        return "errors must be 0 to 1000";
    if (!number(words[2], -200, 120, &code))
        return "no such error";
    for (int i = 0; i < count; i++)
        codes[i] = (rd_kafka_resp_err_t)code;
    if (count == 0)
        rd_kafka_mock_clear_request_errors(broker->cluster, (int16_t)api);
    rd_kafka_mock_push_request_errors_array(broker->cluster, (int16_t)api,
                                            (size_t)count, codes);
    return NULL;
}

static const struct {
    const char *name;
    const char *(*run)(struct broker *broker, char **words);
} commands[] = {
    {"down", set_down},   {"up", set_up},         {"rtt", set_rtt},
    {"topic", make_topic}, {"leader", set_leader},
    {"coordinator", set_coordinator}, {"errors", push_errors},
};

static void obey(struct broker *broker, char *line)
{
    char *words[5] = {NULL}, *rest = NULL;
    int count = 0;
    for (char *word = strtok_r(line, " \t\r", &rest); word && count < 4;
         word = strtok_r(NULL, " \t\r", &rest))
        words[count++] = word;
    if (count == 0)
        return;
    const char *wrong = "no such command";
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(words[0], commands[i].name) == 0)
            wrong = commands[i].run(broker, words + 1);
    if (wrong)
        printf("error: %s\n", wrong);
    else
        printf("ok\n");
    fflush(stdout);
}

/* Reads what is there and obeys whole lines; false at the end of input. */
static bool read_lines(struct broker *broker, char *line, size_t size,
                       size_t *used)
{
    ssize_t got = read(STDIN_FILENO, line + *used, size - 1 - *used);
    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return true;
    if (got <= 0)
        return false;
    *used += (size_t)got;
    line[*used] = '\0';
    char *at = line, *end;
    while ((end = strchr(at, '\n'))) {
        *end = '\0';
        obey(broker, at);
        at = end + 1;
    }
    *used = strlen(at);
    memmove(line, at, *used + 1);
    if (*used == size - 1)
        *used = 0; /* no command is that long */
    return true;
}

static void serve(struct broker *broker, int signals)
{
    char line[1024];
    size_t used = 0;
    struct pollfd wait[2] = {{.fd = signals, .events = POLLIN},
                             {.fd = broker->input ? STDIN_FILENO : -1,
                              .events = POLLIN}};
    for (;;) {
        if (poll(wait, 2, -1) < 0 && errno != EINTR)
            return;
        if (wait[0].revents)
            return;
        if (wait[1].revents && !read_lines(broker, line, sizeof line, &used))
            return;
    }
}

/* ---- start -------------------------------------------------------------- */

static enum base_status parse(struct broker *broker, int argc, char **argv,
                              struct base_error *error)
{
    uint64_t brokers = 1;
    const struct option table[] = {
        {"brokers", OPTION_UNSIGNED, &brokers, "N", false,
         "brokers of the cluster, 1 to 16; 1"},
        {"topics", OPTION_TEXT, &broker->topics, "LIST", false,
         "topics to make: impressions:4,clicks:4"},
        {"stdin", OPTION_FLAG, &broker->input, NULL, false,
         "end when standard input ends; obey there"},
    };
    const struct options options = {
        .usage = "interestd broker [--brokers N] "
                 "[--topics NAME:PARTITIONS,...] [--stdin]",
        .about = about,
        .table = table,
        .count = sizeof table / sizeof table[0],
    };
    enum base_status status = options_parse(&options, argc, argv, error);
    if (status == BASE_OK && (brokers < 1 || brokers > BROKERS_MAX))
        return base_fail(error, BASE_USAGE, "--brokers is 1 to %d",
                         BROKERS_MAX);
    broker->brokers = (int)brokers;
    return status;
}

/* "impressions:4,clicks:4" */
static int make_topics(struct broker *broker)
{
    char *list = strdup(broker->topics), *rest = NULL;
    if (!list)
        return base_status_exit(BASE_SYSTEM);
    int status = 0;
    for (char *item = strtok_r(list, ",", &rest); item && !status;
         item = strtok_r(NULL, ",", &rest)) {
        char *colon = strrchr(item, ':');
        if (colon)
            *colon = '\0';
        char *words[2] = {item, colon ? colon + 1 : NULL};
        const char *wrong = make_topic(broker, words);
        if (wrong) {
            fprintf(stderr, "interestd broker: topic \"%s\": %s\n", item,
                    wrong);
            status = base_status_exit(BASE_USAGE);
        }
    }
    free(list);
    return status;
}

static int open_cluster(struct broker *broker)
{
    char text[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "client.id", "interestd-broker", NULL, 0);
    rd_kafka_conf_set(conf, "log_level", "3", NULL, 0);
    broker->handle =
        rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    if (!broker->handle) {
        rd_kafka_conf_destroy(conf);
        fprintf(stderr, "interestd broker: %s\n", text);
        return base_status_exit(BASE_SYSTEM);
    }
    broker->cluster =
        rd_kafka_mock_cluster_new(broker->handle, broker->brokers);
    if (!broker->cluster) {
        fprintf(stderr, "interestd broker: the mock cluster did not start\n");
        return base_status_exit(BASE_SYSTEM);
    }
    return 0;
}

int daemon_broker_main(int argc, char **argv)
{
    struct broker broker = {.brokers = 1};
    struct base_error error;
    int status = 0;
    if (parse(&broker, argc, argv, &error) != BASE_OK)
        return options_exit("broker", error.status, &error);
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGINT);
    pthread_sigmask(SIG_BLOCK, &wanted, NULL);
    int signals = signalfd(-1, &wanted, SFD_CLOEXEC);
    if (signals < 0) {
        perror("interestd broker: signalfd");
        return base_status_exit(BASE_SYSTEM);
    }
    status = open_cluster(&broker);
    if (!status && broker.topics)
        status = make_topics(&broker);
    if (!status) {
        printf("bootstrap=%s\n",
               rd_kafka_mock_cluster_bootstraps(broker.cluster));
        fflush(stdout);
        serve(&broker, signals);
    }
    if (broker.cluster)
        rd_kafka_mock_cluster_destroy(broker.cluster);
    if (broker.handle)
        rd_kafka_destroy(broker.handle);
    close(signals);
    return status;
}
