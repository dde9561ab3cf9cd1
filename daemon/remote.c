/* SPDX-License-Identifier: Apache-2.0 */
/* `interestd pause | resume | checkpoint | publish`: asks the running daemon
 * (client.h) and prints its answer. Does not touch the state. One thread. */
#include <stdio.h>
#include <stdlib.h>

#include "daemon/client.h"
#include "daemon/commands.h"
#include "daemon/config.h"
#include "daemon/options.h"

static enum base_status ask(const struct daemon_config *config,
                            const char *path, struct base_error *error)
{
    struct daemon_reply reply;
    enum base_status status =
        daemon_client_control(config, path, "", &reply, error);
    if (status == BASE_OK)
        printf("%s\n", reply.text);
    daemon_client_free(&reply);
    return status;
}

struct remote {
    const char *name, *usage, *about;
    bool may_force;
};

static int run_remote(const struct remote *remote, int argc, char **argv)
{
    const char *path = NULL;
    struct option_list sets = {0};
    bool force = false;
    const struct option table[] = {
        {"config", OPTION_TEXT, &path, "FILE", true,
         "configuration of the running daemon"},
        {"set", OPTION_LIST, &sets, "KEY=VALUE", false,
         "a setting over the file's; may be repeated"},
        {"force", OPTION_FLAG, &force, NULL, false,
         "once, whatever the gate says"},
    };
    const struct options options = {.usage = remote->usage,
                                    .about = remote->about,
                                    .table = table,
                                    .count = remote->may_force ? 3 : 2};
    struct base_error error;
    struct daemon_config *config = calloc(1, sizeof *config);
    enum base_status status = options_parse(&options, argc, argv, &error);
    if (status == BASE_OK && !config)
        status = base_fail(&error, BASE_SYSTEM, "no memory");
    if (status == BASE_OK)
        status = daemon_config_load_with(path, sets.values, sets.count, config,
                                         &error);
    if (status == BASE_OK)
        status = ask(config, force ? "publish?force=1" : remote->name, &error);
    free(config);
    return options_exit(remote->name, status, &error);
}

int daemon_pause_main(int argc, char **argv)
{
    static const struct remote remote = {
        .name = "pause",
        .usage = "interestd pause --config FILE [--set KEY=VALUE]...",
        .about = "Has the running daemon apply and train nothing until "
                 "resume, or until it is\nstarted again. Kafka keeps what "
                 "comes; what is published stays."};
    return run_remote(&remote, argc, argv);
}

int daemon_resume_main(int argc, char **argv)
{
    static const struct remote remote = {
        .name = "resume",
        .usage = "interestd resume --config FILE [--set KEY=VALUE]...",
        .about = "Has a paused daemon go on."};
    return run_remote(&remote, argc, argv);
}

int daemon_checkpoint_main(int argc, char **argv)
{
    static const struct remote remote = {
        .name = "checkpoint",
        .usage = "interestd checkpoint --config FILE [--set KEY=VALUE]...",
        .about = "Has each model of the running daemon write a checkpoint; "
                 "does not wait for it."};
    return run_remote(&remote, argc, argv);
}

int daemon_publish_main(int argc, char **argv)
{
    static const struct remote remote = {
        .name = "publish",
        .usage = "interestd publish [--force] --config FILE "
                 "[--set KEY=VALUE]...",
        .about = "Has the running daemon publish what was trained since the "
                 "newest version,\nif the gate (publish.gate_...) lets it "
                 "pass; with --force also if not, once.\nWeights that are "
                 "not finite are never published. Does not wait for it.",
        .may_force = true};
    return run_remote(&remote, argc, argv);
}
