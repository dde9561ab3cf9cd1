/* SPDX-License-Identifier: Apache-2.0 */
/* The switches of a model as one table: name, type, choices, range, default
 * (profile `streaming`, DIN), meaning, of each member of struct
 * learner_model_config. The configuration's `learner.*` keys, shadows, a
 * manifest's `model` object and texts about differing models all walk it; a
 * member that is added there is added here (a test compares).
 * Immutable; any thread. */
#ifndef LEARNER_SETTINGS_H
#define LEARNER_SETTINGS_H

#include "base/settings.h"
#include "learner/learner.h"

/* Entries land in a struct learner_model_config: all of its members. */
extern const struct base_settings learner_model_settings;
/* The same without the last, fields_off, whose bits speak of a schema: what
 * people write, and what a manifest, whose schema is the model's own, says. */
extern const struct base_settings learner_model_switches;

/* Words of enum learner_kind and enum learner_profile, NULL at the end. */
extern const char *const learner_kind_words[];
extern const char *const learner_profile_words[];

#endif
