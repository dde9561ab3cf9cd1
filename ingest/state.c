/* SPDX-License-Identifier: Apache-2.0 */
/* The state machine's life and transactions; the rules are in join.c, the
 * sequences in users.c, totals and status in totals.c, what operators do in
 * intervention.c.
 *
 * What is kept in memory (open blocks, the loaded user, ledger, totals) is
 * written in ingest_state_commit, in one LMDB transaction with everything
 * that was written before. After an error other than BASE_AGAIN the memory is
 * ahead of the disk: the state refuses to go on, and whoever opens it again
 * finds the last commit. */
#include "ingest/join.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "ingest/digest.h"
#include "ingest/outbox.h"
#include "ingest/stream.h"

enum { READER_CHECK_MS = 60000 };

static const struct ingest_bytes stream_key = {"stream", 6};

/* ---- open ---------------------------------------------------------------- */

static enum base_status put_stream(struct ingest_state *state,
                                   const char *text, struct base_error *error)
{
    return ingest_store_put(state->store, INGEST_DB_META, stream_key,
                            (struct ingest_bytes){text, strlen(text) + 1},
                            error);
}

/* Compares the stored configuration with ours; *changed where it must be
 * written. */
static enum base_status check_stream(struct ingest_state *state,
                                     bool *changed, struct base_error *error)
{
    struct ingest_bytes stored;
    char changes[512] = "", *text = NULL;
    enum base_status status = ingest_stream_text(&state->config, &text, error);
    if (status)
        return status;
    status = ingest_store_get(state->store, INGEST_DB_META, stream_key,
                              &stored, error);
    if (!status && stored.data &&
        ((const char *)stored.data)[stored.size - 1] != '\0')
        status = base_fail(error, BASE_CORRUPT,
                           "state: the stored configuration has no end");
    if (!status && stored.data)
        status = ingest_stream_compare(stored.data, text, changes,
                                       sizeof changes, error);
    if (!status && changes[0]) {
        struct ingest_event last;
        ingest_state_last(state, &last);
        status = ingest_decision_put(state->store, &state->totals.letters,
                                     &last, INGEST_DECISION_CONFIGURATION,
                                     changes, error);
    }
    *changed = !status && (!stored.data || changes[0]);
    if (*changed)
        status = put_stream(state, text, error);
    free(text);
    return status;
}

static enum base_status add_early(void *self,
                                  const struct ingest_waiting *waiting,
                                  uint64_t ref, struct base_error *error)
{
    struct ingest_early *early = self;
    return ingest_early_add(early, waiting->link, ref, error);
}

/* Reads everything within one write transaction, which is kept only where the
 * configuration is new. */
static enum base_status load(struct ingest_state *state,
                             struct base_error *error)
{
    bool changed = false;
    enum base_status status = ingest_store_begin(state->store, error);
    if (status)
        return status;
    status = ingest_totals_load(state, error);
    if (!status)
        status = check_stream(state, &changed, error);
    if (!status)
        status = ingest_forget_load(state->store, &state->forget, error);
    if (!status)
        status = ingest_ledger_load(&state->ledger, error);
    if (!status)
        status = ingest_pending_load(&state->impressions, NULL, NULL, error);
    if (!status)
        status = ingest_pending_load(&state->clicks, add_early, &state->early,
                                     error);
    if (!status)
        status = ingest_journal_load(&state->journal, error);
    if (!status && changed)
        status = ingest_totals_put(state, error);
    if (!status && changed)
        return ingest_store_commit(state->store, error);
    ingest_store_abort(state->store);
    return status;
}

static enum base_status check_config(const struct ingest_config *config,
                                     struct base_error *error)
{
    uint64_t capacity =
        (uint64_t)config->history_max + config->history_slack;
    if (config->history_max == 0 ||
        config->history_max > LEARNER_HISTORY_MAX || capacity > UINT16_MAX - 1)
        return base_fail(error, BASE_CONFIG,
                         "state: ingest.history_max %u with slack %u is not "
                         "in 1..%d, together below 65535",
                         config->history_max, config->history_slack,
                         LEARNER_HISTORY_MAX);
    if (config->window_ms < 0 || config->lateness_ms < 0 ||
        config->skew_ms < 0 || config->history_ttl_ms < 0 ||
        config->pending_max == 0)
        return base_fail(error, BASE_CONFIG,
                         "state: ingest.window_ms, lateness_ms, skew_ms and "
                         "history_ttl_ms are 0 or more, pending_max 1 or "
                         "more");
    if (config->schema.item_count == 0 ||
        config->schema.field_count > LEARNER_FIELDS_MAX)
        return base_fail(error, BASE_CONFIG,
                         "state: 1 item field at least, %d fields at most",
                         LEARNER_FIELDS_MAX);
    return BASE_OK;
}

