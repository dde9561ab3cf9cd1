/* SPDX-License-Identifier: Apache-2.0 */
/* The state as JSON lines; see ingest.h for the lines. */
#include "ingest/ingest.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "ingest/repeat.h"
#include "ingest/stream.h"
#include "ingest/view.h"

enum { KEY_MAX = 511 }; /* of LMDB */

struct dump {
    struct ingest_view view;
    FILE *out;
};

static const char *const names[] = {
#define X(code, name) [code] = name,
    INGEST_INSPECT_LIST(X)
#undef X
};

static const char *const topics[] = {"impressions", "clicks"};

const char *ingest_inspect_name(enum ingest_inspect what)
{
    return names[what];
}

enum ingest_inspect ingest_inspect_named(const char *name)
{
    int i = 0;
    while (i < INGEST_INSPECT_COUNT && strcmp(names[i], name) != 0)
        i++;
    return (enum ingest_inspect)i;
}

/* ---- pieces -------------------------------------------------------------- */

static void print_ids(FILE *out, const uint8_t *ids, unsigned count)
{
    fputc('[', out);
    for (unsigned i = 0; i < count; i++) {
        uint64_t id = base_get_u64(ids + 8 * (size_t)i);
        fputs(i ? "," : "", out);
        if (id == LEARNER_ABSENT)
            fputs("null", out);
        else
            fprintf(out, "\"%016" PRIx64 "\"", id);
    }
    fputc(']', out);
}

static void print_text(FILE *out, const uint8_t *text, size_t size)
{
    fputc('"', out);
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '"' || text[i] == '\\')
            fprintf(out, "\\%c", text[i]);
        else if (text[i] < 0x20)
            fprintf(out, "\\u%04x", text[i]);
        else
            fputc(text[i], out);
    }
    fputc('"', out);
}

static void print_buckets(FILE *out, const uint64_t *buckets)
{
    const char *comma = "";
    fputc('{', out);
    for (int i = 0; i < INGEST_BUCKET_COUNT; i++) {
        if (buckets[i] == 0)
            continue;
        fprintf(out, "%s\"%s\":%" PRIu64, comma,
                ingest_bucket_name((enum ingest_bucket)i), buckets[i]);
        comma = ",";
    }
    fputc('}', out);
}

typedef enum base_status print_entry(struct dump *dump,
                                     struct ingest_bytes key,
                                     struct ingest_bytes value, void *context,
                                     struct base_error *error);

/* Goes on behind the cursor's entry in the newest commit. That entry stays as
 * it was read: only the last one of a database may still grow, and this one
 * has a successor. */
static enum base_status renew(struct dump *dump, struct ingest_cursor *cursor,
                              struct base_error *error)
{
    uint8_t next[KEY_MAX];
    size_t size = cursor->key.size;
    enum ingest_db db = cursor->db;
    if (size > sizeof next)
        return base_fail(error, BASE_CORRUPT, "inspect: a key of %zu bytes",
                         size);
    memcpy(next, cursor->key.data, size);
    ingest_cursor_close(cursor);
    enum base_status status = ingest_view_renew(&dump->view, error);
    if (!status)
        status = ingest_cursor_open(dump->view.store, dump->view.reader, db,
                                    cursor, error);
    return status ? status
                  : ingest_cursor_seek(
                        cursor, (struct ingest_bytes){next, size}, error);
}

/* Calls `print` for each entry of a database, in key order. A long walk goes
 * on in newer commits, so that no view stands for long. */
static enum base_status walk(struct dump *dump, enum ingest_db db,
                             print_entry *print, void *context,
                             struct base_error *error)
{
    struct ingest_cursor cursor;
    enum base_status status = ingest_cursor_open(
        dump->view.store, dump->view.reader, db, &cursor, error);
    if (!status)
        status = ingest_cursor_move(&cursor, INGEST_MOVE_FIRST, error);
    while (!status && cursor.key.data) {
        status = print(dump, cursor.key, cursor.value, context, error);
        if (!status)
            status = ingest_cursor_move(&cursor, INGEST_MOVE_NEXT, error);
        if (!status && cursor.key.data && ingest_view_old(&dump->view))
            status = renew(dump, &cursor, error);
    }
    ingest_cursor_close(&cursor);
    return status;
}

