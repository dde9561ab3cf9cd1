/* SPDX-License-Identifier: Apache-2.0 */
/* Flat files of samples; see columns.h. */
#include "columns.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"

enum column {
    BATCHES, IDS, USER, EVENT_MS, LABEL, GROUP_BEGIN, HISTORY_BEGIN, HISTORY,
    COLUMNS
};
static const char *const names[COLUMNS] = {
    "batches", "ids", "user", "event_ms", "label", "group_begin",
    "history_begin", "history"};

/* Bytes of one entry of each column. */
static void widths(const struct learner_schema *schema, size_t width[COLUMNS])
{
    width[BATCHES] = sizeof(struct columns_batch);
    width[IDS] = 8 * (size_t)schema->field_count;
    width[USER] = width[EVENT_MS] = 8;
    width[LABEL] = 1;
    width[GROUP_BEGIN] = width[HISTORY_BEGIN] = 4;
    width[HISTORY] = 8 * (size_t)schema->item_count;
}

/* ---- writing ------------------------------------------------------------- */

struct columns_writer {
    char folder[1024];
    size_t width[COLUMNS];
    FILE *files[COLUMNS];
    uint64_t groups_at, behaviors_at;
};

enum base_status columns_create(const char *folder,
                                const struct learner_schema *schema,
                                struct columns_writer **writer,
                                struct base_error *error)
{
    enum base_status status = base_file_make_folder(folder, error);
    if (status)
        return status;
    struct columns_writer *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "columns: no memory");
    snprintf(made->folder, sizeof made->folder, "%s", folder);
    widths(schema, made->width);
    for (unsigned i = 0; !status && i < COLUMNS; i++) {
        char path[1200];
        status = base_file_join(path, sizeof path, folder, names[i], error);
        if (!status && !(made->files[i] = fopen(path, "wb")))
            status = base_fail_errno(error, errno, "%s", path);
    }
    if (status) {
        (void)!columns_finish(made, NULL);
        return status;
    }
    *writer = made;
    return BASE_OK;
}

enum base_status columns_append(struct columns_writer *writer,
                                const struct learner_batch *batch,
                                struct base_error *error)
{
    uint32_t behaviors = batch->history_begin[batch->groups];
    const struct columns_batch head = {
        .first = batch->first,
        .end = batch->end,
        .journal_hash = {batch->journal_hash[0], batch->journal_hash[1]},
        .groups_at = writer->groups_at,
        .behaviors_at = writer->behaviors_at,
        .groups = batch->groups,
        .behaviors = behaviors};
    const struct {
        const void *from;
        size_t count;
    } parts[COLUMNS] = {
        [BATCHES] = {&head, 1},
        [IDS] = {batch->ids, batch->samples},
        [USER] = {batch->user, batch->samples},
        [EVENT_MS] = {batch->event_ms, batch->samples},
        [LABEL] = {batch->label, batch->samples},
        [GROUP_BEGIN] = {batch->group_begin, batch->groups + 1u},
        [HISTORY_BEGIN] = {batch->history_begin, batch->groups + 1u},
        [HISTORY] = {batch->history, behaviors}};
    if (batch->finals)
        return base_fail(error, BASE_DATA,
                         "columns: samples must have their final label: "
                         "ingest.label_mode window");
    for (unsigned i = 0; i < COLUMNS; i++)
        if (fwrite(parts[i].from, writer->width[i], parts[i].count,
                   writer->files[i]) != parts[i].count)
            return base_fail_errno(error, errno, "%s/%s", writer->folder,
                                   names[i]);
    writer->groups_at += batch->groups + 1u;
    writer->behaviors_at += behaviors;
    return BASE_OK;
}

enum base_status columns_finish(struct columns_writer *writer,
                                struct base_error *error)
{
    enum base_status status = BASE_OK;
    if (!writer)
        return BASE_OK;
    for (unsigned i = 0; i < COLUMNS; i++)
        if (writer->files[i] && fclose(writer->files[i]) && !status)
            status = base_fail_errno(error, errno, "%s/%s", writer->folder,
                                     names[i]);
    free(writer);
    return status;
}

/* ---- reading ------------------------------------------------------------- */

struct columns {
    size_t bytes[COLUMNS];
    const void *maps[COLUMNS];
    unsigned field_count, item_count;
    size_t batches, at; /* `at`: the batch that is asked for next, a guess */
    uint64_t limit;
    uint8_t *kind; /* OWNS: LEARNER_WINDOW for each sample of a batch */
};

static enum base_status map(const char *path, size_t width, const void **at,
                            size_t *bytes, struct base_error *error)
{
    struct stat info;
    enum base_status status = BASE_OK;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &info)) {
        status = base_fail_errno(error, errno, "%s", path);
    } else if ((size_t)info.st_size % width) {
        status = base_fail(error, BASE_DATA,
                           "%s: %lld bytes are no whole number of entries of "
                           "%zu", path, (long long)info.st_size, width);
    } else if (info.st_size) {
        void *mapped = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED,
                            file, 0);
        if (mapped == MAP_FAILED) {
            status = base_fail_errno(error, errno, "%s", path);
        } else {
            *at = mapped;
            *bytes = (size_t)info.st_size;
        }
    }
    if (file >= 0)
        close(file);
    return status;
}

