/* SPDX-License-Identifier: Apache-2.0 */
/* What a configuration would be refused for once it runs: schemas that do not
 * compile, a registry's address that is none, properties that librdkafka
 * does not take, decisions that cannot be read. Opens no state and calls no
 * broker. Any thread. */
#include <stdlib.h>
#include <string.h>

#include "ingest/decisions.h"
#include "ingest/decoder.h"
#include "ingest/group.h"
#include "ingest/ingest.h"
#include "ingest/kafka.h"
#include "ingest/registry.h"

static enum base_status check_schemas(const struct ingest_config *config,
                                      struct base_error *error)
{
    for (int i = 0; i < INGEST_TOPICS; i++) {
        struct ingest_decoder *decoder = NULL;
        if (ingest_decoder_new(config, (enum ingest_topic)i, NULL, &decoder,
                               error))
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
        INGEST_KAFKA_SOURCE, INGEST_KAFKA_HELPER, INGEST_KAFKA_PRODUCER,
        INGEST_KAFKA_MEMBER};
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
        if (roles[i] == INGEST_KAFKA_MEMBER &&
            config->assignment != INGEST_ASSIGN_GROUP)
            continue;
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

enum base_status ingest_check(const struct ingest_config *config,
                              struct base_error *error)
{
    enum base_status status = check_schemas(config, error);
    if (status == BASE_OK && config->registry_url[0])
        status = ingest_registry_check_url(config->registry_url, error);
    if (status == BASE_OK)
        status = ingest_group_check(config, error);
    if (status == BASE_OK)
        status = check_properties(config, error);
    return status == BASE_OK ? check_decisions(config, error) : status;
}
