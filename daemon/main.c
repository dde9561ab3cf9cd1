/* SPDX-License-Identifier: Apache-2.0 */
/* `interestd`: the table of subcommands and nothing else. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/status.h"
#include "daemon/commands.h"
#include "daemon/manual.h"
#include "daemon/options.h"

static const struct daemon_command commands[] = {
    {"run", daemon_run_main, "learn from Kafka and publish models"},
    {"demo", daemon_demo_main, "all of it on this machine, for a minute"},
    {"pause", daemon_pause_main, "let a running daemon rest"},
    {"resume", daemon_resume_main, "let it go on"},
    {"checkpoint", daemon_checkpoint_main, "have it write checkpoints"},
    {"publish", daemon_publish_main, "have it publish a version"},
    {"versions", daemon_versions_main, "list published versions"},
    {"pin", daemon_pin_main, "keep a published version"},
    {"unpin", daemon_unpin_main, "let a pinned version go"},
    {"rollback", daemon_rollback_main, "publish an older version again"},
    {"verify", daemon_verify_main, "train a version once more, compare bits"},
    {"rank", daemon_rank_main, "score requests with a published model"},
    {"produce", daemon_produce_main, "send simulated traffic to Kafka"},
    {"replay", daemon_replay_main, "send recorded events to Kafka"},
    {"broker", daemon_broker_main, "a small broker for demo and tests"},
    {"inspect", daemon_inspect_main, "look into state and checkpoints"},
    {"forget", daemon_forget_main, "forget users, everywhere"},
    {"fsck", daemon_fsck_main, "verify state, checkpoints and model"},
    {"backup", daemon_backup_main, "copy all of it, also while it runs"},
    {"skip", daemon_skip_main, "let a stopped partition go on"},
    {"check-config", daemon_check_config_main, "check a configuration file"},
    {"version", daemon_version_main, "print the version"},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

/* Started with a closed standard descriptor, the next file opened would take
 * its number, and a log line would land in the database. */
static bool hold_standard_descriptors(void)
{
    int descriptor;
    do
        descriptor = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (descriptor >= 0 && descriptor <= 2);
    return descriptor > 2 && close(descriptor) == 0;
}

int main(int argc, char **argv)
{
    if (!hold_standard_descriptors())
        return base_status_exit(BASE_SYSTEM);
    /* A closed pipe or socket is an error of its write, not a death. */
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        daemon_manual_list(commands, COMMANDS, stderr);
        return base_status_exit(BASE_USAGE);
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        daemon_manual_list(commands, COMMANDS, stdout);
        return options_exit("--help", BASE_OK, NULL);
    }
    if (strcmp(argv[1], "help") == 0)
        return daemon_manual_main(commands, COMMANDS, argc - 1, argv + 1);
    for (unsigned i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, argv[1]) == 0)
            return commands[i].main(argc - 1, argv + 1);
    fprintf(stderr, "interestd: no command \"%s\"; --help lists them\n",
            argv[1]);
    return base_status_exit(BASE_USAGE);
}
