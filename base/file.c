/* SPDX-License-Identifier: Apache-2.0 */
/* Files that survive a crash; see file.h. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum base_status read_all(int fd, const char *path, size_t max,
                                 char **data, size_t *size,
                                 struct base_error *error)
{
    size_t capacity = 64 * 1024, used = 0;
    char *bytes = malloc(capacity + 1);
    if (!bytes)
        return base_fail(error, BASE_SYSTEM, "%s: no memory", path);
    for (;;) {
        ssize_t got = read(fd, bytes + used, capacity - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            int why = errno;
            free(bytes);
            return base_fail_errno(error, why, "%s: read", path);
        }
        used += (size_t)got;
        if (used > max) {
            free(bytes);
            return base_fail(error, BASE_LIMIT,
                             "%s: larger than the limit of %zu bytes", path,
                             max);
        }
        if (got == 0)
            break;
        if (used == capacity) {
            char *larger = realloc(bytes, capacity * 2 + 1);
            if (!larger) {
                free(bytes);
                return base_fail(error, BASE_SYSTEM, "%s: no memory", path);
            }
            bytes = larger;
            capacity *= 2;
        }
    }
    bytes[used] = '\0';
    *data = bytes;
    *size = used;
    return BASE_OK;
}

enum base_status base_file_read(const char *path, size_t max, char **data,
                                size_t *size, struct base_error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return base_fail_errno(error, errno, "%s", path);
    enum base_status status = read_all(fd, path, max, data, size, error);
    close(fd);
    return status;
}

enum base_status base_file_write_all(int fd, const void *data, size_t size,
                                     const char *path,
                                     struct base_error *error)
{
    const char *at = data;
    while (size) {
        ssize_t done = write(fd, at, size);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return base_fail_errno(error, errno, "%s: write", path);
        at += done;
        size -= (size_t)done;
    }
    return BASE_OK;
}

enum base_status base_file_sync_folder(const char *path,
                                       struct base_error *error)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return base_fail_errno(error, errno, "%s", path);
    enum base_status status = BASE_OK;
    if (fsync(fd))
        status = base_fail_errno(error, errno, "%s: fsync", path);
    close(fd);
    return status;
}

static enum base_status sync_parent(const char *path, struct base_error *error)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (!slash)
        return base_file_sync_folder(".", error);
    size_t length = slash == path ? 1 : (size_t)(slash - path);
    memcpy(folder, path, length);
    folder[length] = '\0';
    return base_file_sync_folder(folder, error);
}

static enum base_status write_synced(const char *path, const void *data,
                                     size_t size, struct base_error *error)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0)
        return base_fail_errno(error, errno, "%s", path);
    enum base_status status = base_file_write_all(fd, data, size, path, error);
    if (!status && fsync(fd))
        status = base_fail_errno(error, errno, "%s: fsync", path);
    if (close(fd) && !status)
        status = base_fail_errno(error, errno, "%s: close", path);
    return status;
}

enum base_status base_file_replace(const char *path, const void *data,
                                   size_t size, struct base_error *error)
{
    char temporary[PATH_MAX];
    int length = snprintf(temporary, sizeof temporary, "%s.tmp", path);
    if (length < 0 || (size_t)length >= sizeof temporary)
        return base_fail(error, BASE_LIMIT, "%s: path too long", path);
    enum base_status status = write_synced(temporary, data, size, error);
    if (!status && rename(temporary, path))
        status = base_fail_errno(error, errno, "%s: rename", path);
    if (status) {
        unlink(temporary);
        return status;
    }
    return sync_parent(path, error);
}

enum base_status base_file_make_folder(const char *path,
                                       struct base_error *error)
{
    char partial[PATH_MAX];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof partial)
        return base_fail(error, BASE_LIMIT, "folder name '%s' is %s", path,
                         length ? "too long" : "empty");
    for (size_t i = 1; i <= length; i++) {
        if (i < length && path[i] != '/')
            continue;
        memcpy(partial, path, i);
        partial[i] = '\0';
        if (mkdir(partial, 0750) == 0) {
            enum base_status status = sync_parent(partial, error);
            if (status)
                return status;
        } else if (errno != EEXIST) {
            return base_fail_errno(error, errno, "%s: make folder", partial);
        }
    }
    struct stat made;
    if (stat(path, &made) || !S_ISDIR(made.st_mode))
        return base_fail(error, BASE_EXISTS, "%s: is not a folder", path);
    return BASE_OK;
}

static int remove_one(const char *path, const struct stat *info, int kind,
                      struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

enum base_status base_file_remove(const char *path, struct base_error *error)
{
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) && errno != ENOENT)
        return base_fail_errno(error, errno, "%s: remove", path);
    return BASE_OK;
}

enum base_status base_file_join(char *path, size_t size, const char *folder,
                                const char *name, struct base_error *error)
{
    int length = snprintf(path, size, "%s/%s", folder, name);
    if (length < 0 || (size_t)length >= size)
        return base_fail(error, BASE_LIMIT, "%s/%s: path too long", folder,
                         name);
    return BASE_OK;
}
