/* SPDX-License-Identifier: Apache-2.0 */
/* Recorded decisions; see decisions.h. Kept sorted by (topic, partition,
 * offset), so that a cursor a partition finds each in constant time. */
#include "ingest/decisions.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "ingest/event.h"
#include "ingest/forget.h"
#include "ingest/letter.h"

#include <jansson.h>

enum { FILE_MAX = 256 << 20 };

struct ingest_decisions {
    size_t count, room;
    struct ingest_decision *items;
    struct ingest_repeats repeats;
};

static int order(const void *left, const void *right)
{
    const struct ingest_decision *a = left, *b = right;
    if (a->topic != b->topic)
        return a->topic < b->topic ? -1 : 1;
    if (a->partition != b->partition)
        return a->partition < b->partition ? -1 : 1;
    return a->offset < b->offset ? -1 : a->offset > b->offset;
}

static uint8_t kinds_of(const char *text)
{
    uint8_t kinds = 0;
    if (strstr(text, "floored"))
        kinds |= INGEST_FLOORED;
    if (strstr(text, "clamped"))
        kinds |= INGEST_CLAMPED;
    if (strstr(text, "ahead"))
        kinds |= INGEST_AHEAD;
    if (strstr(text, "unregistered"))
        kinds |= INGEST_UNREGISTERED;
    if (strcmp(text, "forget") == 0)
        kinds = INGEST_DECISION_FORGET;
    if (strcmp(text, "stopped") == 0)
        kinds = INGEST_DECISION_STOPPED;
    if (strcmp(text, "revoked") == 0)
        kinds = INGEST_DECISION_REVOKED;
    if (strcmp(text, "skipped") == 0)
        kinds = INGEST_DECISION_SKIPPED;
    return kinds;
}

/* Text of what is missing, or NULL; kinds 0 for a line to leave out. */
static const char *parse(json_t *line, struct ingest_decision *decision)
{
    const char *kind = json_string_value(json_object_get(line, "kind"));
    const char *topic = json_string_value(json_object_get(line, "topic"));
    if (!kind)
        return "\"kind\" is missing";
    *decision = (struct ingest_decision){.kinds = kinds_of(kind)};
    if (!decision->kinds)
        return NULL;
    if (!topic || (strcmp(topic, "impressions") && strcmp(topic, "clicks")))
        return "\"topic\" must be \"impressions\" or \"clicks\"";
    decision->topic = topic[0] == 'i' ? INGEST_IMPRESSIONS : INGEST_CLICKS;
    static const char *const names[] = {"partition", "offset", "own_ms",
                                        "apply_ms"};
    int64_t values[4];
    for (int i = 0; i < 4; i++) {
        json_t *value = json_object_get(line, names[i]);
        if (!json_is_integer(value))
            return "\"partition\", \"offset\", \"own_ms\" and \"apply_ms\" "
                   "must be integers";
        values[i] = json_integer_value(value);
    }
    decision->partition = (int32_t)values[0];
    decision->offset = values[1];
    decision->own_ms = values[2];
    decision->apply_ms = values[3];
    return NULL;
}

static bool append(struct ingest_decisions *decisions,
                   const struct ingest_decision *decision)
{
    if (decisions->count == decisions->room) {
        size_t room = decisions->room ? 2 * decisions->room : 64;
        void *items = realloc(decisions->items, room * sizeof *decision);
        if (!items)
            return false;
        decisions->items = items;
        decisions->room = room;
    }
    decisions->items[decisions->count++] = *decision;
    return true;
}

static bool is_about_a_record(const struct ingest_decision *decision)
{
    return !(decision->kinds & (INGEST_DECISION_STOPPED |
                                INGEST_DECISION_SKIPPED |
                                INGEST_DECISION_FORGET));
}

/* Text of what is wrong, or NULL. */
static const char *keep(struct ingest_decisions *decisions, json_t *line,
                        const struct ingest_decision *decision)
{
    if (is_about_a_record(decision))
        return append(decisions, decision) ? NULL : "no memory";
    const struct ingest_repeat_line repeat = {
        .kind = decision->kinds,
        .at = {.topic = decision->topic, .partition = decision->partition,
               .offset = decision->offset, .own_ms = decision->own_ms,
               .apply_ms = decision->apply_ms},
        .text = json_string_value(json_object_get(line, "text")),
        .behind = json_string_value(json_object_get(line, "behind"))};
    return ingest_repeats_add(&decisions->repeats, &repeat);
}

static enum base_status read_line(struct ingest_decisions *decisions,
                                  const char *text, size_t size,
                                  struct base_error *error)
{
    json_error_t where;
    json_t *line = json_loadb(text, size, 0, &where);
    if (!line)
        return base_fail(error, BASE_DATA, "%s", where.text);
    struct ingest_decision decision;
    const char *wrong = parse(line, &decision);
    if (!wrong && decision.kinds)
        wrong = keep(decisions, line, &decision);
    json_decref(line);
    return wrong ? base_fail(error, BASE_DATA, "%s", wrong) : BASE_OK;
}

static enum base_status read_lines(struct ingest_decisions *decisions,
                                   const char *text, const char *path,
                                   struct base_error *error)
{
    for (unsigned number = 1; *text; number++) {
        size_t size = strcspn(text, "\n");
        if (size > 0 && read_line(decisions, text, size, error))
            return base_wrap(error, "decisions %s:%u", path, number);
        text += size + (text[size] == '\n');
    }
    return BASE_OK;
}

enum base_status ingest_decisions_read(const char *path,
                                       struct ingest_decisions **decisions,
                                       struct base_error *error)
{
    char *text = NULL;
    size_t size;
    enum base_status status =
        base_file_read(path, FILE_MAX, &text, &size, error);
    if (status)
        return status;
    struct ingest_decisions *made = calloc(1, sizeof *made);
    if (made)
        status = read_lines(made, text, path, error);
    else
        status = base_fail(error, BASE_SYSTEM, "decisions: no memory");
    free(text);
    if (status) {
        ingest_decisions_free(made);
        return status;
    }
    if (made->count)
        qsort(made->items, made->count, sizeof *made->items, order);
    *decisions = made;
    return BASE_OK;
}

void ingest_decisions_free(struct ingest_decisions *decisions)
{
    if (decisions) {
        free(decisions->items);
        ingest_repeats_fini(&decisions->repeats);
    }
    free(decisions);
}

size_t ingest_decisions_count(const struct ingest_decisions *decisions)
{
    return decisions->count;
}

const struct ingest_repeats *
ingest_decisions_repeats(const struct ingest_decisions *decisions)
{
    return &decisions->repeats;
}

const struct ingest_decision *
ingest_decisions_find(const struct ingest_decisions *decisions, uint8_t topic,
                      int32_t partition, int64_t offset, size_t *cursor)
{
    struct ingest_decision wanted = {
        .topic = topic, .partition = partition, .offset = offset};
    size_t at = *cursor;
    while (at < decisions->count && order(&decisions->items[at], &wanted) < 0)
        at++;
    *cursor = at;
    if (at < decisions->count && order(&decisions->items[at], &wanted) == 0)
        return &decisions->items[at];
    return NULL;
}
