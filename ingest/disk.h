/* SPDX-License-Identifier: Apache-2.0 */
/* The room that is left where the store lies, and the mark below which ingest
 * takes nothing in: a disk that fills up stops the intake before a write
 * fails, so that what is there can still be committed, trimmed and trained.
 * Low below the reserve, well again at an eighth above it, so that it does not
 * flutter. Thread: one that looks; the status is read by any. */
#ifndef INGEST_DISK_H
#define INGEST_DISK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct ingest_disk {
    const char *folder;     /* BORROWS */
    uint64_t reserve_bytes; /* 0: never low */
    int64_t looked_ms;      /* monotonic */
    atomic_bool low;
    _Atomic uint64_t free_bytes;
    _Atomic uint64_t stops; /* times it became low */
};

void ingest_disk_init(struct ingest_disk *disk, const char *folder,
                      uint64_t reserve_bytes);
/* Looks at most a few times a second; says in the log when the answer
 * changes. */
bool ingest_disk_low(struct ingest_disk *disk);

#endif
