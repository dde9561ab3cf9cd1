/* SPDX-License-Identifier: Apache-2.0 */
/* Reader of safetensors files; see tensors.h. The header is JSON of foreign
 * origin: jansson parses it (duplicate keys refused), every number is checked
 * before it is used. */
#include "snapshot/tensors.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [SNAPSHOT_F32] = {"F32", 4},
    [SNAPSHOT_F16] = {"F16", 2},
    [SNAPSHOT_I8] = {"I8", 1},
    [SNAPSHOT_U32] = {"U32", 4},
    [SNAPSHOT_U64] = {"U64", 8},
};

const char *snapshot_dtype_name(enum snapshot_dtype dtype)
{
    return dtypes[dtype].name;
}

size_t snapshot_dtype_size(enum snapshot_dtype dtype)
{
    return dtypes[dtype].size;
}

bool snapshot_tensor_bytes(enum snapshot_dtype dtype, unsigned dimensions,
                           const uint64_t *shape, uint64_t *bytes)
{
    uint64_t product = dtypes[dtype].size;
    for (unsigned i = 0; i < dimensions; i++)
        if (__builtin_mul_overflow(product, shape[i], &product))
            return false;
    *bytes = product;
    return true;
}

static enum base_status parse_dtype(const json_t *json,
                                    struct snapshot_tensor *tensor,
                                    struct base_error *error)
{
    const char *name = json_string_value(json);
    for (unsigned i = 0; name && i < sizeof dtypes / sizeof *dtypes; i++) {
        if (strcmp(name, dtypes[i].name) == 0) {
            tensor->dtype = (enum snapshot_dtype)i;
            return BASE_OK;
        }
    }
    return base_fail(error, BASE_CORRUPT,
                     "tensor '%s': dtype %s; F32, F16, I8, U32, U64 are known",
                     tensor->name, name ? name : "is not a string");
}

static enum base_status parse_shape(const json_t *json,
                                    struct snapshot_tensor *tensor,
                                    struct base_error *error)
{
    size_t dimensions = json_array_size(json);
    if (!json_is_array(json) || dimensions > SNAPSHOT_TENSOR_DIMENSIONS)
        return base_fail(error, BASE_CORRUPT,
                         "tensor '%s': shape must be a list of at most %d "
                         "numbers, it has %zu",
                         tensor->name, SNAPSHOT_TENSOR_DIMENSIONS, dimensions);
    for (size_t i = 0; i < dimensions; i++) {
        const json_t *size = json_array_get(json, i);
        if (!json_is_integer(size) || json_integer_value(size) < 0)
            return base_fail(error, BASE_CORRUPT,
                             "tensor '%s': shape[%zu] is not a size",
                             tensor->name, i);
        tensor->shape[i] = (uint64_t)json_integer_value(size);
    }
    tensor->dimensions = (unsigned)dimensions;
    return BASE_OK;
}

static enum base_status parse_offsets(const json_t *json, uint64_t data_size,
                                      struct snapshot_tensor *tensor,
                                      struct base_error *error)
{
    const json_t *begin = json_array_get(json, 0);
    const json_t *end = json_array_get(json, 1);
    uint64_t bytes;
    if (!json_is_array(json) || json_array_size(json) != 2 ||
        !json_is_integer(begin) || !json_is_integer(end) ||
        json_integer_value(begin) < 0 || json_integer_value(end) < 0)
        return base_fail(error, BASE_CORRUPT,
                         "tensor '%s': data_offsets must be two sizes",
                         tensor->name);
    tensor->begin = (uint64_t)json_integer_value(begin);
    tensor->end = (uint64_t)json_integer_value(end);
    if (tensor->begin > tensor->end || tensor->end > data_size)
        return base_fail(error, BASE_CORRUPT,
                         "tensor '%s': bytes [%llu, %llu) lie outside of the "
                         "%llu in the file",
                         tensor->name, (unsigned long long)tensor->begin,
                         (unsigned long long)tensor->end,
                         (unsigned long long)data_size);
    if (!snapshot_tensor_bytes(tensor->dtype, tensor->dimensions,
                               tensor->shape, &bytes) ||
        bytes != tensor->end - tensor->begin)
        return base_fail(error, BASE_CORRUPT,
                         "tensor '%s': its shape does not hold its %llu bytes",
                         tensor->name,
                         (unsigned long long)(tensor->end - tensor->begin));
    if (tensor->begin % dtypes[tensor->dtype].size)
        return base_fail(error, BASE_CORRUPT,
                         "tensor '%s': begins at %llu, not aligned",
                         tensor->name, (unsigned long long)tensor->begin);
    return BASE_OK;
}

