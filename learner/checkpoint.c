/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a checkpoint; the bytes are described in checkpoint.h. The file is
 * mapped, verified whole, and rows are used where they lie. A checkpoint is
 * immutable once open; any thread may read it. Writing is in cut.c. */
#include "learner/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/bytes.h"
#include "base/file.h"
#include "learner/keyed.h"

struct rows {
    uint32_t slots, room, live;
    const struct learner_row **at; /* by slot, as of the position */
    struct learner_keyed *sorted;  /* (live) by key */
    size_t floats;                 /* of a row: weights and state */
    size_t stride;
};

enum {
    AHEAD = 12,      /* rows under way while one is looked at */
    PIECE = 4 << 20, /* bytes unmapped at once */
};

struct learner_checkpoint {
    char path[1200];
    const uint8_t *bytes; /* the mapped file */
    size_t size;
    struct learner_checkpoint_info info;
    struct learner_checkpoint_parts parts;
    struct rows tables[LEARNER_TABLES_MAX];
    bool sliced; /* a record of rows was read */
};

/* ---- hashes and names ---------------------------------------------------- */

uint64_t learner_cut_file_hash(const struct learner_cut_file *file)
{
    return XXH3_64bits(file, offsetof(struct learner_cut_file, hash));
}

uint64_t learner_cut_record_hash(const struct learner_cut_record *record,
                                 const void *payload, uint64_t offset)
{
    uint64_t seed = XXH3_64bits_withSeed(
        record, offsetof(struct learner_cut_record, hash), offset);
    return XXH3_64bits_withSeed(payload, learner_cut_padded(record->size),
                                seed);
}

void learner_checkpoint_name(char *name, uint64_t position)
{
    snprintf(name, LEARNER_CHECKPOINT_NAME, "ck-%020llu",
             (unsigned long long)position);
}

static bool parse_name(const char *name, uint64_t *position)
{
    char again[LEARNER_CHECKPOINT_NAME];
    if (strncmp(name, "ck-", 3) != 0)
        return false;
    *position = strtoull(name + 3, NULL, 10);
    learner_checkpoint_name(again, *position);
    return strcmp(name, again) == 0;
}

