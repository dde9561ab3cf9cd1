/* SPDX-License-Identifier: Apache-2.0 */
/* The HEAD of a checkpoint as bytes (checkpoint.h): struct
 * learner_checkpoint_info field by field, little-endian, the model's switches
 * each with its name, so that a later program can tell what is new to it. One
 * walk over the fields writes and reads them, so the two cannot differ.
 * Any thread. Does not look at files. */
#include <string.h>

#include "learner/checkpoint.h"
#include "learner/settings.h"

struct codec {
    uint8_t *at, *end;
    bool decode, overrun; /* overrun: no room, or a value that cannot be */
};

static void code_bytes(struct codec *codec, void *value, size_t size)
{
    if (codec->overrun || (size_t)(codec->end - codec->at) < size) {
        codec->overrun = true;
        return;
    }
    if (codec->decode)
        memcpy(value, codec->at, size);
    else
        memcpy(codec->at, value, size);
    codec->at += size;
}

/* What is read always ends with a NUL. */
static void code_text(struct codec *codec, char *text, size_t size)
{
    code_bytes(codec, text, size);
    text[size - 1] = '\0';
}

#define CODE(codec, field) code_bytes(codec, &(field), sizeof(field))

static void code_field(struct codec *codec, struct learner_field *field,
                       unsigned tables)
{
    uint32_t group = field->group;
    uint8_t continues = field->continues;
    code_text(codec, field->name, LEARNER_NAME_MAX);
    CODE(codec, group);
    CODE(codec, field->table);
    CODE(codec, field->more);
    CODE(codec, continues);
    field->group = (enum learner_group)group;
    field->continues = continues != 0;
    if (field->table >= tables || group > LEARNER_CONTEXT || continues > 1)
        codec->overrun = true;
}

static void code_table(struct codec *codec, struct learner_table_spec *table)
{
    code_text(codec, table->name, LEARNER_NAME_MAX);
    CODE(codec, table->dimension);
}

static void code_schema(struct codec *codec, struct learner_schema *schema)
{
    CODE(codec, schema->field_count);
    CODE(codec, schema->profile_count);
    CODE(codec, schema->item_count);
    CODE(codec, schema->context_count);
    CODE(codec, schema->table_count);
    if (schema->field_count > LEARNER_FIELDS_MAX ||
        schema->table_count > LEARNER_TABLES_MAX) {
        codec->overrun = true;
        schema->field_count = schema->table_count = 0;
        return;
    }
    for (unsigned i = 0; i < schema->field_count; i++)
        code_field(codec, &schema->fields[i], schema->table_count);
    for (unsigned i = 0; i < schema->table_count; i++)
        code_table(codec, &schema->tables[i]);
}

/* ---- the model's switches ------------------------------------------------ */

/* Whether the bytes of a member can be one of its values. */
static bool possible(const struct base_setting *setting, const void *member)
{
    uint32_t value = 0;
    if (setting->type != BASE_SETTING_BOOL &&
        setting->type != BASE_SETTING_ENUM)
        return true;
    memcpy(&value, member, setting->size);
    unsigned choices = setting->choices ? 0 : 2;
    while (setting->choices && setting->choices[choices])
        choices++;
    return value < choices;
}

static void write_setting(struct codec *codec, const char *name, void *member,
                          size_t size)
{
    uint8_t sizes[2] = {(uint8_t)strlen(name), (uint8_t)size};
    char copy[256];
    memcpy(copy, name, sizes[0]);
    CODE(codec, sizes);
    code_bytes(codec, copy, sizes[0]);
    code_bytes(codec, member, size);
}

/* A name that the table does not have is of a later program; a member that
 * the bytes do not have keeps its default. */
