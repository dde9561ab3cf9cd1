/* SPDX-License-Identifier: Apache-2.0 */
/* Avro container files; see recording.h. */
#include "daemon/recording.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <avro.h>

enum { VALUE_MAX = 16 << 20 };

struct recording {
    char path[1024];
    const struct ingest_mapping *mapping;
    size_t frame;
    avro_file_reader_t file;
    avro_schema_t schema;
    avro_value_iface_t *class;
    avro_value_t value;
    bool has_value;
    uint64_t number;
    char *bytes;
    size_t room;
    char digits[24]; /* a user id that is an integer */
};

static enum base_status wrong(const struct recording *recording,
                              enum base_status status, const char *what,
                              struct base_error *error)
{
    return base_fail(error, status, "%s: record %llu: %s: %s", recording->path,
                     (unsigned long long)recording->number, what,
                     avro_strerror());
}

enum base_status recording_open(const char *path,
                                const struct ingest_mapping *mapping,
                                size_t frame, struct recording **recording,
                                struct base_error *error)
{
    struct recording *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "%s: no memory", path);
    snprintf(made->path, sizeof made->path, "%s", path);
    made->mapping = mapping;
    made->frame = frame;
    made->room = 4096;
    made->bytes = malloc(made->room);
    enum base_status status = BASE_OK;
    FILE *there = fopen(path, "rb");
    if (!there)
        status = base_fail_errno(error, errno, "%s", path);
    else
        fclose(there);
    if (!status && !made->bytes)
        status = base_fail(error, BASE_SYSTEM, "%s: no memory", path);
    if (!status && avro_file_reader(path, &made->file))
        status = wrong(made, BASE_DATA, "not an Avro container file", error);
    if (!status) {
        made->schema = avro_file_reader_get_writer_schema(made->file);
        made->class = avro_generic_class_from_schema(made->schema);
        made->has_value =
            made->class && !avro_generic_value_new(made->class, &made->value);
        if (!made->has_value)
            status = wrong(made, BASE_DATA, "schema", error);
    }
    if (status) {
        recording_close(made);
        return status;
    }
    *recording = made;
    return BASE_OK;
}

void recording_close(struct recording *recording)
{
    if (!recording)
        return;
    if (recording->has_value)
        avro_value_decref(&recording->value);
    if (recording->class)
        avro_value_iface_decref(recording->class);
    if (recording->schema)
        avro_schema_decref(recording->schema);
    if (recording->file)
        avro_file_reader_close(recording->file);
    free(recording->bytes);
    free(recording);
}

/* Follows "a.b" through records and unions. */
static bool find(const avro_value_t *root, const char *path, avro_value_t *at)
{
    *at = *root;
    while (*path) {
        size_t size = strcspn(path, ".");
        char name[INGEST_PATH_MAX];
        if (size >= sizeof name)
            return false;
        memcpy(name, path, size);
        name[size] = '\0';
        avro_value_t field;
        if (avro_value_get_type(at) != AVRO_RECORD ||
            avro_value_get_by_name(at, name, &field, NULL))
            return false;
        while (avro_value_get_type(&field) == AVRO_UNION)
            if (avro_value_get_current_branch(&field, &field))
                return false;
        *at = field;
        path += size + (path[size] == '.');
    }
    return true;
}

static bool integer(const avro_value_t *value, int64_t *number)
{
    int32_t narrow;
    if (avro_value_get_type(value) == AVRO_INT64)
        return avro_value_get_long(value, number) == 0;
    if (avro_value_get_type(value) != AVRO_INT32 ||
        avro_value_get_int(value, &narrow))
        return false;
    *number = narrow;
    return true;
}

static bool text(struct recording *recording, const avro_value_t *value,
                 struct recording_record *record)
{
    const void *bytes;
    size_t size;
    int64_t number;
    switch (avro_value_get_type(value)) {
    case AVRO_STRING:
        if (avro_value_get_string(value, &record->user, &size))
            return false;
        record->user_size = size - 1; /* libavro counts the NUL */
        return true;
    case AVRO_BYTES:
        if (avro_value_get_bytes(value, &bytes, &record->user_size))
            return false;
        record->user = bytes;
        return true;
    default:
        if (!integer(value, &number))
            return false;
        record->user = recording->digits;
        record->user_size =
            (size_t)snprintf(recording->digits, sizeof recording->digits,
                             "%lld", (long long)number);
        return true;
    }
}

static enum base_status encode(struct recording *recording,
                               struct recording_record *record,
                               struct base_error *error)
{
    size_t size;
    if (avro_value_sizeof(&recording->value, &size) || size > VALUE_MAX)
        return wrong(recording, BASE_DATA, "size", error);
    size += recording->frame;
    if (size > recording->room) {
        char *wider = realloc(recording->bytes, 2 * size);
        if (!wider)
            return base_fail(error, BASE_SYSTEM, "%s: no memory",
                             recording->path);
        recording->bytes = wider;
        recording->room = 2 * size;
    }
    avro_writer_t writer = avro_writer_memory(
        recording->bytes + recording->frame,
        (int64_t)(recording->room - recording->frame));
    if (!writer)
        return wrong(recording, BASE_SYSTEM, "writer", error);
    int code = avro_value_write(writer, &recording->value);
    avro_writer_free(writer);
    if (code)
        return wrong(recording, BASE_DATA, "encode", error);
    record->value = recording->bytes;
    record->size = size;
    return BASE_OK;
}

enum base_status recording_next(struct recording *recording,
                                struct recording_record *record,
                                struct base_error *error)
{
    recording->number++;
    avro_value_reset(&recording->value);
    int code =
        avro_file_reader_read_value(recording->file, &recording->value);
    if (code == EOF)
        return base_fail(error, BASE_NO_INPUT, "%s: end", recording->path);
    if (code)
        return wrong(recording, BASE_DATA, "cannot be read", error);
    avro_value_t at;
    if (!find(&recording->value, recording->mapping->time, &at) ||
        !integer(&at, &record->event_ms))
        return wrong(recording, BASE_DATA, recording->mapping->time, error);
    if (!find(&recording->value, recording->mapping->user, &at) ||
        !text(recording, &at, record))
        return wrong(recording, BASE_DATA, recording->mapping->user, error);
    return encode(recording, record, error);
}

char *recording_frame(struct recording *recording)
{
    return recording->bytes;
}
