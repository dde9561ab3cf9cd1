/* SPDX-License-Identifier: Apache-2.0 */
/* What the process takes of its machine, against the caps that its
 * configuration names: memory, processor time, open files, room on the disks
 * of its folders. Asks the kernel only, which answers from memory; keeps
 * nothing. Any thread. */
#ifndef DAEMON_USAGE_H
#define DAEMON_USAGE_H

#include <stdint.h>

#include "daemon/config.h"

enum { DAEMON_DISK_STATE, DAEMON_DISK_MODEL, DAEMON_DISKS };

extern const char *const daemon_disk_words[]; /* "state", "model" */

struct daemon_disk {
    int64_t available_bytes, size_bytes; /* -1: unknown */
};

struct daemon_usage {
    int64_t journal_max_bytes, map_max_bytes; /* of the configuration */
    int64_t publish_interval_ms;
    int64_t memory_bytes; /* that this process may take: of its cgroup, or all
                             of the machine */
    int64_t resident_bytes, virtual_bytes; /* -1: unknown, like the rest */
    int64_t open_files, open_files_max;
    double cpu_seconds;
    struct daemon_disk disks[DAEMON_DISKS];
};

void daemon_usage_read(const struct daemon_config *config,
                       struct daemon_usage *usage);

#endif