static enum base_status corrupt(struct ingest_bytes key, const char *what,
                                struct base_error *error)
{
    return base_fail(error, BASE_CORRUPT, "%s %016" PRIx64 " does not verify",
                     what, key.size == 8 ? base_get_u64_be(key.data) : 0);
}

/* ---- ledger -------------------------------------------------------------- */

static enum base_status print_partition(struct dump *dump,
                                        struct ingest_bytes key,
                                        struct ingest_bytes value,
                                        void *context,
                                        struct base_error *error)
{
    struct ingest_partition partition;
    uint64_t *sums = context;
    enum base_status status =
        ingest_ledger_decode(key, value, &partition, error);
    if (status)
        return status;
    const struct ingest_position *position = &partition.position;
    fprintf(dump->out,
            "{\"topic\":\"%s\",\"partition\":%d,\"start\":%" PRId64
            ",\"next\":%" PRId64, topics[position->topic],
            (int)position->partition, position->start, position->next);
    if (partition.before)
        fprintf(dump->out, ",\"before\":%" PRIu64, partition.before);
    fputs(",\"buckets\":", dump->out);
    print_buckets(dump->out, partition.buckets);
    fputs("}\n", dump->out);
    int64_t left =
        (int64_t)partition.before + position->next - position->start;
    for (int i = 0; i < INGEST_BUCKET_COUNT; i++) {
        sums[i] += partition.buckets[i];
        left -= (int64_t)partition.buckets[i];
    }
    if (left != 0)
        return base_fail(error, BASE_CORRUPT,
                         "ledger: %s/%d: %" PRId64 " offsets are in no bucket",
                         topics[position->topic], (int)position->partition,
                         left);
    return BASE_OK;
}

static enum base_status print_ledger(struct dump *dump,
                                     struct base_error *error)
{
    uint64_t sums[INGEST_BUCKET_COUNT] = {0};
    const char *comma = "";
    enum base_status status =
        walk(dump, INGEST_DB_PARTITIONS, print_partition, sums, error);
    if (status)
        return status;
    fputs("{\"reasons\":{", dump->out);
    for (int i = 0; i < INGEST_REASON_COUNT; i++) {
        if (dump->view.totals.reasons[i] == 0)
            continue;
        fprintf(dump->out, "%s\"%s\":%" PRIu64, comma,
                ingest_reason_name((enum ingest_reason)i),
                dump->view.totals.reasons[i]);
        comma = ",";
    }
    fputs("}}\n{\"totals\":", dump->out);
    print_buckets(dump->out, sums);
    fputs("}\n", dump->out);
    return BASE_OK;
}

/* ---- sequences ----------------------------------------------------------- */

static enum base_status print_sequence(struct dump *dump,
                                       struct ingest_bytes key,
                                       struct ingest_bytes value,
                                       void *context, struct base_error *error)
{
    struct ingest_sequence *sequence = context;
    FILE *out = dump->out;
    int64_t event_ms;
    uint32_t ordinal;
    uint64_t ids[LEARNER_FIELDS_MAX];
    if (key.size != 8 ||
        !ingest_sequence_decode(sequence, base_get_u64_be(key.data),
                                value.data, value.size))
        return corrupt(key, "the sequence of user", error);
    fprintf(out,
            "{\"user\":\"%016" PRIx64 "\",\"partition\":%d,"
            "\"next_ordinal\":%" PRIu32 ",\"behaviors\":[",
            sequence->user, (int)sequence->partition, sequence->next_ordinal);
    for (uint32_t i = 0; i < sequence->count; i++) {
        ingest_sequence_at(sequence, i, &event_ms, &ordinal, ids);
        fprintf(out, "%s[%" PRId64 ",%" PRIu32 ",", i ? "," : "", event_ms,
                ordinal);
        print_ids(out, (const uint8_t *)ids, dump->view.item_count);
        fputc(']', out);
    }
    fputs("]}\n", out);
    return BASE_OK;
}

