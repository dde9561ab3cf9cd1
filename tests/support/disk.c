/* SPDX-License-Identifier: Apache-2.0 */
/* See disk.h. Files and folders are told apart by inode while they live, and
 * by a number of our own for ever. */
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/file.h"
#include "base/random.h"

enum { SECTOR = 512, NAME = 80, NODES = 4096, FDS = 4096 };

enum kind { WRITE, RESIZE, SYNC, MAKE, RENAME, REMOVE, MARK };

struct operation {
    enum kind kind;
    unsigned node;        /* written, resized, made, renamed; MARK: the tag */
    unsigned folder, to;  /* of the names */
    unsigned synced;      /* number of operations when it was durable */
    uint64_t offset, size;
    uint8_t *data;        /* OWNS */
    char name[NAME], new_name[NAME];
};

struct node {
    ino_t inode; /* 0: has no name any more */
    bool is_folder;
};

static struct {
    pthread_mutex_t mutex;
    bool on;
    struct operation *operations;
    unsigned count, room;
    struct node nodes[NODES]; /* [1] is the root */
    unsigned node_count;
    bool direct[FDS]; /* opened with O_DSYNC or O_SYNC */
} disk = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void insist(bool well, const char *what)
{
    if (well)
        return;
    fprintf(stderr, "disk: %s: %s\n", what, strerror(errno));
    abort();
}

/* ---- noting ------------------------------------------------------------- */

static unsigned node_of(const struct stat *info)
{
    for (unsigned i = 1; i <= disk.node_count; i++)
        if (disk.nodes[i].inode == info->st_ino)
            return i;
    return 0;
}

static unsigned node_of_fd(int fd)
{
    struct stat info;
    return disk.on && fstat(fd, &info) == 0 ? node_of(&info) : 0;
}

static unsigned node_at(int folder, const char *path)
{
    struct stat info;
    return disk.on &&
                   fstatat(folder, path, &info, AT_SYMLINK_NOFOLLOW) == 0
               ? node_of(&info)
               : 0;
}

/* The folder that `path` stands in; 0: none of ours. */
static unsigned folder_of(int at, const char *path, char *name)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (!disk.on)
        return 0;
    const char *last = slash ? slash + 1 : path;
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) : 1,
             slash ? path : ".");
    if (name) {
        insist(strlen(last) < NAME, last);
        strcpy(name, last);
    }
    return node_at(at, folder[0] ? folder : "/");
}

static struct operation *note(enum kind kind, unsigned node)
{
    if (disk.count == disk.room) {
        disk.room = disk.room ? 2 * disk.room : 1024;
        disk.operations = realloc(disk.operations,
                                  disk.room * sizeof *disk.operations);
        insist(disk.operations, "no memory");
    }
    struct operation *made = &disk.operations[disk.count++];
    *made = (struct operation){.kind = kind, .node = node, .synced = UINT_MAX};
    return made;
}

static bool is_content(const struct operation *one)
{
    return one->kind == WRITE || one->kind == RESIZE;
}

static bool is_naming(const struct operation *one)
{
    return one->kind == MAKE || one->kind == RENAME || one->kind == REMOVE;
}

static unsigned new_node(int at, const char *path)
{
    struct stat info;
    insist(fstatat(at, path, &info, AT_SYMLINK_NOFOLLOW) == 0, path);
    insist(disk.node_count + 1 < NODES, "too many files");
    disk.nodes[++disk.node_count] =
        (struct node){info.st_ino, S_ISDIR(info.st_mode)};
    return disk.node_count;
}

static void note_made(int at, const char *path, unsigned folder,
                      const char *name)
{
    struct operation *made = note(MAKE, new_node(at, path));
    made->folder = folder;
    strcpy(made->name, name);
}

static void note_write(int fd, unsigned node, const void *data, size_t size,
                       uint64_t offset)
{
    struct operation *made = note(WRITE, node);
    made->offset = offset;
    made->size = size;
    made->data = malloc(size + 1);
    insist(made->data, "no memory");
    memcpy(made->data, data, size);
    if (fd < FDS && disk.direct[fd])
        made->synced = disk.count;
}

