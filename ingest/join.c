/* SPDX-License-Identifier: Apache-2.0 */
/* The rules by which events become labels, samples and behaviors.
 *
 * 1. Before an event with apply_ms A all timers with due < A fire, in the
 *    order (due, impressions before clicks, partition, user, event_ms,
 *    offset). So when it is applied nothing waits that is due.
 * 2. "Late" is judged by the event's own partition alone; what is late never
 *    labels and is not remembered.
 * 3. A click joins an open impression of the same user when its time is in
 *    [t_i - skew, t_i + window]. Its behavior has the time max(t_c, t_i), so
 *    an impression never sees its own click.
 * 4. A history holds what had been applied when the impression was, with a
 *    time below its own, whenever it is cut.
 * Thread: store. It does not know transactions or offsets. */
#include "ingest/join.h"

#include <string.h>

#include "base/random.h"
#include "ingest/skew.h"

static int64_t add_ms(int64_t a, int64_t b)
{
    int64_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return b > 0 ? INT64_MAX : INT64_MIN;
    return sum;
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static bool is_late(const struct ingest_state *state,
                    const struct ingest_event *event)
{
    return event->event_ms <
           add_ms(event->own_ms, -state->config.lateness_ms);
}

static bool is_fnw(const struct ingest_state *state)
{
    return state->config.label_mode == INGEST_LABEL_FNW;
}

/* ---- samples ------------------------------------------------------------- */

static enum base_status emit(struct ingest_state *state,
                             const struct ingest_waiting *impression,
                             const uint64_t *ids,
                             enum learner_sample_kind kind, uint8_t label,
                             struct base_error *error)
{
    bool cut;
    enum base_status status =
        ingest_users_load(state, impression->user, error);
    if (status)
        return status;
    uint32_t count = ingest_sequence_history(
        &state->user, impression->event_ms, impression->ordinal,
        state->config.history_ttl_ms, state->config.history_max,
        state->history, &cut);
    state->totals.history_cut += cut;
    struct ingest_sample sample = {.kind = kind,
                                   .label = label,
                                   .user = impression->user,
                                   .event_ms = impression->event_ms,
                                   .ids = ids,
                                   .history = state->history,
                                   .history_count = count};
    return ingest_journal_sample(&state->journal, &sample, error);
}

static bool keeps_negative(const struct ingest_state *state, uint64_t id)
{
    return (double)(base_random_mix(id) >> 11) * 0x1p-53 <
           state->config.negative_keep;
}

/* Window mode: the label is final, the offset leaves INGEST_WAITING. */
static enum base_status close_window(struct ingest_state *state,
                                     const struct ingest_waiting *impression,
                                     const uint64_t *ids, bool clicked,
                                     struct base_error *error)
{
    enum ingest_bucket bucket = clicked ? INGEST_POSITIVE : INGEST_NEGATIVE;
    enum base_status status = BASE_OK;
    if (!clicked && !keeps_negative(state, impression->id))
        bucket = INGEST_DOWN_SAMPLED;
    else
        status = emit(state, impression, ids, LEARNER_WINDOW, clicked, error);
    ingest_ledger_settle(&state->ledger, INGEST_IMPRESSIONS,
                         impression->partition, bucket);
    return status;
}

static enum base_status close_impression(struct ingest_state *state,
                                         uint64_t ref,
                                         struct base_error *error)
{
    struct ingest_waiting impression;
    uint64_t ids[LEARNER_FIELDS_MAX];
    enum base_status status =
        ingest_pending_get(&state->impressions, ref, &impression, ids, error);
    if (status)
        return status;
    bool clicked = ingest_pending_clicked(&state->impressions, ref);
    ingest_pending_resolve(&state->impressions, ref);
    if (is_fnw(state))
        return ingest_journal_final(&state->journal, impression.link, clicked,
                                    error);
    return close_window(state, &impression, ids, clicked, error);
}

/* ---- clicks -------------------------------------------------------------- */

/* What joining needs of a click, fresh or from the blocks. */
struct click {
    uint64_t user;
    int64_t event_ms;
    int32_t partition;
    const uint64_t *ids; /* (f) */
};

static enum base_status behave(struct ingest_state *state,
                               const struct click *click,
                               struct base_error *error)
{
    return ingest_users_behave(state, click->user, click->partition,
                               click->event_ms, click->ids, error);
}

static enum base_status join_matching(struct ingest_state *state,
                                      const struct click *click, uint64_t ref,
                                      const struct ingest_waiting *impression,
                                      const uint64_t *ids,
                                      enum ingest_bucket *bucket,
                                      struct base_error *error)
{
    enum base_status status = BASE_OK;
    *bucket = INGEST_JOINED_CLICK;
    if (!ingest_pending_clicked(&state->impressions, ref)) {
        ingest_pending_click(&state->impressions, ref);
        if (is_fnw(state)) {
            *bucket = INGEST_POSITIVE;
            status = emit(state, impression, ids, LEARNER_FNW_POSITIVE, 1,
                          error);
        }
    }
    if (!status)
        status = ingest_users_behave(
            state, click->user, click->partition,
            later(click->event_ms, impression->event_ms),
            ids + state->config.schema.profile_count, error);
    if (!status)
        status = ingest_users_seen(state, click->user, impression->partition,
                                   error);
    return status;
}

/* The click names the open impression at `ref`. */
static enum base_status join_click(struct ingest_state *state,
                                   const struct click *click, uint64_t ref,
                                   enum ingest_bucket *bucket,
                                   struct base_error *error)
{
    const struct ingest_config *config = &state->config;
    struct ingest_waiting impression;
    uint64_t ids[LEARNER_FIELDS_MAX];
    enum base_status status =
        ingest_pending_get(&state->impressions, ref, &impression, ids, error);
    if (status)
        return status;
    bool matches =
        click->user == impression.user &&
        click->event_ms >= add_ms(impression.event_ms, -config->skew_ms) &&
        click->event_ms <= add_ms(impression.event_ms, config->window_ms);
    if (matches)
        return join_matching(state, click, ref, &impression, ids, bucket,
                             error);
    *bucket = INGEST_ORPHAN;
    return behave(state, click, error);
}

/* The impression never came, or is not waited for any longer. */
static enum base_status release_click(struct ingest_state *state, uint64_t ref,
                                      enum ingest_bucket bucket,
                                      struct base_error *error)
{
    struct ingest_waiting waiting;
    uint64_t ids[LEARNER_FIELDS_MAX], front;
    enum base_status status =
        ingest_pending_get(&state->clicks, ref, &waiting, ids, error);
    if (status)
        return status;
    struct click click = {waiting.user, waiting.event_ms, waiting.partition,
                          ids};
    ingest_pending_resolve(&state->clicks, ref);
    while (ingest_early_peek(&state->early, waiting.link, &front) &&
           !ingest_pending_waits(&state->clicks, front))
        ingest_early_take(&state->early, waiting.link, &front);
    ingest_ledger_settle(&state->ledger, INGEST_CLICKS, waiting.partition,
                         bucket);
    return behave(state, &click, error);
}

/* Clicks that waited for the impression at `impression_ref`. */
static enum base_status join_early(struct ingest_state *state, uint64_t id,
                                   uint64_t impression_ref,
                                   struct base_error *error)
{
    struct ingest_waiting waiting;
    uint64_t ids[LEARNER_FIELDS_MAX], ref;
    enum ingest_bucket bucket;
    enum base_status status = BASE_OK;
    while (!status && ingest_early_take(&state->early, id, &ref)) {
        if (!ingest_pending_waits(&state->clicks, ref))
            continue;
        status = ingest_pending_get(&state->clicks, ref, &waiting, ids, error);
        if (status)
            break;
        struct click click = {waiting.user, waiting.event_ms,
                              waiting.partition, ids};
        ingest_pending_resolve(&state->clicks, ref);
        status = join_click(state, &click, impression_ref, &bucket, error);
        if (!status)
            ingest_ledger_settle(&state->ledger, INGEST_CLICKS,
                                 waiting.partition, bucket);
    }
    return status;
}

static struct ingest_waiting waiting_of(const struct ingest_event *event)
{
    return (struct ingest_waiting){.id = event->event_id,
                                   .user = event->user,
                                   .event_ms = event->event_ms,
                                   .due_ms = event->event_ms,
                                   .offset = event->offset,
                                   .partition = event->partition};
}

static enum base_status wait_for_impression(struct ingest_state *state,
                                            const struct ingest_event *event,
                                            struct base_error *error)
{
    const struct ingest_config *config = &state->config;
    struct ingest_waiting waiting = waiting_of(event);
    uint64_t ref;
    waiting.link = event->impression;
    waiting.due_ms =
        later(add_ms(add_ms(event->event_ms, config->lateness_ms),
                     config->skew_ms),
              event->apply_ms);
    enum base_status status = ingest_pending_add(
        &state->clicks, &waiting, event->ids, true, &ref, error);
    if (!status)
        status = ingest_early_add(&state->early, event->impression, ref,
                                  error);
    return status;
}

/* Above waiting_clicks_max the one that would be organic first is a behavior
 * now. */
static enum base_status evict_click(struct ingest_state *state,
                                    struct base_error *error)
{
    struct ingest_timer timer;
    if (state->config.waiting_clicks_max == 0 ||
        state->clicks.open <= state->config.waiting_clicks_max ||
        !ingest_pending_first(&state->clicks, &timer))
        return BASE_OK;
    return release_click(state, timer.ref, INGEST_EVICTED, error);
}

/* Not late, not seen before. */
static enum base_status apply_fresh_click(struct ingest_state *state,
                                          const struct ingest_event *event,
                                          enum ingest_bucket *bucket,
                                          struct base_error *error)
{
    struct click click = {event->user, event->event_ms, event->partition,
                          event->ids};
    struct ingest_waiting waiting = waiting_of(event);
    uint64_t ref;
    enum base_status status;
    if (event->impression == 0) {
        *bucket = INGEST_BEHAVIOR;
        status = behave(state, &click, error);
    } else if (ingest_pending_find(&state->impressions, event->impression,
                                   &ref)) {
        status = join_click(state, &click, ref, bucket, error);
    } else {
        *bucket = INGEST_WAITING;
        return wait_for_impression(state, event, error);
    }
    if (!status)
        status = ingest_pending_add(&state->clicks, &waiting, event->ids,
                                    false, &ref, error);
    return status;
}

static enum base_status apply_click(struct ingest_state *state,
                                    const struct ingest_event *event,
                                    enum ingest_bucket *bucket,
                                    struct base_error *error)
{
    bool remembered;
    enum base_status status = ingest_pending_remembers(
        &state->clicks, event->event_id, &remembered, error);
    *bucket = INGEST_DUPLICATE;
    if (status || remembered)
        return status;
    if (!is_late(state, event))
        return apply_fresh_click(state, event, bucket, error);
    *bucket = INGEST_LATE;
    state->totals.late_labels_lost += event->impression != 0;
    struct click click = {event->user, event->event_ms, event->partition,
                          event->ids};
    return behave(state, &click, error);
}

/* ---- impressions --------------------------------------------------------- */

/* Above pending_max the one that closes first leaves without a label. */
static enum base_status evict(struct ingest_state *state,
                              struct base_error *error)
{
    struct ingest_timer timer;
    struct ingest_waiting impression;
    if (state->impressions.open <= state->config.pending_max ||
        !ingest_pending_first(&state->impressions, &timer))
        return BASE_OK;
    enum base_status status = ingest_pending_get(
        &state->impressions, timer.ref, &impression, NULL, error);
    if (status)
        return status;
    uint8_t clicked = ingest_pending_clicked(&state->impressions, timer.ref);
    ingest_pending_resolve(&state->impressions, timer.ref);
    state->totals.evicted++;
    if (is_fnw(state))
        return ingest_journal_final(&state->journal, impression.link, clicked,
                                    error);
    ingest_ledger_settle(&state->ledger, INGEST_IMPRESSIONS,
                         impression.partition, INGEST_EVICTED);
    return BASE_OK;
}

/* What a ranker said it scored with, against what the sample will hold. The
 * user is loaded. */
static void compare_served(struct ingest_state *state,
                           const struct ingest_event *event)
{
    const struct ingest_config *config = &state->config;
    bool cut;
    if (event->served.hash == 0)
        return;
    uint32_t count = ingest_sequence_history(
        &state->user, event->event_ms, state->user.next_ordinal,
        config->history_ttl_ms, config->history_max, state->history, &cut);
    if (!cut)
        ingest_skew_compare(&state->skew, config, &event->served,
                            state->history, count);
}

static enum base_status open_impression(struct ingest_state *state,
                                        const struct ingest_event *event,
                                        enum ingest_bucket *bucket,
                                        uint64_t *ref,
                                        struct base_error *error)
{
    const struct ingest_config *config = &state->config;
    struct ingest_waiting impression = waiting_of(event);
    enum base_status status =
        ingest_users_seen(state, event->user, event->partition, error);
    if (status)
        return status;
    compare_served(state, event);
    impression.ordinal = state->user.next_ordinal;
    impression.due_ms =
        add_ms(later(add_ms(event->event_ms, config->lateness_ms),
                     event->apply_ms),
               config->window_ms);
    *bucket = INGEST_WAITING;
    if (is_fnw(state)) {
        *bucket = INGEST_NEGATIVE;
        impression.link = state->journal.mark.position;
        status = emit(state, &impression, event->ids, LEARNER_FNW_NEGATIVE, 0,
                      error);
        if (status)
            return status;
    }
    return ingest_pending_add(&state->impressions, &impression, event->ids,
                              true, ref, error);
}

static enum base_status apply_impression(struct ingest_state *state,
                                         struct ingest_partition *partition,
                                         const struct ingest_event *event,
                                         struct base_error *error)
{
    bool remembered;
    enum ingest_bucket bucket = INGEST_DUPLICATE;
    uint64_t ref;
    enum base_status status = ingest_pending_remembers(
        &state->impressions, event->event_id, &remembered, error);
    if (status)
        return status;
    bool late = is_late(state, event);
    if (remembered || late) {
        ingest_ledger_count(partition, remembered ? INGEST_DUPLICATE
                                                  : INGEST_LATE);
        return BASE_OK;
    }
    status = open_impression(state, event, &bucket, &ref, error);
    if (status)
        return status;
    /* Counted first: an eviction may take this very impression. */
    ingest_ledger_count(partition, bucket);
    status = join_early(state, event->event_id, ref, error);
    return status ? status : evict(state, error);
}

/* ---- events -------------------------------------------------------------- */

enum base_status ingest_join_fire(struct ingest_state *state, int64_t apply_ms,
                                  struct base_error *error)
{
    struct ingest_timer impression, click;
    for (;;) {
        bool has_impression =
            ingest_pending_first(&state->impressions, &impression) &&
            impression.due_ms < apply_ms;
        bool has_click = ingest_pending_first(&state->clicks, &click) &&
                         click.due_ms < apply_ms;
        if (!has_impression && !has_click)
            return BASE_OK;
        enum base_status status = ingest_state_room(state, error);
        if (!status && state->fired == INGEST_FIRE_MAX)
            status = base_fail(error, BASE_AGAIN,
                               "state: %d timers fired in this transaction",
                               INGEST_FIRE_MAX);
        if (status)
            return status;
        state->fired++;
        if (has_impression &&
            (!has_click || impression.due_ms <= click.due_ms)) {
            status = close_impression(state, impression.ref, error);
        } else {
            status = release_click(state, click.ref, INGEST_ORGANIC, error);
        }
        if (status)
            return status;
    }
}

enum base_status ingest_join_apply(struct ingest_state *state,
                                   struct ingest_partition *partition,
                                   const struct ingest_event *event,
                                   struct base_error *error)
{
    enum ingest_bucket bucket = INGEST_DEAD_LETTER;
    enum base_status status = BASE_OK;
    switch ((enum ingest_event_kind)event->kind) {
    case INGEST_EVENT_IMPRESSION:
        return apply_impression(state, partition, event, error);
    case INGEST_EVENT_CLICK:
        status = apply_click(state, event, &bucket, error);
        break;
    case INGEST_EVENT_DEAD:
        BASE_ASSERT(event->reason < INGEST_REASON_COUNT);
        state->totals.reasons[event->reason]++;
        status = ingest_letter_put(state->store, &state->totals.letters,
                                   event, state->config.dead_letter_max_bytes,
                                   error);
        break;
    }
    if (!status)
        ingest_ledger_count(partition, bucket);
    /* Counted first: it may be this very click that leaves. */
    return status || bucket != INGEST_WAITING ? status
                                              : evict_click(state, error);
}

/* ---- stop ---------------------------------------------------------------- */

static enum base_status waits_in(struct ingest_pending *pending,
                                 int32_t partition, bool *waits,
                                 struct base_error *error)
{
    struct ingest_waiting waiting;
    for (uint64_t ref = 0; !*waits && ingest_pending_next(pending, &ref);
         ref++) {
        if (ingest_pending_get(pending, ref, &waiting, NULL, error))
            return error->status;
        *waits = waiting.partition == partition;
    }
    return BASE_OK;
}

enum base_status ingest_join_waits(struct ingest_state *state,
                                   int32_t partition, bool *waits,
                                   struct base_error *error)
{
    *waits = false;
    enum base_status status =
        waits_in(&state->impressions, partition, waits, error);
    return status ? status : waits_in(&state->clicks, partition, waits, error);
}

enum base_status ingest_join_stop(struct ingest_state *state,
                                  int32_t partition, struct base_error *error)
{
    struct ingest_waiting waiting;
    enum base_status status;
    for (uint64_t ref = 0; ingest_pending_next(&state->impressions, &ref);
         ref++) {
        status = ingest_pending_get(&state->impressions, ref, &waiting, NULL,
                                    error);
        if (status)
            return status;
        if (waiting.partition != partition)
            continue;
        ingest_pending_resolve(&state->impressions, ref);
        if (!is_fnw(state))
            ingest_ledger_settle(&state->ledger, INGEST_IMPRESSIONS,
                                 partition, INGEST_UNLABELLED);
    }
    for (uint64_t ref = 0; ingest_pending_next(&state->clicks, &ref); ref++) {
        status =
            ingest_pending_get(&state->clicks, ref, &waiting, NULL, error);
        if (!status && waiting.partition == partition)
            status = release_click(state, ref, INGEST_ORGANIC, error);
        if (status)
            return status;
    }
    return BASE_OK;
}
