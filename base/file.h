/* SPDX-License-Identifier: Apache-2.0 */
/* Files that survive a crash: whole reads, whole writes, rename with sync.
 * Any thread. All texts name the path. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Reads all of `path` into *data (OWNS: free it; one NUL is added behind, not
 * counted). BASE_LIMIT above `max` bytes. */
enum base_status base_file_read(const char *path, size_t max, char **data,
                                size_t *size,
                                struct base_error *error) BASE_MUST_CHECK;

/* Writes all bytes to descriptor `fd`, retrying short writes and EINTR. */
enum base_status base_file_write_all(int fd, const void *data, size_t size,
                                     const char *path,
                                     struct base_error *error) BASE_MUST_CHECK;

/* Replaces `path` as a whole: temporary file beside it, fsync, rename, fsync
 * of the folder. Readers see the old or the new content, never a mixture. */
enum base_status base_file_replace(const char *path, const void *data,
                                   size_t size,
                                   struct base_error *error) BASE_MUST_CHECK;

/* fsync of a folder, so that names made or renamed in it are durable. */
enum base_status base_file_sync_folder(const char *path,
                                       struct base_error *error)
    BASE_MUST_CHECK;

/* mkdir -p with mode 0750. */
enum base_status base_file_make_folder(const char *path,
                                       struct base_error *error)
    BASE_MUST_CHECK;

/* Removes a file, or a folder with all in it; what is not there is no error. */
enum base_status base_file_remove(const char *path,
                                  struct base_error *error) BASE_MUST_CHECK;

/* "<folder>/<name>" formatted into path[size]; BASE_LIMIT where too long. */
enum base_status base_file_join(char *path, size_t size, const char *folder,
                                const char *name,
                                struct base_error *error) BASE_MUST_CHECK;

#endif
