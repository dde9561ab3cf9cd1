/* SPDX-License-Identifier: Apache-2.0 */
/* Events per second through the state machine, full-sync commits included:
 * pages of 5 impressions and one click (of one of them, or organic) by users
 * drawn with a skew, four partitions, event time advancing so that windows
 * close all the while.
 * bench_state [events] [users] [commit_events] [window_ms]; JSON on the last
 * line, with the time that a restart takes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/random.h"
#include "ingest/state.h"

enum { PAGE = 6, FIELDS = 7, ITEMS = 3, PROFILE = 2, PARTITIONS = 4 };

struct bench {
    struct ingest_state *state;
    struct base_error error;
    uint64_t users, commit_events;
    int64_t next[INGEST_TOPICS][PARTITIONS];
    int64_t own[INGEST_TOPICS][PARTITIONS];
    uint64_t commit_us, commits;
    int64_t max_commit_us;
};

static void die(const struct bench *bench)
{
    fprintf(stderr, "bench_state: %s\n", bench->error.text);
    exit(1);
}

static void configure(struct ingest_config *config, const char *folder,
                      int64_t window_ms)
{
    memset(config, 0, sizeof *config);
    snprintf(config->folder, sizeof config->folder, "%s", folder);
    struct learner_schema *schema = &config->schema;
    schema->field_count = schema->table_count = FIELDS;
    schema->profile_count = PROFILE;
    schema->item_count = ITEMS;
    schema->context_count = FIELDS - ITEMS - PROFILE;
    for (unsigned i = 0; i < FIELDS; i++) {
        snprintf(schema->fields[i].name, LEARNER_NAME_MAX, "field%u", i);
        snprintf(schema->tables[i].name, LEARNER_NAME_MAX, "field%u", i);
        schema->fields[i].table = (uint16_t)i;
        schema->fields[i].group =
            i < PROFILE            ? LEARNER_PROFILE
            : i < PROFILE + ITEMS ? LEARNER_ITEM
                                  : LEARNER_CONTEXT;
    }
    config->window_ms = window_ms;
    config->lateness_ms = 60000;
    config->skew_ms = 2000;
    config->history_max = 100;
    config->history_slack = 64;
    config->pending_max = 10000000;
    config->negative_keep = 1;
    config->map_bytes = (uint64_t)64 << 30;
    config->journal_max_bytes = (uint64_t)32 << 30;
    config->dead_letter_max_bytes = 1 << 20;
    config->batch_size = 128;
}

static void commit(struct bench *bench)
{
    int64_t begun_us = base_monotonic_us();
    if (ingest_state_commit(bench->state, &bench->error))
        die(bench);
    int64_t us = base_monotonic_us() - begun_us;
    bench->commit_us += (uint64_t)us;
    bench->commits++;
    if (us > bench->max_commit_us)
        bench->max_commit_us = us;
    if (ingest_state_begin(bench->state, &bench->error))
        die(bench);
}

static void apply(struct bench *bench, struct ingest_event *event, int64_t ms,
                  uint64_t user)
{
    int32_t partition = (int32_t)(user % PARTITIONS);
    event->partition = partition;
    event->offset = bench->next[event->topic][partition]++;
    event->event_ms = event->own_ms = event->apply_ms = event->kafka_ms = ms;
    event->user = base_random_mix(user + 1);
    if (ingest_state_apply(bench->state, event, &bench->error))
        die(bench);
}

/* Page `page`: 5 impressions, one click 12 pages' worth of time later. */
static void apply_page(struct bench *bench, uint64_t page)
{
    uint64_t draw = base_random_u64(1, 1, page, 0);
    /* Squared: a few users come often. */
    uint64_t skewed = base_random_below(
        (uint64_t)(((unsigned __int128)draw * draw) >> 64), bench->users);
    int64_t ms = 1700000000000 + (int64_t)(page * PAGE * 20);
    uint64_t ids[FIELDS];
    struct ingest_event event = {.ids = ids};
    for (unsigned i = 0; i < PAGE; i++) {
        bool click = i == PAGE - 1;
        for (unsigned k = 0; k < FIELDS; k++)
            ids[k] = base_random_mix(base_random_u64(2, k, page, i) % 46000);
        event.kind = click ? INGEST_EVENT_CLICK : INGEST_EVENT_IMPRESSION;
        event.topic = click ? INGEST_CLICKS : INGEST_IMPRESSIONS;
        event.event_id = base_random_u64(3, click, page, i) | 1;
        event.impression =
            click ? base_random_u64(3, 0, page, draw % 7 ? draw % 5 : 9) | 1
                  : event.event_id;
        apply(bench, &event, ms + i, skewed);
    }
}

