/* SPDX-License-Identifier: Apache-2.0 */
/* Recorded impressions and clicks -> columns of samples, by ingest's own
 * decoder, state machine and journal, without brokers in between:
 *   quality_fill --config FILE --data FOLDER --columns FOLDER [--set K=V]...
 * FOLDER holds impressions.avro and clicks.avro in event-time order; they are
 * applied in the order in which `interestd replay` sends them, as one
 * partition a topic. The state of the configuration must be new. Impressions
 * whose window is open at the end of the data are not labelled. One thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "columns.h"
#include "daemon/config.h"
#include "daemon/options.h"
#include "daemon/recording.h"
#include "ingest/decoder.h"
#include "ingest/state.h"

static const char *const files[INGEST_TOPICS] = {"impressions.avro",
                                                 "clicks.avro"};

struct fill {
    struct daemon_config config;
    struct ingest_decoder *decoders[INGEST_TOPICS];
    struct recording *recordings[INGEST_TOPICS]; /* NULL at their end */
    struct recording_record heads[INGEST_TOPICS];
    struct ingest_state *state;
    int64_t own_ms[INGEST_TOPICS], apply_ms;
    int64_t offset[INGEST_TOPICS];
    uint64_t events, pending, dead, samples, batches;
};

static enum base_status advance(struct fill *fill, unsigned topic,
                                struct base_error *error)
{
    enum base_status status = recording_next(fill->recordings[topic],
                                             &fill->heads[topic], error);
    if (status != BASE_NO_INPUT)
        return status;
    recording_close(fill->recordings[topic]);
    fill->recordings[topic] = NULL;
    return BASE_OK;
}

static enum base_status open_all(struct fill *fill, const char *data,
                                 struct base_error *error)
{
    const struct ingest_config *config = &fill->config.ingest;
    enum base_status status = base_file_make_folder(fill->config.state, error);
    if (!status)
        status = base_file_make_folder(config->folder, error);
    for (unsigned i = 0; !status && i < INGEST_TOPICS; i++) {
        char path[1200];
        status = base_file_join(path, sizeof path, data, files[i], error);
        if (!status)
            status = recording_open(path, &config->topics[i].mapping, 0,
                                    &fill->recordings[i], error);
        if (!status)
            status = ingest_decoder_new(config, i, NULL, &fill->decoders[i],
                                        error);
        if (!status)
            status = advance(fill, i, error);
    }
    if (!status)
        status = ingest_state_open(config, &fill->state, error);
    if (!status)
        status = ingest_state_begin(fill->state, error);
    for (unsigned i = 0; !status && i < INGEST_TOPICS; i++)
        status = ingest_state_start_partition(fill->state, (uint8_t)i, 0, 0,
                                              error);
    return status;
}

/* ---- events --------------------------------------------------------------- */

static enum base_status commit(struct fill *fill, struct base_error *error)
{
    fill->pending = 0;
    enum base_status status = ingest_state_commit(fill->state, error);
    return status ? status : ingest_state_begin(fill->state, error);
}

static enum base_status apply(struct fill *fill,
                              const struct ingest_event *event,
                              struct base_error *error)
{
    enum base_status status = ingest_state_apply(fill->state, event, error);
    /* Very many windows closed in this transaction, or the journal is full,
     * which it cannot get rid of here: the second refusal is final. */
    if (status == BASE_AGAIN && !(status = commit(fill, error)))
        status = ingest_state_apply(fill->state, event, error);
    return status;
}

static enum base_status take_head(struct fill *fill, unsigned topic,
                                  struct base_error *error)
{
    const struct recording_record *head = &fill->heads[topic];
    uint64_t ids[LEARNER_FIELDS_MAX];
    struct ingest_event event = {.topic = (uint8_t)topic,
                                 .offset = fill->offset[topic]++,
                                 .kafka_ms = head->event_ms};
    ingest_decoder_read(fill->decoders[topic], (const uint8_t *)head->value,
                        head->size, &event, ids);
    if (head->event_ms > fill->own_ms[topic])
        fill->own_ms[topic] = head->event_ms;
    if (head->event_ms > fill->apply_ms)
        fill->apply_ms = head->event_ms;
    event.own_ms = fill->own_ms[topic];
    event.apply_ms = fill->apply_ms;
    event.ids = event.kind == INGEST_EVENT_DEAD ? NULL : ids;
    enum base_status status = apply(fill, &event, error);
    fill->events++;
    if (event.kind == INGEST_EVENT_DEAD) {
        fill->dead++;
        free((void *)(uintptr_t)event.payload);
    }
    if (!status && ++fill->pending >= fill->config.ingest.commit_events)
        status = commit(fill, error);
    return status;
}

