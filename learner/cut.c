/* SPDX-License-Identifier: Apache-2.0 */
/* The cut; see cut.h. The bytes are described in checkpoint.h.
 *
 * Messages to the writer are struct buffer: `begin` opens the temporary
 * folder, `small` and `data` hold records without hashes (the writer adds
 * them, it knows the offset), `end` commits, `drop` abandons, `quit` ends the
 * thread. Data buffers come back through `empty`, also after an error, so
 * the trainer never waits for a writer that has given up. */
#include "learner/cut.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/log.h"
#include "base/ring.h"

enum message { BEGIN, SMALL, DATA, END, DROP, QUIT };

struct buffer {
    enum message message;
    uint8_t *bytes;
    size_t used, room;
};

enum { PATH = 1200 };

/* Only the writer thread touches this between BEGIN and the outcome. */
struct writer {
    pthread_t thread;
    int fd;
    uint64_t offset, records;
    XXH3_state_t *hash; /* of the whole file */
    char temporary[PATH], path[PATH];
    bool broken; /* an error was met; the rest is dropped */
    struct base_error error;
};

struct learner_cut {
    struct learner_cut_config config;
    struct base_ring *work, *empty, *finished;
    struct buffer buffers[LEARNER_CUT_BUFFERS];
    struct buffer small, begin, end, drop, quit;
    uint64_t position, request;
    uint64_t waits;
    bool slicing, small_sent;
    bool pending; /* BEGIN was sent, the outcome not yet fetched */
    unsigned table; /* cursor: tables and slots before it are taken */
    uint32_t slot;
    uint32_t limit[LEARNER_TABLES_MAX]; /* slots at begin */
    uint8_t *saved[LEARNER_TABLES_MAX]; /* a bit a slot */
    struct buffer *undo; /* being filled, or NULL */
    struct learner_cut_record *open; /* last record in it, or NULL */
    bool started;
    struct writer writer;
};

/* ---- writer thread ------------------------------------------------------- */

static enum base_status put(struct writer *writer, const void *bytes,
                            size_t size, struct base_error *error)
{
    XXH3_128bits_update(writer->hash, bytes, size);
    writer->offset += size;
    return base_file_write_all(writer->fd, bytes, size, writer->temporary,
                               error);
}

static enum base_status start_file(struct learner_cut *cut,
                                   struct base_error *error)
{
    struct writer *writer = &cut->writer;
    const char *folder = cut->config.folder;
    char name[LEARNER_CHECKPOINT_NAME], temporary[64], file[PATH + 16];
    learner_checkpoint_name(name, cut->position);
    snprintf(temporary, sizeof temporary, ".tmp-%s", name);
    enum base_status status = base_file_join(writer->path, PATH, folder, name,
                                             error);
    if (!status)
        status = base_file_join(writer->temporary, PATH, folder, temporary,
                                error);
    if (!status)
        status = base_file_remove(writer->temporary, error);
    if (!status)
        status = base_file_make_folder(writer->temporary, error);
    if (status)
        return status;
    snprintf(file, sizeof file, "%s/%s", writer->temporary, LEARNER_CUT_NAME);
    writer->fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (writer->fd < 0)
        return base_fail_errno(error, errno, "%s", file);
    struct learner_cut_file header = {
        .format = LEARNER_CUT_FORMAT,
        .size = sizeof header,
        .position = cut->position,
    };
    memcpy(header.magic, LEARNER_CUT_MAGIC, sizeof header.magic);
    header.hash = learner_cut_file_hash(&header);
    writer->offset = writer->records = 0;
    XXH3_128bits_reset(writer->hash);
    return put(writer, &header, sizeof header, error);
}

/* Gives each record of the buffer its hash, then writes them at once. */
static enum base_status write_records(struct writer *writer,
                                      struct buffer *buffer,
                                      struct base_error *error)
{
    for (size_t at = 0; at < buffer->used;) {
        struct learner_cut_record *record =
            (struct learner_cut_record *)(void *)(buffer->bytes + at);
        record->hash = learner_cut_record_hash(
            record, buffer->bytes + at + sizeof *record,
            writer->offset + at);
        writer->records++;
        at += sizeof *record + learner_cut_padded(record->size);
    }
    return put(writer, buffer->bytes, buffer->used, error);
}

