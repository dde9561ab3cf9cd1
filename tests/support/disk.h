/* SPDX-License-Identifier: Apache-2.0 */
/* Records what this process does to the files below one folder, and builds the
 * folders that a power loss could have left.
 *
 * The functions of libc that change files are defined here too and take the
 * place of libc's in the whole process, shared libraries included; they do the
 * same and take notes. What libc does inside of itself (stdio) is not seen,
 * nor writes through a mapping.
 *
 * After a power loss
 *   - what was written to a file before an fsync or fdatasync of it that
 *     returned is there, and so is a write through O_DSYNC;
 *   - each other write and change of size is there or not, a write perhaps in
 *     some of its sectors of 512 bytes only;
 *   - a folder holds the names that it had at its own last fsync, and the
 *     changes after that up to some one of them.
 * Recording is thread-safe; building is for one thread. */
#ifndef TESTS_SUPPORT_DISK_H
#define TESTS_SUPPORT_DISK_H

#include <stdbool.h>
#include <stdint.h>

/* What becomes of that which was not synced. */
enum disk_loss {
    DISK_KEEP_ALL,  /* the process was killed, no power was lost */
    DISK_KEEP_NONE,
    DISK_KEEP_SOME, /* each with even chances */
    DISK_LOSE_ONE,
    DISK_KEEP_ONE,
    DISK_TEAR,      /* each sector with even chances */
    DISK_LOSSES
};

struct disk_crash {
    unsigned at; /* operations done: 0 .. disk_operations() */
    enum disk_loss loss;
    uint64_t seed;
    bool no_sync; /* as if no sync had ever done anything */
};

/* From now on, below the empty folder `root`. */
void disk_record(const char *root);
/* A note in between: what the process has been promised by now. */
void disk_mark(unsigned tag);
void disk_stop(void);
/* Frees what was recorded. */
void disk_forget(void);

unsigned disk_operations(void);
/* The last mark before the crash; 0 where there is none. */
unsigned disk_marked(const struct disk_crash *crash);
/* Makes `folder`, replacing what is there. Aborts where that fails. */
void disk_build(const struct disk_crash *crash, const char *folder);

#endif
