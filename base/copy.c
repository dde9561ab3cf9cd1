/* SPDX-License-Identifier: Apache-2.0 */
/* See copy.h. */
#include "base/copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

enum { PIECE = 1 << 20, PATH_SIZE = 4096, DEPTH_MAX = 16 };

static enum base_status open_source(const char *path, int *fd,
                                    struct base_error *error)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (*fd >= 0)
        return BASE_OK;
    return errno == ENOENT
               ? base_fail(error, BASE_NO_INPUT, "%s is not there", path)
               : base_fail_errno(error, errno, "open %s", path);
}

static enum base_status move_bytes(struct base_copy *copy, int in,
                                   const char *from, int out, const char *to,
                                   struct base_error *error)
{
    char *piece = malloc(PIECE);
    enum base_status status = BASE_OK;
    if (!piece)
        return base_fail(error, BASE_SYSTEM, "copy: no memory");
    for (ssize_t got = 1; !status && got > 0;) {
        do
            got = read(in, piece, PIECE);
        while (got < 0 && errno == EINTR);
        if (got < 0)
            status = base_fail_errno(error, errno, "read %s", from);
        else if (got > 0)
            status = base_file_write_all(out, piece, (size_t)got, to, error);
        if (status || got <= 0)
            break;
        copy->bytes += (uint64_t)got;
        if (copy->progress)
            copy->progress(copy->self, copy);
    }
    free(piece);
    return status;
}

enum base_status base_copy_file(struct base_copy *copy, const char *from,
                                const char *to, struct base_error *error)
{
    int in;
    enum base_status status = open_source(from, &in, error);
    if (status)
        return status;
    int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (out < 0) {
        status = base_fail_errno(error, errno, "make %s", to);
    } else {
        status = move_bytes(copy, in, from, out, to, error);
        if (!status && fsync(out))
            status = base_fail_errno(error, errno, "sync %s", to);
        if (close(out) && !status)
            status = base_fail_errno(error, errno, "close %s", to);
    }
    close(in);
    copy->files += !status;
    return status;
}

static enum base_status copy_folder(struct base_copy *copy, const char *from,
                                    const char *to,
                                    bool (*take)(const char *name),
                                    unsigned depth, struct base_error *error);

static enum base_status copy_entry(struct base_copy *copy, const char *from,
                                   const char *to, const char *name,
                                   unsigned depth, struct base_error *error)
{
    char source[PATH_SIZE], target[PATH_SIZE];
    struct stat info;
    enum base_status status =
        base_file_join(source, sizeof source, from, name, error);
    if (!status)
        status = base_file_join(target, sizeof target, to, name, error);
    if (status)
        return status;
    if (lstat(source, &info))
        return errno == ENOENT
                   ? base_fail(error, BASE_NO_INPUT, "%s is gone", source)
                   : base_fail_errno(error, errno, "%s", source);
    if (S_ISDIR(info.st_mode))
        return copy_folder(copy, source, target, NULL, depth + 1, error);
    return S_ISREG(info.st_mode) ? base_copy_file(copy, source, target, error)
                                 : BASE_OK;
}

static enum base_status copy_folder(struct base_copy *copy, const char *from,
                                    const char *to,
                                    bool (*take)(const char *name),
                                    unsigned depth, struct base_error *error)
{
    if (depth > DEPTH_MAX)
        return base_fail(error, BASE_LIMIT, "%s: too deep", from);
    DIR *directory = opendir(from);
    if (!directory)
        return errno == ENOENT
                   ? base_fail(error, BASE_NO_INPUT, "%s is not there", from)
                   : base_fail_errno(error, errno, "%s", from);
    enum base_status status = base_file_make_folder(to, error);
    struct dirent *entry;
    while (!status && (entry = readdir(directory)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 ||
            strcmp(entry->d_name, "..") == 0 || (take && !take(entry->d_name)))
            continue;
        status = copy_entry(copy, from, to, entry->d_name, depth, error);
    }
    closedir(directory);
    return status ? status : base_file_sync_folder(to, error);
}

enum base_status base_copy_folder(struct base_copy *copy, const char *from,
                                  const char *to,
                                  bool (*take)(const char *name),
                                  struct base_error *error)
{
    return copy_folder(copy, from, to, take, 0, error);
}
