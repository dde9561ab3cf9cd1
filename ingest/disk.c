/* SPDX-License-Identifier: Apache-2.0 */
/* See disk.h. */
#include "ingest/disk.h"

#include <sys/statvfs.h>

#include "base/clock.h"
#include "base/log.h"

enum { LOOK_MS = 200 };

void ingest_disk_init(struct ingest_disk *disk, const char *folder,
                      uint64_t reserve_bytes)
{
    disk->folder = folder;
    disk->reserve_bytes = reserve_bytes;
    disk->looked_ms = INT64_MIN;
    atomic_init(&disk->low, false);
    atomic_init(&disk->free_bytes, 0);
    atomic_init(&disk->stops, 0);
}

static void change(struct ingest_disk *disk, bool low, uint64_t free_bytes)
{
    atomic_store(&disk->low, low);
    if (low) {
        atomic_fetch_add(&disk->stops, 1);
        base_log(BASE_LOG_ERROR,
                 "event=disk_low folder=%s free_bytes=%llu reserve_bytes=%llu "
                 "hint=\"nothing is taken in until there is room again; Kafka "
                 "keeps the backlog\"",
                 disk->folder, (unsigned long long)free_bytes,
                 (unsigned long long)disk->reserve_bytes);
    } else {
        base_log(BASE_LOG_INFO,
                 "event=disk_has_room folder=%s free_bytes=%llu "
                 "reserve_bytes=%llu",
                 disk->folder, (unsigned long long)free_bytes,
                 (unsigned long long)disk->reserve_bytes);
    }
}

bool ingest_disk_low(struct ingest_disk *disk)
{
    struct statvfs info;
    int64_t now = base_monotonic_ms();
    bool low = atomic_load(&disk->low);
    if (now - LOOK_MS < disk->looked_ms || statvfs(disk->folder, &info))
        return low;
    disk->looked_ms = now;
    uint64_t free_bytes = (uint64_t)info.f_bavail * info.f_frsize;
    uint64_t mark = disk->reserve_bytes + (low ? disk->reserve_bytes / 8 : 0);
    atomic_store(&disk->free_bytes, free_bytes);
    if ((free_bytes < mark) != low)
        change(disk, !low, free_bytes);
    return free_bytes < mark;
}
