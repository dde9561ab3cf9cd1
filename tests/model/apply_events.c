/* SPDX-License-Identifier: Apache-2.0 */
/* Applies a file of merged events to the state machine, without Kafka, and
 * prints what it holds afterwards: the state's side of test_differential.py.
 *   apply_events CONFIG EVENTS SEED OUTPUT
 * Commits fall at random places, every fourth one is followed by closing and
 * opening the state again; both are drawn from SEED, and nothing of it may
 * show in OUTPUT/{ledger,sequences,samples,meta}. One thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/random.h"
#include "daemon/config.h"
#include "ingest/ingest.h"
#include "ingest/state.h"

enum { PARTITIONS = 4, COMMIT_EVERY = 700, OPEN_EVERY = 4 };
enum { FORGET = 3 }; /* a record's kind: its user is forgotten */

/* One event in the file, little-endian, followed by `count` u64 ids. */
struct record {
    uint8_t kind, topic, reason, count;
    int32_t partition;
    int64_t offset, own_ms, apply_ms, event_ms;
    uint64_t user, event_id, impression;
};

struct run {
    const struct ingest_config *config;
    struct ingest_state *state;
    FILE *events;
    uint64_t seed, drawn;
};

static uint64_t draw(struct run *run, uint64_t below)
{
    return base_random_below(base_random_u64(run->seed, 0, 0, run->drawn++),
                             below);
}

static enum base_status start(struct run *run, struct base_error *error)
{
    enum base_status status =
        ingest_state_open(run->config, &run->state, error);
    if (!status)
        status = ingest_state_begin(run->state, error);
    for (int i = 0; !status && i < INGEST_TOPICS * PARTITIONS; i++)
        status = ingest_state_start_partition(
            run->state, (uint8_t)(i / PARTITIONS), i % PARTITIONS, 0, error);
    return status;
}

static enum base_status commit(struct run *run, struct base_error *error)
{
    enum base_status status = ingest_state_commit(run->state, error);
    if (!status && draw(run, OPEN_EVERY) == 0) {
        ingest_state_free(run->state);
        run->state = NULL;
        status = ingest_state_open(run->config, &run->state, error);
    }
    return status ? status : ingest_state_begin(run->state, error);
}

static enum base_status apply(struct run *run, const struct record *record,
                              const uint64_t *ids, struct base_error *error)
{
    static const uint8_t payload[] = {0xff};
    bool dead = record->kind == INGEST_EVENT_DEAD;
    struct ingest_event event = {.kind = record->kind,
                                 .topic = record->topic,
                                 .reason = record->reason,
                                 .partition = record->partition,
                                 .offset = record->offset,
                                 .kafka_ms = record->event_ms,
                                 .own_ms = record->own_ms,
                                 .apply_ms = record->apply_ms,
                                 .event_ms = record->event_ms,
                                 .user = record->user,
                                 .event_id = record->event_id,
                                 .impression = record->impression,
                                 .ids = dead ? NULL : ids,
                                 .payload = dead ? payload : NULL,
                                 .payload_size = dead ? sizeof payload : 0};
    return ingest_state_apply(run->state, &event, error);
}

static enum base_status apply_all(struct run *run, struct base_error *error)
{
    struct record record;
    uint64_t ids[UINT8_MAX];
    enum base_status status = start(run, error);
    while (!status && fread(&record, sizeof record, 1, run->events) == 1) {
        if (fread(ids, sizeof ids[0], record.count, run->events) !=
            record.count)
            return base_fail(error, BASE_DATA, "events: cut off");
        const struct learner_forget forget = {.user = record.user};
        status = record.kind == FORGET
                     ? ingest_state_forget(run->state, &forget, 1, error)
                     : apply(run, &record, ids, error);
        if (!status && draw(run, COMMIT_EVERY) == 0)
            status = commit(run, error);
    }
    return status ? status : ingest_state_commit(run->state, error);
}

static enum base_status print_all(const char *folder, const char *output,
                                  struct base_error *error)
{
    static const char *const views[] = {"ledger", "sequences", "samples",
                                        "meta"};
    enum base_status status = BASE_OK;
    for (unsigned i = 0; !status && i < sizeof views / sizeof *views; i++) {
        char path[2048];
        snprintf(path, sizeof path, "%s/%s", output, views[i]);
        FILE *out = fopen(path, "w");
        if (!out)
            return base_fail(error, BASE_EXISTS, "%s", path);
        status =
            ingest_inspect(folder, ingest_inspect_named(views[i]), out, error);
        if (fclose(out) && !status)
            status = base_fail(error, BASE_IO, "%s", path);
    }
    return status;
}

int main(int argc, char **argv)
{
    struct base_error error = {0};
    struct run run = {0};
    struct daemon_config *config = calloc(1, sizeof *config);
    enum base_status status =
        argc == 5 && config
            ? daemon_config_load(argv[1], config, &error)
            : base_fail(&error, BASE_USAGE,
                        "apply_events CONFIG EVENTS SEED OUTPUT");
    if (!status) {
        run.config = &config->ingest;
        run.seed = strtoull(argv[3], NULL, 10);
        run.events = fopen(argv[2], "rb");
        if (!run.events)
            status = base_fail(&error, BASE_NO_INPUT, "%s", argv[2]);
    }
    if (!status)
        status = base_file_make_folder(config->state, &error);
    if (!status)
        status = base_file_make_folder(config->ingest.folder, &error);
    if (!status)
        status = apply_all(&run, &error);
    ingest_state_free(run.state);
    if (!status)
        status = print_all(config->ingest.folder, argv[4], &error);
    if (run.events)
        fclose(run.events);
    free(config);
    if (status)
        fprintf(stderr, "apply_events: %s\n", error.text);
    return base_status_exit(status);
}
