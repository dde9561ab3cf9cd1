/* SPDX-License-Identifier: Apache-2.0 */
/* Reader of one file of named tensors in the safetensors format
 * (schemas/snapshot.md, section 3). Trusts nothing: after a successful parse
 *  1. every tensor lies inside the file and has exactly the bytes that its
 *     type and shape ask for,
 *  2. tensors follow one another without hole or overlap,
 *  3. each tensor's data are aligned to its element size.
 * Any thread; an open file is immutable. */
#ifndef SNAPSHOT_TENSORS_H
#define SNAPSHOT_TENSORS_H

#include "base/status.h"
#include "snapshot/hash.h"

enum {
    SNAPSHOT_TENSOR_NAME = 64,       /* with its NUL */
    SNAPSHOT_TENSOR_DIMENSIONS = 8,
    SNAPSHOT_TENSORS_MAX = 1024,     /* of a file */
    SNAPSHOT_TENSORS_HEADER = 1 << 20, /* bytes of JSON at most */
    SNAPSHOT_TENSORS_ALIGN = 64,     /* of the first data byte, written */
};

enum snapshot_dtype {
    SNAPSHOT_F32,
    SNAPSHOT_F16, /* IEEE half */
    SNAPSHOT_I8,
    SNAPSHOT_U32,
    SNAPSHOT_U64
};
const char *snapshot_dtype_name(enum snapshot_dtype dtype);
size_t snapshot_dtype_size(enum snapshot_dtype dtype);

struct snapshot_tensor {
    char name[SNAPSHOT_TENSOR_NAME];
    enum snapshot_dtype dtype;
    unsigned dimensions;
    uint64_t shape[SNAPSHOT_TENSOR_DIMENSIONS];
    uint64_t begin, end; /* bytes from the start of the data */
};

struct snapshot_tensors {
    const uint8_t *bytes; /* whole file */
    size_t size;
    bool mapped; /* OWNS the pages that hold them */
    const uint8_t *data; /* behind the header */
    unsigned count;
    struct snapshot_tensor *tensor; /* OWNS; (count) ascending by begin */
};

/* A file as the manifest lists it. */
struct snapshot_file {
    char name[SNAPSHOT_TENSOR_NAME + 32];
    uint64_t size;
    struct snapshot_hash hash;
};

/* Bytes of elements that `shape` holds; false on overflow of u64. */
bool snapshot_tensor_bytes(enum snapshot_dtype dtype, unsigned dimensions,
                           const uint64_t *shape, uint64_t *bytes);

/* Parses a file that lies in memory. BORROWS `bytes`. BASE_CORRUPT says what
 * is wrong. */
enum base_status snapshot_tensors_parse(const void *bytes, size_t size,
                                        struct snapshot_tensors *tensors,
                                        struct base_error *error)
    BASE_MUST_CHECK;

/* How a file's bytes come into memory. A mapping changes, or ends the process
 * by SIGBUS, where another process writes to the file or cuts it after it was
 * verified; so a reader of a foreign folder copies. */
enum snapshot_access { SNAPSHOT_COPY, SNAPSHOT_MAP };

/* Opens `file` below the folder descriptor: no symbolic link is followed, the
 * size and then the hash must agree before a byte is parsed. */
enum base_status snapshot_tensors_open(int folder,
                                       const struct snapshot_file *file,
                                       enum snapshot_access access,
                                       struct snapshot_tensors *tensors,
                                       struct base_error *error)
    BASE_MUST_CHECK;
void snapshot_tensors_fini(struct snapshot_tensors *tensors);

/* The tensor of that name, or NULL. */
const struct snapshot_tensor *
snapshot_tensors_find(const struct snapshot_tensors *tensors,
                      const char *name);

/* True when none of the values is infinite or not a number. */
bool snapshot_floats_finite(const float *values, size_t count);

#endif
