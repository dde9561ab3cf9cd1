/* SPDX-License-Identifier: Apache-2.0 */
/* One user's sequence, for people or as one JSON line; see ingest.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "ingest/ingest.h"
#include "ingest/sequence.h"
#include "ingest/stream.h"
#include "ingest/view.h"

enum { TIME_SIZE = 40 };

static void print_time(int64_t ms, char text[TIME_SIZE])
{
    time_t seconds = (time_t)(ms / 1000 - (ms % 1000 < 0));
    struct tm parts;
    int rest = (int)(ms - (int64_t)seconds * 1000);
    if (!gmtime_r(&seconds, &parts) || parts.tm_year > 8099 ||
        parts.tm_year < -1900) {
        snprintf(text, TIME_SIZE, "%" PRId64 " ms", ms);
        return;
    }
    snprintf(text, TIME_SIZE, "%04d-%02d-%02d %02d:%02d:%02d.%03d",
             parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
             parts.tm_hour, parts.tm_min, parts.tm_sec, rest);
}

/* Names of the item fields as the state has them, behind each other. */
static void field_name(const struct ingest_view *view, unsigned item,
                       char *name, size_t size)
{
    char key[32], line[256], count[16];
    ingest_stream_value(view->stream, "profile_count", count, sizeof count);
    snprintf(key, sizeof key, "field.%u",
             (unsigned)strtoul(count, NULL, 10) + item);
    ingest_stream_value(view->stream, key, line, sizeof line);
    snprintf(name, size, "%.*s", (int)strcspn(line, " "), line);
}

static void print_text(const struct ingest_view *view,
                       const struct ingest_sequence *sequence, const char *name,
                       FILE *out)
{
    char text[TIME_SIZE], field[LEARNER_NAME_MAX];
    uint64_t ids[LEARNER_FIELDS_MAX];
    int64_t event_ms;
    uint32_t ordinal;
    fprintf(out,
            "user %s (%016" PRIx64 "): partition %d, %" PRIu32
            " behaviors, %" PRIu32 " seen, %" PRIu32 " pushed out%s\n",
            name, sequence->user, (int)sequence->partition, sequence->count,
            sequence->next_ordinal, sequence->dropped,
            sequence->flags & INGEST_SEQUENCE_CROSSED
                ? ", seen in another partition too"
                : "");
    for (uint32_t i = 0; i < sequence->count; i++) {
        ingest_sequence_at(sequence, i, &event_ms, &ordinal, ids);
        print_time(event_ms, text);
        fprintf(out, "  %s UTC  %6" PRIu32, text, ordinal);
        for (unsigned item = 0; item < view->item_count; item++) {
            field_name(view, item, field, sizeof field);
            if (ids[item] != LEARNER_ABSENT)
                fprintf(out, "  %s=%016" PRIx64, field, ids[item]);
        }
        fputc('\n', out);
    }
}

static void print_json(const struct ingest_view *view,
                       const struct ingest_sequence *sequence, FILE *out)
{
    uint64_t ids[LEARNER_FIELDS_MAX];
    int64_t event_ms;
    uint32_t ordinal;
    fprintf(out,
            "{\"user\":\"%016" PRIx64 "\",\"partition\":%d,"
            "\"next_ordinal\":%" PRIu32 ",\"dropped\":%" PRIu32
            ",\"crossed\":%s,\"behaviors\":[",
            sequence->user, (int)sequence->partition, sequence->next_ordinal,
            sequence->dropped,
            sequence->flags & INGEST_SEQUENCE_CROSSED ? "true" : "false");
    for (uint32_t i = 0; i < sequence->count; i++) {
        ingest_sequence_at(sequence, i, &event_ms, &ordinal, ids);
        fprintf(out, "%s[%" PRId64 ",%" PRIu32 ",[", i ? "," : "", event_ms,
                ordinal);
        for (unsigned item = 0; item < view->item_count; item++) {
            fputs(item ? "," : "", out);
            if (ids[item] == LEARNER_ABSENT)
                fputs("null", out);
            else
                fprintf(out, "\"%016" PRIx64 "\"", ids[item]);
        }
        fputs("]]", out);
    }
    fputs("]}\n", out);
}

/* By the id that the name has; then, where it looks like one, as an id. */
static enum base_status find(struct ingest_view *view, const char *name,
                             struct ingest_bytes *value, uint64_t *user,
                             struct base_error *error)
{
    bool is_id = strlen(name) == 16 && strspn(name, "0123456789abcdef") == 16;
    uint8_t key[8];
    *user = learner_id(learner_table_seed("user"), name, strlen(name));
    for (int turn = 0; turn < 1 + is_id; turn++) {
        uint64_t tried = turn ? strtoull(name, NULL, 16) : *user;
        base_put_u64_be(key, tried);
        enum base_status status =
            ingest_reader_get(view->reader, INGEST_DB_SEQUENCES,
                              (struct ingest_bytes){key, sizeof key}, value,
                              error);
        if (status)
            return status;
        *user = tried;
        if (value->data)
            return BASE_OK;
    }
    return base_fail(error, BASE_NO_USER,
                     "user \"%.100s\" is not known: no click of it was applied "
                     "yet, or it was forgotten", name);
}

enum base_status ingest_inspect_sequence(const char *folder, const char *name,
                                         bool json, FILE *out,
                                         struct base_error *error)
{
    struct ingest_view view = {0};
    struct ingest_sequence sequence = {0};
    struct ingest_bytes value;
    uint64_t user;
    enum base_status status = ingest_view_open(&view, folder, error);
    if (!status)
        status = find(&view, name, &value, &user, error);
    if (!status)
        status = ingest_sequence_init(&sequence, view.item_count, UINT16_MAX,
                                      error);
    if (!status &&
        !ingest_sequence_decode(&sequence, user, value.data, value.size))
        status = base_fail(error, BASE_CORRUPT,
                           "the sequence of user %016" PRIx64
                           " does not verify", user);
    if (!status && json)
        print_json(&view, &sequence, out);
    else if (!status)
        print_text(&view, &sequence, name, out);
    ingest_sequence_fini(&sequence);
    ingest_view_close(&view);
    if (!status && (fflush(out) || ferror(out)))
        status = base_fail(error, BASE_IO, "inspect: writing failed");
    return status;
}
