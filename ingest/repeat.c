/* SPDX-License-Identifier: Apache-2.0 */
/* Decisions between records; see repeat.h. */
#include "ingest/repeat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/forget.h"
#include "ingest/letter.h"

static const char *const topics[] = {"impressions", "clicks"};

void ingest_repeat_place(const struct ingest_event *last,
                         char text[INGEST_BEHIND_TEXT])
{
    text[0] = '\0';
    if (last->offset >= 0)
        snprintf(text, INGEST_BEHIND_TEXT, "%c%s/%d@%lld", INGEST_BEHIND,
                 topics[last->topic], (int)last->partition,
                 (long long)last->offset);
}

/* ---- lines --------------------------------------------------------------- */

/* The record behind which it came, of which the line has the times. */
static bool read_behind(const char *text, struct ingest_event *behind)
{
    char topic[16];
    int partition, used = 0;
    long long offset;
    if (!text) { /* before the first record of the line's times */
        behind->partition = INT32_MIN;
        behind->offset = -1;
        behind->topic = INGEST_IMPRESSIONS;
        return true;
    }
    if (sscanf(text, "%15[a-z]/%d@%lld%n", topic, &partition, &offset,
               &used) != 3 || text[used] ||
        (strcmp(topic, topics[0]) && strcmp(topic, topics[1])))
        return false;
    behind->topic = topic[0] == 'i' ? INGEST_IMPRESSIONS : INGEST_CLICKS;
    behind->partition = partition;
    behind->offset = offset;
    return true;
}

static const char *read_skip(const char *text, struct ingest_repeat *repeat)
{
    long long from, to;
    if (text && strstr(text, "another log"))
        return "another log was taken in the former one's place, whose records "
               "no topic holds any more: such a state is kept by a backup, it "
               "cannot be rebuilt";
    if (!text || sscanf(text, "lost [%lld, %lld)", &from, &to) != 2 ||
        from < 0 || to < from)
        return "\"text\" of what was skipped must be \"lost [FROM, TO)\"";
    repeat->from = from;
    repeat->to = to;
    return NULL;
}

/* A stop or hand-over is written once a topic, and done once. */
static bool is_twin(const struct ingest_repeats *repeats,
                    const struct ingest_repeat *repeat)
{
    if (repeats->count == 0 || (repeat->kind != INGEST_DECISION_STOPPED &&
                                repeat->kind != INGEST_DECISION_REVOKED))
        return false;
    const struct ingest_repeat *last = &repeats->items[repeats->count - 1];
    return last->kind == repeat->kind && last->topic != repeat->topic &&
           last->partition == repeat->partition &&
           ingest_event_order(&last->behind, &repeat->behind) == 0;
}

static const char *append(struct ingest_repeats *repeats,
                          const struct ingest_repeat *repeat)
{
    if (repeats->count == repeats->room) {
        size_t room = repeats->room ? 2 * repeats->room : 16;
        void *grown = realloc(repeats->items, room * sizeof *repeat);
        if (!grown)
            return "no memory";
        repeats->items = grown;
        repeats->room = room;
    }
    repeats->items[repeats->count++] = *repeat;
    return NULL;
}

const char *ingest_repeats_add(struct ingest_repeats *repeats,
                               const struct ingest_repeat_line *line)
{
    struct ingest_repeat made = {.kind = line->kind,
                                 .behind = line->at,
                                 .topic = line->at.topic,
                                 .partition = line->at.partition};
    const char *wrong = NULL;
    if (line->kind == INGEST_DECISION_FORGET) {
        if (!line->text || !ingest_forget_parse(line->text, &made.forget))
            return "\"text\" of a forget must be the user's 16 hex digits and "
                   "TABLE:KEY for each row";
    } else if (!read_behind(line->behind, &made.behind)) {
        return "\"behind\" must be impressions/PARTITION@OFFSET or "
               "clicks/PARTITION@OFFSET";
    }
    if (line->kind == INGEST_DECISION_SKIPPED)
        wrong = read_skip(line->text, &made);
    if (wrong || is_twin(repeats, &made))
        return wrong;
    snprintf(made.text, sizeof made.text, "%.*s", (int)sizeof made.text - 1,
             line->text ? line->text : "");
    return append(repeats, &made);
}

void ingest_repeats_fini(struct ingest_repeats *repeats)
{
    free(repeats->items);
    *repeats = (struct ingest_repeats){0};
}

/* ---- repeating ----------------------------------------------------------- */

bool ingest_repeats_passed(const struct ingest_repeats *repeats, uint8_t topic,
                           int32_t partition, int64_t offset)
{
    for (size_t i = 0; i < repeats->count; i++) {
        const struct ingest_repeat *one = &repeats->items[i];
        if (one->kind == INGEST_DECISION_SKIPPED && one->topic == topic &&
            one->partition == partition && offset >= one->from &&
            offset < one->to)
            return true;
    }
    return false;
}

size_t ingest_repeats_done(const struct ingest_repeats *repeats,
                           const struct ingest_event *last)
{
    size_t done = 0;
    /* Where a commit came amid timers, `last` is a time without a record. */
    bool any = last->apply_ms > INT64_MIN;
    while (any && done < repeats->count &&
           ingest_event_order(&repeats->items[done].behind, last) <= 0)
        done++;
    return done;
}

enum base_status ingest_repeat_apply(const struct ingest_repeat *repeat,
                                     struct ingest_state *state,
                                     struct base_error *error)
{
    const struct ingest_skip skip = {.topic = repeat->topic,
                                     .partition = repeat->partition,
                                     .start = -1,
                                     .to = repeat->to};
    switch (repeat->kind) {
    case INGEST_DECISION_STOPPED:
        return ingest_state_stop_partition(state, repeat->partition,
                                           repeat->text, error);
    case INGEST_DECISION_REVOKED:
        return ingest_state_revoke_partition(state, repeat->partition, error);
    case INGEST_DECISION_SKIPPED:
        return ingest_state_skip(state, &skip, error);
    default: return ingest_state_forget(state, &repeat->forget, 1, error);
    }
}
