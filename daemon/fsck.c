/* SPDX-License-Identifier: Apache-2.0 */
/* `interestd fsck`: the audit of a whole state (audit.h), as text or JSON. Goes
 * on after what is damaged, so that one run says all; repairs nothing. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "daemon/audit.h"
#include "daemon/commands.h"
#include "daemon/options.h"

static void print_part(void *self, const struct daemon_audit_part *part)
{
    (void)self;
    printf("%-14s %-8s %" PRIu64 " %s\n", part->name,
           part->error ? "DAMAGED" : "good", part->count, part->things);
    if (part->error)
        printf("  %s\n", part->error->text);
    fflush(stdout);
}

static void add_part(void *self, const struct daemon_audit_part *part)
{
    json_t *one =
        json_pack("{s:s,s:b,s:I}", "part", part->name, "good",
                  part->error == NULL, "count", (json_int_t)part->count);
    if (part->error)
        json_object_set_new(
            one, "error",
            json_pack("s%", part->error->text, strlen(part->error->text)));
    json_array_append_new(self, one);
}

static enum base_status check(const struct daemon_config *config, bool json,
                              struct base_error *error)
{
    json_t *parts = json ? json_array() : NULL;
    struct daemon_audit audit = {.report = json ? add_part : print_part,
                                 .self = parts};
    enum base_status status = daemon_audit_run(&audit, config, error);
    if (status == BASE_CORRUPT)
        status =
            base_wrap(error, "stop the daemon and restore a backup, or remove "
                             "the state to build it again from Kafka");
    if (parts && audit.parts) {
        char *text = json_dumps(parts, JSON_INDENT(1));
        puts(text ? text : "[]");
        free(text);
    }
    json_decref(parts);
    return status;
}

int daemon_fsck_main(int argc, char **argv)
{
    const char *file = NULL;
    struct option_list sets = {0};
    bool json = false;
    const struct option table[] = {
        {"config", OPTION_TEXT, &file, "FILE", true,
         "the daemon's file, which names the folders"},
        {"set", OPTION_LIST, &sets, "KEY=VALUE", false,
         "a setting over the file's"},
        {"json", OPTION_FLAG, &json, NULL, false,
         "the answer as one JSON array"},
    };
    const struct options options = {
        .usage = "interestd fsck --config FILE",
        .about = "Reads the whole state, its checkpoints, the published model "
                 "and the registry's\nschemas, verifies every hash, chain and "
                 "sum, and whether they belong together.\nA daemon may be "
                 "running: no view of the store stands for more than a second "
                 "or\nso. Exit status 76: damaged.",
        .table = table,
        .count = sizeof table / sizeof table[0],
    };
    struct base_error error;
    enum base_status status = options_parse(&options, argc, argv, &error);
    struct daemon_config *config = NULL;
    if (status == BASE_OK && !(config = malloc(sizeof *config)))
        status = base_fail(&error, BASE_SYSTEM, "no memory");
    if (status == BASE_OK)
        status = daemon_config_load_with(file, sets.values, sets.count, config,
                                         &error);
    if (status == BASE_OK)
        status = check(config, json, &error);
    free(config);
    return options_exit("fsck", status, &error);
}