static enum base_status apply_all(struct fill *fill, struct base_error *error)
{
    for (;;) {
        struct recording *const *open = fill->recordings;
        if (!open[0] && !open[1])
            break;
        unsigned topic = !open[INGEST_IMPRESSIONS] ||
                         (open[INGEST_CLICKS] &&
                          fill->heads[INGEST_CLICKS].event_ms <
                              fill->heads[INGEST_IMPRESSIONS].event_ms);
        if (take_head(fill, topic, error) || advance(fill, topic, error))
            return error->status;
    }
    enum base_status status = ingest_state_end_batch(fill->state, error);
    return status ? status : ingest_state_commit(fill->state, error);
}

/* ---- samples -------------------------------------------------------------- */

static enum base_status export_all(struct fill *fill, const char *folder,
                                   struct base_error *error)
{
    struct ingest_journal *journal = NULL;
    struct columns_writer *writer = NULL;
    enum base_status status =
        ingest_journal_new(fill->state, &journal, error);
    if (!status)
        status = columns_create(folder, &fill->config.ingest.schema, &writer,
                                error);
    while (!status) {
        struct learner_batch batch;
        status = ingest_journal_next(journal, fill->samples, 0, &batch, error);
        if (!status)
            status = columns_append(writer, &batch, error);
        if (!status) {
            fill->samples = batch.end;
            fill->batches++;
        }
    }
    if (status == BASE_AGAIN)
        status = BASE_OK;
    struct base_error closing;
    enum base_status closed = columns_finish(writer, &closing);
    if (closed && !status) {
        status = closed;
        *error = closing;
    }
    ingest_journal_free(journal);
    return status;
}

static void close_all(struct fill *fill)
{
    for (unsigned i = 0; i < INGEST_TOPICS; i++) {
        recording_close(fill->recordings[i]);
        ingest_decoder_free(fill->decoders[i]);
    }
    ingest_state_free(fill->state);
    free(fill);
}

int main(int argc, char **argv)
{
    const char *config = NULL, *data = NULL, *columns = NULL;
    struct option_list sets = {0};
    const struct option table[] = {
        {"config", OPTION_TEXT, &config, "FILE", true, "configuration"},
        {"data", OPTION_TEXT, &data, "FOLDER", true, "both recordings"},
        {"columns", OPTION_TEXT, &columns, "FOLDER", true, "made"},
        {"set", OPTION_LIST, &sets, "KEY=VALUE", false,
         "a setting over the file's; may be repeated"},
    };
    const struct options options = {
        .usage = "quality_fill --config FILE --data FOLDER --columns FOLDER",
        .about = "Turns recorded events into columns of samples.",
        .table = table,
        .count = sizeof table / sizeof table[0]};
    struct base_error error = {0};
    struct fill *fill = calloc(1, sizeof *fill);
    enum base_status status = options_parse(&options, argc, argv, &error);
    if (!status && !fill)
        status = base_fail(&error, BASE_SYSTEM, "no memory");
    if (!status)
        status = daemon_config_load_with(config, sets.values, sets.count,
                                         &fill->config, &error);
    if (!status)
        status = open_all(fill, data, &error);
    if (!status)
        status = apply_all(fill, &error);
    if (!status)
        status = export_all(fill, columns, &error);
    if (!status)
        printf("{\"events\":%llu,\"dead\":%llu,\"samples\":%llu,"
               "\"batches\":%llu}\n",
               (unsigned long long)fill->events,
               (unsigned long long)fill->dead,
               (unsigned long long)fill->samples,
               (unsigned long long)fill->batches);
    if (fill)
        close_all(fill);
    return options_exit("quality_fill", status, &error);
}