static enum base_status finish_file(struct learner_cut *cut,
                                    struct base_error *error)
{
    struct writer *writer = &cut->writer;
    struct learner_cut_record record = {.type = LEARNER_CUT_END, .size = 8};
    uint64_t tail[3] = {writer->records};
    record.hash = learner_cut_record_hash(&record, tail, writer->offset);
    enum base_status status = put(writer, &record, sizeof record, error);
    if (!status)
        status = put(writer, tail, sizeof tail[0], error);
    XXH128_hash_t hash = XXH3_128bits_digest(writer->hash);
    tail[1] = hash.low64;
    tail[2] = hash.high64;
    if (!status)
        status = put(writer, tail + 1, 2 * sizeof tail[1], error);
    if (!status && fsync(writer->fd))
        status = base_fail_errno(error, errno, "%s: fsync",
                                 writer->temporary);
    if (close(writer->fd) && !status)
        status = base_fail_errno(error, errno, "%s: close",
                                 writer->temporary);
    writer->fd = -1;
    if (!status)
        status = base_file_sync_folder(writer->temporary, error);
    /* One of the same position can only be what did not verify at open. */
    if (!status)
        status = base_file_remove(writer->path, error);
    if (!status && rename(writer->temporary, writer->path))
        status = base_fail_errno(error, errno, "%s: rename",
                                 writer->temporary);
    if (!status)
        status = base_file_sync_folder(cut->config.folder, error);
    return status;
}

enum base_status learner_cut_remove(const char *folder, uint64_t position,
                                    struct base_error *error)
{
    char name[LEARNER_CHECKPOINT_NAME], temporary[64], path[PATH], aside[PATH];
    learner_checkpoint_name(name, position);
    snprintf(temporary, sizeof temporary, ".tmp-%s", name);
    enum base_status status = base_file_join(path, PATH, folder, name, error);
    if (!status)
        status = base_file_join(aside, PATH, folder, temporary, error);
    if (!status)
        status = base_file_remove(aside, error);
    if (!status && rename(path, aside))
        status = base_fail_errno(error, errno, "%s: rename", path);
    return status ? status : base_file_remove(aside, error);
}

/* Removes all but the newest `kept`; returns the oldest that is left. */
static uint64_t prune(struct learner_cut *cut)
{
    enum { MOST = 256 };
    uint64_t positions[MOST], oldest = cut->position;
    unsigned count;
    struct base_error error;
    enum base_status status = learner_checkpoint_list(
        cut->config.folder, positions, MOST, &count, &error);
    unsigned surplus = !status && count > cut->config.kept
                           ? count - cut->config.kept : 0;
    for (unsigned i = 0; !status && i < surplus; i++)
        status = learner_cut_remove(cut->config.folder, positions[i], &error);
    if (status)
        base_log(BASE_LOG_WARN, "event=checkpoint_prune_failed %sreason=\"%s\"",
                 cut->config.label, error.text);
    if (!status && count)
        oldest = positions[surplus];
    return oldest;
}

static void remove_temporary(struct learner_cut *cut)
{
    struct writer *writer = &cut->writer;
    struct base_error error;
    if (writer->fd >= 0)
        close(writer->fd);
    writer->fd = -1;
    if (base_file_remove(writer->temporary, &error))
        base_log(BASE_LOG_WARN, "event=checkpoint_leftover %sreason=\"%s\"",
                 cut->config.label, error.text);
}

static void commit(struct learner_cut *cut)
{
    struct writer *writer = &cut->writer;
    if (!writer->broken && finish_file(cut, &writer->error))
        writer->broken = true;
    if (writer->broken) {
        remove_temporary(cut);
        return;
    }
    uint64_t oldest = prune(cut);
    if (cut->config.written)
        cut->config.written(cut->config.written_self, writer->path,
                            cut->position, oldest, cut->request);
}

static void *write_thread(void *argument)
{
    struct learner_cut *cut = argument;
    struct writer *writer = &cut->writer;
    struct buffer *buffer;
    while ((buffer = base_ring_pop(cut->work, -1))->message != QUIT) {
        switch (buffer->message) {
        case BEGIN:
            writer->broken = start_file(cut, &writer->error) != BASE_OK;
            break;
        case END: commit(cut); break;
        case DROP: remove_temporary(cut); break;
        default:
            if (!writer->broken &&
                write_records(writer, buffer, &writer->error))
                writer->broken = true;
        }
        /* The trainer's again once pushed. */
        bool last = buffer->message == END || buffer->message == DROP;
        if (last || buffer->message == DATA)
            BASE_ASSERT(base_ring_push(last ? cut->finished : cut->empty,
                                       buffer, -1));
    }
    return NULL;
}

