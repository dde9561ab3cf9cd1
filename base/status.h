/* SPDX-License-Identifier: Apache-2.0 */
/* Status codes and the error object that every fallible function fills.
 *
 * A fallible function returns an `enum base_status` (0 = ok) and fills the
 * caller's `struct base_error` with the status, whether a retry can help and a
 * text. Callers add context on the way up with base_wrap(), so that the text
 * reads from the outside in: `store: put user 81: MDB_MAP_FULL: ...`.
 * No thread-local state, no errno without words. Any thread. */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include <stdbool.h>

/* code, name, exit status after sysexits(3), meaning */
#define BASE_STATUS_LIST(X)                                                \
    X(BASE_OK, "ok", 0, "no error")                                        \
    X(BASE_USAGE, "usage", 64, "wrong command line")                       \
    X(BASE_DATA, "data", 65, "input data is malformed")                    \
    X(BASE_NO_INPUT, "no_input", 66, "an input does not exist")            \
    X(BASE_UNAVAILABLE, "unavailable", 69, "a service cannot be reached")  \
    X(BASE_BROKEN, "broken", 70, "an invariant of our own does not hold")  \
    X(BASE_SYSTEM, "system", 71, "memory, thread or descriptor refused")   \
    X(BASE_EXISTS, "exists", 73, "an output cannot be created")            \
    X(BASE_IO, "io", 74, "reading or writing failed")                      \
    X(BASE_AGAIN, "again", 75, "nothing now, try again later")             \
    X(BASE_CORRUPT, "corrupt", 76, "stored bytes do not verify")           \
    X(BASE_LIMIT, "limit", 76, "a configured or fixed limit is exceeded")  \
    X(BASE_DENIED, "denied", 77, "permission refused")                     \
    X(BASE_CONFIG, "config", 78, "the configuration is wrong")             \
    X(BASE_STOPPED, "stopped", 79, "asked to stop")                        \
    X(BASE_NO_USER, "no_user", 67, "a user is not known")

enum base_status {
#define X(code, name, exit_status, meaning) code,
    BASE_STATUS_LIST(X)
#undef X
};

struct base_error {
    enum base_status status;
    bool retriable; /* the same call may succeed later, unchanged */
    char text[1000];
};

#define BASE_MUST_CHECK __attribute__((warn_unused_result))
#define BASE_PRINTF(text, first) \
    __attribute__((format(printf, text, first)))

/* "ok", "usage", ... ; never NULL. */
const char *base_status_name(enum base_status status);

/* Exit status of a command that ended with `status`. */
int base_status_exit(enum base_status status);

/* Fills *error (may be NULL) and returns `status`. */
enum base_status base_fail(struct base_error *error, enum base_status status,
                           const char *format, ...) BASE_PRINTF(3, 4);

/* As base_fail, with ": <strerror(errno_value)>" appended; the status is
 * BASE_SYSTEM for ENOMEM, EMFILE, ENFILE and EAGAIN, BASE_NO_INPUT for ENOENT,
 * BASE_DENIED for EACCES and EPERM, else BASE_IO. */
enum base_status base_fail_errno(struct base_error *error, int errno_value,
                                 const char *format, ...) BASE_PRINTF(3, 4);

/* Prepends "<context>: " to the text of *error (may be NULL) and returns its
 * status, so that `return base_wrap(error, ...)` passes an error up. */
enum base_status base_wrap(struct base_error *error, const char *format, ...)
    BASE_PRINTF(2, 3);

/* Aborts with place and text; for invariants, in release too. */
_Noreturn void base_panic(const char *file, int line, const char *text);
#define BASE_ASSERT(condition) \
    ((condition) ? (void)0 : base_panic(__FILE__, __LINE__, #condition))

#endif
