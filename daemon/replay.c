/* SPDX-License-Identifier: Apache-2.0 */
/* `interestd replay`: sends recorded impressions and clicks (Avro container
 * files) to the configured topics, in event-time order, impressions first on
 * ties, keyed by user, with the event time as Kafka timestamp. One thread;
 * SIGINT and SIGTERM end it in order. Exit status 0 says: all acknowledged. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "daemon/commands.h"
#include "daemon/config.h"
#include "daemon/options.h"
#include "daemon/recording.h"
#include "daemon/sender.h"
#include "ingest/ingest.h"

enum { FRAME = 5, PROGRESS_MS = 200, FLUSH_MS = 300000 };

static volatile sig_atomic_t stop_asked;

static void ask_stop(int signal_number)
{
    (void)signal_number;
    if (stop_asked)
        _exit(1);
    stop_asked = 1;
}

struct replay {
    struct daemon_config config;
    const char *files[INGEST_TOPICS];
    uint64_t schema_ids[INGEST_TOPICS];
    uint64_t speed; /* events/s, 0: as fast as possible */
    uint64_t limit, window;
    struct recording *recordings[INGEST_TOPICS]; /* NULL at their end */
    struct recording_record heads[INGEST_TOPICS];
    struct sender *sender;
    uint64_t events[INGEST_TOPICS], disordered;
    int64_t latest_ms, begun_us, shown_ms;
};

static bool framed(const struct replay *replay, unsigned topic)
{
    return replay->config.ingest.topics[topic].framing == INGEST_CONFLUENT;
}

/* Reads the next record of a topic; closes its recording at the end. */
static enum base_status advance(struct replay *replay, unsigned topic,
                                struct base_error *error)
{
    enum base_status status = recording_next(
        replay->recordings[topic], &replay->heads[topic], error);
    if (status != BASE_NO_INPUT)
        return status;
    recording_close(replay->recordings[topic]);
    replay->recordings[topic] = NULL;
    return BASE_OK;
}

static enum base_status open_all(struct replay *replay,
                                 struct base_error *error)
{
    for (unsigned i = 0; i < INGEST_TOPICS; i++) {
        if (!replay->files[i])
            continue;
        const struct ingest_topic_config *topic =
            &replay->config.ingest.topics[i];
        if (recording_open(replay->files[i], &topic->mapping,
                           framed(replay, i) ? FRAME : 0,
                           &replay->recordings[i], error) ||
            advance(replay, i, error))
            return error->status;
    }
    return sender_open(&replay->config, replay->window, &stop_asked,
                       &replay->sender, error);
}

static void progress(struct replay *replay)
{
    int64_t now = base_monotonic_ms();
    if (!isatty(STDERR_FILENO) || now < replay->shown_ms + PROGRESS_MS)
        return;
    replay->shown_ms = now;
    struct sender_counts counts = sender_get_counts(replay->sender);
    double seconds = (double)(base_monotonic_us() - replay->begun_us) / 1e6;
    fprintf(stderr, "\rreplay: %llu events sent, %.0f/s, %llu acknowledged ",
            (unsigned long long)counts.sent, (double)counts.sent / seconds,
            (unsigned long long)counts.delivered);
}

/* Waits until event `number` is due. */
static void pace(const struct replay *replay, uint64_t number)
{
    if (!replay->speed)
        return;
    int64_t due_us =
        replay->begun_us + (int64_t)(number * 1000000 / replay->speed);
    while (!stop_asked) {
        int64_t left = due_us - base_monotonic_us();
        if (left <= 0)
            return;
        if (left > 50000)
            left = 50000;
        nanosleep(&(struct timespec){.tv_nsec = left * 1000}, NULL);
    }
}

static enum base_status send_head(struct replay *replay, unsigned topic,
                                  struct base_error *error)
{
    const struct recording_record *head = &replay->heads[topic];
    if (framed(replay, topic)) {
        char *frame = recording_frame(replay->recordings[topic]);
        uint32_t id = __builtin_bswap32((uint32_t)replay->schema_ids[topic]);
        frame[0] = 0;
        memcpy(frame + 1, &id, sizeof id);
    }
    replay->disordered += head->event_ms < replay->latest_ms;
    if (head->event_ms > replay->latest_ms)
        replay->latest_ms = head->event_ms;
    replay->events[topic]++;
    return sender_send(replay->sender,
                       &(struct sender_record){
                           .topic = topic, .key = head->user,
                           .key_size = head->user_size, .value = head->value,
                           .size = head->size, .kafka_ms = head->event_ms},
                       error);
}

static enum base_status send_all(struct replay *replay,
                                 struct base_error *error)
{
    for (uint64_t number = 0; !stop_asked; number++) {
        struct recording *const *open = replay->recordings;
        if ((!open[0] && !open[1]) ||
            (replay->limit && number == replay->limit))
            return BASE_OK;
        unsigned topic = !open[INGEST_IMPRESSIONS] ||
                         (open[INGEST_CLICKS] &&
                          replay->heads[INGEST_CLICKS].event_ms <
                              replay->heads[INGEST_IMPRESSIONS].event_ms);
        pace(replay, number);
        if (send_head(replay, topic, error) || advance(replay, topic, error))
            return error->status;
        progress(replay);
    }
    return base_fail(error, BASE_STOPPED, "asked to stop");
}