/* ---- buffers ------------------------------------------------------------- */

static void send(struct learner_cut *cut, struct buffer *buffer)
{
    BASE_ASSERT(base_ring_push(cut->work, buffer, -1));
}

static struct buffer *take(struct learner_cut *cut)
{
    struct buffer *buffer = base_ring_pop(cut->empty, 0);
    if (!buffer) {
        cut->waits++;
        buffer = base_ring_pop(cut->empty, -1);
    }
    buffer->used = 0;
    return buffer;
}

static struct learner_cut_record *add_record(struct buffer *buffer,
                                             enum learner_cut_type type,
                                             unsigned table, uint64_t first)
{
    struct learner_cut_record *record =
        (struct learner_cut_record *)(void *)(buffer->bytes + buffer->used);
    *record = (struct learner_cut_record){
        .type = type, .table = table, .first = first};
    buffer->used += sizeof *record;
    return record;
}

/* The small parts come first in the file. */
static void send_small(struct learner_cut *cut)
{
    if (!cut->small_sent)
        send(cut, &cut->small);
    cut->small_sent = true;
}

static void flush_undo(struct learner_cut *cut)
{
    send_small(cut);
    if (cut->undo)
        send(cut, cut->undo);
    cut->undo = NULL;
    cut->open = NULL;
}

/* Its pages are there from now on. Not zeros: a compiler would make calloc of
 * malloc and zeros, which touches nothing. */
static void touch(uint8_t *bytes, size_t room)
{
    memset(bytes, 0xa5, room);
}

/* ---- the trainer's side -------------------------------------------------- */

static enum base_status clear_marks(struct learner_cut *cut,
                                    struct base_error *error)
{
    for (unsigned t = 0; t < cut->config.table_count; t++) {
        cut->limit[t] = learner_table_slots(cut->config.tables[t]);
        free(cut->saved[t]);
        cut->saved[t] = calloc(cut->limit[t] / 8 + 1, 1);
        if (!cut->saved[t])
            return base_fail(error, BASE_SYSTEM,
                             "cut: no memory for marks of %u rows",
                             cut->limit[t]);
    }
    return BASE_OK;
}

enum base_status learner_cut_reserve(struct learner_cut *cut, size_t small,
                                     struct base_error *error)
{
    size_t room = small + LEARNER_CUT_PARTS *
                              (sizeof(struct learner_cut_record) + 8);
    if (room <= cut->small.room)
        return BASE_OK;
    uint8_t *bytes = malloc(room);
    if (!bytes)
        return base_fail(error, BASE_SYSTEM, "cut: no memory for %zu bytes "
                         "of small parts", room);
    touch(bytes, room);
    free(cut->small.bytes);
    cut->small.bytes = bytes;
    cut->small.room = room;
    return BASE_OK;
}

enum base_status learner_cut_begin(struct learner_cut *cut, uint64_t position,
                                   uint64_t request, size_t small,
                                   struct base_error *error)
{
    BASE_ASSERT(!cut->pending);
    enum base_status status = clear_marks(cut, error);
    if (status)
        return status;
    status = learner_cut_reserve(cut, small, error);
    if (status)
        return status;
    cut->small.used = 0;
    cut->position = position;
    cut->request = request;
    cut->table = cut->slot = 0;
    cut->slicing = cut->pending = true;
    cut->small_sent = false;
    send(cut, &cut->begin);
    return BASE_OK;
}

void *learner_cut_part(struct learner_cut *cut, enum learner_cut_type type,
                       size_t size)
{
    struct buffer *small = &cut->small;
    struct learner_cut_record *record = add_record(small, type, 0, 0);
    record->size = size;
    uint8_t *at = small->bytes + small->used;
    BASE_ASSERT(small->used + learner_cut_padded(size) <= small->room);
    memset(at + size, 0, learner_cut_padded(size) - size);
    small->used += learner_cut_padded(size);
    return at;
}

static bool taken(const struct learner_cut *cut, unsigned table,
                  uint32_t slot)
{
    return table < cut->table || (table == cut->table && slot < cut->slot) ||
           slot >= cut->limit[table];
}