static void note_sync(unsigned node)
{
    note(SYNC, node);
    for (unsigned i = disk.count; i-- > 0;) {
        struct operation *one = &disk.operations[i];
        if (one->synced == UINT_MAX &&
            (is_content(one)
                 ? one->node == node
                 : is_naming(one) && (one->folder == node || one->to == node)))
            one->synced = disk.count;
    }
}

static void lock(void)
{
    pthread_mutex_lock(&disk.mutex);
}

static int unlock(int result)
{
    int kept = errno;
    pthread_mutex_unlock(&disk.mutex);
    errno = kept;
    return result;
}

/* ---- libc's functions --------------------------------------------------- */

#pragma GCC visibility push(default)

static int open_noted(int at, const char *path, int flags, mode_t mode)
{
    char name[NAME];
    lock();
    unsigned folder = folder_of(at, path, NULL);
    bool ours = folder && folder_of(at, path, name) && (flags & O_ACCMODE);
    unsigned before = ours ? node_at(at, path) : 0;
    int fd = (int)syscall(SYS_openat, at, path, flags, mode);
    if (fd >= 0 && fd < FDS)
        disk.direct[fd] = flags & (O_DSYNC | O_SYNC);
    if (fd >= 0 && ours && !before && (flags & O_CREAT))
        note_made(at, path, folder, name);
    else if (fd >= 0 && before && (flags & O_TRUNC))
        note(RESIZE, before);
    return unlock(fd);
}

#define OPEN_MODE(mode, flags)            \
    mode_t mode = 0;                      \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list list;                     \
        va_start(list, flags);            \
        mode = va_arg(list, mode_t);      \
        va_end(list);                     \
    }

