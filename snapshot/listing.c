/* SPDX-License-Identifier: Apache-2.0 */
/* The versions of a model folder as an operator sees them, and found by
 * name; see snapshot.h. Only reads. Any process. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "snapshot/catalog.h"
#include "snapshot/pins.h"
#include "snapshot/publisher.h"

/* What the manifest of the folder says. */
static void describe(int folder, struct snapshot_listed *listed)
{
    char path[SNAPSHOT_FOLDER_NAME + 32], *text = NULL;
    size_t size;
    struct snapshot_manifest *manifest = malloc(sizeof *manifest);
    snprintf(path, sizeof path, "%s/manifest.json", listed->name);
    if (manifest &&
        !snapshot_file_read(folder, path, SNAPSHOT_MANIFEST_MAX, &text, &size,
                            NULL) &&
        !snapshot_manifest_read(text, size, manifest, NULL)) {
        listed->rollback_epoch = manifest->rollback_epoch;
        listed->rollback_version = manifest->rollback_version;
        listed->position = manifest->position;
        listed->training_hash =
            learner_training_hash(&manifest->schema, &manifest->model);
        listed->created_ms = manifest->created_ms;
        listed->newest_event_ms = manifest->newest_event_ms;
        listed->judged = manifest->judged;
        for (unsigned i = 0; i < manifest->file_count; i++)
            listed->bytes += manifest->files[i].size;
        snapshot_manifest_fini(manifest);
    }
    free(text);
    free(manifest);
}

static enum base_status read_folder(const char *path,
                                    struct snapshot_catalog *catalog,
                                    struct snapshot_pins *pins,
                                    struct snapshot_current *current,
                                    struct base_error *error)
{
    struct base_error why;
    enum base_status status = snapshot_pins_read(path, pins, error);
    *catalog = (struct snapshot_catalog){0};
    *current = (struct snapshot_current){0};
    if (!status)
        status = snapshot_catalog_read(path, catalog, error);
    if (!status) {
        status = snapshot_current_read(path, current, &why);
        if (status == BASE_NO_INPUT)
            return BASE_OK;
        if (status && error)
            *error = why;
    }
    return status;
}

enum base_status
snapshot_publisher_chain(const struct snapshot_publisher *publisher,
                         uint64_t *deltas, uint64_t *bytes,
                         struct base_error *error)
{
    struct snapshot_catalog catalog;
    enum base_status status =
        snapshot_catalog_read(publisher->config.folder, &catalog, error);
    *deltas = *bytes = 0;
    if (status)
        return status;
    snapshot_catalog_chain(&catalog,
                           snapshot_catalog_find(&catalog,
                                                 publisher->current.epoch,
                                                 publisher->current.version),
                           deltas, bytes);
    snapshot_catalog_fini(&catalog);
    return BASE_OK;
}

enum base_status
snapshot_list(const char *path,
              void (*each)(void *self, const struct snapshot_listed *version),
              void *self, struct base_error *error)
{
    struct snapshot_catalog catalog;
    struct snapshot_current current;
    struct snapshot_pins pins;
    int folder = -1;
    enum base_status status =
        read_folder(path, &catalog, &pins, &current, error);
    if (!status)
        folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!status && folder < 0)
        status = base_fail_errno(error, errno, "%s", path);
    for (size_t i = 0; !status && i < catalog.count; i++) {
        struct snapshot_catalog_entry *entry = &catalog.entry[i];
        struct snapshot_listed listed = {
            .epoch = entry->epoch, .version = entry->version,
            .delta = entry->delta, .beside = entry->beside,
            .sound = entry->sound,
            .loadable = snapshot_catalog_need(&catalog, entry),
            .pinned = snapshot_pins_find(&pins, entry->epoch,
                                         entry->version) >= 0,
            .current = entry->epoch == current.epoch &&
                       entry->version == current.version,
        };
        snapshot_folder_print(entry->epoch, entry->version, listed.name);
        if (entry->sound)
            describe(folder, &listed);
        each(self, &listed);
    }
    if (folder >= 0)
        close(folder);
    snapshot_catalog_fini(&catalog);
    return status;
}

/* ---- by name -------------------------------------------------------------- */

struct search {
    const char *text;
    unsigned matches;
    struct snapshot_listed *found;
};

static void compare(void *self, const struct snapshot_listed *listed)
{
    struct search *search = self;
    char number[32];
    snprintf(number, sizeof number, "%llu",
             (unsigned long long)listed->version);
    if (strcmp(search->text, listed->name) != 0 &&
        strcmp(search->text, number) != 0)
        return;
    *search->found = *listed;
    search->matches++;
}

enum base_status snapshot_find(const char *folder, const char *text,
                               struct snapshot_listed *found,
                               struct base_error *error)
{
    struct search search = {.text = text, .found = found};
    enum base_status status = snapshot_list(folder, compare, &search, error);
    if (status)
        return status;
    if (search.matches > 1)
        return base_fail(error, BASE_USAGE,
                         "%s: %u versions have the number %.80s; say "
                         "v<epoch>-<version>", folder, search.matches, text);
    if (!search.matches)
        return base_fail(error, BASE_NO_INPUT,
                         "%s: there is no version %.80s; it never was, or "
                         "retention has removed it (interestd versions lists "
                         "what is there, interestd pin keeps)", folder, text);
    if (!found->loadable)
        return base_fail(error, BASE_NO_INPUT,
                         "%s: version %.80s cannot be loaded: a folder that "
                         "it builds on is not there or not sound", folder,
                         text);
    return BASE_OK;
}