static void print_summary(const struct replay *replay)
{
    struct sender_counts counts = sender_get_counts(replay->sender);
    if (isatty(STDERR_FILENO))
        fputc('\n', stderr);
    printf("{\"events\": %llu, \"impressions\": %llu, \"clicks\": %llu, "
           "\"acknowledged\": %llu, \"failed\": %llu, \"disordered\": %llu, "
           "\"bytes\": %llu, \"seconds\": %.3f}\n",
           (unsigned long long)counts.sent,
           (unsigned long long)replay->events[INGEST_IMPRESSIONS],
           (unsigned long long)replay->events[INGEST_CLICKS],
           (unsigned long long)counts.delivered,
           (unsigned long long)counts.failed,
           (unsigned long long)replay->disordered,
           (unsigned long long)counts.bytes,
           (double)(base_monotonic_us() - replay->begun_us) / 1e6);
}

static enum base_status run(struct replay *replay, struct base_error *error)
{
    enum base_status status = open_all(replay, error);
    replay->begun_us = base_monotonic_us();
    if (!status) {
        status = send_all(replay, error);
        struct base_error flushing;
        enum base_status flushed =
            sender_flush(replay->sender, FLUSH_MS, &flushing);
        if (flushed && (!status || status == BASE_STOPPED)) {
            status = flushed;
            *error = flushing;
        }
        print_summary(replay);
    }
    for (unsigned i = 0; i < INGEST_TOPICS; i++)
        recording_close(replay->recordings[i]);
    sender_close(replay->sender);
    return status;
}

static enum base_status read_speed(const char *text, uint64_t *speed,
                                   struct base_error *error)
{
    char *end;
    *speed = 0;
    if (!text || strcmp(text, "max") == 0)
        return BASE_OK;
    errno = 0;
    *speed = strtoull(text, &end, 10);
    if (errno || *end || text[0] == '-' || *speed == 0)
        return base_fail(error, BASE_USAGE,
                         "--speed is \"max\" or events a second, not \"%s\"",
                         text);
    return BASE_OK;
}

static enum base_status check(const struct replay *replay,
                              struct base_error *error)
{
    if (!replay->files[0] && !replay->files[1])
        return base_fail(error, BASE_USAGE,
                         "--impressions, --clicks or both must be given");
    for (unsigned i = 0; i < INGEST_TOPICS; i++)
        if (replay->files[i] && framed(replay, i) &&
            (replay->schema_ids[i] == 0 || replay->schema_ids[i] > UINT32_MAX))
            return base_fail(error, BASE_USAGE,
                             "topic %s is framed: --%s-schema-id is needed",
                             replay->config.ingest.topics[i].name,
                             i ? "click" : "impression");
    return BASE_OK;
}

static enum base_status parse(struct replay *replay, int argc, char **argv,
                              struct base_error *error)
{
    const char *file = NULL, *speed = NULL;
    struct option_list sets = {0};
    const struct option table[] = {
        {"config", OPTION_TEXT, &file, "FILE", true, "configuration"},
        {"set", OPTION_LIST, &sets, "KEY=VALUE", false,
         "a setting instead of the file's; may be repeated"},
        {"impressions", OPTION_TEXT, &replay->files[0], "FILE", false,
         "Avro container file of impressions, in event-time order"},
        {"clicks", OPTION_TEXT, &replay->files[1], "FILE", false,
         "Avro container file of clicks, in event-time order"},
        {"speed", OPTION_TEXT, &speed, "max|N", false,
         "events a second; max by default"},
        {"limit", OPTION_UNSIGNED, &replay->limit, "N", false,
         "end after N events"},
        {"window-bytes", OPTION_UNSIGNED, &replay->window, "N", false,
         "stay within N bytes a partition of the group's committed offset; "
         "0, the default: no limit"},
        {"impression-schema-id", OPTION_UNSIGNED, &replay->schema_ids[0], "ID",
         false, "of the file's schema, where the topic is framed"},
        {"click-schema-id", OPTION_UNSIGNED, &replay->schema_ids[1], "ID",
         false, "the same for clicks"},
    };
    const struct options options = {
        .usage = "interestd replay --config FILE --impressions FILE "
                 "--clicks FILE [--speed max|N]",
        .about = "Sends recorded events to Kafka in event-time order, keyed "
                 "by user. The last line on standard output is a JSON summary.",
        .table = table, .count = sizeof table / sizeof table[0]};
    if (options_parse(&options, argc, argv, error) ||
        read_speed(speed, &replay->speed, error) ||
        daemon_config_load_with(file, sets.values, sets.count,
                                &replay->config, error))
        return error->status;
    return check(replay, error);
}

int daemon_replay_main(int argc, char **argv)
{
    struct base_error error = {.text = ""};
    struct replay *replay = calloc(1, sizeof *replay);
    enum base_status status =
        replay ? parse(replay, argc, argv, &error)
               : base_fail(&error, BASE_SYSTEM, "no memory");
    if (!status) {
        const struct sigaction action = {.sa_handler = ask_stop};
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
        status = run(replay, &error);
    }
    free(replay);
    return options_exit("replay", status, &error);
}
