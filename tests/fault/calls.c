/* SPDX-License-Identifier: Apache-2.0 */
/* The calls that can fail, in front of libc's: files by what they belong to,
 * memory and threads by who asks. A wall clock that the test can move. */
#include "tests/fault/board.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PUBLIC __attribute__((visibility("default")))
enum { FDS = 4096 };
static _Atomic unsigned char class_of_fd[FDS];

/* ---- who asks ------------------------------------------------------------ */

static struct module {
    uintptr_t begin, end;
    enum fault_thing thing;
} modules[16];
static int module_count;

static int note_module(struct dl_phdr_info *info, size_t size, void *self)
{
    (void)size, (void)self;
    enum fault_thing thing = FAULT_OTHER;
    if (info->dlpi_name[0] == '\0' || strstr(info->dlpi_name, "libinterest"))
        thing = FAULT_OWN;
    else if (strstr(info->dlpi_name, "liblmdb"))
        thing = FAULT_LMDB;
    else if (strstr(info->dlpi_name, "librdkafka"))
        thing = FAULT_KAFKA;
    for (int i = 0; thing != FAULT_OTHER && i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        if (header->p_type != PT_LOAD || !(header->p_flags & PF_X) ||
            module_count == 16)
            continue;
        uintptr_t begin = info->dlpi_addr + header->p_vaddr;
        modules[module_count++] =
            (struct module){begin, begin + header->p_memsz, thing};
    }
    return 0;
}

__attribute__((constructor)) static void note_modules(void)
{
    dl_iterate_phdr(note_module, NULL);
}

static enum fault_thing caller_of(const void *address)
{
    for (int i = 0; i < module_count; i++)
        if ((uintptr_t)address >= modules[i].begin &&
            (uintptr_t)address < modules[i].end)
            return modules[i].thing;
    return FAULT_OTHER;
}
#define CALLER caller_of(__builtin_return_address(0))

/* ---- memory -------------------------------------------------------------- */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static bool refused(enum fault_op op, enum fault_thing thing)
{
    return fault_enter(op, thing) == FAULT_FAIL;
}

PUBLIC void *malloc(size_t size)
{
    return refused(FAULT_ALLOC, CALLER) ? NULL : __libc_malloc(size);
}

PUBLIC void *calloc(size_t count, size_t size)
{
    return refused(FAULT_ALLOC, CALLER) ? NULL : __libc_calloc(count, size);
}

PUBLIC void *realloc(void *old, size_t size)
{
    return refused(FAULT_ALLOC, CALLER) ? NULL : __libc_realloc(old, size);
}

PUBLIC void *reallocarray(void *old, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return refused(FAULT_ALLOC, CALLER) ? NULL : __libc_realloc(old, bytes);
}

PUBLIC void *aligned_alloc(size_t alignment, size_t size)
{
    return refused(FAULT_ALLOC, CALLER) ? NULL
                                        : __libc_memalign(alignment, size);
}

PUBLIC int posix_memalign(void **out, size_t alignment, size_t size)
{
    if (refused(FAULT_ALLOC, CALLER))
        return errno;
    *out = __libc_memalign(alignment, size);
    return *out ? 0 : ENOMEM;
}

PUBLIC char *strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = refused(FAULT_ALLOC, CALLER) ? NULL : __libc_malloc(size);
    return copy ? memcpy(copy, text, size) : NULL;
}

PUBLIC void *mmap(void *at, size_t size, int protection, int flags, int fd,
                  off_t offset)
{
    if (refused(FAULT_MAP, CALLER))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, at, size, protection, flags, fd, offset);
}

PUBLIC int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*run)(void *), void *self)
{
    static int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *),
                       void *);
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "pthread_create");
    if (refused(FAULT_THREAD, CALLER))
        return errno;
    return next(thread, attributes, run, self);
}

/* ---- files --------------------------------------------------------------- */

static enum fault_thing class_of(int fd)
{
    if (fd == STDERR_FILENO)
        return FAULT_LOG;
    return fd >= 0 && fd < FDS ? class_of_fd[fd] : FAULT_OTHER;
}