/* Closes and opens again: what a restart waits for. */
static double reopen(struct bench *bench, const struct ingest_config *config)
{
    ingest_state_free(bench->state);
    int64_t begun_us = base_monotonic_us();
    if (ingest_state_open(config, &bench->state, &bench->error))
        die(bench);
    return (double)(base_monotonic_us() - begun_us) / 1e3;
}

static void report(struct bench *bench, const struct ingest_config *config,
                   uint64_t events, double seconds)
{
    double open_ms = reopen(bench, config);
    struct ingest_status *status = calloc(1, sizeof *status);
    if (!status)
        exit(1);
    ingest_state_status(bench->state, status);
    printf("{\"bench\":\"state\",\"events\":%llu,\"users\":%llu,"
           "\"commit_events\":%llu,\"seconds\":%.3f,"
           "\"events_per_second\":%.0f,\"commits\":%llu,"
           "\"commit_share\":%.3f,\"max_commit_ms\":%.1f,"
           "\"samples\":%llu,\"pending\":%llu,\"map_mb\":%llu,"
           "\"open_ms\":%.0f}\n",
           (unsigned long long)events, (unsigned long long)status->users,
           (unsigned long long)bench->commit_events, seconds,
           (double)events / seconds, (unsigned long long)bench->commits,
           (double)bench->commit_us / 1e6 / seconds,
           (double)bench->max_commit_us / 1e3,
           (unsigned long long)status->journal_end,
           (unsigned long long)status->pending,
           (unsigned long long)status->map_used_bytes >> 20, open_ms);
    free(status);
}

static void run(struct bench *bench, const struct ingest_config *config,
                uint64_t events)
{
    if (ingest_state_begin(bench->state, &bench->error))
        die(bench);
    for (unsigned i = 0; i < INGEST_TOPICS * PARTITIONS; i++)
        if (ingest_state_start_partition(bench->state,
                                         (uint8_t)(i / PARTITIONS),
                                         (int32_t)(i % PARTITIONS), 0,
                                         &bench->error))
            die(bench);
    int64_t begun_us = base_monotonic_us();
    uint64_t applied = 0, committed = 0;
    for (uint64_t page = 0; applied < events; page++) {
        apply_page(bench, page);
        applied += PAGE;
        if (applied - committed >= bench->commit_events) {
            commit(bench);
            committed = applied;
        }
    }
    commit(bench);
    report(bench, config, applied,
           (double)(base_monotonic_us() - begun_us) / 1e6);
}

int main(int argc, char **argv)
{
    struct bench bench = {.users = 100000, .commit_events = 20000};
    const char *base = getenv("TMPDIR");
    char folder[200], store[220];
    static struct ingest_config config;
    uint64_t events = argc > 1 ? strtoull(argv[1], NULL, 10) : 2000000;
    if (argc > 2)
        bench.users = strtoull(argv[2], NULL, 10);
    if (argc > 3)
        bench.commit_events = strtoull(argv[3], NULL, 10);
    snprintf(folder, sizeof folder, "%s/interestd-bench-XXXXXX",
             base && *base ? base : "/tmp");
    if (!mkdtemp(folder)) {
        perror("bench_state: mkdtemp");
        return 1;
    }
    snprintf(store, sizeof store, "%s/store", folder);
    configure(&config, store,
              argc > 4 ? (int64_t)strtoll(argv[4], NULL, 10) : 600000);
    if (ingest_state_open(&config, &bench.state, &bench.error))
        die(&bench);
    run(&bench, &config, events);
    ingest_state_free(bench.state);
    if (base_file_remove(folder, &bench.error))
        die(&bench);
    return 0;
}