static enum base_status print_sequences(struct dump *dump,
                                        struct base_error *error)
{
    struct ingest_sequence sequence;
    enum base_status status = ingest_sequence_init(
        &sequence, dump->view.item_count, UINT16_MAX, error);
    if (!status)
        status = walk(dump, INGEST_DB_SEQUENCES, print_sequence, &sequence,
                      error);
    ingest_sequence_fini(&sequence);
    return status;
}

/* ---- samples ------------------------------------------------------------- */

/* Position, and the history that "as before" stands for. */
struct journal_walk {
    bool begun;
    uint64_t position;
    struct ingest_digest chain;
    uint32_t history_count;
    uint8_t *history; /* OWNS: LEARNER_HISTORY_MAX behaviors */
    bool history_known;
};

static const char *const kinds[] = {"window", "fnw_negative", "fnw_positive"};

static void print_sample(struct dump *dump, struct journal_walk *journal,
                         const struct ingest_record *record)
{
    size_t step = 8 * (size_t)dump->view.item_count;
    if (record->fresh) {
        journal->history_count = record->count;
        memcpy(journal->history, record->history, step * record->count);
    }
    fprintf(dump->out,
            "{\"position\":%" PRIu64 ",\"user\":\"%016" PRIx64
            "\",\"event_ms\":%" PRId64 ",\"label\":%d,\"kind\":\"%s\","
            "\"ids\":",
            journal->position, record->number, record->event_ms,
            record->label, kinds[record->kind]);
    print_ids(dump->out, record->ids, dump->view.field_count);
    fputs(",\"history\":[", dump->out);
    for (uint32_t i = 0; i < journal->history_count; i++) {
        if (i)
            fputc(',', dump->out);
        print_ids(dump->out, journal->history + i * step,
                  dump->view.item_count);
    }
    fputs("]}\n", dump->out);
    journal->position++;
}

static void print_forget(FILE *out, const struct ingest_record *record)
{
    struct learner_forget forget;
    ingest_record_forget(record, &forget);
    fprintf(out, "{\"forget\":\"%016" PRIx64 "\",\"rows\":[", forget.user);
    for (uint32_t i = 0; i < forget.rows; i++)
        fprintf(out, "%s[%" PRIu32 ",\"%016" PRIx64 "\"]", i ? "," : "",
                forget.row[i].table, forget.row[i].key);
    fputs("]}\n", out);
}

static enum base_status print_record(struct dump *dump,
                                     struct journal_walk *journal,
                                     const struct ingest_record *record,
                                     struct base_error *error)
{
    switch (record->type) {
    case INGEST_RECORD_SAMPLE:
        /* After a trim the oldest block may start inside a group. */
        journal->history_known |= record->fresh;
        if (journal->history_known)
            print_sample(dump, journal, record);
        else
            journal->position++;
        break;
    case INGEST_RECORD_FINAL:
        fprintf(dump->out, "{\"final\":%" PRIu64 ",\"label\":%d}\n",
                record->number, record->label);
        break;
    case INGEST_RECORD_FORGET:
        print_forget(dump->out, record);
        journal->position++;
        break;
    case INGEST_RECORD_BATCH_END:
        if (record->number != journal->position)
            return base_fail(error, BASE_CORRUPT,
                             "journal: a batch ends at %" PRIu64
                             " instead of %" PRIu64,
                             record->number, journal->position);
        fprintf(dump->out, "{\"batch_end\":%" PRIu64 "}\n", record->number);
        break;
    }
    return BASE_OK;
}

