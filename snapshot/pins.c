/* SPDX-License-Identifier: Apache-2.0 */
/* PINNED; see pins.h. */
#include "snapshot/pins.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "snapshot/current.h"

enum { LINE = SNAPSHOT_FOLDER_NAME + 1 };

static enum base_status parse(char *text, struct snapshot_pins *pins,
                              struct base_error *error)
{
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line;
         line = strtok_r(NULL, "\n", &rest)) {
        if (pins->count == SNAPSHOT_PINS_MAX)
            return base_fail(error, BASE_LIMIT, "PINNED: more than %d names",
                             SNAPSHOT_PINS_MAX);
        if (!snapshot_folder_scan(line, &pins->pin[pins->count].epoch,
                                  &pins->pin[pins->count].version))
            return base_fail(error, BASE_CORRUPT,
                             "PINNED: '%.80s' is no version's name", line);
        pins->count++;
    }
    return BASE_OK;
}

enum base_status snapshot_pins_read(const char *folder,
                                    struct snapshot_pins *pins,
                                    struct base_error *error)
{
    char *text = NULL;
    size_t size;
    struct base_error why;
    pins->count = 0;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return base_fail_errno(error, errno, "%s", folder);
    enum base_status status = snapshot_file_read(
        fd, "PINNED", SNAPSHOT_PINS_MAX * LINE, &text, &size, &why);
    close(fd);
    if (status == BASE_NO_INPUT)
        return BASE_OK;
    if (!status)
        status = parse(text, pins, &why);
    free(text);
    if (status && error)
        *error = why;
    return status ? base_wrap(error, "%s", folder) : BASE_OK;
}

enum base_status snapshot_pins_write(const char *folder,
                                     const struct snapshot_pins *pins,
                                     struct base_error *error)
{
    char path[PATH_MAX], text[SNAPSHOT_PINS_MAX * LINE + 1];
    size_t size = 0;
    for (unsigned i = 0; i < pins->count; i++) {
        char name[SNAPSHOT_FOLDER_NAME];
        snapshot_folder_print(pins->pin[i].epoch, pins->pin[i].version, name);
        size += (size_t)snprintf(text + size, sizeof text - size, "%s\n",
                                 name);
    }
    enum base_status status =
        base_file_join(path, sizeof path, folder, "PINNED", error);
    return status ? status : base_file_replace(path, text, size, error);
}

int snapshot_pins_find(const struct snapshot_pins *pins, uint64_t epoch,
                       uint64_t version)
{
    for (unsigned i = 0; i < pins->count; i++)
        if (pins->pin[i].epoch == epoch && pins->pin[i].version == version)
            return (int)i;
    return -1;
}
