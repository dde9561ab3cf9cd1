/* SPDX-License-Identifier: Apache-2.0 */
/* A command's table of options as --help, as the body of its manual page, and
 * as the words that a shell completes; all from one description. Prints on
 * standard output. */
#ifndef DAEMON_OPTIONS_PRINT_H
#define DAEMON_OPTIONS_PRINT_H

#include "daemon/options.h"

void options_print_help(const struct options *options);
/* SYNOPSIS, DESCRIPTION and OPTIONS of a page, as roff. */
void options_print_manual(const struct options *options);
/* A line of "--name" words. */
void options_print_words(const struct options *options);

/* Text into roff: nothing in it is a request or an escape. A line break stays
 * one where `keep` says so, an empty line parts paragraphs. */
void options_print_roff(const char *text, bool keep);

#endif
