/* SPDX-License-Identifier: Apache-2.0 */
/* Forgetting users; see forget.h. */
#include "ingest/forget.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/digest.h"
#include "ingest/join.h"

static const struct ingest_bytes record_key = {"forget", 6};

struct record {
    uint64_t hash, format;
    struct ingest_forget_status status;
};

/* ---- names --------------------------------------------------------------- */

enum base_status ingest_forget_name(const struct ingest_config *config,
                                    const char *name,
                                    struct learner_forget *forget,
                                    struct base_error *error)
{
    const struct learner_schema *schema = &config->schema;
    const struct ingest_mapping *mapping =
        &config->topics[INGEST_IMPRESSIONS].mapping;
    bool seen[LEARNER_TABLES_MAX] = {false};
    size_t size = strlen(name);
    *forget = (struct learner_forget){0};
    if (size == 0)
        return base_fail(error, BASE_USAGE, "a user's id is not empty");
    forget->user = learner_id(learner_table_seed("user"), name, size);
    for (unsigned i = 0; i < schema->field_count; i++) {
        unsigned table = schema->fields[i].table;
        if (!*mapping->user || strcmp(mapping->fields[i], mapping->user) != 0 ||
            config->transforms[i].kind != INGEST_TRANSFORM_NONE || seen[table])
            continue;
        seen[table] = true;
        if (forget->rows == LEARNER_FORGET_ROWS)
            return base_fail(error, BASE_LIMIT,
                             "more than %d tables have a row of the user's id",
                             LEARNER_FORGET_ROWS);
        forget->row[forget->rows].table = table;
        forget->row[forget->rows++].key =
            learner_id(learner_table_seed(schema->tables[table].name), name,
                       size);
    }
    return BASE_OK;
}

enum base_status ingest_forget_id(const struct ingest_config *config,
                                  const char *digits,
                                  struct learner_forget *forget,
                                  struct base_error *error)
{
    struct learner_forget probe;
    if (strlen(digits) != 16 || strspn(digits, "0123456789abcdef") != 16 ||
        strspn(digits, "0") == 16)
        return base_fail(error, BASE_USAGE,
                         "\"%.40s\" is no id of a user: 16 hex digits in small "
                         "letters, as interestd inspect prints them",
                         digits);
    if (ingest_forget_name(config, "probe", &probe, error))
        return error->status;
    if (probe.rows)
        return base_fail(error, BASE_USAGE,
                         "table %s has a row of the user's id, which cannot "
                         "be told from %s: say the id as the producers write "
                         "it",
                         config->schema.tables[probe.row[0].table].name,
                         digits);
    *forget = (struct learner_forget){.user = strtoull(digits, NULL, 16)};
    return BASE_OK;
}

void ingest_forget_print(const struct learner_forget *forget,
                         char text[INGEST_FORGET_TEXT])
{
    int at = snprintf(text, INGEST_FORGET_TEXT, "%016" PRIx64, forget->user);
    for (uint32_t i = 0; i < forget->rows; i++)
        at += snprintf(text + at, (size_t)(INGEST_FORGET_TEXT - at),
                       " %" PRIu32 ":%016" PRIx64, forget->row[i].table,
                       forget->row[i].key);
}

bool ingest_forget_parse(const char *text, struct learner_forget *forget)
{
    char *end;
    *forget = (struct learner_forget){0};
    if (strspn(text, "0123456789abcdef") != 16)
        return false;
    forget->user = strtoull(text, &end, 16);
    while (*end == ' ') {
        if (forget->rows == LEARNER_FORGET_ROWS ||
            strspn(end + 1, "0123456789") == 0)
            return false;
        unsigned long table = strtoul(end + 1, &end, 10);
        if (table >= LEARNER_TABLES_MAX || *end != ':' ||
            strspn(end + 1, "0123456789abcdef") != 16)
            return false;
        forget->row[forget->rows].table = (uint32_t)table;
        forget->row[forget->rows++].key = strtoull(end + 1, &end, 16);
    }
    return *end == '\0';
}

/* ---- the record ---------------------------------------------------------- */

enum base_status ingest_forget_load(struct ingest_store *store,
                                    struct ingest_forget_status *status,
                                    struct base_error *error)
{
    struct record record;
    struct ingest_bytes value;
    *status = (struct ingest_forget_status){0};
    enum base_status got =
        ingest_store_get(store, INGEST_DB_META, record_key, &value, error);
    if (got || !value.data)
        return got;
    if (value.size != sizeof record)
        return base_fail(error, BASE_CORRUPT, "forget: a record of %zu bytes",
                         value.size);
    memcpy(&record, value.data, sizeof record);
    if (record.format != INGEST_FORGET_FORMAT ||
        record.hash != ingest_digest_64((const uint8_t *)&record + 8,
                                        sizeof record - 8, 0))
        return base_fail(error, BASE_CORRUPT,
                         "forget: the record does not verify");
    *status = record.status;
    return BASE_OK;
}

static enum base_status put_record(struct ingest_state *state,
                                   struct base_error *error)
{
    struct record record = {.format = INGEST_FORGET_FORMAT,
                            .status = state->forget};
    record.hash = ingest_digest_64((const uint8_t *)&record + 8,
                                   sizeof record - 8, 0);
    return ingest_store_put(state->store, INGEST_DB_META, record_key,
                            (struct ingest_bytes){&record, sizeof record},
                            error);
}

