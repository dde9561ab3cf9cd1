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
#include "snapshot/catalog.h"
#include "snapshot/snapshot.h"

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

/* ---- for operators -------------------------------------------------------- */

/* Whether the version is there with all that loads it. */
static enum base_status find_version(const char *folder, uint64_t epoch,
                                     uint64_t version, const char *name,
                                     struct base_error *error)
{
    struct snapshot_catalog catalog;
    enum base_status status = snapshot_catalog_read(folder, &catalog, error);
    if (status)
        return status;
    struct snapshot_catalog_entry *entry =
        snapshot_catalog_find(&catalog, epoch, version);
    if (!entry)
        status = base_fail(error, BASE_NO_INPUT, "%s: there is no version %s",
                           folder, name);
    else if (!snapshot_catalog_need(&catalog, entry))
        status = base_fail(error, BASE_NO_INPUT,
                           "%s: %s cannot be loaded any more: a version that "
                           "it needs is gone", folder, name);
    snapshot_catalog_fini(&catalog);
    return status;
}

static enum base_status scan(const char *folder, const char *name,
                             struct snapshot_pins *pins, uint64_t *epoch,
                             uint64_t *version, struct base_error *error)
{
    if (!snapshot_folder_scan(name, epoch, version))
        return base_fail(error, BASE_USAGE,
                         "'%.80s' is no version's name (v<epoch>-<version>)",
                         name);
    return snapshot_pins_read(folder, pins, error);
}

enum base_status snapshot_unpin(const char *folder, const char *name,
                                struct base_error *error)
{
    struct snapshot_pins pins;
    uint64_t epoch, version;
    enum base_status status =
        scan(folder, name, &pins, &epoch, &version, error);
    if (status)
        return status;
    int at = snapshot_pins_find(&pins, epoch, version);
    if (at < 0)
        return base_fail(error, BASE_NO_INPUT, "%s: %s is not pinned", folder,
                         name);
    pins.pin[at] = pins.pin[--pins.count];
    return snapshot_pins_write(folder, &pins, error);
}

enum base_status snapshot_pin(const char *folder, const char *name,
                              struct base_error *error)
{
    struct snapshot_pins pins;
    struct base_error ignored;
    uint64_t epoch, version;
    enum base_status status =
        scan(folder, name, &pins, &epoch, &version, error);
    if (!status)
        status = find_version(folder, epoch, version, name, error);
    if (status)
        return status;
    if (snapshot_pins_find(&pins, epoch, version) >= 0)
        return base_fail(error, BASE_EXISTS, "%s: %s is pinned already",
                         folder, name);
    if (pins.count == SNAPSHOT_PINS_MAX)
        return base_fail(error, BASE_LIMIT, "%s: %d versions are pinned",
                         folder, SNAPSHOT_PINS_MAX);
    pins.pin[pins.count].epoch = epoch;
    pins.pin[pins.count++].version = version;
    status = snapshot_pins_write(folder, &pins, error);
    if (status)
        return status;
    /* Retention may have read the list before it was replaced. */
    status = find_version(folder, epoch, version, name, error);
    if (status && snapshot_unpin(folder, name, &ignored))
        return base_wrap(error, "and the pin stays");
    return status;
}