/* `folder`: what a relative name is relative to. */
static enum fault_thing class_of_path(int folder, const char *path)
{
    static const struct {
        const char *part;
        enum fault_thing thing;
    } parts[] = {
        {"data.mdb", FAULT_LMDB}, {"lock.mdb", FAULT_LMDB},
        {"CURRENT", FAULT_CURRENT}, {".tmp-ck-", FAULT_CHECKPOINT},
        {"/ck-", FAULT_CHECKPOINT}, {".tmp-v", FAULT_VERSION},
        {".tmp-b", FAULT_VERSION}, {"manifest.json", FAULT_VERSION},
        {".safetensors", FAULT_VERSION}, {".avsc", FAULT_SCHEMA},
        {"http.port", FAULT_SMALL},
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strstr(path, parts[i].part))
            return parts[i].thing;
    if (path[0] != '/' && folder >= 0)
        return class_of(folder) == FAULT_FOLDER ? FAULT_VERSION
                                                : class_of(folder);
    const char *root = fault_root();
    return root && strncmp(path, root, strlen(root)) == 0 ? FAULT_SMALL
                                                          : FAULT_OTHER;
}

static int open_any(int folder, const char *path, int flags, mode_t mode)
{
    enum fault_thing thing = class_of_path(folder, path);
    if (flags & O_DIRECTORY && thing == FAULT_SMALL)
        thing = FAULT_FOLDER;
    enum fault_action action = fault_enter(FAULT_OPEN, thing);
    if (action == FAULT_FAIL)
        return -1;
    int fd = (int)syscall(SYS_openat, folder, path, flags, mode);
    if (fd >= 0 && fd < FDS)
        class_of_fd[fd] = (unsigned char)thing;
    fault_leave(action);
    return fd;
}

static mode_t mode_of(int flags, va_list arguments)
{
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}

#define OPEN(name)                                             \
    PUBLIC int name(const char *path, int flags, ...)          \
    {                                                          \
        va_list arguments;                                     \
        va_start(arguments, flags);                            \
        mode_t mode = mode_of(flags, arguments);               \
        va_end(arguments);                                     \
        return open_any(AT_FDCWD, path, flags, mode);          \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                             \
    PUBLIC int name(int folder, const char *path, int flags, ...) \
    {                                                            \
        va_list arguments;                                       \
        va_start(arguments, flags);                              \
        mode_t mode = mode_of(flags, arguments);                 \
        va_end(arguments);                                       \
        return open_any(folder, path, flags, mode);              \
    }
OPENAT(openat)
OPENAT(openat64)

/* A number may come back as a socket, which is nobody's file. */
PUBLIC int close(int fd)
{
    if (fd >= 0 && fd < FDS)
        class_of_fd[fd] = FAULT_OTHER;
    return (int)syscall(SYS_close, fd);
}

PUBLIC ssize_t write(int fd, const void *bytes, size_t size)
{
    enum fault_action action = fault_enter(FAULT_WRITE, class_of(fd));
    if (action == FAULT_FAIL)
        return -1;
    if (action == FAULT_TORN)
        size /= 2;
    ssize_t done = syscall(SYS_write, fd, bytes, size);
    if (action == FAULT_TORN)
        fault_die();
    fault_leave(action);
    return done;
}

static ssize_t write_at(int fd, const void *bytes, size_t size, off_t offset)
{
    enum fault_action action = fault_enter(FAULT_WRITE, class_of(fd));
    if (action == FAULT_FAIL)
        return -1;
    if (action == FAULT_TORN)
        size /= 2;
    ssize_t done = syscall(SYS_pwrite64, fd, bytes, size, offset);
    if (action == FAULT_TORN)
        fault_die();
    fault_leave(action);
    return done;
}

PUBLIC ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    return write_at(fd, bytes, size, offset);
}

PUBLIC ssize_t pwrite64(int fd, const void *bytes, size_t size, off_t offset)
{
    return write_at(fd, bytes, size, offset);
}

/* Half of a vector: its first half of buffers. */
static int half(enum fault_action action, int count)
{
    return action == FAULT_TORN ? (count + 1) / 2 : count;
}

PUBLIC ssize_t writev(int fd, const struct iovec *vector, int count)
{
    enum fault_action action = fault_enter(FAULT_WRITE, class_of(fd));
    if (action == FAULT_FAIL)
        return -1;
    ssize_t done = syscall(SYS_writev, fd, vector, half(action, count));
    if (action == FAULT_TORN)
        fault_die();
    fault_leave(action);
    return done;
}