int open(const char *path, int flags, ...)
{
    OPEN_MODE(mode, flags)
    return open_noted(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    OPEN_MODE(mode, flags)
    return open_noted(AT_FDCWD, path, flags, mode);
}

int openat(int at, const char *path, int flags, ...)
{
    OPEN_MODE(mode, flags)
    return open_noted(at, path, flags, mode);
}

int openat64(int at, const char *path, int flags, ...)
{
    OPEN_MODE(mode, flags)
    return open_noted(at, path, flags, mode);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    lock();
    unsigned node = node_of_fd(fd);
    ssize_t done = syscall(SYS_pwrite64, fd, data, size, offset);
    if (node && done > 0)
        note_write(fd, node, data, (size_t)done, (uint64_t)offset);
    unlock(0);
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    return pwrite(fd, data, size, offset);
}

ssize_t write(int fd, const void *data, size_t size)
{
    lock();
    unsigned node = node_of_fd(fd);
    off_t offset = node ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t done = syscall(SYS_write, fd, data, size);
    if (node && done > 0)
        note_write(fd, node, data, (size_t)done, (uint64_t)offset);
    unlock(0);
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    lock();
    unsigned node = node_of_fd(fd);
    off_t offset = node ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t done = syscall(SYS_writev, fd, parts, count), left = done;
    for (int i = 0; node && left > 0; i++) {
        size_t size = parts[i].iov_len < (size_t)left ? parts[i].iov_len
                                                      : (size_t)left;
        note_write(fd, node, parts[i].iov_base, size, (uint64_t)offset);
        offset += (off_t)size;
        left -= (ssize_t)size;
    }
    unlock(0);
    return done;
}

int ftruncate(int fd, off_t size)
{
    lock();
    unsigned node = node_of_fd(fd);
    int result = (int)syscall(SYS_ftruncate, fd, size);
    if (node && !result)
        note(RESIZE, node)->size = (uint64_t)size;
    return unlock(result);
}

int ftruncate64(int fd, off64_t size)
{
    return ftruncate(fd, size);
}

static int sync_noted(int fd, long call)
{
    lock();
    unsigned node = node_of_fd(fd);
    int result = (int)syscall(call, fd);
    if (node && !result)
        note_sync(node);
    return unlock(result);
}

int fsync(int fd)
{
    return sync_noted(fd, SYS_fsync);
}

int fdatasync(int fd)
{
    return sync_noted(fd, SYS_fdatasync);
}

int mkdirat(int at, const char *path, mode_t mode)
{
    char name[NAME];
    lock();
    unsigned folder = folder_of(at, path, NULL);
    int result = (int)syscall(SYS_mkdirat, at, path, mode);
    if (folder && !result) {
        folder_of(at, path, name);
        note_made(at, path, folder, name);
    }
    return unlock(result);
}

int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

int renameat(int from_at, const char *from, int to_at, const char *to)
{
    lock();
    unsigned folder = folder_of(from_at, from, NULL);
    unsigned node = folder ? node_at(from_at, from) : 0;
    unsigned gone = folder ? node_at(to_at, to) : 0;
    int result = (int)syscall(SYS_renameat2, from_at, from, to_at, to, 0);
    if (node && !result) {
        struct operation *made = note(RENAME, node);
        folder_of(from_at, from, made->name);
        made->folder = folder;
        made->to = folder_of(to_at, to, made->new_name);
        if (gone)
            disk.nodes[gone].inode = 0;
    }
    return unlock(result);
}

int rename(const char *from, const char *to)
{
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int unlinkat(int at, const char *path, int flags)
{
    lock();
    unsigned folder = folder_of(at, path, NULL);
    unsigned node = folder ? node_at(at, path) : 0;
    int result = (int)syscall(SYS_unlinkat, at, path, flags);
    if (node && !result) {
        struct operation *made = note(REMOVE, node);
        made->folder = folder_of(at, path, made->name);
        disk.nodes[node].inode = 0;
    }
    return unlock(result);
}

int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int remove(const char *path)
{
    struct stat info;
    if (lstat(path, &info))
        return -1;
    return unlinkat(AT_FDCWD, path,
                    S_ISDIR(info.st_mode) ? AT_REMOVEDIR : 0);
}

#pragma GCC visibility pop

/* ---- recording ---------------------------------------------------------- */

void disk_record(const char *root)
{
    disk_forget();
    new_node(AT_FDCWD, root);
    disk.on = true;
}

void disk_mark(unsigned tag)
{
    lock();
    note(MARK, tag);
    unlock(0);
}

void disk_stop(void)
{
    disk.on = false;
}

void disk_forget(void)
{
    disk.on = false;
    for (unsigned i = 0; i < disk.count; i++)
        free(disk.operations[i].data);
    free(disk.operations);
    disk.operations = NULL;
    disk.count = disk.room = disk.node_count = 0;
}

unsigned disk_operations(void)
{
    return disk.count;
}

unsigned disk_marked(const struct disk_crash *crash)
{
    for (unsigned i = crash->at; i-- > 0;)
        if (disk.operations[i].kind == MARK)
            return disk.operations[i].node;
    return 0;
}

/* ---- building ----------------------------------------------------------- */

struct file {
    uint8_t *bytes; /* OWNS */
    uint64_t size, room;
};

static uint64_t chance(const struct disk_crash *crash, unsigned i,
                       uint64_t part)
{
    return base_random_u64(crash->seed, i, part, 0);
}

static bool is_durable(const struct disk_crash *crash, unsigned i)
{
    return !crash->no_sync && disk.operations[i].synced <= crash->at;
}

static unsigned count_loose(const struct disk_crash *crash)
{
    unsigned count = 0;
    for (unsigned i = 0; i < crash->at; i++)
        count += is_content(&disk.operations[i]) && !is_durable(crash, i);
    return count;
}

static void resize(struct file *file, uint64_t size)
{
    if (size > file->room) {
        file->room = size < 65536 ? 65536 : 2 * size;
        file->bytes = realloc(file->bytes, file->room);
        insist(file->bytes, "no memory");
    }
    if (size > file->size)
        memset(file->bytes + file->size, 0, size - file->size);
    file->size = size;
}

/* All of a write, or those of its sectors that arrived. */
static void put(const struct disk_crash *crash, unsigned i, bool torn,
                struct file *file)
{
    const struct operation *one = &disk.operations[i];
    uint64_t step = torn ? SECTOR : one->size;
    for (uint64_t at = 0; at < one->size; at += step) {
        uint64_t size = one->size - at < step ? one->size - at : step;
        if (torn && chance(crash, i, 1 + at) % 2)
            continue;
        if (one->offset + at + size > file->size)
            resize(file, one->offset + at + size);
        memcpy(file->bytes + one->offset + at, one->data + at, size);
    }
}

/* Of the `loose` operations not synced, `number` counts up to this one. */
static bool survives(const struct disk_crash *crash, unsigned i,
                     unsigned number, unsigned loose)
{
    unsigned chosen = loose ? (unsigned)(crash->seed % loose) : 0;
    switch (crash->loss) {
    case DISK_KEEP_NONE: return false;
    case DISK_KEEP_SOME: return chance(crash, i, 0) % 2;
    case DISK_LOSE_ONE: return number != chosen;
    case DISK_KEEP_ONE: return number == chosen;
    default: return true;
    }
}

static void fill_files(const struct disk_crash *crash, struct file *files)
{
    unsigned loose = count_loose(crash), number = 0;
    for (unsigned i = 0; i < crash->at; i++) {
        const struct operation *one = &disk.operations[i];
        if (!is_content(one))
            continue;
        bool durable = is_durable(crash, i);
        if (!durable && !survives(crash, i, number++, loose))
            continue;
        if (one->kind == RESIZE)
            resize(&files[one->node], one->size);
        else
            put(crash, i, !durable && crash->loss == DISK_TEAR,
                &files[one->node]);
    }
}

/* Up to which operation a folder's names are those of before the crash. */
static unsigned names_until(const struct disk_crash *crash, unsigned folder)
{
    unsigned durable = 0, loose = 0;
    for (unsigned i = 0; i < crash->at; i++) {
        const struct operation *one = &disk.operations[i];
        if (!is_naming(one) ||
            (one->folder != folder && one->to != folder))
            continue;
        if (is_durable(crash, i))
            durable = i + 1;
        else
            loose++;
    }
    if (crash->loss == DISK_KEEP_ALL || crash->loss == DISK_LOSE_ONE)
        return crash->at;
    if (crash->loss == DISK_KEEP_NONE || loose == 0)
        return durable;
    return durable +
           (unsigned)(chance(crash, folder, 7) % (crash->at - durable + 1));
}

struct entry {
    char name[NAME];
    unsigned node;
};

static void set_entry(struct entry *entries, unsigned *count,
                      const char *name, unsigned node)
{
    unsigned i = 0;
    while (i < *count && strcmp(entries[i].name, name))
        i++;
    if (node == 0) {
        if (i < *count)
            entries[i] = entries[--*count];
        return;
    }
    insist(i < NODES, "too many names");
    *count += i == *count;
    strcpy(entries[i].name, name);
    entries[i].node = node;
}

static unsigned list(const struct disk_crash *crash, unsigned folder,
                     struct entry *entries)
{
    unsigned count = 0, until = names_until(crash, folder);
    for (unsigned i = 0; i < until; i++) {
        const struct operation *one = &disk.operations[i];
        if (one->kind == MAKE && one->folder == folder)
            set_entry(entries, &count, one->name, one->node);
        if ((one->kind == REMOVE || one->kind == RENAME) &&
            one->folder == folder)
            set_entry(entries, &count, one->name, 0);
        if (one->kind == RENAME && one->to == folder)
            set_entry(entries, &count, one->new_name, one->node);
    }
    return count;
}

static void build_file(const struct file *file, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    insist(fd >= 0, path);
    for (uint64_t at = 0; at < file->size;) {
        ssize_t done = write(fd, file->bytes + at, file->size - at);
        insist(done > 0, path);
        at += (uint64_t)done;
    }
    insist(close(fd) == 0, path);
}

static void build_folder(const struct disk_crash *crash,
                         const struct file *files, unsigned folder,
                         const char *path)
{
    struct entry *entries = calloc(NODES, sizeof *entries);
    insist(entries && mkdir(path, 0750) == 0, path);
    unsigned count = list(crash, folder, entries);
    for (unsigned i = 0; i < count; i++) {
        char below[PATH_MAX];
        snprintf(below, sizeof below, "%s/%s", path, entries[i].name);
        if (disk.nodes[entries[i].node].is_folder)
            build_folder(crash, files, entries[i].node, below);
        else
            build_file(&files[entries[i].node], below);
    }
    free(entries);
}

void disk_build(const struct disk_crash *crash, const char *folder)
{
    static struct file files[NODES];
    struct base_error error;
    insist(!disk.on, "recording goes on");
    insist(!base_file_remove(folder, &error), folder);
    for (unsigned i = 1; i <= disk.node_count; i++)
        files[i].size = 0;
    fill_files(crash, files);
    build_folder(crash, files, 1, folder);
}