static enum base_status print_block(struct dump *dump,
                                    struct ingest_bytes key,
                                    struct ingest_bytes value, void *context,
                                    struct base_error *error)
{
    struct journal_walk *journal = context;
    struct ingest_journal_block block;
    struct ingest_record record;
    enum base_status status =
        ingest_journal_block_open(key, value, &block, error);
    if (status)
        return status;
    /* The daemon may have trimmed more than was read meanwhile. */
    if (!journal->begun ||
        dump->view.totals.journal.begin > journal->position) {
        journal->history_known = false;
        journal->begun = true;
        journal->position = block.position;
        journal->chain = block.chain;
    }
    if (block.position != journal->position ||
        block.chain.low != journal->chain.low ||
        block.chain.high != journal->chain.high)
        return base_fail(error, BASE_CORRUPT,
                         "journal: block %" PRIu64
                         " does not continue the one before it",
                         block.number);
    for (const uint8_t *at = block.at; at < block.end; at += record.size) {
        if (!ingest_record_parse(at, block.end, dump->view.field_count,
                                 dump->view.item_count, &record))
            return base_fail(error, BASE_CORRUPT,
                             "journal: block %" PRIu64
                             " holds no whole record at byte %zu",
                             block.number, (size_t)(at - block.at));
        journal->chain = ingest_record_chain(journal->chain, at, record.size);
        status = print_record(dump, journal, &record, error);
        if (status)
            return status;
    }
    return BASE_OK;
}

static enum base_status print_samples(struct dump *dump,
                                      struct base_error *error)
{
    struct journal_walk journal = {0};
    journal.history =
        malloc(8 * (size_t)dump->view.item_count * LEARNER_HISTORY_MAX);
    if (!journal.history)
        return base_fail(error, BASE_SYSTEM, "inspect: no memory");
    enum base_status status =
        walk(dump, INGEST_DB_JOURNAL, print_block, &journal, error);
    free(journal.history);
    const struct ingest_journal_mark *mark = &dump->view.totals.journal;
    if (!status && journal.begun &&
        (journal.position != mark->position ||
         journal.chain.low != mark->chain.low ||
         journal.chain.high != mark->chain.high))
        return base_fail(error, BASE_CORRUPT,
                         "journal: its blocks end at position %" PRIu64
                         ", the state says %" PRIu64,
                         journal.position, mark->position);
    return status;
}

/* ---- waiting ------------------------------------------------------------- */

static void print_waiting_event(struct dump *dump, uint8_t topic,
                                const struct ingest_waiting *waiting,
                                bool clicked)
{
    fprintf(dump->out,
            "{\"topic\":\"%s\",\"partition\":%d,\"offset\":%" PRId64
            ",\"id\":\"%016" PRIx64 "\",\"user\":\"%016" PRIx64
            "\",\"event_ms\":%" PRId64 ",\"due_ms\":%" PRId64
            ",\"clicked\":%s}\n",
            topics[topic], (int)waiting->partition, waiting->offset,
            waiting->id, waiting->user, waiting->event_ms, waiting->due_ms,
            clicked ? "true" : "false");
}

static enum base_status print_waiting_block(struct dump *dump,
                                            struct ingest_bytes key,
                                            struct ingest_bytes value,
                                            void *context,
                                            struct base_error *error)
{
    uint8_t topic = *(const uint8_t *)context;
    bool clicks = topic == INGEST_CLICKS, clicked;
    struct ingest_bytes bits;
    struct ingest_pending_view view;
    struct ingest_waiting waiting;
    enum base_status status = ingest_reader_get(
        dump->view.reader,
        clicks ? INGEST_DB_CLICK_BITS : INGEST_DB_IMPRESSION_BITS, key, &bits,
        error);
    if (!status)
        status = ingest_pending_view_open(
            topic, clicks ? dump->view.item_count : dump->view.field_count,
            key, value, bits, &view, error);
    for (unsigned i = 0; !status && i < view.count; i++)
        if (ingest_pending_view_at(&view, i, &waiting, &clicked))
            print_waiting_event(dump, topic, &waiting, clicked);
    return status;
}

static enum base_status print_waiting(struct dump *dump,
                                      struct base_error *error)
{
    uint8_t topic = INGEST_IMPRESSIONS;
    enum base_status status = walk(dump, INGEST_DB_IMPRESSIONS,
                                   print_waiting_block, &topic, error);
    topic = INGEST_CLICKS;
    if (!status)
        status = walk(dump, INGEST_DB_CLICKS, print_waiting_block, &topic,
                      error);
    return status;
}

/* ---- decisions, dead letters, meta --------------------------------------- */

