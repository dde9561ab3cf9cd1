/* SPDX-License-Identifier: Apache-2.0 */
/* The way from what a reader has, or from nothing, to a version: a base to
 * load, where there must be one, and the deltas to apply, oldest first. Each
 * is named with the hash of its manifest, which the next one's `parent` said;
 * the last is named by CURRENT or an announcement. So what was lost, doubled,
 * reordered or belongs to another chain is not on any way.
 *
 * Versions fall strictly along a chain, so every walk ends. One thread. */
#ifndef SNAPSHOT_CHAIN_H
#define SNAPSHOT_CHAIN_H

#include "snapshot/version.h"

enum { SNAPSHOT_CHAIN_MAX = 65536 }; /* deltas */

struct snapshot_chain {
    /* Where it starts: the served version, or a base of this version's folder,
     * or one beside it. */
    bool from_served, is_beside;
    struct snapshot_current base;
    size_t count, capacity;
    struct snapshot_current *deltas; /* OWNS (count), oldest first */
};

/* From `served` to `target`; BASE_AGAIN where that chain does not lead there:
 * something between is not there any more, or it is another chain. */
enum base_status snapshot_chain_continue(const char *model_folder,
                                         const struct snapshot_current *served,
                                         const struct snapshot_current *target,
                                         struct snapshot_chain *chain,
                                         struct base_error *error)
    BASE_MUST_CHECK;

/* From the newest base at or before `target` whose manifest is sound and whose
 * version is less than `below`. */
enum base_status snapshot_chain_start(const char *model_folder,
                                      const struct snapshot_current *target,
                                      uint64_t below,
                                      struct snapshot_chain *chain,
                                      struct base_error *error)
    BASE_MUST_CHECK;
void snapshot_chain_fini(struct snapshot_chain *chain);

#endif
