/* SPDX-License-Identifier: Apache-2.0 */
/* `interestd help`; see manual.h.
 *
 * Each command prints its own part of a page, because only its main() knows
 * its options: it is called with the argument --help=man or --help=words,
 * which options_parse() answers. */
#include "daemon/manual.h"

#include <string.h>

#include "daemon/options.h"
#include "daemon/options_print.h"

void daemon_manual_list(const struct daemon_command *commands, unsigned count,
                        FILE *out)
{
    fprintf(out, "usage: interestd COMMAND [options]\n\ncommands:\n");
    for (unsigned i = 0; i < count; i++)
        fprintf(out, "  %-14s %s\n", commands[i].name, commands[i].doc);
    fprintf(out, "\ninterestd COMMAND --help says more.\n");
}

static int ask(const struct daemon_command *command, const char *how)
{
    char name[64], option[64];
    snprintf(name, sizeof name, "%s", command->name);
    snprintf(option, sizeof option, "--help=%s", how);
    char *argv[] = {name, option, NULL};
    return command->main(2, argv);
}

static void print_head(const char *page, const char *doc)
{
    printf(".TH INTERESTD 1 \"\" \"interestd %s\" \"User Commands\"\n"
           ".SH NAME\n",
           INTERESTD_VERSION);
    options_print_roff(page, false);
    printf("\\- ");
    options_print_roff(doc, false);
}

static void print_exit_statuses(void)
{
    static const struct {
        const char *name;
        int exit_status;
        const char *meaning;
    } table[] = {
#define X(code, name, exit_status, meaning) {name, exit_status, meaning},
        BASE_STATUS_LIST(X)
#undef X
    };
    printf(".SH EXIT STATUS\nAs in sysexits(3):\n");
    for (unsigned i = 0; i < sizeof table / sizeof table[0]; i++) {
        printf(".TP\n%d\n", table[i].exit_status);
        options_print_roff(table[i].meaning, false);
    }
}

static void print_index(const struct daemon_command *commands, unsigned count)
{
    print_head("interestd", "streaming click-through-rate learning on Kafka");
    printf(".SH SYNOPSIS\n.B interestd\n.I COMMAND\n[options]\n"
           ".SH COMMANDS\nEach has a page of its own, "
           "interestd\\-COMMAND(1).\n");
    for (unsigned i = 0; i < count; i++) {
        printf(".TP\n.B ");
        options_print_roff(commands[i].name, false);
        options_print_roff(commands[i].doc, false);
    }
    print_exit_statuses();
}

static enum base_status print_manual(const struct daemon_command *commands,
                                     unsigned count, const char *name,
                                     struct base_error *error)
{
    char page[80];
    if (strcmp(name, "interestd") == 0) {
        print_index(commands, count);
        return BASE_OK;
    }
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(commands[i].name, name) != 0)
            continue;
        snprintf(page, sizeof page, "interestd-%s", name);
        print_head(page, commands[i].doc);
        if (ask(&commands[i], "man") != 0)
            return base_fail(error, BASE_BROKEN, "no manual of %s", name);
        printf(".SH SEE ALSO\n.BR interestd (1)\n");
        return BASE_OK;
    }
    return base_fail(error, BASE_USAGE, "no command \"%.100s\"", name);
}

/* The first word is a command, others its options, or a file's name. */
static enum base_status
print_completion(const struct daemon_command *commands, unsigned count,
                 struct base_error *error)
{
    printf("_interestd()\n{\n    local word=${COMP_WORDS[COMP_CWORD]} words\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        words=\"");
    for (unsigned i = 0; i < count; i++)
        printf("%s ", commands[i].name);
    printf("help --help\"\n    else\n        case ${COMP_WORDS[1]} in\n");
    for (unsigned i = 0; i < count; i++) {
        printf("        %s) words=\"\\\n", commands[i].name);
        if (ask(&commands[i], "words") != 0)
            return base_fail(error, BASE_BROKEN, "no options of %s",
                             commands[i].name);
        printf("\" ;;\n");
    }
    printf("        esac\n    fi\n    case $word in\n"
           "    -*) mapfile -t COMPREPLY < "
           "<(compgen -W \"$words\" -- \"$word\") ;;\n"
           "    *) [ \"$COMP_CWORD\" -gt 1 ] || mapfile -t COMPREPLY < "
           "<(compgen -W \"$words\" -- \"$word\") ;;\n"
           "    esac\n}\n"
           "complete -o default -F _interestd interestd\n");
    return BASE_OK;
}

int daemon_manual_main(const struct daemon_command *commands, unsigned count,
                       int argc, char **argv)
{
    const char *name = NULL, *shell = NULL;
    bool list = false;
    const struct option table[] = {
        {"man", OPTION_TEXT, &name, "COMMAND", false,
         "print its manual page; \"interestd\": that of all"},
        {"completion", OPTION_TEXT, &shell, "SHELL", false,
         "print what completes commands and options; bash"},
        {"commands", OPTION_FLAG, &list, NULL, false,
         "print the names of the commands"},
    };
    const struct options options = {
        .usage = "interestd help [--man COMMAND | --completion bash | "
                 "--commands]",
        .about = "Prints the list of commands, or what else is asked for.",
        .table = table,
        .count = sizeof table / sizeof table[0],
    };
    struct base_error error;
    enum base_status status = options_parse(&options, argc, argv, &error);
    if (status == BASE_OK && name)
        status = print_manual(commands, count, name, &error);
    else if (status == BASE_OK && shell && strcmp(shell, "bash") != 0)
        status = base_fail(&error, BASE_USAGE,
                           "--completion: \"%.100s\" is not bash", shell);
    else if (status == BASE_OK && shell)
        status = print_completion(commands, count, &error);
    else if (status == BASE_OK && list)
        for (unsigned i = 0; i < count; i++)
            puts(commands[i].name);
    else if (status == BASE_OK)
        daemon_manual_list(commands, count, stdout);
    return options_exit("help", status, &error);
}