static enum base_status parse_tensor(const char *name, const json_t *json,
                                     uint64_t data_size,
                                     struct snapshot_tensor *tensor,
                                     struct base_error *error)
{
    size_t length = strlen(name);
    if (length == 0 || length >= sizeof tensor->name)
        return base_fail(error, BASE_CORRUPT,
                         "a tensor's name has %zu bytes; 1 to %d are allowed",
                         length, SNAPSHOT_TENSOR_NAME - 1);
    memcpy(tensor->name, name, length + 1);
    if (!json_is_object(json) || json_object_size(json) != 3)
        return base_fail(error, BASE_CORRUPT,
                         "tensor '%s': must have dtype, shape, data_offsets "
                         "and nothing else",
                         name);
    enum base_status status =
        parse_dtype(json_object_get(json, "dtype"), tensor, error);
    if (!status)
        status = parse_shape(json_object_get(json, "shape"), tensor, error);
    if (!status)
        status = parse_offsets(json_object_get(json, "data_offsets"),
                               data_size, tensor, error);
    return status;
}

static int by_begin(const void *a, const void *b)
{
    const struct snapshot_tensor *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

static enum base_status check_cover(const struct snapshot_tensors *tensors,
                                    uint64_t data_size,
                                    struct base_error *error)
{
    uint64_t expected = 0;
    for (unsigned i = 0; i < tensors->count; i++) {
        const struct snapshot_tensor *tensor = &tensors->tensor[i];
        if (tensor->begin != expected)
            return base_fail(error, BASE_CORRUPT,
                             "tensor '%s': begins at %llu, %s byte %llu",
                             tensor->name, (unsigned long long)tensor->begin,
                             tensor->begin < expected ? "overlapping"
                                                      : "leaving a hole from",
                             (unsigned long long)expected);
        expected = tensor->end;
    }
    if (expected != data_size)
        return base_fail(error, BASE_CORRUPT,
                         "%llu bytes at the end belong to no tensor",
                         (unsigned long long)(data_size - expected));
    return BASE_OK;
}

static enum base_status parse_header(const json_t *header, uint64_t data_size,
                                     struct snapshot_tensors *tensors,
                                     struct base_error *error)
{
    size_t count = json_object_size(header);
    if (count > SNAPSHOT_TENSORS_MAX)
        return base_fail(error, BASE_CORRUPT,
                         "%zu tensors; at most %d are allowed", count,
                         SNAPSHOT_TENSORS_MAX);
    tensors->tensor = calloc(count ? count : 1, sizeof *tensors->tensor);
    if (!tensors->tensor)
        return base_fail(error, BASE_SYSTEM, "no memory for %zu tensors",
                         count);
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)header, name, value)
    {
        if (strcmp(name, "__metadata__") == 0 && json_is_object(value))
            continue; /* free text, of no meaning here */
        enum base_status status =
            parse_tensor(name, value, data_size,
                         &tensors->tensor[tensors->count], error);
        if (status)
            return status;
        tensors->count++;
    }
    qsort(tensors->tensor, tensors->count, sizeof *tensors->tensor, by_begin);
    return check_cover(tensors, data_size, error);
}

static enum base_status measure_header(const uint8_t *bytes, size_t size,
                                       size_t *header_size,
                                       struct base_error *error)
{
    if (size < 8)
        return base_fail(error, BASE_CORRUPT, "%zu bytes: no header length",
                         size);
    uint64_t length = base_get_u64(bytes);
    if (length > SNAPSHOT_TENSORS_HEADER)
        return base_fail(error, BASE_CORRUPT,
                         "header length %llu; at most %d is allowed",
                         (unsigned long long)length, SNAPSHOT_TENSORS_HEADER);
    if (length > size - 8)
        return base_fail(error, BASE_CORRUPT,
                         "header length %llu goes beyond the file's %zu bytes",
                         (unsigned long long)length, size);
    if (length % 8 || length == 0 || bytes[8] != '{')
        return base_fail(error, BASE_CORRUPT,
                         "header of %llu bytes is not a padded JSON object",
                         (unsigned long long)length);
    *header_size = (size_t)length;
    return BASE_OK;
}

