/* SPDX-License-Identifier: Apache-2.0 */
/* Writer of safetensors files; see encoder.h. */
#include "snapshot/encoder.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"

enum { BUFFER = 1 << 20 };

struct snapshot_encoder {
    int fd;
    uint64_t announced, written; /* bytes of data; written counts the header */
    uint64_t header;
    size_t used; /* of buffer */
    struct snapshot_hasher *hasher;
    struct snapshot_file file;
    uint8_t buffer[BUFFER];
};

static json_t *tensor_json(const struct snapshot_tensor *tensor)
{
    json_t *shape = json_array();
    for (unsigned i = 0; i < tensor->dimensions; i++)
        json_array_append_new(shape,
                              json_integer((json_int_t)tensor->shape[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype",
                     snapshot_dtype_name(tensor->dtype), "shape", shape,
                     "data_offsets", (json_int_t)tensor->begin,
                     (json_int_t)tensor->end);
}

static char *header_text(struct snapshot_tensor *tensors, unsigned count,
                         uint64_t *data_size)
{
    json_t *header = json_object();
    uint64_t at = 0, bytes;
    for (unsigned i = 0; header && i < count; i++) {
        struct snapshot_tensor *tensor = &tensors[i];
        BASE_ASSERT(snapshot_tensor_bytes(tensor->dtype, tensor->dimensions,
                                          tensor->shape, &bytes));
        tensor->begin = at;
        tensor->end = at += bytes;
        if (json_object_set_new(header, tensor->name, tensor_json(tensor))) {
            json_decref(header);
            header = NULL;
        }
    }
    char *text = header ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(header);
    *data_size = at;
    return text;
}

static enum base_status flush(struct snapshot_encoder *encoder,
                              struct base_error *error)
{
    enum base_status status =
        base_file_write_all(encoder->fd, encoder->buffer, encoder->used,
                            encoder->file.name, error);
    snapshot_hasher_add(encoder->hasher, encoder->buffer, encoder->used);
    encoder->used = 0;
    return status;
}

enum base_status snapshot_encoder_add(struct snapshot_encoder *encoder,
                                      const void *data, size_t size,
                                      struct base_error *error)
{
    const uint8_t *at = data;
    while (size) {
        size_t room = sizeof encoder->buffer - encoder->used;
        size_t part = size < room ? size : room;
        memcpy(encoder->buffer + encoder->used, at, part);
        encoder->used += part;
        encoder->written += part;
        at += part;
        size -= part;
        if (encoder->used == sizeof encoder->buffer) {
            enum base_status status = flush(encoder, error);
            if (status)
                return status;
        }
    }
    return BASE_OK;
}

/* Length, JSON, spaces up to a multiple of SNAPSHOT_TENSORS_ALIGN. */
static enum base_status add_header(struct snapshot_encoder *encoder,
                                   struct snapshot_tensor *tensors,
                                   unsigned count, struct base_error *error)
{
    static const char spaces[SNAPSHOT_TENSORS_ALIGN + 1] =
        "                                                                ";
    char *text = header_text(tensors, count, &encoder->announced);
    if (!text)
        return base_fail(error, BASE_SYSTEM, "%s: no memory",
                         encoder->file.name);
    size_t length = strlen(text);
    size_t padding = (SNAPSHOT_TENSORS_ALIGN -
                      (8 + length) % SNAPSHOT_TENSORS_ALIGN) %
                     SNAPSHOT_TENSORS_ALIGN;
    uint8_t prefix[8];
    base_put_u64(prefix, length + padding);
    encoder->header = 8 + length + padding;
    enum base_status status = snapshot_encoder_add(encoder, prefix, 8, error);
    if (!status)
        status = snapshot_encoder_add(encoder, text, length, error);
    if (!status)
        status = snapshot_encoder_add(encoder, spaces, padding, error);
    free(text);
    return status;
}

enum base_status snapshot_encoder_open(int folder, const char *name,
                                       struct snapshot_tensor *tensors,
                                       unsigned count,
                                       struct snapshot_encoder **out,
                                       struct base_error *error)
{
    struct snapshot_encoder *encoder = malloc(sizeof *encoder);
    if (!encoder)
        return base_fail(error, BASE_SYSTEM, "%s: no memory", name);
    memset(encoder, 0, offsetof(struct snapshot_encoder, buffer));
    encoder->fd = -1;
    enum base_status status = BASE_OK;
    size_t length = strlen(name);
    encoder->hasher = snapshot_hasher_new();
    if (!encoder->hasher || length >= sizeof encoder->file.name) {
        status = base_fail(error, BASE_SYSTEM, "%s: no memory", name);
        goto cleanup;
    }
    memcpy(encoder->file.name, name, length + 1);
    encoder->fd = openat(folder, name,
                         O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (encoder->fd < 0) {
        status = base_fail_errno(error, errno, "%s", name);
        goto cleanup;
    }
    status = add_header(encoder, tensors, count, error);
cleanup:
    if (status) {
        snapshot_encoder_free(encoder);
        encoder = NULL;
    }
    *out = encoder;
    return status;
}

enum base_status snapshot_encoder_finish(struct snapshot_encoder *encoder,
                                         struct snapshot_file *file,
                                         struct base_error *error)
{
    const char *name = encoder->file.name;
    enum base_status status = flush(encoder, error);
    if (status)
        return status;
    if (encoder->written != encoder->header + encoder->announced)
        return base_fail(error, BASE_BROKEN,
                         "%s: %llu bytes of data came, %llu were announced",
                         name,
                         (unsigned long long)(encoder->written -
                                              encoder->header),
                         (unsigned long long)encoder->announced);
    if (fsync(encoder->fd))
        return base_fail_errno(error, errno, "%s: fsync", name);
    int closed = close(encoder->fd);
    encoder->fd = -1;
    if (closed)
        return base_fail_errno(error, errno, "%s: close", name);
    encoder->file.size = encoder->written;
    encoder->file.hash = snapshot_hasher_end(encoder->hasher);
    *file = encoder->file;
    return BASE_OK;
}

void snapshot_encoder_free(struct snapshot_encoder *encoder)
{
    if (!encoder)
        return;
    if (encoder->fd >= 0)
        close(encoder->fd);
    snapshot_hasher_free(encoder->hasher);
    free(encoder);
}
