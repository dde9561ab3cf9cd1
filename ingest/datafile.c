/* SPDX-License-Identifier: Apache-2.0 */
/* See datafile.h. The file may rightly be shorter than its newest commit says:
 * pages that a transaction took at the end and gave back were never written.
 * These stand in the list of free pages, so only a missing page that is not in
 * it is damage. Layout of LMDB 0.9 on a 64-bit little-endian machine:
 *
 * page: u64 number, u16 pad, u16 flags, u16 lower, u16 upper | u16 offsets of
 * nodes | nodes. node: u16 low, u16 high, u16 flags, u16 key size | key | data;
 * in a branch low, high and flags are the child's number, in a leaf low and
 * high the size of the data, which with flag 1 is the number of the first
 * overflow page. Pages 0 and 1: the page's head, then u32 magic, u32 version,
 * u64 address, u64 map size, 2 x tree (u32 pad, u16 flags, u16 depth, 4 x u64,
 * u64 root), u64 last page, u64 transaction. The first tree, whose pad is the
 * size of a page, has lists of free pages: u64 count, count x u64. */
#include "ingest/datafile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"

enum {
    HEAD = 16,
    META_SIZE = 152,
    AT_MAGIC = 16,
    AT_PAGE_SIZE = 40,
    AT_FREE_ROOT = 80,
    AT_LAST_PAGE = 136,
    AT_TRANSACTION = 144,
    PAGE_MIN = 256,
    PAGE_MAX = 65536,
    BRANCH = 1,
    LEAF = 2,
    NODE_HEAD = 8,
    FAR_DATA = 1, /* the data is in overflow pages */
    DEPTH_MAX = 32,
};
#define MAGIC 0xBEEFC0DEu

struct datafile {
    const char *path;
    int fd;
    size_t page_size;
    uint64_t free_root, last_page, transaction;
    uint64_t first_missing; /* page: all from here to the last are not there */
    uint64_t missing;       /* of them, not seen as free yet */
    uint8_t *seen;          /* OWNS: one bit a missing page */
};

/* False where the page holds no usable meta data. */
static bool read_meta(struct datafile *file, size_t at)
{
    uint8_t meta[META_SIZE];
    if (pread(file->fd, meta, sizeof meta, (off_t)at) != sizeof meta ||
        base_get_u32(meta + AT_MAGIC) != MAGIC)
        return false;
    size_t page_size = base_get_u32(meta + AT_PAGE_SIZE);
    uint64_t transaction = base_get_u64(meta + AT_TRANSACTION);
    if (page_size < PAGE_MIN || page_size > PAGE_MAX ||
        (page_size & (page_size - 1)) != 0)
        return false;
    if (file->page_size && transaction < file->transaction)
        return true;
    file->page_size = page_size;
    file->transaction = transaction;
    file->free_root = base_get_u64(meta + AT_FREE_ROOT);
    file->last_page = base_get_u64(meta + AT_LAST_PAGE);
    return true;
}

static bool read_metas(struct datafile *file)
{
    file->page_size = 0;
    return read_meta(file, 0) && read_meta(file, file->page_size);
}

static enum base_status cut(const struct datafile *file, uint64_t page,
                            struct base_error *error)
{
    return base_fail(error, BASE_CORRUPT,
                     "store: %s was cut: it ends before page %llu of %llu, "
                     "which its newest commit uses",
                     file->path, (unsigned long long)page,
                     (unsigned long long)file->last_page + 1);
}

static enum base_status read_pages(const struct datafile *file, uint64_t page,
                                   uint8_t *data, size_t size,
                                   struct base_error *error)
{
    if (page >= file->first_missing)
        return cut(file, page, error);
    ssize_t got = pread(file->fd, data, size, (off_t)(page * file->page_size));
    if (got < 0)
        return base_fail_errno(error, errno, "store: read %s", file->path);
    return (size_t)got == size ? BASE_OK : cut(file, page, error);
}

/* A list of free pages: takes those off that are missing. */
static void take_free(struct datafile *file, const uint8_t *list, size_t size)
{
    uint64_t count = size < 8 ? 0 : base_get_u64(list);
    for (uint64_t i = 1; i <= count && 8 * (i + 1) <= size; i++) {
        uint64_t page = base_get_u64(list + 8 * i);
        if (page < file->first_missing || page > file->last_page)
            continue;
        uint64_t at = page - file->first_missing;
        bool fresh = !(file->seen[at / 8] >> at % 8 & 1);
        file->seen[at / 8] |= (uint8_t)(1 << at % 8);
        file->missing -= fresh;
    }
}

