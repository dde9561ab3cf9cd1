/* SPDX-License-Identifier: Apache-2.0 */
/* What a command says of its options; see options_print.h. */
#include "daemon/options_print.h"

#include <stdio.h>
#include <string.h>

static void left_side(const struct option *option, char *text, size_t size)
{
    snprintf(text, size, "--%s%s%s", option->name, option->argument ? " " : "",
             option->argument ? option->argument : "");
}

void options_print_help(const struct options *options)
{
    printf("usage: %s\n\n%s\n", options->usage, options->about);
    if (options->count)
        printf("\noptions:\n");
    for (unsigned i = 0; i < options->count; i++) {
        const struct option *option = &options->table[i];
        char left[64];
        left_side(option, left, sizeof left);
        printf("  %-24s %s%s\n", left, option->doc,
               option->required ? " (required)" : "");
    }
    printf("  %-24s %s\n", "--help", "print this");
}

void options_print_roff(const char *text, bool keep)
{
    bool begin = true;
    for (; *text; text++) {
        if (begin && (*text == '.' || *text == '\''))
            fputs("\\&", stdout);
        begin = *text == '\n';
        if (begin && text[1] == '\n') {
            fputs("\n.PP\n", stdout);
            text++;
        } else if (begin && keep) {
            fputs("\n.br\n", stdout);
        } else if (*text == '\\') {
            fputs("\\e", stdout);
        } else if (*text == '-') {
            fputs("\\-", stdout);
        } else if (!(begin && !text[1])) {
            putchar(*text);
        }
    }
    putchar('\n');
}

static void print_option(const char *left, const char *doc, bool required)
{
    printf(".TP\n.B ");
    options_print_roff(left, false);
    options_print_roff(doc, false);
    if (required)
        printf("(required)\n");
}

void options_print_manual(const struct options *options)
{
    printf(".SH SYNOPSIS\n");
    options_print_roff(options->usage, true);
    printf(".SH DESCRIPTION\n");
    /* Lists and tables in it are set by hand. */
    options_print_roff(options->about, strstr(options->about, "\n ") != NULL);
    printf(".SH OPTIONS\n");
    for (unsigned i = 0; i < options->count; i++) {
        char left[64];
        left_side(&options->table[i], left, sizeof left);
        print_option(left, options->table[i].doc, options->table[i].required);
    }
    print_option("--help", "print a short form of this", false);
}

void options_print_words(const struct options *options)
{
    for (unsigned i = 0; i < options->count; i++)
        printf("--%s ", options->table[i].name);
    printf("--help\n");
}
