/* SPDX-License-Identifier: Apache-2.0 */
/* What lies in a model folder: its versions in order, of each whether it is
 * complete in itself, has a base beside it, or needs its parent; and from that,
 * which of them may go. A snapshot in time: folders may come meanwhile. */
#ifndef SNAPSHOT_CATALOG_H
#define SNAPSHOT_CATALOG_H

#include "snapshot/current.h"

struct snapshot_catalog_entry {
    uint64_t epoch, version;
    uint64_t parent_epoch, parent_version; /* 0: none */
    uint64_t bytes; /* of its files */
    bool delta;
    bool beside; /* there is a folder b<epoch>-<version> */
    bool sound;  /* its manifest could be read */
    bool needed; /* of snapshot_catalog_keep() */
};

struct snapshot_catalog {
    size_t count, room;
    struct snapshot_catalog_entry *entry; /* OWNS; ascending */
};

/* Reads the folder and every manifest in it. */
enum base_status snapshot_catalog_read(const char *folder,
                                       struct snapshot_catalog *catalog,
                                       struct base_error *error)
    BASE_MUST_CHECK;
void snapshot_catalog_fini(struct snapshot_catalog *catalog);

/* The entry, or NULL. */
struct snapshot_catalog_entry *
snapshot_catalog_find(const struct snapshot_catalog *catalog, uint64_t epoch,
                      uint64_t version);

/* Marks `entry` and what a reader needs to load it: its parents, up to one
 * that is complete or has a base beside it. False where that is not there. */
bool snapshot_catalog_need(struct snapshot_catalog *catalog,
                           struct snapshot_catalog_entry *entry);

/* The deltas from where a reader can begin up to `entry`, and their bytes. */
void snapshot_catalog_chain(const struct snapshot_catalog *catalog,
                            const struct snapshot_catalog_entry *entry,
                            uint64_t *deltas, uint64_t *bytes);

/* Marks all from the newest version on where a reader can begin, so that at
 * least `versions` versions and `bases` beginnings are kept. */
void snapshot_catalog_keep(struct snapshot_catalog *catalog, unsigned versions,
                           unsigned bases);

#endif