static const char *decision_name(uint8_t kind)
{
    switch (kind) {
    case INGEST_FLOORED: return "floored";
    case INGEST_CLAMPED: return "clamped";
    case INGEST_FLOORED | INGEST_CLAMPED: return "floored+clamped";
    case INGEST_AHEAD: return "ahead";
    case INGEST_FLOORED | INGEST_AHEAD: return "floored+ahead";
    case INGEST_UNREGISTERED: return "unregistered";
    case INGEST_FLOORED | INGEST_UNREGISTERED: return "floored+unregistered";
    case INGEST_DECISION_STOPPED: return "stopped";
    case INGEST_DECISION_CONFIGURATION: return "configuration";
    case INGEST_DECISION_REVOKED: return "revoked";
    case INGEST_DECISION_SKIPPED: return "skipped";
    case INGEST_DECISION_FORGET: return "forget";
    default: return "unknown";
    }
}

static enum base_status print_decision(struct dump *dump,
                                       struct ingest_bytes key,
                                       struct ingest_bytes value,
                                       void *context, struct base_error *error)
{
    struct ingest_letter decision;
    (void)context;
    if (!ingest_decision_decode(key, value, &decision))
        return corrupt(key, "decision", error);
    fprintf(dump->out,
            "{\"topic\":\"%s\",\"partition\":%d,\"offset\":%" PRId64
            ",\"kind\":\"%s\",\"own_ms\":%" PRId64 ",\"apply_ms\":%" PRId64,
            topics[decision.topic], (int)decision.partition, decision.offset,
            decision_name(decision.what), decision.first_ms,
            decision.second_ms);
    const uint8_t *behind =
        memchr(decision.bytes, INGEST_BEHIND, decision.bytes_kept);
    uint32_t size = behind ? (uint32_t)(behind - decision.bytes)
                           : decision.bytes_kept;
    if (size) {
        fputs(",\"text\":", dump->out);
        print_text(dump->out, decision.bytes, size);
    }
    if (behind) {
        fputs(",\"behind\":", dump->out);
        print_text(dump->out, behind + 1, decision.bytes_kept - size - 1);
    }
    fputs("}\n", dump->out);
    return BASE_OK;
}

static enum base_status print_letter(struct dump *dump,
                                     struct ingest_bytes key,
                                     struct ingest_bytes value, void *context,
                                     struct base_error *error)
{
    struct ingest_letter letter;
    (void)context;
    if (!ingest_letter_decode(key, value, &letter))
        return corrupt(key, "dead letter", error);
    fprintf(dump->out,
            "{\"reason\":\"%s\",\"topic\":\"%s\",\"partition\":%d,"
            "\"offset\":%" PRId64 ",\"kafka_ms\":%" PRId64
            ",\"size\":%" PRIu32 ",\"bytes\":\"",
            ingest_reason_name((enum ingest_reason)letter.what),
            topics[letter.topic], (int)letter.partition, letter.offset,
            letter.first_ms, letter.size);
    for (uint32_t i = 0; i < letter.bytes_kept; i++)
        fprintf(dump->out, "%02x", letter.bytes[i]);
    fputs("\"}\n", dump->out);
    return BASE_OK;
}

static enum base_status print_meta(struct dump *dump)
{
    const struct ingest_totals *totals = &dump->view.totals;
    fprintf(dump->out,
            "{\"format\":%" PRIu64 ",\"events\":%" PRIu64
            ",\"commits\":%" PRIu64 ",\"next_position\":%" PRIu64
            ",\"batch_end\":%" PRIu64 ",\"journal_begin\":%" PRIu64
            ",\"chain\":\"%016" PRIx64 "%016" PRIx64 "\",\"cluster\":",
            totals->format, totals->events, totals->commits,
            totals->journal.position, totals->journal.batch_first,
            totals->journal.begin, totals->journal.chain.high,
            totals->journal.chain.low);
    print_text(dump->out, (const uint8_t *)totals->cluster,
               strnlen(totals->cluster, sizeof totals->cluster));
    fprintf(dump->out, ",\"epoch\":%" PRIu64 "}\n", totals->epoch);
    return BASE_OK;
}

