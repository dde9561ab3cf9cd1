/* SPDX-License-Identifier: Apache-2.0 */
/* Feature schema: ids and validation. An id is XXH3-64 of a value's canonical
 * bytes under its table's seed, so that equal values of fields that share a
 * table share a row. Pure functions; any thread. Does not read configuration
 * files. */
#include <stdio.h>
#include <string.h>

#include <xxhash.h>

#include "base/bytes.h"
#include "learner/model.h"

uint64_t learner_table_seed(const char *table_name)
{
    return XXH3_64bits(table_name, strlen(table_name));
}

uint64_t learner_id(uint64_t table_seed, const void *bytes, size_t size)
{
    uint64_t id = XXH3_64bits_withSeed(bytes, size, table_seed);
    return id ? id : 1; /* 0 says "unknown" */
}

uint64_t learner_id_of_int(uint64_t table_seed, int64_t value)
{
    char digits[24];
    int size = snprintf(digits, sizeof digits, "%lld", (long long)value);
    return learner_id(table_seed, digits, (size_t)size);
}

uint64_t learner_cross_id(uint64_t behavior, uint64_t candidate)
{
    if (behavior == 0 || behavior == LEARNER_ABSENT || candidate == 0 ||
        candidate == LEARNER_ABSENT)
        return 0;
    uint8_t bytes[16];
    base_put_u64(bytes, behavior);
    base_put_u64(bytes + 8, candidate);
    return learner_id(learner_table_seed(LEARNER_CROSS_TABLE), bytes,
                      sizeof bytes);
}

/* This machine's order of bytes is the format's (base/bytes.h). */
uint64_t learner_history_hash(const uint64_t *history, size_t behaviors,
                              size_t fields)
{
    if (behaviors == 0)
        return 0;
    return XXH3_64bits(history, behaviors * fields * sizeof *history);
}

static bool name_ok(const char *name)
{
    size_t size = strnlen(name, LEARNER_NAME_MAX);
    return size > 0 && size < LEARNER_NAME_MAX;
}

static enum base_status check_tables(const struct learner_schema *schema,
                                     struct base_error *error)
{
    if (schema->table_count == 0 || schema->table_count > LEARNER_TABLES_MAX)
        return base_fail(error, BASE_CONFIG,
                         "schema: %u tables; allowed are 1 to %d",
                         schema->table_count, LEARNER_TABLES_MAX);
    for (unsigned t = 0; t < schema->table_count; t++) {
        const struct learner_table_spec *table = &schema->tables[t];
        if (!name_ok(table->name))
            return base_fail(error, BASE_CONFIG,
                             "schema: table %u: name is empty or too long", t);
        if (table->dimension == 0 ||
            table->dimension > LEARNER_DIMENSION_MAX)
            return base_fail(error, BASE_CONFIG,
                             "schema: table %s: dimension %u; allowed are 1 "
                             "to %d", table->name, table->dimension,
                             LEARNER_DIMENSION_MAX);
        for (unsigned u = 0; u < t; u++)
            if (strcmp(table->name, schema->tables[u].name) == 0)
                return base_fail(error, BASE_CONFIG,
                                 "schema: table %s stands twice",
                                 table->name);
    }
    return BASE_OK;
}

static enum base_status check_field(const struct learner_schema *schema,
                                    unsigned index, struct base_error *error)
{
    const struct learner_field *field = &schema->fields[index];
    enum learner_group group = LEARNER_CONTEXT;
    if (index < schema->profile_count)
        group = LEARNER_PROFILE;
    else if (index < (unsigned)schema->profile_count + schema->item_count)
        group = LEARNER_ITEM;
    if (!name_ok(field->name))
        return base_fail(error, BASE_CONFIG,
                         "schema: field %u: name is empty or too long", index);
    if (field->group != group)
        return base_fail(error, BASE_CONFIG,
                         "schema: field %s: fields stand in the order "
                         "profile, item, context and agree with the counts",
                         field->name);
    if (field->table >= schema->table_count)
        return base_fail(error, BASE_CONFIG,
                         "schema: field %s: there is no table %u",
                         field->name, field->table);
    for (unsigned i = 0; i < index; i++)
        if (strcmp(field->name, schema->fields[i].name) == 0)
            return base_fail(error, BASE_CONFIG,
                             "schema: field %s stands twice", field->name);
    return BASE_OK;
}

/* A multi-hot field's run stays within its group and table and ends where its
 * first field says. */
static enum base_status check_runs(const struct learner_schema *schema,
                                   struct base_error *error)
{
    for (unsigned i = 0; i < schema->field_count;) {
        const struct learner_field *first = &schema->fields[i];
        unsigned end = i + 1;
        while (end < schema->field_count && schema->fields[end].continues &&
               schema->fields[end].group == first->group &&
               schema->fields[end].table == first->table &&
               schema->fields[end].more == 0)
            end++;
        if (first->continues || end - i - 1 != first->more)
            return base_fail(error, BASE_CONFIG,
                             "schema: field %s: a multi-hot field is followed "
                             "by as many fields of its group and table as it "
                             "says", first->name);
        i = end;
    }
    return BASE_OK;
}

enum base_status learner_schema_check(const struct learner_schema *schema,
                                      struct base_error *error)
{
    unsigned sum = (unsigned)schema->profile_count + schema->item_count +
                   schema->context_count;
    if (schema->field_count == 0 ||
        schema->field_count > LEARNER_FIELDS_MAX || schema->field_count != sum)
        return base_fail(error, BASE_CONFIG,
                         "schema: %u fields in groups of %u; allowed are 1 "
                         "to %d", schema->field_count, sum,
                         LEARNER_FIELDS_MAX);
    if (schema->item_count == 0)
        return base_fail(error, BASE_CONFIG,
                         "schema: the item group has no field");
    enum base_status status = check_tables(schema, error);
    for (unsigned i = 0; !status && i < schema->field_count; i++)
        status = check_field(schema, i, error);
    return status ? status : check_runs(schema, error);
}
