/* SPDX-License-Identifier: Apache-2.0 */
/* One table of settings: name, type, default, range, unit, meaning. It parses
 * and checks a value, lands it in a struct, and prints its own reference, so
 * that code, checks and manual cannot differ. Knows no file format: whoever
 * reads the file hands in key, value and place. Any thread. */
#ifndef BASE_SETTINGS_H
#define BASE_SETTINGS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"

enum base_setting_type {
    BASE_SETTING_STRING,
    BASE_SETTING_PATH,     /* relative ones are joined to the file's folder */
    BASE_SETTING_BOOL,     /* true, false */
    BASE_SETTING_UNSIGNED, /* member of 1, 2, 4 or 8 bytes */
    BASE_SETTING_SIGNED,   /* member of 4 or 8 bytes */
    BASE_SETTING_DOUBLE,   /* member: double, or float */
    BASE_SETTING_ENUM,     /* member of 1 or 4 bytes: index in `choices` */
};

struct base_setting {
    const char *name;
    enum base_setting_type type;
    size_t offset, size;        /* of the member; base_setting_member() */
    const char *fallback;       /* default as text; NULL: must be given */
    double min, max;            /* of numbers; of a string's length */
    const char *unit;           /* NULL: none */
    const char *const *choices; /* of an enum, ends with NULL */
    const char *doc;
};

#define BASE_SETTING_MEMBER(type, member)                                      \
    offsetof(type, member), sizeof(((type *)0)->member)

struct base_settings {
    const struct base_setting *table;
    unsigned count;
};

/* Where a value came from. */
struct base_setting_place {
    const char *file;      /* as the user named it, or "--set" */
    unsigned line, column; /* from 1; 0: none */
    const char *folder;    /* paths are relative to it */
};

/* Index of `name`, or -1. */
int base_settings_find(const struct base_settings *settings, const char *name);

/* Parses `value` into the member of entry `index` of *target. The text of a
 * BASE_CONFIG error says file, line, column, key, value, what is allowed. */
enum base_status base_settings_set(const struct base_settings *settings,
                                   unsigned index, const char *value,
                                   const struct base_setting_place *place,
                                   void *target,
                                   struct base_error *error) BASE_MUST_CHECK;

/* Sets every entry to its default; those without become empty or 0. */
enum base_status
base_settings_default(const struct base_settings *settings,
                      const struct base_setting_place *place, void *target,
                      struct base_error *error) BASE_MUST_CHECK;

/* The value of entry `index` in *target, as base_settings_set() would take it:
 * a number with as many digits as bring it back; snprintf-like. */
int base_settings_text(const struct base_settings *settings, unsigned index,
                       const void *target, char *text, size_t size);

/* BASE_CONFIG for a key that no table has; the text proposes the nearest. */
enum base_status base_settings_unknown(const struct base_settings *settings,
                                       const char *key,
                                       const struct base_setting_place *place,
                                       struct base_error *error);

/* "file:line:column: " (without what is not known); snprintf-like. */
int base_setting_place_text(const struct base_setting_place *place, char *text,
                            size_t size);

/* One paragraph an entry: name, type, default, range, unit, meaning. */
void base_settings_reference(const struct base_settings *settings, FILE *out);

/* Joins a relative `path` to `folder` (empty or NULL: as it is). */
enum base_status base_settings_path(char *joined, size_t size,
                                    const char *folder, const char *path,
                                    struct base_error *error) BASE_MUST_CHECK;

#endif
