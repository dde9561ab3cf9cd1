/* SPDX-License-Identifier: Apache-2.0 */
/* libslow.so, preloaded: a disk on which every sync takes SLOW_SYNC_MS. */
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define PUBLIC __attribute__((visibility("default")))

static int slowly(const char *name, int fd)
{
    const char *text = getenv("SLOW_SYNC_MS");
    long ms = text ? strtol(text, NULL, 10) : 0;
    int (*real)(int);
    *(void **)&real = dlsym(RTLD_NEXT, name);
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
    return real(fd);
}

PUBLIC int fdatasync(int fd)
{
    return slowly("fdatasync", fd);
}

PUBLIC int fsync(int fd)
{
    return slowly("fsync", fd);
}
