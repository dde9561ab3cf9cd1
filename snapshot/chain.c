/* SPDX-License-Identifier: Apache-2.0 */
/* Walking a chain of versions; see chain.h. */
#include "snapshot/chain.h"

#include <stdlib.h>
#include <string.h>

static enum base_status push(struct snapshot_chain *chain,
                             const struct snapshot_current *link,
                             struct base_error *error)
{
    if (chain->count == SNAPSHOT_CHAIN_MAX)
        return base_fail(error, BASE_LIMIT, "more than %d deltas to a base",
                         SNAPSHOT_CHAIN_MAX);
    if (chain->count == chain->capacity) {
        size_t capacity = chain->capacity ? 2 * chain->capacity : 16;
        struct snapshot_current *larger =
            reallocarray(chain->deltas, capacity, sizeof *larger);
        if (!larger)
            return base_fail(error, BASE_SYSTEM, "no memory for a chain");
        chain->deltas = larger;
        chain->capacity = capacity;
    }
    chain->deltas[chain->count++] = *link;
    return BASE_OK;
}

static void reverse(struct snapshot_chain *chain)
{
    for (size_t i = 0; i < chain->count / 2; i++) {
        struct snapshot_current held = chain->deltas[i];
        chain->deltas[i] = chain->deltas[chain->count - 1 - i];
        chain->deltas[chain->count - 1 - i] = held;
    }
}

/* The manifest of `at`; *parent is what it changes. */
static enum base_status read_link(const char *model_folder,
                                  const struct snapshot_current *at,
                                  enum snapshot_kind *kind,
                                  struct snapshot_current *parent,
                                  struct base_error *error)
{
    struct snapshot_version version;
    enum base_status status =
        snapshot_version_begin(model_folder, at, &version, error);
    if (status)
        return status;
    const struct snapshot_manifest *manifest = &version.manifest;
    *kind = manifest->kind;
    *parent = (struct snapshot_current){.epoch = manifest->parent_epoch,
                                        .version = manifest->parent_version,
                                        .hash = manifest->parent_hash};
    if (parent->version)
        snapshot_folder_print(parent->epoch, parent->version, parent->name);
    if (*kind == SNAPSHOT_DELTA && snapshot_current_compare(parent, at) >= 0)
        status = base_fail(error, BASE_CORRUPT,
                           "%s: its parent %s is no older version", at->name,
                           parent->name);
    snapshot_version_fini(&version);
    return status;
}

enum base_status snapshot_chain_continue(const char *model_folder,
                                         const struct snapshot_current *served,
                                         const struct snapshot_current *target,
                                         struct snapshot_chain *chain,
                                         struct base_error *error)
{
    enum snapshot_kind kind = SNAPSHOT_DELTA;
    enum base_status status = BASE_OK;
    struct snapshot_current at = *target, parent;
    *chain = (struct snapshot_chain){.from_served = true, .base = *served};
    while (!status && kind == SNAPSHOT_DELTA &&
           snapshot_current_compare(&at, served) > 0) {
        status = read_link(model_folder, &at, &kind, &parent, error);
        if (!status && kind == SNAPSHOT_DELTA)
            status = push(chain, &at, error);
        at = parent;
    }
    if (status == BASE_NO_INPUT || (!status && kind != SNAPSHOT_DELTA) ||
        (!status && !snapshot_current_equal(&at, served)))
        status = base_fail(error, BASE_AGAIN, "%s does not follow from %s",
                           target->name, served->name);
    if (status)
        snapshot_chain_fini(chain);
    reverse(chain);
    return status;
}

static bool has_beside(const char *model_folder,
                       const struct snapshot_current *at)
{
    struct snapshot_version version;
    if (snapshot_version_beside(model_folder, at, &version, NULL))
        return false;
    snapshot_version_fini(&version);
    return true;
}

enum base_status snapshot_chain_start(const char *model_folder,
                                      const struct snapshot_current *target,
                                      uint64_t below,
                                      struct snapshot_chain *chain,
                                      struct base_error *error)
{
    struct snapshot_current at = *target, parent;
    enum base_status status = BASE_OK;
    *chain = (struct snapshot_chain){0};
    while (!status && !chain->base.version) {
        enum snapshot_kind kind;
        status = read_link(model_folder, &at, &kind, &parent, error);
        if (status)
            break;
        bool allowed = at.version < below;
        chain->is_beside = allowed && kind == SNAPSHOT_DELTA &&
                           has_beside(model_folder, &at);
        if (chain->is_beside || (allowed && kind == SNAPSHOT_BASE))
            chain->base = at;
        else if (kind == SNAPSHOT_BASE)
            status = base_fail(error, BASE_NO_INPUT,
                               "no older base than %s is there", at.name);
        else
            status = push(chain, &at, error);
        at = parent;
    }
    if (status)
        snapshot_chain_fini(chain);
    reverse(chain);
    return status;
}

void snapshot_chain_fini(struct snapshot_chain *chain)
{
    free(chain->deltas);
    *chain = (struct snapshot_chain){0};
}