/* ---- what the state holds of them ---------------------------------------- */

static void impression_left(void *self, const struct ingest_waiting *waiting)
{
    struct ingest_state *state = self;
    if (state->config.label_mode == INGEST_LABEL_FNW)
        return; /* its offset left INGEST_WAITING when it was applied */
    ingest_ledger_settle(&state->ledger, INGEST_IMPRESSIONS,
                         waiting->partition, INGEST_FORGOTTEN);
    state->forget.offsets++;
}

static void click_left(void *self, const struct ingest_waiting *waiting)
{
    struct ingest_state *state = self;
    uint64_t front;
    while (ingest_early_peek(&state->early, waiting->link, &front) &&
           !ingest_pending_waits(&state->clicks, front))
        ingest_early_take(&state->early, waiting->link, &front);
    ingest_ledger_settle(&state->ledger, INGEST_CLICKS, waiting->partition,
                         INGEST_FORGOTTEN);
    state->forget.offsets++;
}

static enum base_status forget_waiting(struct ingest_state *state,
                                       const struct base_map *users,
                                       struct base_error *error)
{
    struct ingest_pending_forget impressions = {
        .users = users, .each = impression_left, .self = state};
    struct ingest_pending_forget clicks = {
        .users = users, .each = click_left, .self = state};
    enum base_status status =
        ingest_pending_forget(&state->impressions, &impressions, error);
    if (!status)
        status = ingest_pending_forget(&state->clicks, &clicks, error);
    state->forget.impressions += impressions.waiting;
    state->forget.clicks += clicks.waiting;
    state->forget.remembered += impressions.remembered + clicks.remembered;
    return status;
}

static enum base_status forget_sequences(struct ingest_state *state,
                                         const struct learner_forget *forgets,
                                         unsigned count,
                                         struct base_error *error)
{
    enum base_status status = BASE_OK;
    for (unsigned i = 0; !status && i < count; i++) {
        bool there = false;
        status = ingest_users_forget(state, forgets[i].user, &there, error);
        state->forget.sequences += there;
    }
    return status;
}

/* ---- decisions and journal ----------------------------------------------- */

static enum base_status record(struct ingest_state *state,
                               const struct learner_forget *forget,
                               struct base_error *error)
{
    char text[INGEST_FORGET_TEXT];
    struct ingest_event last;
    ingest_state_last(state, &last);
    ingest_forget_print(forget, text);
    enum base_status status =
        ingest_decision_put(state->store, &state->totals.letters, &last,
                            INGEST_DECISION_FORGET, text, error);
    return status ? status
                  : ingest_journal_forget(&state->journal, forget, error);
}

static enum base_status forget_held(struct ingest_state *state,
                                    const struct learner_forget *forgets,
                                    unsigned count,
                                    const struct base_map *users,
                                    struct base_error *error)
{
    enum base_status status = forget_waiting(state, users, error);
    if (!status)
        status = forget_sequences(state, forgets, count, error);
    if (!status)
        status = ingest_letter_forget(state->store, &state->totals.letters,
                                      users, &state->forget.letters, error);
    state->forget.users += base_map_size(users);
    return status;
}

/* A request that is done is followed by one of its own counts. */
static void start_request(struct ingest_state *state)
{
    struct ingest_forget_status *forget = &state->forget;
    if (forget->serial == forget->done)
        *forget = (struct ingest_forget_status){
            .serial = forget->serial,
            .done = forget->done,
            .first = state->journal.mark.position};
}

enum base_status ingest_state_forget(struct ingest_state *state,
                                     const struct learner_forget *forgets,
                                     unsigned count, struct base_error *error)
{
    struct base_map *users = NULL;
    enum base_status status = ingest_state_check_begun(state, error);
    if (!status)
        status = base_map_new(&users, 0, error);
    for (unsigned i = 0; !status && i < count; i++)
        if (forgets[i].user)
            status = base_map_put(users, forgets[i].user, 1, error);
    if (!status && base_map_size(users)) {
        start_request(state);
        status = forget_held(state, forgets, count, users, error);
    }
    for (unsigned i = 0; !status && i < count; i++)
        status = record(state, &forgets[i], error);
    base_map_free(users);
    return ingest_state_note(state, status);
}

enum base_status ingest_state_forget_asked(struct ingest_state *state,
                                           uint64_t serial, bool purge,
                                           struct base_error *error)
{
    enum base_status status = ingest_state_check_begun(state, error);
    if (status)
        return status;
    state->forget.serial = serial;
    state->forget.purge |= purge;
    state->forget.position = state->journal.mark.position;
    return ingest_state_note(state, put_record(state, error));
}

uint64_t ingest_state_forgets(const struct ingest_state *state)
{
    return state->forget.serial;
}

uint64_t ingest_state_forgets_done(const struct ingest_state *state)
{
    return state->forget.done;
}

enum base_status ingest_state_forget_done(struct ingest_state *state,
                                          uint64_t serial,
                                          struct base_error *error)
{
    enum base_status status = ingest_state_check_begun(state, error);
    if (status)
        return status;
    if (serial > state->forget.done && serial <= state->forget.serial)
        state->forget.done = serial;
    return ingest_state_note(state, put_record(state, error));
}
