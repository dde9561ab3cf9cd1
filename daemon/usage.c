/* SPDX-License-Identifier: Apache-2.0 */
/* Memory, time, files and disks of this process; see usage.h. */
#include "daemon/usage.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

const char *const daemon_disk_words[] = {
    [DAEMON_DISK_STATE] = "state", [DAEMON_DISK_MODEL] = "model"};

static void read_memory(struct daemon_usage *usage)
{
    long long total, resident;
    FILE *file = fopen("/proc/self/statm", "re");
    usage->virtual_bytes = usage->resident_bytes = -1;
    if (!file)
        return;
    if (fscanf(file, "%lld %lld", &total, &resident) == 2) {
        usage->virtual_bytes = total * sysconf(_SC_PAGESIZE);
        usage->resident_bytes = resident * sysconf(_SC_PAGESIZE);
    }
    fclose(file);
}

/* The machine's, or the limit of its cgroup, version 2. */
static int64_t read_limit(void)
{
    long long limit, pages = sysconf(_SC_PHYS_PAGES);
    int64_t all = pages * sysconf(_SC_PAGESIZE);
    FILE *file = fopen("/sys/fs/cgroup/memory.max", "re");
    if (file && fscanf(file, "%lld", &limit) == 1 && limit < all)
        all = limit;
    if (file)
        fclose(file);
    return all;
}

/* Without the descriptor that counts them. */
static int64_t count_files(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int64_t count = -1;
    if (!folder)
        return -1;
    for (const struct dirent *entry; (entry = readdir(folder));)
        count += entry->d_name[0] != '.';
    closedir(folder);
    return count;
}

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec * 1e-6;
}

static struct daemon_disk read_disk(const char *folder)
{
    struct statvfs disk;
    if (statvfs(folder, &disk))
        return (struct daemon_disk){-1, -1};
    return (struct daemon_disk){
        .available_bytes = (int64_t)disk.f_bavail * (int64_t)disk.f_frsize,
        .size_bytes = (int64_t)disk.f_blocks * (int64_t)disk.f_frsize};
}

void daemon_usage_read(const struct daemon_config *config,
                       struct daemon_usage *usage)
{
    struct rusage times;
    struct rlimit files;
    usage->journal_max_bytes = (int64_t)config->ingest.journal_max_bytes;
    usage->map_max_bytes = (int64_t)config->ingest.map_bytes;
    usage->publish_interval_ms = config->publish.delta_ms;
    usage->memory_bytes = read_limit();
    read_memory(usage);
    usage->open_files = count_files();
    usage->open_files_max = -1;
    if (!getrlimit(RLIMIT_NOFILE, &files) && files.rlim_cur != RLIM_INFINITY)
        usage->open_files_max = (int64_t)files.rlim_cur;
    usage->cpu_seconds = 0;
    if (!getrusage(RUSAGE_SELF, &times))
        usage->cpu_seconds = seconds(times.ru_utime) + seconds(times.ru_stime);
    usage->disks[DAEMON_DISK_STATE] = read_disk(config->state);
    usage->disks[DAEMON_DISK_MODEL] = read_disk(config->snapshot.folder);
}