static int by_position(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* Keeps the largest `max`, ascending. */
static void insert(uint64_t *positions, unsigned max, unsigned *count,
                   uint64_t position)
{
    if (*count == max) {
        if (position < positions[0])
            return;
        memmove(positions, positions + 1, (max - 1) * sizeof *positions);
        --*count;
    }
    positions[(*count)++] = position;
    qsort(positions, *count, sizeof *positions, by_position);
}

enum base_status learner_checkpoint_list(const char *folder,
                                         uint64_t *positions, unsigned max,
                                         unsigned *count,
                                         struct base_error *error)
{
    *count = 0;
    DIR *directory = opendir(folder);
    if (!directory && errno == ENOENT)
        return BASE_OK;
    if (!directory)
        return base_fail_errno(error, errno, "%s", folder);
    struct dirent *entry;
    uint64_t position;
    while ((entry = readdir(directory)))
        if (parse_name(entry->d_name, &position))
            insert(positions, max, count, position);
    closedir(directory);
    return BASE_OK;
}

/* ---- verifying ----------------------------------------------------------- */

#define CORRUPT(checkpoint, offset, ...)                                     \
    corrupt(checkpoint, error, (uint64_t)(offset), __VA_ARGS__)

static enum base_status corrupt(const struct learner_checkpoint *checkpoint,
                                struct base_error *error, uint64_t offset,
                                const char *what)
{
    return base_fail(error, BASE_CORRUPT, "%s: offset %llu: %s",
                     checkpoint->path, (unsigned long long)offset, what);
}

static enum base_status read_head(struct learner_checkpoint *checkpoint,
                                  const struct learner_cut_record *record,
                                  const uint8_t *payload, uint64_t offset,
                                  struct base_error *error)
{
    struct learner_checkpoint_info *info = &checkpoint->info;
    if (!learner_checkpoint_decode(info, payload, record->size))
        return CORRUPT(checkpoint, offset, "the head's fields do not fit");
    for (unsigned i = 0; i < info->table_count; i++) {
        struct rows *rows = &checkpoint->tables[i];
        rows->floats = (size_t)info->tables[i].dimension + info->row_state[i];
        rows->stride = learner_row_stride(rows->floats);
    }
    return BASE_OK;
}

static enum base_status read_dense(struct learner_checkpoint *checkpoint,
                                   const struct learner_cut_record *record,
                                   const uint8_t *payload, uint64_t offset,
                                   struct base_error *error)
{
    struct learner_checkpoint_parts *parts = &checkpoint->parts;
    if (record->size < 16)
        return CORRUPT(checkpoint, offset, "the dense part is too small");
    parts->dense_step = base_get_u64(payload);
    parts->dense_size = base_get_u64(payload + 8);
    if (parts->dense_size > record->size ||
        record->size != 16 + 12 * parts->dense_size)
        return CORRUPT(checkpoint, offset, "the dense part's size is wrong");
    parts->weights = (const float *)(const void *)(payload + 16);
    parts->state = parts->weights + parts->dense_size;
    return BASE_OK;
}

static enum base_status reserve_slots(struct rows *rows, uint64_t slots,
                                      struct base_error *error)
{
    if (slots <= rows->room)
        return BASE_OK;
    uint64_t room = rows->room ? rows->room * (uint64_t)2 : 1024;
    while (room < slots)
        room *= 2;
    const struct learner_row **at = realloc(rows->at, room * sizeof *at);
    if (!at)
        return base_fail(error, BASE_SYSTEM, "no memory for %llu rows",
                         (unsigned long long)room);
    rows->at = at;
    rows->room = room > UINT32_MAX ? UINT32_MAX : (uint32_t)room;
    return BASE_OK;
}

static enum base_status read_slice(struct learner_checkpoint *checkpoint,
                                   const struct learner_cut_record *record,
                                   const uint8_t *payload, uint64_t offset,
                                   struct base_error *error)
{
    if (record->table >= checkpoint->info.table_count)
        return CORRUPT(checkpoint, offset, "slice of an unknown table");
    struct rows *rows = &checkpoint->tables[record->table];
    uint64_t count = record->size / rows->stride;
    if (record->size % rows->stride || record->first != rows->slots ||
        rows->slots + count > UINT32_MAX)
        return CORRUPT(checkpoint, offset, "slice out of order");
    enum base_status status = reserve_slots(rows, rows->slots + count, error);
    if (status)
        return status;
    for (uint64_t i = 0; i < count; i++)
        rows->at[rows->slots++] =
            (const struct learner_row *)(const void *)(payload +
                                                       i * rows->stride);
    return BASE_OK;
}

/* In the second pass, when all slots are known. */
static enum base_status read_undo(struct learner_checkpoint *checkpoint,
                                  const struct learner_cut_record *record,
                                  const uint8_t *payload, uint64_t offset,
                                  struct base_error *error)
{
    if (record->table >= checkpoint->info.table_count)
        return CORRUPT(checkpoint, offset, "undo of an unknown table");
    struct rows *rows = &checkpoint->tables[record->table];
    size_t step = 8 + rows->stride;
    if (record->size % step)
        return CORRUPT(checkpoint, offset, "undo of half a row");
    for (size_t i = 0; i < record->size; i += step) {
        uint64_t slot = base_get_u64(payload + i);
        if (slot >= rows->slots)
            return CORRUPT(checkpoint, offset, "undo of a slot not there");
        rows->at[slot] =
            (const struct learner_row *)(const void *)(payload + i + 8);
    }
    return BASE_OK;
}

/* The first three are there, in this order; then others in the order of their
 * numbers; then rows. */
static bool in_order(const struct learner_checkpoint *checkpoint,
                     const struct learner_cut_record *record, uint64_t number)
{
    if (number < 3)
        return record->type == number + 1;
    if (record->type >= LEARNER_CUT_PARTS)
        return true;
    for (unsigned type = record->type; type < LEARNER_CUT_PARTS; type++)
        if (checkpoint->parts.part[type].bytes)
            return false;
    return !checkpoint->sliced;
}

static enum base_status read_record(struct learner_checkpoint *checkpoint,
                                    const struct learner_cut_record *record,
                                    const uint8_t *payload, uint64_t offset,
                                    uint64_t number, struct base_error *error)
{
    if (!in_order(checkpoint, record, number))
        return CORRUPT(checkpoint, offset, "a record out of order");
    if (record->type < LEARNER_CUT_PARTS)
        checkpoint->parts.part[record->type] =
            (struct learner_checkpoint_part){payload, record->size};
    else
        checkpoint->sliced = true;
    switch (record->type) {
    case LEARNER_CUT_HEAD:
        return read_head(checkpoint, record, payload, offset, error);
    case LEARNER_CUT_DENSE:
        return read_dense(checkpoint, record, payload, offset, error);
    case LEARNER_CUT_METRICS:
    case LEARNER_CUT_NEGATIVES:
    case LEARNER_CUT_ADMISSION:
    case LEARNER_CUT_EVICTION:
    case LEARNER_CUT_CHANGES: return BASE_OK;
    case LEARNER_CUT_SLICE:
        return read_slice(checkpoint, record, payload, offset, error);
    case LEARNER_CUT_UNDO: return BASE_OK;
    default: return CORRUPT(checkpoint, offset, "a record of unknown type");
    }
}

/* The END record and the hash behind it, which ends the file. */
static enum base_status read_end(const struct learner_checkpoint *checkpoint,
                                 const struct learner_cut_record *record,
                                 uint64_t offset, uint64_t number,
                                 struct base_error *error)
{
    const uint8_t *payload = checkpoint->bytes + offset + sizeof *record;
    uint64_t hashed = offset + sizeof *record + 8;
    if (record->size != 8 || checkpoint->size - hashed != 16)
        return CORRUPT(checkpoint, offset, "the end is not the file's end");
    if (base_get_u64(payload) != number)
        return CORRUPT(checkpoint, offset, "records are missing");
    XXH128_hash_t hash = XXH3_128bits(checkpoint->bytes, hashed);
    if (base_get_u64(payload + 8) != hash.low64 ||
        base_get_u64(payload + 16) != hash.high64)
        return CORRUPT(checkpoint, hashed, "the file's hash does not match");
    return BASE_OK;
}

/* Copies the record at `offset` and verifies it. */
static enum base_status verify_record(
    const struct learner_checkpoint *checkpoint, uint64_t offset,
    struct learner_cut_record *record, struct base_error *error)
{
    if (checkpoint->size - offset < sizeof *record)
        return CORRUPT(checkpoint, offset, "truncated in a record's header");
    memcpy(record, checkpoint->bytes + offset, sizeof *record);
    uint64_t left = checkpoint->size - offset - sizeof *record;
    if (record->size > left || learner_cut_padded(record->size) > left)
        return CORRUPT(checkpoint, offset, "truncated, or a wrong size");
    if (record->hash !=
        learner_cut_record_hash(record,
                                checkpoint->bytes + offset + sizeof *record,
                                offset))
        return CORRUPT(checkpoint, offset, "the record's hash does not match");
    return BASE_OK;
}

static uint64_t behind(const struct learner_cut_record *record,
                       uint64_t offset)
{
    return offset + sizeof *record + learner_cut_padded(record->size);
}

static enum base_status read_records(struct learner_checkpoint *checkpoint,
                                     struct base_error *error)
{
    uint64_t offset = sizeof(struct learner_cut_file);
    for (uint64_t number = 0;; number++) {
        struct learner_cut_record record;
        enum base_status status =
            verify_record(checkpoint, offset, &record, error);
        if (!status && record.type == LEARNER_CUT_END && number >= 3)
            return read_end(checkpoint, &record, offset, number, error);
        if (!status)
            status = read_record(checkpoint, &record,
                                 checkpoint->bytes + offset + sizeof record,
                                 offset, number, error);
        if (status)
            return status;
        offset = behind(&record, offset);
    }
}

static enum base_status apply_undo(struct learner_checkpoint *checkpoint,
                                   struct base_error *error)
{
    uint64_t offset = sizeof(struct learner_cut_file);
    for (;;) {
        struct learner_cut_record record;
        memcpy(&record, checkpoint->bytes + offset, sizeof record);
        if (record.type == LEARNER_CUT_END)
            return BASE_OK;
        enum base_status status = BASE_OK;
        if (record.type == LEARNER_CUT_UNDO)
            status = read_undo(checkpoint, &record,
                               checkpoint->bytes + offset + sizeof record,
                               offset, error);
        if (status)
            return status;
        offset = behind(&record, offset);
    }
}

/* ---- order and digest ---------------------------------------------------- */

static enum base_status sort_rows(struct learner_checkpoint *checkpoint,
                                  unsigned table, struct base_error *error)
{
    struct rows *rows = &checkpoint->tables[table];
    rows->sorted = malloc((rows->slots + (size_t)1) * sizeof *rows->sorted);
    if (!rows->sorted)
        return base_fail(error, BASE_SYSTEM, "%s: no memory for %u rows",
                         checkpoint->path, rows->slots);
    for (uint32_t i = 0; i < rows->slots; i++)
        if (rows->at[i]->live)
            rows->sorted[rows->live++] =
                (struct learner_keyed){rows->at[i]->key, rows->at[i]};
    if (learner_keyed_sort(&rows->sorted, rows->live, error))
        return base_wrap(error, "%s", checkpoint->path);
    if (rows->live != checkpoint->info.rows[table])
        return CORRUPT(checkpoint, checkpoint->size, "rows are missing");
    for (uint32_t i = 0; i < rows->live; i++)
        if ((i == 0) != (rows->sorted[i].key == 0) ||
            (i && rows->sorted[i].key == rows->sorted[i - 1].key))
            return CORRUPT(checkpoint,
                           (const uint8_t *)rows->sorted[i].row -
                               checkpoint->bytes,
                           "a key is there twice, or no OOV row");
    return BASE_OK;
}

/* Row number `i` in the order of keys; those that follow are on their way. */
static const struct learner_row *row_of(const struct rows *rows, uint32_t i)
{
    if (i + AHEAD < rows->live) {
        const char *ahead = (const char *)rows->sorted[i + AHEAD].row;
        for (size_t at = 0; at < rows->stride && at < 256; at += 64)
            __builtin_prefetch(ahead + at);
    }
    return rows->sorted[i].row;
}

static enum base_status digest(struct learner_checkpoint *checkpoint,
                               struct base_error *error)
{
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        return base_fail(error, BASE_SYSTEM, "%s: no memory",
                         checkpoint->path);
    XXH3_128bits_reset(state);
    const struct learner_checkpoint_parts *parts = &checkpoint->parts;
    XXH3_128bits_update(state, parts->weights,
                        3 * parts->dense_size * sizeof(float));
    for (unsigned t = 0; t < checkpoint->info.table_count; t++) {
        const struct rows *rows = &checkpoint->tables[t];
        for (uint32_t i = 0; i < rows->live; i++) {
            const struct learner_row *row = row_of(rows, i);
            XXH3_128bits_update(state, row,
                                offsetof(struct learner_row, touched));
            XXH3_128bits_update(state, row->values,
                                rows->floats * sizeof(float));
        }
    }
    for (unsigned i = LEARNER_CUT_NEGATIVES; i <= LEARNER_CUT_ADMISSION; i++)
        if (parts->part[i].bytes)
            XXH3_128bits_update(state, parts->part[i].bytes,
                                parts->part[i].size);
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    checkpoint->info.digest[0] = hash.low64;
    checkpoint->info.digest[1] = hash.high64;
    return BASE_OK;
}

/* ---- open ---------------------------------------------------------------- */

static enum base_status map_file(struct learner_checkpoint *checkpoint,
                                 struct base_error *error)
{
    int fd = open(checkpoint->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return base_fail_errno(error, errno, "%s", checkpoint->path);
    struct stat info;
    enum base_status status = BASE_OK;
    if (fstat(fd, &info)) {
        status = base_fail_errno(error, errno, "%s", checkpoint->path);
    } else if ((size_t)info.st_size < sizeof(struct learner_cut_file)) {
        status = CORRUPT(checkpoint, info.st_size, "truncated in the header");
    } else {
        void *bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE,
                           fd, 0);
        if (bytes == MAP_FAILED) {
            status = base_fail_errno(error, errno, "%s: map",
                                     checkpoint->path);
        } else {
            checkpoint->bytes = bytes;
            checkpoint->size = (size_t)info.st_size;
        }
    }
    close(fd);
    return status;
}

static enum base_status
wrong_format(const struct learner_checkpoint *checkpoint, unsigned format,
             struct base_error *error)
{
    const char *what =
        format < LEARNER_CUT_FORMAT
            ? "a development version wrote it; train anew: start with a new "
              "state folder, or remove this checkpoint and the others of its "
              "folder"
            : "use the program that wrote it, or a newer one";
    return base_fail(error, BASE_CONFIG,
                     "%s: offset 8: format %u, but this program reads %d; %s",
                     checkpoint->path, format, LEARNER_CUT_FORMAT, what);
}

static enum base_status read_file_header(struct learner_checkpoint *checkpoint,
                                         struct base_error *error)
{
    struct learner_cut_file file;
    memcpy(&file, checkpoint->bytes, sizeof file);
    if (memcmp(file.magic, LEARNER_CUT_MAGIC, sizeof file.magic) != 0)
        return CORRUPT(checkpoint, 0, "this is no checkpoint (magic)");
    if (file.hash != learner_cut_file_hash(&file))
        return CORRUPT(checkpoint, 0, "the header's hash does not match");
    if (file.format != LEARNER_CUT_FORMAT)
        return wrong_format(checkpoint, file.format, error);
    if (file.size != sizeof file)
        return CORRUPT(checkpoint, 12, "the header's size is wrong");
    checkpoint->info.position = file.position;
    return BASE_OK;
}

static enum base_status verify(struct learner_checkpoint *checkpoint,
                               struct base_error *error)
{
    enum base_status status = read_file_header(checkpoint, error);
    uint64_t position = checkpoint->info.position;
    if (!status)
        status = read_records(checkpoint, error);
    if (!status && checkpoint->info.position != position)
        status = CORRUPT(checkpoint, 16, "the position is not the head's");
    if (!status)
        status = apply_undo(checkpoint, error);
    for (unsigned t = 0; !status && t < checkpoint->info.table_count;
         t++)
        status = sort_rows(checkpoint, t, error);
    return status ? status : digest(checkpoint, error);
}

enum base_status learner_checkpoint_open(const char *path,
                                         struct learner_checkpoint **checkpoint,
                                         struct base_error *error)
{
    struct learner_checkpoint *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "%s: no memory", path);
    enum base_status status = base_file_join(made->path, sizeof made->path,
                                             path, LEARNER_CUT_NAME, error);
    if (!status)
        status = map_file(made, error);
    if (!status)
        status = verify(made, error);
    if (status) {
        learner_checkpoint_free(made);
        return status;
    }
    *checkpoint = made;
    return BASE_OK;
}

