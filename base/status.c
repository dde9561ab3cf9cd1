/* SPDX-License-Identifier: Apache-2.0 */
/* Status codes and error texts; see status.h. */
#include "base/status.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name;
    int exit_status;
} statuses[] = {
#define X(code, name, exit_status, meaning) [code] = {name, exit_status},
    BASE_STATUS_LIST(X)
#undef X
};

const char *base_status_name(enum base_status status)
{
    return statuses[status].name;
}

int base_status_exit(enum base_status status)
{
    return statuses[status].exit_status;
}

static void BASE_PRINTF(3, 0)
    set_text(struct base_error *error, enum base_status status,
             const char *format, va_list arguments)
{
    error->status = status;
    error->retriable = status == BASE_AGAIN || status == BASE_UNAVAILABLE;
    vsnprintf(error->text, sizeof error->text, format, arguments);
}

enum base_status base_fail(struct base_error *error, enum base_status status,
                           const char *format, ...)
{
    if (!error)
        return status;
    va_list arguments;
    va_start(arguments, format);
    set_text(error, status, format, arguments);
    va_end(arguments);
    return status;
}

static enum base_status status_of_errno(int value)
{
    switch (value) {
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case EAGAIN: return BASE_SYSTEM;
    case ENOENT: return BASE_NO_INPUT;
    case EACCES:
    case EPERM: return BASE_DENIED;
    default: return BASE_IO;
    }
}

enum base_status base_fail_errno(struct base_error *error, int errno_value,
                                 const char *format, ...)
{
    enum base_status status = status_of_errno(errno_value);
    if (!error)
        return status;
    va_list arguments;
    va_start(arguments, format);
    set_text(error, status, format, arguments);
    va_end(arguments);
    size_t used = strlen(error->text);
    char reason[128];
    snprintf(error->text + used, sizeof error->text - used, ": %s",
             strerror_r(errno_value, reason, sizeof reason));
    return status;
}

enum base_status base_wrap(struct base_error *error, const char *format, ...)
{
    if (!error)
        return BASE_BROKEN;
    char context[sizeof error->text];
    va_list arguments;
    va_start(arguments, format);
    int used = vsnprintf(context, sizeof context, format, arguments);
    va_end(arguments);
    if (used < 0 || (size_t)used > sizeof context - 3)
        used = (int)sizeof context - 3;
    memcpy(context + used, ": ", 2);
    size_t room = sizeof context - (size_t)used - 2;
    size_t inner = strnlen(error->text, room - 1);
    memcpy(context + used + 2, error->text, inner);
    context[(size_t)used + 2 + inner] = '\0';
    memcpy(error->text, context, sizeof context);
    return error->status;
}

_Noreturn void base_panic(const char *file, int line, const char *text)
{
    char said[512];
    int size = snprintf(said, sizeof said,
                        "event=invariant_broken file=%s line=%d text=\"%s\"\n",
                        file, line, text);
    /* Nobody may be reading; the end must come all the same. */
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (size > 0 && poll(&out, 1, 0) == 1 && out.revents & POLLOUT)
        (void)!write(STDERR_FILENO, said,
                     (size_t)size < sizeof said ? (size_t)size
                                                : sizeof said - 1);
    abort();
}