PUBLIC ssize_t pwritev(int fd, const struct iovec *vector, int count,
                       off_t offset)
{
    enum fault_action action = fault_enter(FAULT_WRITE, class_of(fd));
    if (action == FAULT_FAIL)
        return -1;
    ssize_t done =
        syscall(SYS_pwritev, fd, vector, half(action, count), offset, 0);
    if (action == FAULT_TORN)
        fault_die();
    fault_leave(action);
    return done;
}

/* Every call of a kind that gives 0 or -1. */
#define CALL(op, thing, number, ...)                        \
    do {                                                    \
        enum fault_action action = fault_enter(op, thing);  \
        if (action == FAULT_FAIL)                           \
            return -1;                                      \
        int result = (int)syscall(number, __VA_ARGS__);     \
        fault_leave(action);                                \
        return result;                                      \
    } while (0)

PUBLIC int fsync(int fd)
{
    CALL(FAULT_SYNC, class_of(fd), SYS_fsync, fd);
}

PUBLIC int fdatasync(int fd)
{
    CALL(FAULT_SYNC, class_of(fd), SYS_fdatasync, fd);
}

PUBLIC int ftruncate(int fd, off_t size)
{
    CALL(FAULT_WRITE, class_of(fd), SYS_ftruncate, fd, size);
}

PUBLIC int rename(const char *from, const char *to)
{
    CALL(FAULT_RENAME, class_of_path(-1, to), SYS_rename, from, to);
}

PUBLIC int renameat(int from_folder, const char *from, int to_folder,
                    const char *to)
{
    CALL(FAULT_RENAME, class_of_path(to_folder, to), SYS_renameat, from_folder,
         from, to_folder, to);
}

PUBLIC int mkdir(const char *path, mode_t mode)
{
    CALL(FAULT_MKDIR, class_of_path(-1, path), SYS_mkdir, path, mode);
}

PUBLIC int mkdirat(int folder, const char *path, mode_t mode)
{
    CALL(FAULT_MKDIR, class_of_path(folder, path), SYS_mkdirat, folder, path,
         mode);
}

PUBLIC int unlink(const char *path)
{
    CALL(FAULT_REMOVE, class_of_path(-1, path), SYS_unlink, path);
}

/* remove(): of checkpoints, versions and what was left aside. */
PUBLIC int remove(const char *path)
{
    enum fault_action action =
        fault_enter(FAULT_REMOVE, class_of_path(-1, path));
    if (action == FAULT_FAIL)
        return -1;
    int result = (int)syscall(SYS_unlink, path);
    if (result && (errno == EISDIR || errno == EPERM))
        result = (int)syscall(SYS_rmdir, path);
    fault_leave(action);
    return result;
}

/* ---- Kafka --------------------------------------------------------------- */

/* Length (4 bytes), then the number of the request: 0 is Produce. */
static bool produces(const struct msghdr *message)
{
    const struct iovec *first = message->msg_iov;
    const unsigned char *bytes =
        message->msg_iovlen ? first->iov_base : NULL;
    return bytes && first->iov_len >= 8 && bytes[4] == 0 && bytes[5] == 0;
}

PUBLIC ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    enum fault_action action = FAULT_NOTHING;
    if (produces(message))
        action = fault_enter(FAULT_PRODUCE, FAULT_KAFKA);
    if (action == FAULT_FAIL)
        return -1;
    ssize_t sent = syscall(SYS_sendmsg, fd, message, flags);
    fault_leave(action);
    return sent;
}

/* ---- the wall clock ------------------------------------------------------ */

PUBLIC int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    const struct fault_board *board = fault_board();
    if (clock == CLOCK_REALTIME && board) {
        int64_t ms = (int64_t)now->tv_sec * 1000 + board->clock_ms;
        now->tv_sec = ms / 1000;
    }
    return result;
}

PUBLIC int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec fine;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &fine);
    *now = (struct timeval){fine.tv_sec, fine.tv_nsec / 1000};
    return 0;
}

PUBLIC time_t time(time_t *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}