/* Piece by piece: to give back a gigabyte at once keeps every other thread that
 * asks for a page waiting, the trainer among them. */
static void unmap(const uint8_t *bytes, size_t size)
{
    for (size_t at = 0, piece; bytes && at < size; at += piece) {
        piece = size - at < PIECE ? size - at : PIECE;
        munmap((void *)(uintptr_t)(bytes + at), piece);
    }
}

void learner_checkpoint_free(struct learner_checkpoint *checkpoint)
{
    if (!checkpoint)
        return;
    for (unsigned i = 0; i < LEARNER_TABLES_MAX; i++) {
        free(checkpoint->tables[i].at);
        free(checkpoint->tables[i].sorted);
    }
    unmap(checkpoint->bytes, checkpoint->size);
    free(checkpoint);
}

/* ---- reading ------------------------------------------------------------- */

const struct learner_checkpoint_info *
learner_checkpoint_get_info(const struct learner_checkpoint *checkpoint)
{
    return &checkpoint->info;
}

const struct learner_checkpoint_parts *
learner_checkpoint_get_parts(const struct learner_checkpoint *checkpoint)
{
    return &checkpoint->parts;
}

const float *
learner_checkpoint_dense(const struct learner_checkpoint *checkpoint)
{
    return checkpoint->parts.weights;
}

uint32_t learner_checkpoint_slots(const struct learner_checkpoint *checkpoint,
                                  unsigned table)
{
    return checkpoint->tables[table].slots;
}

const struct learner_row *
learner_checkpoint_slot(const struct learner_checkpoint *checkpoint,
                        unsigned table, uint32_t slot)
{
    return checkpoint->tables[table].at[slot];
}

enum base_status learner_checkpoint_rows(
    const struct learner_checkpoint *checkpoint, unsigned table,
    enum base_status (*each)(void *self, uint64_t key, const float *weights),
    void *self, struct base_error *error)
{
    if (table >= checkpoint->info.table_count)
        return base_fail(error, BASE_BROKEN, "%s: no table %u",
                         checkpoint->path, table);
    const struct rows *rows = &checkpoint->tables[table];
    for (uint32_t i = 0; i < rows->live; i++) {
        const struct learner_row *row = row_of(rows, i);
        enum base_status status = each(self, row->key, row->values);
        if (status)
            return status; /* `each` said why, in its own words */
    }
    return BASE_OK;
}
