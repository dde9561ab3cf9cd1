/* SPDX-License-Identifier: Apache-2.0 */
/* Child processes; see child.h. */
#include "daemon/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

/* The parent's handler would swallow a signal that comes before the exec: the
 * child begins with all of them blocked and takes them as a program does that
 * has no handlers. */
static void take_signals(const sigset_t *mask)
{
    static const int handled[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof handled / sizeof handled[0]; i++)
        signal(handled[i], SIG_DFL);
    sigprocmask(SIG_SETMASK, mask, NULL);
}

/* In the child between fork and exec: only async-signal-safe calls. */
static _Noreturn void become(char **argv, int output, int log, pid_t parent,
                             const sigset_t *mask)
{
    take_signals(mask);
    int input = open("/dev/null", O_RDONLY);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0);
    if (getppid() != parent || input < 0 || dup2(input, 0) < 0 ||
        dup2(output, 1) < 0 || dup2(log, 2) < 0)
        _exit(71);
    execv("/proc/self/exe", argv);
    _exit(71);
}

enum base_status child_start(struct child *child, const char *log_path,
                             const char *const *arguments,
                             struct base_error *error)
{
    char *argv[CHILD_ARGUMENTS_MAX + 2] = {(char *)"interestd"};
    int pipes[2];
    memset(child, 0, sizeof *child);
    child->name = arguments[0];
    child->output = -1;
    for (size_t i = 0; arguments[i]; i++) {
        BASE_ASSERT(i < CHILD_ARGUMENTS_MAX);
        argv[i + 1] = (char *)arguments[i];
    }
    int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (log < 0)
        return base_fail_errno(error, errno, "%s", log_path);
    if (pipe2(pipes, O_CLOEXEC)) {
        close(log);
        return base_fail_errno(error, errno, "pipe");
    }
    pid_t parent = getpid();
    sigset_t all, mask;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &mask);
    child->pid = fork();
    if (child->pid == 0)
        become(argv, pipes[1], log, parent, &mask);
    int failed = child->pid < 0 ? errno : 0;
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    close(log);
    close(pipes[1]);
    if (failed) {
        child->pid = 0;
        close(pipes[0]);
        return base_fail_errno(error, failed, "fork %s", child->name);
    }
    fcntl(pipes[0], F_SETFL, O_NONBLOCK);
    child->output = pipes[0];
    return BASE_OK;
}

static bool take_line(struct child *child, char *line)
{
    char *end = memchr(child->line, '\n', child->used);
    if (!end && child->used < CHILD_LINE_MAX - 1)
        return false;
    /* A line that is too long is cut into pieces. */
    size_t length = end ? (size_t)(end - child->line) : child->used;
    size_t taken = length + (end ? 1 : 0);
    memcpy(line, child->line, length);
    line[length] = '\0';
    child->used -= taken;
    memmove(child->line, child->line + taken, child->used);
    return true;
}

bool child_read_line(struct child *child, char *line)
{
    if (take_line(child, line))
        return true;
    if (child->output < 0)
        return false;
    ssize_t got = read(child->output, child->line + child->used,
                       CHILD_LINE_MAX - 1 - child->used);
    if (got > 0)
        child->used += (size_t)got;
    if (got == 0) {
        close(child->output);
        child->output = -1;
    }
    return got > 0 && take_line(child, line);
}

void child_signal(struct child *child, int signal_number)
{
    if (child->pid && !child->ended)
        kill(child->pid, signal_number);
}

static void reap(struct child *child)
{
    int status;
    if (!child->pid || child->ended ||
        waitpid(child->pid, &status, WNOHANG) != child->pid)
        return;
    child->ended = true;
    child->exit_status =
        WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool child_wait(struct child *child, int timeout_ms)
{
    int64_t end_ms = base_monotonic_ms() + timeout_ms;
    if (!child->pid)
        return true;
    for (;;) {
        reap(child);
        if (child->ended || base_monotonic_ms() >= end_ms)
            return child->ended;
        poll(NULL, 0, 10);
    }
}

void child_fini(struct child *child)
{
    if (!child->pid)
        return;
    child_signal(child, SIGKILL);
    child_wait(child, 5000);
    if (child->output >= 0)
        close(child->output);
    child->output = -1;
    child->pid = 0;
}