static enum base_status make_parts(struct ingest_state *state,
                                   struct base_error *error)
{
    const struct ingest_config *config = &state->config;
    const struct learner_schema *schema = &config->schema;
    state->history =
        malloc(8 * (size_t)config->history_max * schema->item_count);
    if (!state->history)
        return base_fail(error, BASE_SYSTEM, "state: no memory");
    enum base_status status =
        ingest_ledger_init(&state->ledger, state->store, error);
    if (!status)
        status = ingest_pending_init(&state->impressions, state->store,
                                     &state->ledger, INGEST_IMPRESSIONS,
                                     schema->field_count, config->lateness_ms,
                                     error);
    if (!status)
        status = ingest_pending_init(&state->clicks, state->store,
                                     &state->ledger, INGEST_CLICKS,
                                     schema->item_count, config->lateness_ms,
                                     error);
    if (!status)
        status = ingest_early_init(&state->early, error);
    state->impressions.remembered_max = config->remembered_max;
    state->clicks.remembered_max = config->remembered_max;
    if (!status)
        status = ingest_sequence_init(
            &state->user, schema->item_count,
            config->history_max + config->history_slack, error);
    if (!status)
        status =
            ingest_journal_init(&state->journal, state->store, config, error);
    return status;
}

/* ---- life ---------------------------------------------------------------- */

static enum base_status publish_loaded(struct ingest_state *state,
                                       struct base_error *error)
{
    enum base_status status = ingest_store_begin(state->store, error);
    if (status)
        return status;
    uint64_t users = ingest_store_count(state->store, INGEST_DB_SEQUENCES);
    ingest_store_abort(state->store);
    ingest_totals_publish(state, users, 0);
    ingest_feed_signal(&state->feed, state->journal.mark.batch_first);
    return BASE_OK;
}

enum base_status ingest_state_open(const struct ingest_config *config,
                                   struct ingest_state **state,
                                   struct base_error *error)
{
    enum base_status status = check_config(config, error);
    if (status)
        return status;
    struct ingest_state *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "state: no memory");
    made->config = *config;
    status = ingest_store_open_at(config->folder, config->map_start_bytes,
                                  config->map_bytes, &made->store, error);
    if (!status) {
        ingest_feed_init(&made->feed, made->store, config->schema.field_count,
                         config->schema.item_count);
        pthread_mutex_init(&made->status_mutex, NULL);
        made->opened = true;
        status = make_parts(made, error);
    }
    if (!status)
        status = load(made, error);
    if (!status)
        status = publish_loaded(made, error);
    if (status) {
        ingest_state_free(made);
        return status == BASE_CORRUPT
                   ? base_wrap(error,
                               "state folder %s is damaged; restore a backup, "
                               "or name a new one (Kafka is read from its "
                               "beginning then)",
                               config->folder)
                   : status;
    }
    *state = made;
    return BASE_OK;
}

void ingest_state_free(struct ingest_state *state)
{
    if (!state)
        return;
    if (state->opened) {
        ingest_feed_fini(&state->feed);
        pthread_mutex_destroy(&state->status_mutex);
    }
    ingest_store_free(state->store);
    ingest_pending_fini(&state->impressions);
    ingest_pending_fini(&state->clicks);
    ingest_early_fini(&state->early);
    ingest_sequence_fini(&state->user);
    ingest_journal_fini(&state->journal);
    ingest_ledger_fini(&state->ledger);
    free(state->history);
    free(state);
}

/* ---- positions ----------------------------------------------------------- */

const struct ingest_position *ingest_state_positions(struct ingest_state *state,
                                                     unsigned *count)
{
    struct ingest_ledger *ledger = &state->ledger;
    for (unsigned i = 0; i < ledger->count; i++)
        ledger->positions[i] = ledger->partitions[i].position;
    *count = ledger->count;
    return ledger->positions;
}

const char *ingest_state_cluster(struct ingest_state *state)
{
    return state->totals.cluster;
}

uint64_t ingest_state_epoch(const struct ingest_state *state)
{
    return state->totals.epoch;
}

/* ---- transactions -------------------------------------------------------- */

enum base_status ingest_state_note(struct ingest_state *state,
                                   enum base_status status)
{
    if (status && status != BASE_AGAIN)
        state->broken = true;
    return status;
}