static enum base_status take_far(struct datafile *file, uint64_t page,
                                 size_t size, struct base_error *error)
{
    if (size > (file->last_page + 1) * 8)
        return cut(file, page, error);
    uint8_t *data = malloc(HEAD + size);
    if (!data)
        return base_fail(error, BASE_SYSTEM, "store: no memory");
    enum base_status status = read_pages(file, page, data, HEAD + size, error);
    if (!status)
        take_free(file, data + HEAD, size);
    free(data);
    return status;
}

static enum base_status walk(struct datafile *file, uint64_t page,
                             unsigned depth, struct base_error *error);

static enum base_status take_node(struct datafile *file, const uint8_t *data,
                                  size_t at, unsigned depth,
                                  struct base_error *error)
{
    const uint8_t *node = data + at;
    uint16_t flags = base_get_u16(node + 4), key_size = base_get_u16(node + 6);
    size_t size = base_get_u32(node), begin = at + NODE_HEAD + key_size;
    if (base_get_u16(data + 10) & BRANCH)
        return walk(file, size | (uint64_t)flags << 32, depth + 1, error);
    size_t end = begin + (flags & FAR_DATA ? 8 : size);
    if (end > file->page_size)
        return cut(file, base_get_u64(data), error);
    if (flags & FAR_DATA)
        return take_far(file, base_get_u64(data + begin), size, error);
    take_free(file, data + begin, size);
    return BASE_OK;
}

static enum base_status walk(struct datafile *file, uint64_t page,
                             unsigned depth, struct base_error *error)
{
    uint8_t *data = malloc(file->page_size);
    if (!data)
        return base_fail(error, BASE_SYSTEM, "store: no memory");
    enum base_status status =
        depth > DEPTH_MAX
            ? cut(file, page, error)
            : read_pages(file, page, data, file->page_size, error);
    size_t lower = status ? HEAD : base_get_u16(data + 12);
    if (!status && (!(base_get_u16(data + 10) & (BRANCH | LEAF)) ||
                    lower < HEAD || lower > file->page_size))
        status = cut(file, page, error);
    for (size_t at = HEAD; !status && at < lower; at += 2) {
        size_t node = base_get_u16(data + at);
        status = node + NODE_HEAD > file->page_size
                     ? cut(file, page, error)
                     : take_node(file, data, node, depth, error);
    }
    free(data);
    return status;
}

/* The file ends before its last page. */
static enum base_status check_missing(struct datafile *file, uint64_t size,
                                      struct base_error *error)
{
    file->first_missing = size / file->page_size;
    file->missing = file->last_page + 1 - file->first_missing;
    file->seen = calloc(file->missing / 8 + 1, 1);
    if (!file->seen)
        return base_fail(error, BASE_SYSTEM, "store: no memory");
    enum base_status status = BASE_OK;
    if (file->free_root != UINT64_MAX)
        status = walk(file, file->free_root, 0, error);
    uint64_t at = 0;
    while (!status && file->missing > 0 && file->seen[at / 8] >> at % 8 & 1)
        at++;
    if (!status && file->missing > 0)
        status = cut(file, file->first_missing + at, error);
    free(file->seen);
    return status;
}

static enum base_status check(struct datafile *file, struct base_error *error)
{
    struct stat info;
    if (!read_metas(file))
        return BASE_OK; /* LMDB says what it is not */
    if (fstat(file->fd, &info))
        return base_fail_errno(error, errno, "store: %s", file->path);
    uint64_t size = (uint64_t)info.st_size;
    if (file->last_page < size / file->page_size)
        return BASE_OK;
    uint64_t transaction = file->transaction;
    enum base_status status = check_missing(file, size, error);
    /* A writer's next commits may have used the pages that were looked at. */
    if (status && read_metas(file) && file->transaction != transaction)
        return BASE_OK;
    return status;
}

enum base_status ingest_datafile_check(const char *folder,
                                       struct base_error *error)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/data.mdb", folder);
    struct datafile file = {.path = path,
                            .fd = open(path, O_RDONLY | O_CLOEXEC)};
    if (file.fd < 0)
        return errno == ENOENT
                   ? BASE_OK
                   : base_fail_errno(error, errno, "store: %s", path);
    enum base_status status = check(&file, error);
    close(file.fd);
    return status;
}
