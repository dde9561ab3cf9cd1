/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines; see options.h. */
#include "daemon/options.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/options_print.h"

enum { SAY_MS = 1000 };

static const struct option *find(const struct options *options,
                                 const char *name, size_t length)
{
    for (unsigned i = 0; i < options->count; i++)
        if (strlen(options->table[i].name) == length &&
            memcmp(options->table[i].name, name, length) == 0)
            return &options->table[i];
    return NULL;
}

static enum base_status set_value(const struct option *option,
                                  const char *value, struct base_error *error)
{
    if (!*value)
        return base_fail(error, BASE_USAGE, "--%s needs %s, not an empty text",
                         option->name, option->argument);
    if (option->type == OPTION_TEXT) {
        *(const char **)option->value = value;
        return BASE_OK;
    }
    if (option->type == OPTION_LIST) {
        struct option_list *list = option->value;
        if (list->count == OPTION_LIST_MAX)
            return base_fail(error, BASE_USAGE, "--%s is given too often",
                             option->name);
        list->values[list->count++] = value;
        return BASE_OK;
    }
    char *end;
    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end || errno)
        return base_fail(error, BASE_USAGE,
                         "--%s: \"%.100s\" is not a whole number", option->name,
                         value);
    *(uint64_t *)option->value = number;
    return BASE_OK;
}

/* One --option at argv[*at]; advances *at over a separate value. */
static enum base_status parse_one(const struct options *options, int argc,
                                  char **argv, int *at,
                                  struct base_error *error)
{
    const char *name = argv[*at] + 2;
    const char *equals = strchr(name, '=');
    size_t length = equals ? (size_t)(equals - name) : strlen(name);
    const struct option *option = find(options, name, length);
    if (!option)
        return base_fail(error, BASE_USAGE,
                         "no option --%.*s; --help lists them", (int)length,
                         name);
    if (option->type == OPTION_FLAG) {
        if (equals)
            return base_fail(error, BASE_USAGE, "--%s takes no value",
                             option->name);
        *(bool *)option->value = true;
        return BASE_OK;
    }
    if (equals)
        return set_value(option, equals + 1, error);
    if (*at + 1 >= argc)
        return base_fail(error, BASE_USAGE, "--%s needs %s", option->name,
                         option->argument);
    return set_value(option, argv[++*at], error);
}

static bool given(const struct option *option)
{
    switch (option->type) {
    case OPTION_TEXT: return *(const char **)option->value != NULL;
    case OPTION_LIST: return ((struct option_list *)option->value)->count > 0;
    default: return true;
    }
}

/* --help, and the two forms of it that daemon/manual.c asks for. */
static bool print_asked(const struct options *options, const char *word)
{
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        options_print_help(options);
    else if (strcmp(word, "--help=man") == 0)
        options_print_manual(options);
    else if (strcmp(word, "--help=words") == 0)
        options_print_words(options);
    else
        return false;
    return true;
}

enum base_status options_parse(const struct options *options, int argc,
                               char **argv, struct base_error *error)
{
    unsigned words = 0;
    for (int i = 1; i < argc; i++) {
        enum base_status status = BASE_OK;
        if (print_asked(options, argv[i]))
            return base_fail(error, BASE_STOPPED, "help");
        if (strncmp(argv[i], "--", 2) == 0)
            status = parse_one(options, argc, argv, &i, error);
        else if (words < options->positional_max)
            options->positional[words++] = argv[i];
        else
            status = base_fail(error, BASE_USAGE,
                               "\"%.100s\" is not expected here", argv[i]);
        if (status != BASE_OK)
            return status;
    }
    for (unsigned i = 0; i < options->count; i++)
        if (options->table[i].required && !given(&options->table[i]))
            return base_fail(error, BASE_USAGE, "--%s is required",
                             options->table[i].name);
    return BASE_OK;
}

/* A pipe that nobody reads must not keep a process that has ended. */
static void say_error(const char *command, const char *text)
{
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&out, 1, SAY_MS) == 1 && out.revents & POLLOUT)
        fprintf(stderr, "interestd %s: %s\n", command, text);
}

int options_exit(const char *command, enum base_status status,
                 const struct base_error *error)
{
    struct base_error unwritten;
    bool fine = status == BASE_OK ||
                (status == BASE_STOPPED && strcmp(error->text, "help") == 0);
    errno = 0;
    if ((fflush(stdout) || ferror(stdout)) && fine) {
        /* Of an earlier write the reason is not known any more. */
        status = errno ? base_fail_errno(&unwritten, errno, "standard output")
                       : base_fail(&unwritten, BASE_IO,
                                   "standard output: writing failed");
        error = &unwritten;
        fine = false;
    }
    if (fine)
        return 0;
    say_error(command, error->text);
    return base_status_exit(status);
}