void learner_cut_touch(struct learner_cut *cut, unsigned table, uint32_t slot)
{
    if (!cut->slicing || taken(cut, table, slot))
        return;
    uint8_t bit = (uint8_t)(1u << (slot & 7));
    if (cut->saved[table][slot >> 3] & bit)
        return;
    cut->saved[table][slot >> 3] |= bit;
    size_t stride = learner_table_stride(cut->config.tables[table]);
    size_t need = sizeof(struct learner_cut_record) + 8 + stride;
    if (cut->undo && cut->undo->used + need > cut->undo->room)
        flush_undo(cut);
    if (!cut->undo)
        cut->undo = take(cut);
    if (!cut->open || cut->open->table != table)
        cut->open = add_record(cut->undo, LEARNER_CUT_UNDO, table, 0);
    uint8_t *at = base_put_u64(cut->undo->bytes + cut->undo->used, slot);
    memcpy(at, learner_table_row(cut->config.tables[table], slot), stride);
    cut->open->size += 8 + stride;
    cut->undo->used += 8 + stride;
}

/* Copies rows from the cursor on into what is left of the buffer; false where
 * not one more fits. */
static bool take_run(struct learner_cut *cut, struct buffer *buffer)
{
    const struct learner_table *table = cut->config.tables[cut->table];
    size_t stride = learner_table_stride(table);
    size_t left = buffer->room - buffer->used;
    uint32_t run = learner_table_run(table, cut->slot);
    uint32_t to_limit = cut->limit[cut->table] - cut->slot;
    if (left < sizeof(struct learner_cut_record) + stride)
        return false;
    size_t fits = (left - sizeof(struct learner_cut_record)) / stride;
    if (run > to_limit)
        run = to_limit;
    if (run > fits)
        run = (uint32_t)fits;
    struct learner_cut_record *record =
        add_record(buffer, LEARNER_CUT_SLICE, cut->table, cut->slot);
    record->size = run * stride;
    memcpy(buffer->bytes + buffer->used, learner_table_row(table, cut->slot),
           record->size);
    buffer->used += record->size;
    cut->slot += run;
    return true;
}

bool learner_cut_ready(const struct learner_cut *cut)
{
    return base_ring_size(cut->empty) >= 2;
}

bool learner_cut_step(struct learner_cut *cut, bool wait)
{
    if (!cut->slicing)
        return false;
    send_small(cut);
    if (!wait && !learner_cut_ready(cut))
        return true;
    struct buffer *buffer = take(cut);
    while (cut->table < cut->config.table_count) {
        if (!take_run(cut, buffer))
            break;
        if (cut->slot == cut->limit[cut->table]) {
            cut->table++;
            cut->slot = 0;
        }
    }
    send(cut, buffer);
    if (cut->table < cut->config.table_count)
        return true;
    flush_undo(cut);
    cut->slicing = false;
    send(cut, &cut->end);
    return false;
}

/* Takes the writer's last word on the running cut. */
static enum learner_cut_outcome fetch(struct learner_cut *cut, int timeout_ms)
{
    const struct buffer *last = base_ring_pop(cut->finished, timeout_ms);
    if (!last)
        return LEARNER_CUT_RUNNING;
    cut->pending = false;
    if (last == &cut->drop)
        return LEARNER_CUT_NONE;
    return cut->writer.broken ? LEARNER_CUT_FAILED : LEARNER_CUT_DONE;
}

enum learner_cut_outcome learner_cut_outcome(struct learner_cut *cut,
                                             bool wait,
                                             struct base_error *error)
{
    if (!cut->pending)
        return LEARNER_CUT_NONE;
    while (wait && learner_cut_step(cut, true))
        ;
    if (cut->slicing)
        return LEARNER_CUT_RUNNING;
    enum learner_cut_outcome outcome = fetch(cut, wait ? -1 : 0);
    if (outcome == LEARNER_CUT_FAILED && error)
        *error = cut->writer.error;
    return outcome;
}

void learner_cut_abandon(struct learner_cut *cut)
{
    if (!cut->pending)
        return;
    if (cut->slicing) {
        if (cut->undo)
            cut->undo->used = 0;
        flush_undo(cut);
        cut->slicing = false;
        send(cut, &cut->drop);
    }
    fetch(cut, -1);
}

bool learner_cut_slicing(const struct learner_cut *cut)
{
    return cut->slicing;
}

