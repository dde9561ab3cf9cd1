/* SPDX-License-Identifier: Apache-2.0 */
/* What the demo's children say; see demo_status.h. */
#include "daemon/demo_status.h"

#include <arpa/inet.h>
#include <math.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <jansson.h>

enum { ANSWER_MAX = 1 << 20 };

static int64_t integer_at(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

/* null is "not a number". */
static double number_at(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void read_ingest(const json_t *ingest, struct demo_facts *facts)
{
    facts->events = (uint64_t)integer_at(ingest, "events");
    facts->batch_end = (uint64_t)integer_at(ingest, "batch_end");
    facts->journal_end = (uint64_t)integer_at(ingest, "journal_end");
    facts->lag_records = integer_at(ingest, "lag_records");
    facts->unaccounted = integer_at(ingest, "unaccounted");
    facts->pending = integer_at(ingest, "pending");
    facts->at_end = json_is_true(json_object_get(ingest, "at_end"));
}

/* Of the main model, which comes first. */
static void read_models(const json_t *models, struct demo_facts *facts)
{
    const json_t *main = json_array_get(models, 0);
    facts->rela_impr = number_at(json_object_get(main, "rela_impr"), "window");
}

static void read_learner(const json_t *learner, struct demo_facts *facts)
{
    const json_t *total = json_object_get(learner, "total");
    const json_t *windows = json_object_get(learner, "windows");
    facts->samples = (uint64_t)integer_at(learner, "samples");
    facts->position = (uint64_t)integer_at(learner, "position");
    facts->auc_total = number_at(total, "auc");
    facts->auc_recent =
        number_at(json_object_get(learner, "last_samples"), "auc");
    facts->log_loss = number_at(total, "log_loss");
    facts->calibration = number_at(total, "calibration");
    for (size_t i = 0; i < json_array_size(windows); i++) {
        const json_t *window = json_array_get(windows, i);
        double auc = number_at(window, "auc");
        demo_set_window(facts, integer_at(window, "begin_ms"), &auc, NULL);
    }
}

bool demo_parse_status(const char *text, struct demo_facts *facts)
{
    json_t *root = json_loads(text, 0, NULL);
    const json_t *ingest = json_object_get(root, "ingest");
    const json_t *learner = json_object_get(root, "learner");
    const json_t *publish = json_object_get(root, "publish");
    bool whole = json_is_object(ingest) && json_is_object(learner) &&
                 json_is_object(publish);
    if (whole) {
        read_ingest(ingest, facts);
        read_learner(learner, facts);
        read_models(json_object_get(root, "models"), facts);
        facts->published = (uint64_t)integer_at(publish, "published");
        facts->trained_age_ms =
            integer_at(json_object_get(root, "age_ms"), "trained");
    }
    json_decref(root);
    return whole;
}

static int connect_to(uint16_t port)
{
    const struct timeval second = {.tv_sec = 1};
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &second, sizeof second);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

bool demo_fetch_status(uint16_t port, struct demo_facts *facts)
{
    static const char request[] =
        "GET /status HTTP/1.0\r\nHost: localhost\r\n\r\n";
    int fd = connect_to(port);
    char *answer = malloc(ANSWER_MAX);
    size_t used = 0;
    ssize_t got = 0;
    bool good = fd >= 0 && answer &&
                send(fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0;
    while (good && used < ANSWER_MAX - 1 &&
           (got = recv(fd, answer + used, ANSWER_MAX - 1 - used, 0)) > 0)
        used += (size_t)got;
    if (good) {
        answer[used] = '\0';
        const char *body = strstr(answer, "\r\n\r\n");
        good = body && demo_parse_status(body + 4, facts);
    }
    free(answer);
    if (fd >= 0)
        close(fd);
    return good;
}

void demo_parse_producer(const char *line, struct demo_facts *facts)
{
    json_t *root = json_loads(line, 0, NULL);
    if (json_is_object(root)) {
        int64_t begin_ms = integer_at(root, "window_begin_ms");
        double ceiling = number_at(root, "window_auc_ceiling");
        facts->produced = (uint64_t)integer_at(root, "events");
        facts->ceiling_total = number_at(root, "auc_ceiling");
        if (begin_ms > 0)
            demo_set_window(facts, begin_ms, NULL, &ceiling);
    }
    json_decref(root);
}

void demo_parse_ranker(const char *line, struct demo_facts *facts)
{
    json_t *root = json_loads(line, 0, NULL);
    const char *name = json_string_value(json_object_get(root, "name"));
    if (name) {
        snprintf(facts->version_name, sizeof facts->version_name, "%s", name);
        facts->followed = (uint64_t)integer_at(root, "versions");
        facts->refused = (uint64_t)integer_at(root, "refused");
        facts->version = (uint64_t)integer_at(root, "version");
        facts->latency_us = integer_at(root, "latency_us");
        facts->version_age_ms =
            integer_at(root, "now_ms") - integer_at(root, "newest_event_ms");
    }
    json_decref(root);
}
