/* SPDX-License-Identifier: Apache-2.0 */
/* `interestd check-config` and `interestd version`.
 *
 * What `run` would refuse before it opens its state is refused here with the
 * same words: the schemas are read and compiled, librdkafka takes the
 * properties, the address can be one. State, sockets and brokers are left
 * alone. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/commands.h"
#include "daemon/config.h"
#include "daemon/options.h"
#include "ingest/decisions.h"
#include "ingest/decoder.h"
#include "ingest/kafka.h"
#include "learner/learner.h"

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
}

/* Schemas of the confluent framing are compiled when an id is met. */
static enum base_status check_folder(const struct ingest_topic_config *topic,
                                     struct base_error *error)
{
    struct stat found;
    if (stat(topic->schema, &found) != 0)
        return base_fail_errno(error, errno, "schemas of topic %s: %s",
                               topic->name, topic->schema);
    return S_ISDIR(found.st_mode)
               ? BASE_OK
               : base_fail(error, BASE_CONFIG,
                           "schemas of topic %s: %s is not a folder; framing "
                           "confluent takes a folder of <id>.avsc",
                           topic->name, topic->schema);
}

static enum base_status check_schemas(const struct ingest_config *config,
                                      struct base_error *error)
{
    for (int i = 0; i < INGEST_TOPICS; i++) {
        struct ingest_decoder *decoder = NULL;
        if (config->topics[i].framing == INGEST_CONFLUENT &&
            check_folder(&config->topics[i], error) != BASE_OK)
            return error->status;
        if (ingest_decoder_new(config, (enum ingest_topic)i, &decoder, error))
            return error->status;
        ingest_decoder_free(decoder);
    }
    return BASE_OK;
}

/* Each handle is made as `run` makes it, but knows no broker to call. */
static enum base_status check_properties(const struct ingest_config *given,
                                         struct base_error *error)
{
    static const enum ingest_kafka_role roles[] = {
        INGEST_KAFKA_SOURCE, INGEST_KAFKA_HELPER, INGEST_KAFKA_PRODUCER};
    const struct ingest_kafka_callbacks callbacks = {0};
    if (ingest_kafka_check(given, error) != BASE_OK)
        return error->status;
    struct ingest_config *config = malloc(sizeof *config);
    if (!config)
        return base_fail(error, BASE_SYSTEM, "no memory");
    *config = *given;
    unsigned kept = 0;
    for (unsigned i = 0; i < config->property_count; i++)
        if (strcmp(config->properties[i].name, "bootstrap.servers") != 0)
            config->properties[kept++] = config->properties[i];
    config->property_count = kept;
    enum base_status status = BASE_OK;
    for (size_t i = 0; i < sizeof roles / sizeof roles[0] && !status; i++) {
        rd_kafka_t *handle = NULL;
        status =
            ingest_kafka_new(config, roles[i], 0, &callbacks, &handle, error);
        if (status == BASE_OK)
            rd_kafka_destroy_flags(handle,
                                   RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    }
    free(config);
    return status;
}

static enum base_status check_decisions(const struct ingest_config *config,
                                        struct base_error *error)
{
    struct ingest_decisions *decisions = NULL;
    if (!config->decisions[0])
        return BASE_OK;
    enum base_status status =
        ingest_decisions_read(config->decisions, &decisions, error);
    ingest_decisions_free(decisions);
    return status;
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
    enum base_status status = check_schemas(&config->ingest, error);
    if (status == BASE_OK)
        status = check_properties(&config->ingest, error);
    if (status == BASE_OK)
        status = check_decisions(&config->ingest, error);
    if (status == BASE_OK)
        status = check_address(&config->http, error);
    return status;
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