/* ---- fields -------------------------------------------------------------- */

/* The words of a line "name group 1 table name values 2": the one behind
 * `word`, or "". */
static void word_behind(const char *line, const char *word, char *found,
                        size_t size)
{
    char spaced[32];
    snprintf(spaced, sizeof spaced, " %s ", word);
    const char *at = strstr(line, spaced);
    at = at ? at + strlen(spaced) : "";
    snprintf(found, size, "%.*s", (int)strcspn(at, " "), at);
}

static void print_pair(FILE *out, const char *name, const char *text)
{
    fprintf(out, ",\"%s\":", name);
    print_text(out, (const uint8_t *)text, strlen(text));
}

static void print_field(struct dump *dump, const char *text, unsigned field)
{
    static const char *const groups[] = {"profile", "item", "context"};
    FILE *out = dump->out;
    char key[128], line[256], name[64], word[64], path[2048];
    snprintf(key, sizeof key, "field.%u", field);
    ingest_stream_value(text, key, line, sizeof line);
    snprintf(name, sizeof name, "%.*s", (int)strcspn(line, " "), line);
    fprintf(out, "{\"field\":%u", field);
    print_pair(out, "name", name);
    word_behind(line, "group", word, sizeof word);
    unsigned group = (unsigned)strtoul(word, NULL, 10) % 3;
    snprintf(key, sizeof key, "label.%s", name);
    ingest_stream_value(text, key, word, sizeof word);
    print_pair(out, "group", *word ? word : groups[group]);
    word_behind(line, "table", word, sizeof word);
    print_pair(out, "table", word);
    /* "path" or "path transform" */
    snprintf(key, sizeof key, "impressions.%s", name);
    ingest_stream_value(text, key, path, sizeof path);
    char *transform = strchr(path, ' ');
    if (transform)
        *transform++ = '\0';
    print_pair(out, "path", path);
    if (transform)
        print_pair(out, "transform", transform);
    word_behind(line, "values", word, sizeof word);
    if (*word)
        fprintf(out, ",\"values\":%s", word);
    size_t length = strlen(line);
    if (length > 10 && strcmp(line + length - 10, " continues") == 0)
        fputs(",\"continues\":true", out);
    fputs("}\n", out);
}

static enum base_status print_fields(struct dump *dump)
{
    for (unsigned i = 0; i < dump->view.field_count; i++)
        print_field(dump, dump->view.stream, i);
    return BASE_OK;
}

/* ---- all ----------------------------------------------------------------- */

static enum base_status print(struct dump *dump, enum ingest_inspect what,
                              struct base_error *error)
{
    switch (what) {
    case INGEST_INSPECT_LEDGER: return print_ledger(dump, error);
    case INGEST_INSPECT_SEQUENCES: return print_sequences(dump, error);
    case INGEST_INSPECT_SAMPLES: return print_samples(dump, error);
    case INGEST_INSPECT_WAITING: return print_waiting(dump, error);
    case INGEST_INSPECT_DECISIONS:
        return walk(dump, INGEST_DB_DECISIONS, print_decision, NULL, error);
    case INGEST_INSPECT_DEAD_LETTERS:
        return walk(dump, INGEST_DB_DEAD_LETTERS, print_letter, NULL, error);
    case INGEST_INSPECT_META: return print_meta(dump);
    case INGEST_INSPECT_FIELDS: return print_fields(dump);
    case INGEST_INSPECT_COUNT: break;
    }
    return base_fail(error, BASE_USAGE, "inspect: nothing of that name");
}

enum base_status ingest_inspect(const char *folder, enum ingest_inspect what,
                                FILE *out, struct base_error *error)
{
    struct dump dump = {.out = out};
    enum base_status status = ingest_view_open(&dump.view, folder, error);
    if (!status)
        status = print(&dump, what, error);
    ingest_view_close(&dump.view);
    if (!status && (fflush(out) || ferror(out)))
        status = base_fail(error, BASE_IO, "inspect: writing failed");
    return status;
}
