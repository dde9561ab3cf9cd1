/* SPDX-License-Identifier: Apache-2.0 */
/* CURRENT; see current.h. */
#include "snapshot/current.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static enum base_status read_open(int fd, size_t max, char **data,
                                  size_t *size, struct base_error *error)
{
    struct stat info;
    if (fstat(fd, &info))
        return base_fail_errno(error, errno, "stat");
    if (!S_ISREG(info.st_mode) || (uint64_t)info.st_size > max)
        return base_fail(error, BASE_CORRUPT,
                         "is no file of at most %zu bytes", max);
    size_t expected = (size_t)info.st_size, used = 0;
    char *bytes = malloc(expected + 1);
    if (!bytes)
        return base_fail(error, BASE_SYSTEM, "no memory");
    while (used < expected) {
        ssize_t got = read(fd, bytes + used, expected - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            int why = got < 0 ? errno : EIO;
            free(bytes);
            return base_fail_errno(error, why, "read");
        }
        used += (size_t)got;
    }
    bytes[used] = '\0';
    *data = bytes;
    *size = used;
    return BASE_OK;
}

enum base_status snapshot_file_read(int folder, const char *name, size_t max,
                                    char **data, size_t *size,
                                    struct base_error *error)
{
    int fd = openat(folder, name,
                    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return base_fail_errno(error, errno, "%s", name);
    enum base_status status = read_open(fd, max, data, size, error);
    close(fd);
    return status ? base_wrap(error, "%s", name) : BASE_OK;
}

static enum base_status parse(char *line, size_t size,
                              struct snapshot_current *current,
                              struct base_error *error)
{
    char *space = memchr(line, ' ', size);
    if (size && line[size - 1] == '\n')
        line[--size] = '\0';
    if (space)
        *space = '\0';
    if (!space || strlen(line) >= sizeof current->name ||
        !snapshot_folder_scan(line, &current->epoch, &current->version) ||
        !snapshot_hash_scan(space + 1, size - (size_t)(space + 1 - line),
                            &current->hash))
        return base_fail(error, BASE_CORRUPT,
                         "CURRENT is not 'v<epoch>-<version> <hash>'");
    strcpy(current->name, line);
    return BASE_OK;
}

enum base_status snapshot_current_read(const char *folder,
                                       struct snapshot_current *current,
                                       struct base_error *error)
{
    char *line = NULL;
    size_t size = 0;
    memset(current, 0, sizeof *current);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return base_fail_errno(error, errno, "%s", folder);
    enum base_status status =
        snapshot_file_read(fd, "CURRENT", 256, &line, &size, error);
    close(fd);
    if (!status)
        status = parse(line, size, current, error);
    free(line);
    return status ? base_wrap(error, "%s", folder) : BASE_OK;
}

enum base_status snapshot_current_write(const char *folder,
                                        const struct snapshot_current *current,
                                        struct base_error *error)
{
    char path[PATH_MAX], text[SNAPSHOT_HASH_TEXT];
    char line[SNAPSHOT_FOLDER_NAME + SNAPSHOT_HASH_TEXT + 2];
    snapshot_hash_print(current->hash, text);
    int length = snprintf(line, sizeof line, "%s %s\n", current->name, text);
    enum base_status status =
        base_file_join(path, sizeof path, folder, "CURRENT", error);
    if (!status)
        status = base_file_replace(path, line, (size_t)length, error);
    return status;
}

int snapshot_current_compare(const struct snapshot_current *a,
                             const struct snapshot_current *b)
{
    if (a->epoch != b->epoch)
        return a->epoch < b->epoch ? -1 : 1;
    return a->version < b->version ? -1 : a->version > b->version;
}

bool snapshot_current_equal(const struct snapshot_current *a,
                            const struct snapshot_current *b)
{
    return snapshot_current_compare(a, b) == 0 &&
           snapshot_hash_equal(a->hash, b->hash);
}
