/* SPDX-License-Identifier: Apache-2.0 */
/* The table of a model's switches: it covers struct learner_model_config, its
 * defaults are those of profile streaming, DIN, and each value comes back from
 * its text. */
#include "learner/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "learner/model.h"

static const struct base_setting_place nowhere = {.file = "test"};

/* Bytes of the struct that no entry covers are padding: fewer than 8 in a row,
 * and what follows them is aligned more than what is before. */
static void test_every_member_has_an_entry(void **state)
{
    (void)state;
    bool covered[sizeof(struct learner_model_config)] = {false};
    for (unsigned i = 0; i < learner_model_settings.count; i++) {
        const struct base_setting *setting = &learner_model_settings.table[i];
        for (size_t at = 0; at < setting->size; at++) {
            assert_false(covered[setting->offset + at]);
            covered[setting->offset + at] = true;
        }
    }
    for (size_t at = 0; at < sizeof covered; at++) {
        size_t end = at;
        while (end < sizeof covered && !covered[end])
            end++;
        if (end == at)
            continue;
        if (end - at >= 8 || end % 4 || (end - at >= 4 && end % 8))
            fail_msg("bytes %zu to %zu of learner_model_config are in no "
                     "entry of learner/settings.c",
                     at, end);
        at = end;
    }
}

static void test_defaults_are_din_streaming(void **state)
{
    (void)state;
    struct learner_model_config from_table, from_profile;
    struct base_error error;
    learner_model_config_default(&from_profile);
    assert_int_equal(base_settings_default(&learner_model_settings, &nowhere,
                                           &from_table, &error),
                     BASE_OK);
    for (unsigned i = 0; i < learner_model_settings.count; i++) {
        const struct base_setting *setting = &learner_model_settings.table[i];
        if (memcmp((char *)&from_table + setting->offset,
                   (char *)&from_profile + setting->offset, setting->size))
            fail_msg("default of %s", setting->name);
    }
}

/* What every profile and kind says is within the table's ranges, and its text
 * brings the same bytes back. */
static void test_texts_bring_values_back(void **state)
{
    (void)state;
    for (int profile = 0; learner_profile_words[profile]; profile++)
        for (int kind = 0; kind < LEARNER_KINDS; kind++) {
            struct learner_model_config config, back;
            struct base_error error;
            learner_model_config_profile(&config, (enum learner_profile)profile,
                                         (enum learner_kind)kind);
            for (unsigned i = 0; i < learner_model_settings.count; i++) {
                const struct base_setting *setting =
                    &learner_model_settings.table[i];
                char text[64];
                base_settings_text(&learner_model_settings, i, &config, text,
                                   sizeof text);
                if (base_settings_set(&learner_model_settings, i, text,
                                      &nowhere, &back, &error))
                    fail_msg("%s", error.text);
                assert_memory_equal((char *)&config + setting->offset,
                                    (char *)&back + setting->offset,
                                    setting->size);
            }
        }
}

/* The ends of each number's range are not refused by the model. */
static void test_what_may_be_written_is_taken(void **state)
{
    (void)state;
    for (unsigned i = 0; i < learner_model_switches.count; i++) {
        const struct base_setting *setting = &learner_model_switches.table[i];
        if (setting->type == BASE_SETTING_BOOL ||
            setting->type == BASE_SETTING_ENUM)
            continue;
        for (unsigned end = 0; end < 2; end++) {
            struct learner_model_config config;
            struct base_error error;
            char text[64];
            learner_model_config_default(&config);
            snprintf(text, sizeof text, "%.16g",
                     end ? setting->max : setting->min);
            if (base_settings_set(&learner_model_switches, i, text, &nowhere,
                                  &config, &error) ||
                learner_config_check(&config, &error))
                fail_msg("%s", error.text);
        }
    }
}

static void test_words(void **state)
{
    (void)state;
    assert_null(learner_kind_words[LEARNER_KINDS]);
    for (int kind = 0; kind < LEARNER_KINDS; kind++)
        assert_non_null(learner_kind_words[kind]);
    assert_string_equal(learner_kind_words[LEARNER_GRU_ATT], "gru_att");
    assert_int_equal(learner_model_switches.count + 1,
                     learner_model_settings.count);
    assert_int_equal(base_settings_find(&learner_model_switches, "fields_off"),
                     -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_member_has_an_entry),
        cmocka_unit_test(test_defaults_are_din_streaming),
        cmocka_unit_test(test_texts_bring_values_back),
        cmocka_unit_test(test_what_may_be_written_is_taken),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
