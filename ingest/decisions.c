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
    size_t forget_count, forget_room;
    struct ingest_decision *forgets; /* as they stand in the file */
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
    return kinds;
}

/* Text of what is missing, or NULL; kinds 0 for a line to leave out. */
static const char *parse(json_t *line, struct ingest_decision *decision)
{
    const char *kind = json_string_value(json_object_get(line, "kind"));
    const char *topic = json_string_value(json_object_get(line, "topic"));
    if (!kind)
        return "\"kind\" is missing";
    if (strcmp(kind, "skipped") == 0)
        return "a range that an operator skipped (interestd skip) cannot be "
               "repeated from the topics; without this line the rebuild is "
               "another history";
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
    const char *text = json_string_value(json_object_get(line, "text"));
    if (decision->kinds == INGEST_DECISION_FORGET &&
        (!text || !ingest_forget_parse(text, &decision->forget)))
        return "\"text\" of a forget must be the user's 16 hex digits and "
               "TABLE:KEY for each row";
    return NULL;
}

static bool append(struct ingest_decision **items, size_t *count,
                   size_t *room, const struct ingest_decision *decision)
{
    if (*count == *room) {
        size_t larger = *room ? 2 * *room : 64;
        void *grown = realloc(*items, larger * sizeof *decision);
        if (!grown)
            return false;
        *items = grown;
        *room = larger;
    }
    (*items)[(*count)++] = *decision;
    return true;
}

static bool keep(struct ingest_decisions *decisions,
                 const struct ingest_decision *decision)
{
    if (decision->kinds == INGEST_DECISION_FORGET)
        return append(&decisions->forgets, &decisions->forget_count,
                      &decisions->forget_room, decision);
    return append(&decisions->items, &decisions->count, &decisions->room,
                  decision);
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
    json_decref(line);
    if (wrong)
        return base_fail(error, BASE_DATA, "%s", wrong);
    if (decision.kinds && !keep(decisions, &decision))
        return base_fail(error, BASE_SYSTEM, "no memory");
    return BASE_OK;
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
        free(decisions->forgets);
    }
    free(decisions);
}

size_t ingest_decisions_count(const struct ingest_decisions *decisions)
{
    return decisions->count;
}

const struct ingest_decision *
ingest_decisions_forgets(const struct ingest_decisions *decisions,
                         size_t *count)
{
    *count = decisions->forget_count;
    return decisions->forgets;
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
