/* SPDX-License-Identifier: Apache-2.0 */
/* What the fault library and the test that preloads it share.
 *
 * A *point* is an operation and what it is done to, `sync.checkpoint`. Each
 * call at a point is counted in the board, a file that both map; the plan, in
 * the environment, says at which call of which point what happens:
 *
 *   FAULT_BOARD=FILE  the board, of sizeof(struct fault_board) bytes
 *   FAULT_ROOT=PATH   files below it are the daemon's own
 *   FAULT_PLAN=POINT:N:ACTION, N from 1; ACTION is
 *     before, after   kill -9 before or after the call
 *     torn            kill -9 after the first half of what is to be written
 *     NUMBER, NUMBER+ the call fails with this errno, once or from then on
 *
 * OP.* is any point of the operation. Any thread; allocates nothing. */
#ifndef FAULT_BOARD_H
#define FAULT_BOARD_H

#include <stdatomic.h>
#include <stdint.h>

#define FAULT_OPS(X)                                                     \
    X(OPEN, "open") X(WRITE, "write") X(SYNC, "sync") X(RENAME, "rename") \
    X(REMOVE, "remove") X(MKDIR, "mkdir") X(MAP, "map") X(ALLOC, "alloc") \
    X(THREAD, "thread") X(PUT, "put") X(DEL, "del") X(COMMIT, "commit")   \
    X(PRODUCE, "produce")

/* Files, who calls, databases of the store. */
#define FAULT_THINGS(X)                                                   \
    X(OTHER, "other") X(LMDB, "lmdb") X(CHECKPOINT, "checkpoint")         \
    X(VERSION, "version") X(CURRENT, "current") X(FOLDER, "folder")       \
    X(SCHEMA, "schema") X(SMALL, "small") X(LOG, "log") X(OWN, "own")     \
    X(KAFKA, "kafka") X(STATE, "state") X(META, "meta")                   \
    X(PARTITIONS, "partitions") X(SEQUENCES, "sequences")                 \
    X(IMPRESSIONS, "impressions") X(IMPRESSION_BITS, "impression_bits")   \
    X(CLICKS, "clicks") X(CLICK_BITS, "click_bits") X(JOURNAL, "journal") \
    X(OUTBOX, "outbox") X(DECISIONS, "decisions")                         \
    X(DEAD_LETTERS, "dead_letters") X(FORGOTTEN, "forgotten")

enum fault_op {
#define X(code, name) FAULT_##code,
    FAULT_OPS(X)
#undef X
    FAULT_OP_COUNT
};
enum fault_thing {
#define X(code, name) FAULT_##code,
    FAULT_THINGS(X)
#undef X
    FAULT_THING_COUNT
};

/* Little-endian, as fault.py reads it. */
struct fault_board {
    int64_t clock_ms;          /* written by the test: shifts the wall clock */
    _Atomic int64_t begun_us;  /* monotonic; this process began, ... */
    _Atomic int64_t stored_us; /* ... committed an event the first time */
    _Atomic uint64_t fired;    /* how often the plan came true */
    uint32_t ops, things;      /* counts of the names below */
    char op[16][16];
    char thing[32][16];
    _Atomic uint64_t hits[16][32];
};

enum fault_action {
    FAULT_NOTHING,
    FAULT_BEFORE, /* never returned */
    FAULT_AFTER,
    FAULT_TORN,
    FAULT_FAIL, /* with errno set */
};

/* Counts a call and says what becomes of it. */
enum fault_action fault_enter(enum fault_op op, enum fault_thing thing);
/* After a call that went through. */
void fault_leave(enum fault_action action);
_Noreturn void fault_die(void);
/* By the database's name; OTHER where it is a new one. */
enum fault_thing fault_thing_of(const char *name);
/* NULL: nothing is counted. */
struct fault_board *fault_board(void);
/* The folder of FAULT_ROOT, or NULL. */
const char *fault_root(void);

#endif