enum base_status snapshot_tensors_parse(const void *bytes, size_t size,
                                        struct snapshot_tensors *tensors,
                                        struct base_error *error)
{
    size_t header_size = 0;
    *tensors = (struct snapshot_tensors){.bytes = bytes, .size = size};
    enum base_status status =
        measure_header(bytes, size, &header_size, error);
    if (status)
        return status;
    tensors->data = tensors->bytes + 8 + header_size;
    json_error_t why;
    json_t *header = json_loadb((const char *)bytes + 8, header_size,
                                JSON_REJECT_DUPLICATES, &why);
    if (!header)
        return base_fail(error, BASE_CORRUPT, "header: %s (at byte %d)",
                         why.text, why.position);
    if (json_is_object(header))
        status = parse_header(header, size - 8 - header_size, tensors, error);
    else
        status = base_fail(error, BASE_CORRUPT, "header is not an object");
    json_decref(header);
    if (status)
        snapshot_tensors_fini(tensors);
    return status;
}

static enum base_status open_file(int folder, const struct snapshot_file *file,
                                  int *fd, struct base_error *error)
{
    struct stat info;
    *fd = openat(folder, file->name,
                 O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (*fd < 0)
        return base_fail_errno(error, errno, "open");
    if (fstat(*fd, &info))
        return base_fail_errno(error, errno, "stat");
    if (!S_ISREG(info.st_mode) || (uint64_t)info.st_size != file->size ||
        info.st_size == 0)
        return base_fail(error, BASE_CORRUPT,
                         "is %s of %lld bytes; the manifest says %llu",
                         S_ISREG(info.st_mode) ? "a file" : "no file, but",
                         (long long)info.st_size,
                         (unsigned long long)file->size);
    return BASE_OK;
}

static enum base_status copy_file(int fd, struct snapshot_tensors *tensors,
                                  struct base_error *error)
{
    size_t used = 0;
    /* Pages of its own: what is freed goes back to the system at once. */
    uint8_t *bytes = mmap(NULL, tensors->size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bytes == MAP_FAILED)
        return base_fail(error, BASE_SYSTEM, "no memory for %zu bytes",
                         tensors->size);
    tensors->bytes = bytes;
    tensors->mapped = true;
    while (used < tensors->size) {
        ssize_t got = read(fd, bytes + used, tensors->size - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return base_fail_errno(error, errno, "read");
        if (got == 0)
            return base_fail(error, BASE_CORRUPT,
                             "ended at byte %zu while it was read", used);
        used += (size_t)got;
    }
    return BASE_OK;
}

static enum base_status map_file(int fd, struct snapshot_tensors *tensors,
                                 struct base_error *error)
{
    void *mapped = mmap(NULL, tensors->size, PROT_READ,
                        MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (mapped == MAP_FAILED)
        return base_fail_errno(error, errno, "map");
    tensors->bytes = mapped;
    tensors->mapped = true;
    return BASE_OK;
}

static void release_bytes(struct snapshot_tensors *tensors)
{
    if (tensors->mapped)
        munmap((void *)tensors->bytes, tensors->size);
    *tensors = (struct snapshot_tensors){0};
}

enum base_status snapshot_tensors_open(int folder,
                                       const struct snapshot_file *file,
                                       enum snapshot_access access,
                                       struct snapshot_tensors *tensors,
                                       struct base_error *error)
{
    struct snapshot_tensors held = {.size = file->size};
    int fd = -1;
    *tensors = (struct snapshot_tensors){0};
    enum base_status status = open_file(folder, file, &fd, error);
    if (!status)
        status = access == SNAPSHOT_MAP ? map_file(fd, &held, error)
                                        : copy_file(fd, &held, error);
    if (fd >= 0)
        close(fd);
    if (!status && !snapshot_hash_equal(snapshot_hash_of(held.bytes, held.size),
                                        file->hash))
        status =
            base_fail(error, BASE_CORRUPT, "its hash is not the manifest's");
    if (!status)
        status = snapshot_tensors_parse(held.bytes, held.size, tensors, error);
    if (status) {
        release_bytes(&held);
        return base_wrap(error, "%s", file->name);
    }
    tensors->mapped = held.mapped;
    return BASE_OK;
}

void snapshot_tensors_fini(struct snapshot_tensors *tensors)
{
    free(tensors->tensor);
    release_bytes(tensors);
}

const struct snapshot_tensor *
snapshot_tensors_find(const struct snapshot_tensors *tensors, const char *name)
{
    for (unsigned i = 0; i < tensors->count; i++)
        if (strcmp(tensors->tensor[i].name, name) == 0)
            return &tensors->tensor[i];
    return NULL;
}

bool snapshot_floats_finite(const float *values, size_t count)
{
    uint32_t found = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        found |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    return !found;
}