bool learner_cut_running(const struct learner_cut *cut)
{
    return cut->pending;
}

uint64_t learner_cut_waits(const struct learner_cut *cut)
{
    return cut->waits;
}

/* ---- new and free -------------------------------------------------------- */

static enum base_status make_buffers(struct learner_cut *cut,
                                     struct base_error *error)
{
    size_t room = cut->config.slice_bytes;
    for (unsigned i = 0; i < LEARNER_CUT_BUFFERS; i++) {
        struct buffer *buffer = &cut->buffers[i];
        buffer->bytes = malloc(room);
        if (!buffer->bytes)
            return base_fail(error, BASE_SYSTEM,
                             "cut: no memory for a buffer of %zu bytes", room);
        touch(buffer->bytes, room);
        *buffer = (struct buffer){DATA, buffer->bytes, 0, room};
        BASE_ASSERT(base_ring_push(cut->empty, buffer, 0));
    }
    cut->small.message = SMALL;
    cut->begin.message = BEGIN;
    cut->end.message = END;
    cut->drop.message = DROP;
    cut->quit.message = QUIT;
    return BASE_OK;
}

/* A slice holds at least a row, whatever was configured. */
static size_t smallest_slice(const struct learner_cut_config *config)
{
    size_t least = 0;
    for (unsigned t = 0; t < config->table_count; t++) {
        size_t stride = learner_table_stride(config->tables[t]);
        least = stride > least ? stride : least;
    }
    return least + 8 + sizeof(struct learner_cut_record);
}

static enum base_status start(struct learner_cut *cut,
                              struct base_error *error)
{
    enum base_status status = base_ring_new(&cut->work, 64, error);
    if (!status)
        status = base_ring_new(&cut->empty, LEARNER_CUT_BUFFERS, error);
    if (!status)
        status = base_ring_new(&cut->finished, 2, error);
    if (!status)
        status = make_buffers(cut, error);
    if (status)
        return status;
    cut->writer.fd = -1;
    cut->writer.hash = XXH3_createState();
    if (!cut->writer.hash)
        return base_fail(error, BASE_SYSTEM, "cut: no memory");
    int refused = pthread_create(&cut->writer.thread, NULL, write_thread, cut);
    if (refused)
        return base_fail_errno(error, refused, "cut: start the writer");
    cut->started = true;
    return BASE_OK;
}

enum base_status learner_cut_new(const struct learner_cut_config *config,
                                 struct learner_cut **cut,
                                 struct base_error *error)
{
    struct learner_cut *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "cut: no memory");
    made->config = *config;
    if (!made->config.slice_bytes)
        made->config.slice_bytes = LEARNER_CUT_SLICE_BYTES;
    if (made->config.slice_bytes < smallest_slice(config))
        made->config.slice_bytes = smallest_slice(config);
    if (!made->config.label)
        made->config.label = "";
    if (made->config.kept < 1)
        made->config.kept = 1;
    enum base_status status = start(made, error);
    if (status) {
        learner_cut_free(made);
        return status;
    }
    *cut = made;
    return BASE_OK;
}

void learner_cut_free(struct learner_cut *cut)
{
    if (!cut)
        return;
    if (cut->started) {
        learner_cut_abandon(cut);
        send(cut, &cut->quit);
        pthread_join(cut->writer.thread, NULL);
    }
    XXH3_freeState(cut->writer.hash);
    base_ring_free(cut->work);
    base_ring_free(cut->empty);
    base_ring_free(cut->finished);
    for (unsigned i = 0; i < LEARNER_CUT_BUFFERS; i++)
        free(cut->buffers[i].bytes);
    for (unsigned t = 0; t < LEARNER_TABLES_MAX; t++)
        free(cut->saved[t]);
    free(cut->small.bytes);
    free(cut);
}

enum base_status learner_cut_clean(const char *folder,
                                   struct base_error *error)
{
    DIR *directory = opendir(folder);
    if (!directory)
        return base_fail_errno(error, errno, "%s", folder);
    enum base_status status = BASE_OK;
    struct dirent *entry;
    while (!status && (entry = readdir(directory))) {
        char path[PATH];
        if (strncmp(entry->d_name, ".tmp-", 5) != 0)
            continue;
        status = base_file_join(path, sizeof path, folder, entry->d_name,
                                error);
        if (!status)
            status = base_file_remove(path, error);
    }
    closedir(directory);
    return status;
}