static const struct columns_batch *batch_at(const struct columns *columns,
                                            size_t index)
{
    return (const struct columns_batch *)columns->maps[BATCHES] + index;
}

/* Samples of the largest batch: so many kinds are kept. */
static enum base_status make_kinds(struct columns *columns,
                                   struct base_error *error)
{
    uint64_t most = 1;
    for (size_t i = 0; i < columns->batches; i++) {
        const struct columns_batch *batch = batch_at(columns, i);
        most = batch->end - batch->first > most ? batch->end - batch->first
                                                : most;
    }
    columns->kind = calloc(most, 1);
    return columns->kind
               ? BASE_OK
               : base_fail(error, BASE_SYSTEM, "columns: no memory");
}

static enum base_status check(const struct columns *columns,
                              const size_t width[COLUMNS],
                              struct base_error *error)
{
    uint64_t samples = columns_samples(columns);
    for (unsigned i = IDS; i <= LABEL; i++)
        if (columns->bytes[i] != samples * width[i])
            return base_fail(error, BASE_DATA,
                             "columns: %s holds %zu bytes, not those of %llu "
                             "samples", names[i], columns->bytes[i],
                             (unsigned long long)samples);
    return BASE_OK;
}

enum base_status columns_open(const char *folder,
                              const struct learner_schema *schema,
                              struct columns **columns,
                              struct base_error *error)
{
    size_t width[COLUMNS];
    enum base_status status = BASE_OK;
    struct columns *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "columns: no memory");
    widths(schema, width);
    for (unsigned i = 0; !status && i < COLUMNS; i++) {
        char path[1200];
        status = base_file_join(path, sizeof path, folder, names[i], error);
        if (!status)
            status = map(path, width[i], &made->maps[i], &made->bytes[i],
                         error);
    }
    made->batches = made->bytes[BATCHES] / width[BATCHES];
    made->field_count = schema->field_count;
    made->item_count = schema->item_count;
    made->limit = UINT64_MAX;
    if (!status)
        status = check(made, width, error);
    if (!status)
        status = make_kinds(made, error);
    if (status) {
        columns_close(made);
        return status;
    }
    *columns = made;
    return BASE_OK;
}

void columns_close(struct columns *columns)
{
    if (!columns)
        return;
    for (unsigned i = 0; i < COLUMNS; i++)
        if (columns->maps[i])
            munmap((void *)(uintptr_t)columns->maps[i], columns->bytes[i]);
    free(columns->kind);
    free(columns);
}

uint64_t columns_samples(const struct columns *columns)
{
    return columns->batches ? batch_at(columns, columns->batches - 1)->end : 0;
}

void columns_set_limit(struct columns *columns, uint64_t limit)
{
    columns->limit = limit;
}

/* Index of the first batch that ends behind `position`. */
static size_t behind(const struct columns *columns, uint64_t position)
{
    size_t low = 0, high = columns->batches;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (batch_at(columns, middle)->end > position)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

uint64_t columns_border(const struct columns *columns, uint64_t position)
{
    size_t index = behind(columns, position);
    return index ? batch_at(columns, index - 1)->end : 0;
}

static void fill(const struct columns *columns,
                 const struct columns_batch *from, struct learner_batch *batch)
{
    const uint64_t *ids = columns->maps[IDS];
    const uint64_t *history = columns->maps[HISTORY];
    *batch = (struct learner_batch){
        .first = from->first,
        .end = from->end,
        .journal_hash = {from->journal_hash[0], from->journal_hash[1]},
        .samples = (uint32_t)(from->end - from->first),
        .groups = from->groups,
        .ids = ids + from->first * columns->field_count,
        .user = (const uint64_t *)columns->maps[USER] + from->first,
        .event_ms = (const int64_t *)columns->maps[EVENT_MS] + from->first,
        .label = (const uint8_t *)columns->maps[LABEL] + from->first,
        .kind = columns->kind,
        .group_begin =
            (const uint32_t *)columns->maps[GROUP_BEGIN] + from->groups_at,
        .history_begin =
            (const uint32_t *)columns->maps[HISTORY_BEGIN] + from->groups_at,
        .history = history + from->behaviors_at * columns->item_count};
}

static enum base_status next(void *self, uint64_t position, int timeout_ms,
                             struct learner_batch *batch,
                             struct base_error *error)
{
    struct columns *columns = self;
    size_t at = columns->at;
    if (at >= columns->batches || batch_at(columns, at)->first != position)
        at = behind(columns, position);
    if (at == columns->batches || batch_at(columns, at)->end > columns->limit) {
        const struct timespec pause = {.tv_nsec = 1000000};
        if (timeout_ms > 0)
            nanosleep(&pause, NULL);
        return base_fail(error, BASE_AGAIN, "columns: nothing behind %llu",
                         (unsigned long long)position);
    }
    const struct columns_batch *from = batch_at(columns, at);
    if (from->first != position)
        return base_fail(error, BASE_DATA, "columns: no batch ends at %llu",
                         (unsigned long long)position);
    columns->at = at + 1;
    fill(columns, from, batch);
    return BASE_OK;
}

struct learner_source columns_source(struct columns *columns)
{
    return (struct learner_source){.self = columns, .next = next};
}