static void read_setting(struct codec *codec,
                         struct learner_model_config *model)
{
    uint8_t sizes[2] = {0}, value[256];
    char name[256] = "";
    CODE(codec, sizes);
    code_bytes(codec, name, sizes[0]);
    code_bytes(codec, value, sizes[1]);
    if (codec->overrun)
        return;
    int index = base_settings_find(&learner_model_settings, name);
    const struct base_setting *setting =
        index < 0 ? NULL : &learner_model_settings.table[index];
    if (!setting || setting->size != sizes[1] || !possible(setting, value))
        codec->overrun = true;
    else
        memcpy((uint8_t *)model + setting->offset, value, sizes[1]);
}

static void code_model(struct codec *codec, struct learner_model_config *model)
{
    const struct base_settings *settings = &learner_model_settings;
    uint16_t count = (uint16_t)settings->count;
    CODE(codec, count);
    if (codec->decode) {
        learner_model_config_default(model);
        for (unsigned i = 0; i < count && !codec->overrun; i++)
            read_setting(codec, model);
        return;
    }
    for (unsigned i = 0; i < settings->count; i++) {
        const struct base_setting *setting = &settings->table[i];
        write_setting(codec, setting->name, (uint8_t *)model + setting->offset,
                      setting->size);
    }
}

/* ---- the whole ----------------------------------------------------------- */

static void code_status(struct codec *codec, struct learner_status *status)
{
    CODE(codec, status->begin);
    CODE(codec, status->position);
    CODE(codec, status->samples);
    CODE(codec, status->batches);
    CODE(codec, status->rejected);
    CODE(codec, status->skipped);
    CODE(codec, status->skip_from);
    CODE(codec, status->skip_to);
    CODE(codec, status->newest_event_ms);
    CODE(codec, status->rows);
    CODE(codec, status->table_bytes);
    CODE(codec, status->dense_bytes);
    CODE(codec, status->loss);
    CODE(codec, status->auxiliary_loss);
    CODE(codec, status->last_samples);
    CODE(codec, status->last_time);
    CODE(codec, status->total);
}

static void code_tables(struct codec *codec,
                        struct learner_checkpoint_info *info)
{
    uint32_t count = info->table_count;
    CODE(codec, count);
    if (count > LEARNER_TABLES_MAX) {
        codec->overrun = true;
        count = 0;
    }
    info->table_count = count;
    for (unsigned i = 0; i < count; i++) {
        code_table(codec, &info->tables[i]);
        CODE(codec, info->row_state[i]);
        CODE(codec, info->rows[i]);
    }
}

static void code_info(struct codec *codec,
                      struct learner_checkpoint_info *info)
{
    CODE(codec, info->position);
    CODE(codec, info->journal_hash);
    CODE(codec, info->config_hash);
    code_text(codec, info->arithmetic, sizeof info->arithmetic);
    code_schema(codec, &info->schema);
    code_model(codec, &info->model);
    code_status(codec, &info->status);
    code_tables(codec, info);
}

size_t learner_checkpoint_encode(const struct learner_checkpoint_info *info,
                                 void *bytes)
{
    struct learner_checkpoint_info copy = *info;
    struct codec codec = {.at = bytes,
                          .end = (uint8_t *)bytes +
                                 LEARNER_CHECKPOINT_HEAD_MAX};
    code_info(&codec, &copy);
    BASE_ASSERT(!codec.overrun);
    return (size_t)(codec.at - (uint8_t *)bytes);
}

bool learner_checkpoint_decode(struct learner_checkpoint_info *info,
                               const void *bytes, size_t size)
{
    uint8_t copy[LEARNER_CHECKPOINT_HEAD_MAX];
    if (size > sizeof copy)
        return false;
    memcpy(copy, bytes, size);
    struct codec codec = {.at = copy, .end = copy + size, .decode = true};
    code_info(&codec, info);
    /* Not stored: what no sample took, nor was skipped, forgets did. */
    struct learner_status *status = &info->status;
    status->forgets = info->position - status->begin - status->samples -
                      status->rejected - status->skipped;
    return !codec.overrun && codec.at == codec.end;
}
