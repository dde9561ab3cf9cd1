/* SPDX-License-Identifier: Apache-2.0 */
/* Counts and plan; see board.h. Written once, by the constructor; what runs
 * before it is neither counted nor disturbed. */
#include "tests/fault/board.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const char *const op_names[] = {
#define X(code, name) name,
    FAULT_OPS(X)
#undef X
};
static const char *const thing_names[] = {
#define X(code, name) name,
    FAULT_THINGS(X)
#undef X
};

static struct {
    struct fault_board *board;
    const char *root;
    int op, thing; /* of the plan, -1: any */
    uint64_t nth;
    enum fault_action action;
    int error;
    bool sticky;
    _Atomic uint64_t seen;
} fault;

_Noreturn void fault_die(void)
{
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;)
        pause();
}

static int find(const char *name, size_t size, const char *const *names,
                int count)
{
    for (int i = 0; i < count; i++)
        if (strlen(names[i]) == size && memcmp(names[i], name, size) == 0)
            return i;
    return -1;
}

enum fault_thing fault_thing_of(const char *name)
{
    int found = find(name, strlen(name), thing_names, FAULT_THING_COUNT);
    return found < 0 ? FAULT_OTHER : (enum fault_thing)found;
}

/* A plan that cannot be read would be a test that cannot fail. */
static void refuse(void)
{
    static const char text[] = "fault: FAULT_PLAN cannot be read\n";
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(99);
}

static void read_plan(const char *plan)
{
    const char *dot = strchr(plan, '.'), *colon = strchr(plan, ':');
    const char *word = colon ? strchr(colon + 1, ':') : NULL;
    char *end;
    if (!dot || !word || dot > colon)
        refuse();
    fault.op = find(plan, (size_t)(dot - plan), op_names, FAULT_OP_COUNT);
    fault.thing = find(dot + 1, (size_t)(colon - dot - 1), thing_names,
                       FAULT_THING_COUNT);
    if (fault.op < 0 || (fault.thing < 0 && dot[1] != '*'))
        refuse();
    fault.nth = strtoull(colon + 1, NULL, 10);
    fault.action = FAULT_FAIL;
    if (strcmp(++word, "before") == 0)
        fault.action = FAULT_BEFORE;
    else if (strcmp(word, "after") == 0)
        fault.action = FAULT_AFTER;
    else if (strcmp(word, "torn") == 0)
        fault.action = FAULT_TORN;
    if (fault.action != FAULT_FAIL)
        return;
    fault.error = (int)strtol(word, &end, 10);
    fault.sticky = *end == '+';
    if (fault.error == 0 || end == word)
        refuse();
}

static int64_t now_us(void)
{
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("FAULT_BOARD"), *plan = getenv("FAULT_PLAN");
    if (!path)
        return;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    void *mapped = (void *)syscall(SYS_mmap, NULL, sizeof(struct fault_board),
                                   PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || mapped == MAP_FAILED)
        _exit(98);
    close(fd);
    struct fault_board *board = mapped;
    board->ops = FAULT_OP_COUNT;
    board->things = FAULT_THING_COUNT;
    for (int i = 0; i < FAULT_OP_COUNT; i++)
        strncpy(board->op[i], op_names[i], sizeof board->op[i] - 1);
    for (int i = 0; i < FAULT_THING_COUNT; i++)
        strncpy(board->thing[i], thing_names[i], sizeof board->thing[i] - 1);
    board->begun_us = now_us();
    fault.root = getenv("FAULT_ROOT");
    if (plan && *plan)
        read_plan(plan);
    fault.board = board;
}

struct fault_board *fault_board(void)
{
    return fault.board;
}

const char *fault_root(void)
{
    return fault.root;
}

enum fault_action fault_enter(enum fault_op op, enum fault_thing thing)
{
    struct fault_board *board = fault.board;
    if (!board)
        return FAULT_NOTHING;
    board->hits[op][thing]++;
    if (op == FAULT_COMMIT && thing == FAULT_PARTITIONS && !board->stored_us)
        board->stored_us = now_us();
    if (fault.action == FAULT_NOTHING || fault.op != (int)op ||
        (fault.thing >= 0 && fault.thing != (int)thing))
        return FAULT_NOTHING;
    uint64_t seen = ++fault.seen;
    if (seen != fault.nth && !(fault.sticky && seen > fault.nth))
        return FAULT_NOTHING;
    board->fired++;
    if (fault.action == FAULT_BEFORE)
        fault_die();
    if (fault.action == FAULT_FAIL)
        errno = fault.error;
    return fault.action;
}

void fault_leave(enum fault_action action)
{
    if (action == FAULT_AFTER)
        fault_die();
}
