/* SPDX-License-Identifier: Apache-2.0 */
/* See globo.h. Reads Avro container files with the null codec, and of a record
 * only where its fields stand: impressions are two strings, a time and eight
 * numbers, clicks a nullable string, a string, a time and two numbers. */
#include "globo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

static void die(const char *what)
{
    fprintf(stderr, "bench: %s\n", what);
    exit(1);
}

static int64_t get_long(const uint8_t **at)
{
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint64_t byte = *(*at)++;
        value |= (byte & 127) << shift;
        if (byte < 128)
            return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
    }
}

static const uint8_t *get_string(const uint8_t **at, size_t *size)
{
    *size = (size_t)get_long(at);
    const uint8_t *text = *at;
    *at += *size;
    return text;
}

static uint64_t hash(const uint8_t *bytes, size_t size)
{
    uint64_t value = 14695981039346656037u;
    for (size_t i = 0; i < size; i++)
        value = (value ^ bytes[i]) * 1099511628211u;
    return value ^ value >> 32;
}

static const uint8_t *read_record(const uint8_t *at, int is_click,
                                  struct globo_record *record)
{
    size_t size;
    record->bytes = at;
    if (!is_click || get_long(&at) == 1)
        get_string(&at, &size);
    const uint8_t *user = get_string(&at, &size);
    record->user = hash(user, size);
    record->time_at = (uint32_t)(at - record->bytes);
    record->event_ms = get_long(&at);
    record->time_size = (uint32_t)(at - record->bytes) - record->time_at;
    for (int i = 0; i < (is_click ? 2 : 8); i++)
        get_long(&at);
    record->size = (uint32_t)(at - record->bytes);
    return at;
}

static const uint8_t *skip_header(const uint8_t *at)
{
    size_t size;
    if (memcmp(at, "Obj\1", 4) != 0)
        die("not an Avro container file");
    at += 4;
    for (int64_t pairs; (pairs = get_long(&at)) > 0;)
        for (int64_t i = 0; i < 2 * pairs; i++)
            get_string(&at, &size);
    return at + 16;
}

void globo_read(const char *folder, const char *name, size_t most,
                struct globo_file *file)
{
    char path[1200], *text;
    size_t size;
    struct base_error error;
    snprintf(path, sizeof path, "%s/%s.avro", folder, name);
    if (base_file_read(path, (size_t)4 << 30, &text, &size, &error))
        die(error.text);
    file->bytes = (uint8_t *)text;
    file->count = 0;
    file->records = malloc((size / 16 + 1) * sizeof *file->records);
    if (!file->records)
        die("no memory");
    const uint8_t *at = skip_header(file->bytes);
    while (at < file->bytes + size && file->count < most) {
        int64_t count = get_long(&at);
        get_long(&at);
        for (int64_t i = 0; i < count; i++)
            at = read_record(at, name[0] == 'c',
                             &file->records[file->count++]);
        at += 16;
    }
    if (file->count > most)
        file->count = most;
    if (file->count == 0)
        die("no records");
}

void globo_free(struct globo_file *file)
{
    free(file->bytes);
    free(file->records);
}

static size_t put_long(uint8_t *at, int64_t value)
{
    uint64_t left = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    size_t size = 0;
    for (; left > 127; left >>= 7)
        at[size++] = (uint8_t)(left | 128);
    at[size++] = (uint8_t)left;
    return size;
}

void globo_send(struct kafka_fixture *kafka, const char *topic,
                const struct globo_record *record, int64_t event_ms)
{
    uint8_t bytes[1024];
    int32_t partition = (int32_t)(record->user % kafka->partitions);
    if (event_ms == 0) {
        kafka_fixture_send(kafka, topic, partition, record->bytes,
                           record->size, record->event_ms);
        return;
    }
    if (record->size + 10 > sizeof bytes)
        die("a record is too long");
    uint32_t rest = record->time_at + record->time_size;
    memcpy(bytes, record->bytes, record->time_at);
    size_t size = record->time_at + put_long(bytes + record->time_at, event_ms);
    memcpy(bytes + size, record->bytes + rest, record->size - rest);
    size += record->size - rest;
    kafka_fixture_send(kafka, topic, partition, bytes, size, event_ms);
}
