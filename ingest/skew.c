/* SPDX-License-Identifier: Apache-2.0 */
/* Served histories against those of samples; see skew.h. */
#include "ingest/skew.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "learner/learner.h"

/* Leaves the ids of the fields that the published model uses; returns how many
 * of a behavior they are. */
static unsigned leave_fields(const struct ingest_config *config,
                             uint64_t *history, uint32_t count)
{
    const struct learner_schema *schema = &config->schema;
    uint64_t off = config->served_fields_off >> schema->profile_count;
    unsigned fields = 0;
    size_t to = 0;
    for (unsigned i = 0; i < schema->item_count; i++)
        fields += !(off >> i & 1);
    if (fields == schema->item_count)
        return fields;
    for (uint32_t k = 0; k < count; k++)
        for (unsigned i = 0; i < schema->item_count; i++)
            if (!(off >> i & 1))
                history[to++] = history[(size_t)k * schema->item_count + i];
    return fields;
}

static bool is_hash(uint64_t id, uint64_t hash)
{
    char digits[17];
    uint64_t seed = learner_table_seed(INGEST_SKEW_SEED);
    snprintf(digits, sizeof digits, "%016" PRIx64, hash);
    return id == learner_id(seed, digits, 16) ||
           id == learner_id_of_int(seed, (int64_t)hash);
}

/* The newest versions are kept apart, newest first. NULL: an older one, or it
 * was not said. */
static struct ingest_skew_version *find(struct ingest_skew_status *skew,
                                        int64_t version)
{
    unsigned at = 0;
    while (at < skew->version_count && skew->versions[at].version > version)
        at++;
    if (version <= 0 || at == INGEST_SKEW_VERSIONS)
        return NULL;
    struct ingest_skew_version *found = &skew->versions[at];
    if (at < skew->version_count && found->version == version)
        return found;
    if (skew->version_count < INGEST_SKEW_VERSIONS)
        skew->version_count++;
    memmove(found + 1, found, (skew->version_count - 1 - at) * sizeof *found);
    *found = (struct ingest_skew_version){.version = version};
    return found;
}

void ingest_skew_compare(struct ingest_skew_status *skew,
                         const struct ingest_config *config,
                         const struct ingest_served *served, uint64_t *history,
                         uint32_t count)
{
    unsigned fields = leave_fields(config, history, count);
    uint64_t hash = learner_history_hash(history, count, fields);
    bool same = served->length == count && is_hash(served->hash, hash);
    struct ingest_skew_version *version = find(skew, served->version);
    skew->compared++;
    if (version) {
        version->compared++;
        version->mismatched += !same;
    }
    if (same)
        return;
    enum ingest_skew_kind kind = served->length < count   ? INGEST_SKEW_SHORTER
                                 : served->length > count ? INGEST_SKEW_LONGER
                                                          : INGEST_SKEW_CONTENT;
    skew->mismatched[kind]++;
}
