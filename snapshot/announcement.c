/* SPDX-License-Identifier: Apache-2.0 */
/* libinterest: reads an announcement as it lies in Kafka: the plain Avro bytes
 * of schemas/announcement.avsc, fields in its order. Bytes behind the fields
 * that are known here are those of later schemas, and ignored. Any thread. */
#include <string.h>

#include "snapshot/serving.h"

struct reader {
    const uint8_t *at, *end;
    bool bad;
};

/* Avro's long: zigzag, 7 bits a byte, lowest first. */
static int64_t read_long(struct reader *reader)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (reader->at == reader->end)
            break;
        uint8_t byte = *reader->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
    }
    reader->bad = true;
    return 0;
}

/* text (size) gets the string and a NUL. */
static void read_string(struct reader *reader, char *text, size_t size)
{
    int64_t length = read_long(reader);
    text[0] = '\0';
    reader->bad |= length < 0 || length >= (int64_t)size ||
                   length > reader->end - reader->at ||
                   memchr(reader->at, '\0', (size_t)(reader->bad ? 0 : length));
    if (reader->bad)
        return;
    memcpy(text, reader->at, (size_t)length);
    text[length] = '\0';
    reader->at += length;
}

enum base_status interest_announcement_read(const void *bytes, size_t size,
                                            char name[SNAPSHOT_MODEL_NAME],
                                            struct snapshot_current *current,
                                            struct base_error *error)
{
    struct reader reader = {bytes, (const uint8_t *)bytes + size, false};
    char hash[SNAPSHOT_HASH_TEXT];
    uint64_t epoch = 0, version = 0;
    *current = (struct snapshot_current){0};
    read_string(&reader, name, SNAPSHOT_MODEL_NAME);
    int64_t said_epoch = read_long(&reader), said_version = read_long(&reader);
    read_string(&reader, current->name, sizeof current->name);
    read_string(&reader, hash, sizeof hash);
    for (unsigned i = 0; i < 3; i++) /* position, two times */
        (void)read_long(&reader);
    if (reader.bad || !*name ||
        !snapshot_folder_scan(current->name, &epoch, &version) ||
        epoch != (uint64_t)said_epoch || version != (uint64_t)said_version ||
        !snapshot_hash_scan(hash, strlen(hash), &current->hash))
        return base_fail(error, BASE_DATA,
                         "these %zu bytes are no announcement "
                         "(schemas/announcement.avsc)",
                         size);
    current->epoch = epoch;
    current->version = version;
    return BASE_OK;
}