enum base_status ingest_state_check_begun(const struct ingest_state *state,
                                          struct base_error *error)
{
    if (state->broken)
        return base_fail(error, BASE_BROKEN,
                         "state: an earlier error ended this transaction");
    if (!ingest_store_begun(state->store))
        return base_fail(error, BASE_BROKEN, "state: nothing is begun");
    return BASE_OK;
}

enum base_status ingest_state_begin(struct ingest_state *state,
                                    struct base_error *error)
{
    if (state->broken)
        return base_fail(error, BASE_BROKEN,
                         "state: an earlier error ended this state");
    if (ingest_store_begun(state->store))
        return base_fail(error, BASE_BROKEN, "state: is begun already");
    state->fired = 0;
    return ingest_state_note(state, ingest_store_begin(state->store, error));
}

enum base_status ingest_state_set_cluster(struct ingest_state *state,
                                          const char *cluster_id,
                                          struct base_error *error)
{
    enum base_status status = ingest_state_check_begun(state, error);
    if (status)
        return status;
    if (strlen(cluster_id) >= sizeof state->totals.cluster)
        return base_fail(error, BASE_LIMIT, "state: a cluster id of %zu bytes",
                         strlen(cluster_id));
    memset(state->totals.cluster, 0, sizeof state->totals.cluster);
    memcpy(state->totals.cluster, cluster_id, strlen(cluster_id));
    return BASE_OK;
}

enum base_status ingest_state_start_partition(struct ingest_state *state,
                                              uint8_t topic, int32_t partition,
                                              int64_t first_offset,
                                              struct base_error *error)
{
    enum base_status status = ingest_state_check_begun(state, error);
    if (!status)
        status = ingest_ledger_start(&state->ledger, topic, partition,
                                     first_offset, error);
    if (status || state->totals.events == 0)
        return status;
    return ingest_state_note_start(state, topic, partition, first_offset,
                                   error);
}

static enum base_status decide(struct ingest_state *state,
                               const struct ingest_event *event,
                               struct base_error *error)
{
    uint8_t kind = event->decisions &
                   (INGEST_FLOORED | INGEST_CLAMPED | INGEST_AHEAD |
                    INGEST_UNREGISTERED);
    if (!kind)
        return BASE_OK;
    state->totals.floored += (kind & INGEST_FLOORED) != 0;
    state->totals.clamped += (kind & INGEST_CLAMPED) != 0;
    return ingest_decision_put(state->store, &state->totals.letters, event,
                               kind, "", error);
}

enum base_status ingest_state_room(const struct ingest_state *state,
                                   struct base_error *error)
{
    enum base_status status = ingest_journal_room(&state->journal, error);
    if (!status && ingest_store_tight(state->store))
        return base_fail(error, BASE_AGAIN,
                         "state: the map grows with the next transaction");
    return status;
}

/* Fires what is due. Where a cap stops it half way, the key of
 * the last applied event moves to the time reached: a record that comes in
 * earlier after a restart must be floored. */
static enum base_status fire(struct ingest_state *state,
                             const struct ingest_event *event,
                             struct base_error *error)
{
    struct ingest_event reached = {.partition = INT32_MIN,
                                   .offset = -1,
                                   .own_ms = INT64_MIN,
                                   .apply_ms = event->apply_ms};
    enum base_status status =
        ingest_join_fire(state, event->apply_ms, error);
    if (!status)
        status = ingest_state_room(state, error);
    if (status == BASE_AGAIN)
        ingest_totals_advance(state, &reached);
    return status;
}

enum base_status ingest_state_apply(struct ingest_state *state,
                                    const struct ingest_event *event,
                                    struct base_error *error)
{
    enum base_status status = ingest_state_check_begun(state, error);
    if (status)
        return status;
    struct ingest_partition *partition =
        ingest_ledger_find(&state->ledger, event->topic, event->partition);
    if (!partition)
        return ingest_state_note(
            state, base_fail(error, BASE_BROKEN,
                             "state: partition %d of topic %d was "
                             "never started",
                             (int)event->partition, event->topic));
    if ((status = fire(state, event, error)))
        return ingest_state_note(state, status);
    status = ingest_ledger_advance(partition, event, error);
    if (!status)
        status = decide(state, event, error);
    if (!status)
        status = ingest_join_apply(state, partition, event, error);
    if (status)
        return ingest_state_note(state, status);
    state->totals.events++;
    ingest_totals_advance(state, event);
    return BASE_OK;
}

uint64_t ingest_state_batch_end(const struct ingest_state *state)
{
    return state->journal.mark.batch_first;
}

uint64_t ingest_state_journal_end(const struct ingest_state *state)
{
    return state->journal.mark.position;
}

