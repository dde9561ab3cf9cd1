/* SPDX-License-Identifier: Apache-2.0 */
/* The log sink; see log.h. */
#include "base/log.h"

#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static _Atomic int minimum_level = BASE_LOG_INFO;
static _Atomic unsigned lost_lines;

static pthread_mutex_t kept_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct base_log_line kept[BASE_LOG_KEPT]; /* a ring */
static unsigned long kept_count;                 /* ever */

static void keep(const char *line, size_t length)
{
    if (length > BASE_LOG_KEPT_SIZE - 1)
        length = BASE_LOG_KEPT_SIZE - 1;
    pthread_mutex_lock(&kept_mutex);
    char *text = kept[kept_count++ % BASE_LOG_KEPT].text;
    memcpy(text, line, length);
    text[length] = '\0';
    pthread_mutex_unlock(&kept_mutex);
}

unsigned base_log_recent(struct base_log_line *lines, unsigned max)
{
    pthread_mutex_lock(&kept_mutex);
    unsigned long count =
        kept_count < BASE_LOG_KEPT ? kept_count : BASE_LOG_KEPT;
    if (count > max)
        count = max;
    for (unsigned long i = 0; i < count; i++)
        lines[i] = kept[(kept_count - count + i) % BASE_LOG_KEPT];
    pthread_mutex_unlock(&kept_mutex);
    return (unsigned)count;
}

void base_log_set_level(enum base_log_level level)
{
    minimum_level = level;
}

static const char *const level_names[] = {"debug", "info", "warn", "error"};

/* Writes "ts=2026-11-22T05:04:03.123Z level=info [lost_lines=N ]". */
static int write_prefix(char *line, size_t size, enum base_log_level level,
                        unsigned lost)
{
    struct timespec now;
    struct tm utc;
    char stamp[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    if (lost)
        return snprintf(line, size, "ts=%s.%03ldZ level=%s lost_lines=%u ",
                        stamp, now.tv_nsec / 1000000, level_names[level],
                        lost);
    return snprintf(line, size, "ts=%s.%03ldZ level=%s ", stamp,
                    now.tv_nsec / 1000000, level_names[level]);
}

void base_log(enum base_log_level level, const char *format, ...)
{
    if ((int)level < minimum_level)
        return;
    char line[2048];
    unsigned lost = atomic_exchange(&lost_lines, 0);
    int used = write_prefix(line, sizeof line - 1, level, lost);
    va_list arguments;
    va_start(arguments, format);
    int more = vsnprintf(line + used, sizeof line - 1 - (size_t)used, format,
                         arguments);
    va_end(arguments);
    size_t length = (size_t)used + (more > 0 ? (size_t)more : 0);
    if (length > sizeof line - 2)
        length = sizeof line - 2;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = '?';
    if (level >= BASE_LOG_WARN)
        keep(line, length);
    line[length++] = '\n';
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&out, 1, 0) != 1 || !(out.revents & POLLOUT) ||
        write(STDERR_FILENO, line, length) < 0)
        atomic_fetch_add(&lost_lines, lost + 1); /* not said yet either */
}
