/* SPDX-License-Identifier: Apache-2.0 */
/* `interestd check-config` and `interestd version`.
 *
 * What `run` would refuse before it opens its state is refused here with the
 * same words: the schemas are read and compiled, librdkafka takes the
 * properties, the address can be one. State, sockets and brokers are left
 * alone. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/commands.h"
#include "daemon/config.h"
#include "daemon/options.h"
#include "ingest/ingest.h"
#include "learner/learner.h"

/* A line a group: its fields, with the places of a multi-hot one. */
static void print_groups(const struct ingest_config *config)
{
    const struct learner_schema *schema = &config->schema;
    const char *group = "";
    for (unsigned i = 0; i < schema->field_count; i++) {
        const struct learner_field *field = &schema->fields[i];
        if (field->continues)
            continue;
        if (strcmp(group, config->groups[i]) != 0)
            printf("%s    %s:", *group ? "\n" : "", config->groups[i]);
        group = config->groups[i];
        printf(" %s", field->name);
        if (field->more)
            printf("[%u]", field->more + 1u);
    }
    putchar('\n');
}

/* What the file amounts to, for a human; no secret is in it. */
static void print_summary(const struct daemon_config *config)
{
    const struct learner_schema *schema = &config->ingest.schema;
    printf("%s: good\n  state %s, models %s\n  kafka %s: %s, %s\n"
           "  %u fields (%u profile, %u item, %u context) in %u tables\n",
           config->file, config->state, config->snapshot.folder,
           config->kafka_brokers, config->ingest.topics[0].name,
           config->ingest.topics[1].name, schema->field_count,
           schema->profile_count, schema->item_count, schema->context_count,
           schema->table_count);
    print_groups(&config->ingest);
    daemon_config_print_model(&config->learner, stdout);
    for (unsigned i = 0; i < config->shadow_count; i++)
        daemon_config_print_model(&config->shadows[i], stdout);
    printf("  published: model %s\n", config->publish.model);
}

static enum base_status check_address(const struct daemon_http_config *config,
                                      struct base_error *error)
{
    struct in6_addr address;
    if (inet_pton(AF_INET, config->listen, &address) == 1 ||
        inet_pton(AF_INET6, config->listen, &address) == 1)
        return BASE_OK;
    return base_fail(error, BASE_CONFIG,
                     "http.listen: \"%s\" is not a numeric address",
                     config->listen);
}

static enum base_status check_all(const struct daemon_config *config,
                                  struct base_error *error)
{
    enum base_status status = ingest_check(&config->ingest, error);
    return status == BASE_OK ? check_address(&config->http, error) : status;
}

static enum base_status check(const char *path, const struct option_list *sets,
                              struct base_error *error)
{
    struct daemon_config *config = malloc(sizeof *config);
    if (!config)
        return base_fail(error, BASE_SYSTEM, "no memory");
    enum base_status status =
        daemon_config_load_with(path, sets->values, sets->count, config, error);
    if (status == BASE_OK)
        status = check_all(config, error);
    if (status == BASE_OK)
        print_summary(config);
    free(config);
    return status;
}

int daemon_check_config_main(int argc, char **argv)
{
    const char *path = NULL;
    bool reference = false;
    struct option_list sets = {0};
    const struct option table[] = {
        {"config", OPTION_TEXT, &path, "FILE", false, "the file to check"},
        {"set", OPTION_LIST, &sets, "KEY=VALUE", false,
         "a setting over the file's; may be repeated"},
        {"reference", OPTION_FLAG, &reference, NULL, false,
         "print every setting, its range, default and meaning"},
    };
    const struct options options = {
        .usage = "interestd check-config --config FILE [--set KEY=VALUE]... | "
                 "--reference",
        .about = "Checks a configuration file and what it names: both schemas, "
                 "librdkafka's\nproperties, recorded decisions. Opens neither "
                 "state nor network.",
        .table = table,
        .count = sizeof table / sizeof table[0],
    };
    struct base_error error;
    enum base_status status = options_parse(&options, argc, argv, &error);
    if (status == BASE_OK && reference)
        daemon_config_reference(stdout);
    else if (status == BASE_OK && !path)
        status = base_fail(&error, BASE_USAGE,
                           "--config or --reference is required");
    else if (status == BASE_OK)
        status = check(path, &sets, &error);
    return options_exit("check-config", status, &error);
}

int daemon_version_main(int argc, char **argv)
{
    const struct options options = {
        .usage = "interestd version",
        .about = "Prints the version and the arithmetic of this machine.",
    };
    struct base_error error;
    enum base_status status = options_parse(&options, argc, argv, &error);
    if (status == BASE_OK)
        printf("interestd %s, arithmetic %s, kernels %s\n", INTERESTD_VERSION,
               learner_arithmetic(), learner_kernels());
    return options_exit("version", status, &error);
}
