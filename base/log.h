/* SPDX-License-Identifier: Apache-2.0 */
/* The one log sink: `ts=... level=... event=... key=value ...` lines on
 * standard error. Any thread; a line is one write(2), so lines never mix.
 * A blocked or full standard error loses lines, never time: the descriptor is
 * polled first and lost lines are counted and said with the next one. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/status.h"

enum base_log_level {
    BASE_LOG_DEBUG,
    BASE_LOG_INFO,
    BASE_LOG_WARN,
    BASE_LOG_ERROR,
};

/* The newest lines of level WARN and ERROR, as they were written, kept in
 * memory: oldest first, at most `max` of them; returns how many. */
enum { BASE_LOG_KEPT = 16, BASE_LOG_KEPT_SIZE = 480 /* cut behind that */ };
struct base_log_line {
    char text[BASE_LOG_KEPT_SIZE]; /* with its NUL, without the line end */
};
unsigned base_log_recent(struct base_log_line *lines, unsigned max);

/* Lines below `level` are dropped. Default BASE_LOG_INFO. */
void base_log_set_level(enum base_log_level level);

/* `format` is `event=NAME key=value ...`; a value with spaces stands in double
 * quotes. Control characters are replaced by '?'. */
void base_log(enum base_log_level level, const char *format, ...)
    BASE_PRINTF(2, 3);

#endif