bool ingest_state_has_room(const struct ingest_state *state)
{
    return ingest_journal_room(&state->journal, NULL) == BASE_OK;
}

enum base_status ingest_state_end_batch(struct ingest_state *state,
                                        struct base_error *error)
{
    enum base_status status = ingest_state_check_begun(state, error);
    return status ? status
                  : ingest_state_note(state, ingest_journal_end_batch(
                                                 &state->journal, error));
}

uint32_t ingest_state_open_samples(const struct ingest_state *state,
                                   int64_t *oldest_ms)
{
    const struct ingest_journal_mark *mark = &state->journal.mark;
    *oldest_ms = state->journal.open_since_ms;
    return (uint32_t)(mark->position - mark->batch_first);
}

enum base_status ingest_state_trim(struct ingest_state *state,
                                   uint64_t position, struct base_error *error)
{
    enum base_status status = ingest_state_check_begun(state, error);
    return status
               ? status
               : ingest_state_note(state, ingest_journal_trim(&state->journal,
                                                              position, error));
}

static enum base_status flush(struct ingest_state *state,
                              struct base_error *error)
{
    enum base_status status = ingest_users_save(state, error);
    if (!status)
        status = ingest_pending_flush(&state->impressions, error);
    if (!status)
        status = ingest_pending_flush(&state->clicks, error);
    if (!status)
        status = ingest_journal_flush(&state->journal, error);
    if (!status)
        status = ingest_ledger_flush(&state->ledger, error);
    return status ? status : ingest_totals_put(state, error);
}

enum base_status ingest_state_commit(struct ingest_state *state,
                                     struct base_error *error)
{
    int64_t begun_us = base_monotonic_us();
    enum base_status status = ingest_state_check_begun(state, error);
    if (status)
        return status;
    state->totals.commits++;
    status = flush(state, error);
    uint64_t users = ingest_store_count(state->store, INGEST_DB_SEQUENCES);
    if (!status)
        status = ingest_store_commit(state->store, error);
    if (status) {
        state->broken = true;
        return base_wrap(error, "state: commit");
    }
    ingest_totals_publish(state, users, base_monotonic_us() - begun_us);
    if (begun_us / 1000 - state->readers_checked_ms >= READER_CHECK_MS) {
        /* A killed reader's slot would keep old pages for ever. */
        state->readers_checked_ms = begun_us / 1000;
        state->dead_readers +=
            (uint64_t)ingest_store_check_readers(state->store);
    }
    ingest_feed_signal(&state->feed, state->journal.mark.batch_first);
    return BASE_OK;
}

/* ---- outbox, epoch, journal ---------------------------------------------- */

enum base_status ingest_state_outbox_put(struct ingest_state *state,
                                         uint64_t epoch, uint64_t version,
                                         const void *row, size_t size,
                                         struct base_error *error)
{
    enum base_status status = ingest_state_check_begun(state, error);
    return status ? status
                  : ingest_state_note(
                        state, ingest_outbox_put(state->store, epoch, version,
                                                 row, size, error));
}

enum base_status ingest_state_outbox_sent(struct ingest_state *state,
                                          uint64_t epoch, uint64_t version,
                                          struct base_error *error)
{
    enum base_status status = ingest_state_check_begun(state, error);
    return status ? status
                  : ingest_state_note(state,
                                      ingest_outbox_sent(state->store, epoch,
                                                         version, error));
}

enum base_status ingest_state_outbox_next(struct ingest_state *state,
                                          uint64_t *epoch, uint64_t *version,
                                          void **row, size_t *size,
                                          struct base_error *error)
{
    enum base_status status = ingest_state_check_begun(state, error);
    return status ? status
                  : ingest_outbox_next(state->store, epoch, version, row, size,
                                       error);
}

bool ingest_state_outbox_announced(struct ingest_state *state, uint64_t epoch,
                                   uint64_t version)
{
    bool announced = false, begun = ingest_store_begun(state->store);
    if (!begun && ingest_store_begin(state->store, NULL))
        return false;
    enum base_status status = ingest_outbox_announced(
        state->store, epoch, version, &announced, NULL);
    if (!begun)
        ingest_store_abort(state->store);
    return !status && announced;
}

enum base_status ingest_state_set_epoch(struct ingest_state *state,
                                        uint64_t epoch,
                                        struct base_error *error)
{
    enum base_status status = ingest_state_check_begun(state, error);
    if (!status)
        state->totals.epoch = epoch;
    return status;
}

enum base_status ingest_journal_new(struct ingest_state *state,
                                    struct ingest_journal **journal,
                                    struct base_error *error)
{
    return ingest_feed_open(&state->feed, journal, error);
}
