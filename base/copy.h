/* SPDX-License-Identifier: Apache-2.0 */
/* Durable copies of files and folders: every file and every folder is synced.
 * Regular files and folders only; anything else is left out. Any thread; the
 * texts name the path. */
#ifndef BASE_COPY_H
#define BASE_COPY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct base_copy {
    uint64_t files, bytes; /* copied so far */
    /* After each piece; NULL: nobody watches. */
    void (*progress)(void *self, const struct base_copy *copy);
    void *self;
};

/* `to` must not be there. BASE_NO_INPUT where `from` is not. */
enum base_status base_copy_file(struct base_copy *copy, const char *from,
                                const char *to,
                                struct base_error *error) BASE_MUST_CHECK;
/* Makes the folder `to` and copies all in `from` whose name `take` accepts
 * (NULL: all), with all below it. */
enum base_status base_copy_folder(struct base_copy *copy, const char *from,
                                  const char *to,
                                  bool (*take)(const char *name),
                                  struct base_error *error) BASE_MUST_CHECK;

#endif
