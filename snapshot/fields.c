/* SPDX-License-Identifier: Apache-2.0 */
/* libinterest: the model's fields, and ids of their values. They are those of
 * the first version served and never change (see served.c). Any thread. */
#include <math.h>
#include <string.h>

#include "snapshot/serving.h"

static const struct learner_schema *
schema_of(const struct interest_model *model)
{
    return learner_model_schema(atomic_load(&model->shape)->model);
}

static unsigned count_of(const struct learner_schema *schema, int group)
{
    const unsigned counts[] = {schema->profile_count, schema->item_count,
                               schema->context_count};
    return group >= 0 && group < 3 ? counts[group] : 0;
}

static const struct learner_field *
field_of(const struct learner_schema *schema, int group, unsigned index)
{
    if (index >= count_of(schema, group))
        return NULL;
    for (int before = 0; before < group; before++)
        index += count_of(schema, before);
    return &schema->fields[index];
}

const char *interest_field(const struct interest_model *model, int group,
                           unsigned index)
{
    const struct learner_field *field =
        field_of(schema_of(model), group, index);
    return field ? field->name : NULL;
}

unsigned interest_field_count(const struct interest_model *model, int group)
{
    return count_of(schema_of(model), group);
}

uint64_t interest_id(const struct interest_model *model, int group,
                     unsigned index, const char *value, size_t size)
{
    const struct learner_schema *schema = schema_of(model);
    const struct learner_field *field = field_of(schema, group, index);
    if (!field || !value)
        return 0;
    return learner_id(learner_table_seed(schema->tables[field->table].name),
                      value, size);
}

unsigned interest_field_places(const struct interest_model *model, int group,
                               unsigned index)
{
    const struct learner_field *field =
        field_of(schema_of(model), group, index);
    return field && !field->continues ? field->more + 1u : 0;
}

/* Of a field, with its table's seed; NULL where there is no such field. */
static const struct snapshot_transform *
transform_of(const struct interest_model *model, int group, unsigned index,
             uint64_t *seed)
{
    const struct interest_shape *shape = atomic_load(&model->shape);
    const struct learner_schema *schema = learner_model_schema(shape->model);
    const struct learner_field *field = field_of(schema, group, index);
    if (!field)
        return NULL;
    *seed = learner_table_seed(schema->tables[field->table].name);
    return &shape->transforms[field - schema->fields];
}

enum interest_transform
interest_field_transform(const struct interest_model *model, int group,
                         unsigned index)
{
    static const enum interest_transform kinds[] = {
        [SNAPSHOT_TRANSFORM_NONE] = INTEREST_VALUE,
        [SNAPSHOT_TRANSFORM_HOUR] = INTEREST_HOUR,
        [SNAPSHOT_TRANSFORM_WEEKDAY] = INTEREST_WEEKDAY,
        [SNAPSHOT_TRANSFORM_BUCKET] = INTEREST_BUCKET,
    };
    uint64_t seed;
    const struct snapshot_transform *transform =
        transform_of(model, group, index, &seed);
    return transform ? kinds[transform->kind] : INTEREST_VALUE;
}

uint64_t interest_time_id(const struct interest_model *model, int group,
                          unsigned index, int64_t time_ms)
{
    enum { HOUR_MS = 3600000, DAY_MS = 24 * HOUR_MS, THURSDAY = 3 };
    uint64_t seed;
    const struct snapshot_transform *transform =
        transform_of(model, group, index, &seed);
    int64_t within = time_ms % DAY_MS;
    within += within < 0 ? DAY_MS : 0;
    int64_t day = (time_ms - within) / DAY_MS; /* 1970 began on a Thursday */
    if (transform && transform->kind == SNAPSHOT_TRANSFORM_HOUR)
        return learner_id_of_int(seed, within / HOUR_MS);
    if (transform && transform->kind == SNAPSHOT_TRANSFORM_WEEKDAY)
        return learner_id_of_int(seed, ((day + THURSDAY) % 7 + 7) % 7);
    return 0;
}

uint64_t interest_bucket_id(const struct interest_model *model, int group,
                            unsigned index, double value)
{
    uint64_t seed;
    const struct snapshot_transform *transform =
        transform_of(model, group, index, &seed);
    if (!transform || transform->kind != SNAPSHOT_TRANSFORM_BUCKET ||
        isnan(value))
        return 0;
    int64_t bucket = 0;
    while (bucket < transform->bound_count &&
           transform->bounds[bucket] <= value)
        bucket++;
    return learner_id_of_int(seed, bucket);
}
