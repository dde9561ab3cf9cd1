/* SPDX-License-Identifier: Apache-2.0 */
/* The settings table; see settings.h.
 *
 * Invariants: 1. a member changes only when its whole value is good; 2. every
 * error text says place, key, value and what is allowed; 3. defaults go
 * through the same parser as given values, so a bad default cannot hide. */
#include "base/settings.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

int base_settings_find(const struct base_settings *settings, const char *name)
{
    for (unsigned i = 0; i < settings->count; i++)
        if (strcmp(settings->table[i].name, name) == 0)
            return (int)i;
    return -1;
}

int base_setting_place_text(const struct base_setting_place *place, char *text,
                            size_t size)
{
    if (!place->line)
        return snprintf(text, size, "%s: ", place->file);
    return snprintf(text, size, "%s:%u:%u: ", place->file, place->line,
                    place->column);
}

/* "a, b or c" of an enum's choices. */
static void print_choices(char *text, size_t size, const char *const *choices)
{
    size_t used = 0;
    text[0] = '\0';
    for (unsigned i = 0; choices[i] && used < size; i++) {
        const char *separator = i == 0 ? "" : (choices[i + 1] ? ", " : " or ");
        used += (size_t)snprintf(text + used, size - used, "%s%s", separator,
                                 choices[i]);
    }
}

/* Numbers of the table print without an exponent up to 2^53. */
static void print_number(char *text, size_t size, double value)
{
    if (value == floor(value) && fabs(value) < 0x1p63)
        snprintf(text, size, "%lld", (long long)value);
    else
        snprintf(text, size, "%g", value);
}

/* What entry `setting` allows, in words. */
static void print_allowed(char *text, size_t size,
                          const struct base_setting *setting)
{
    char low[32], high[32], names[300];
    print_number(low, sizeof low, setting->min);
    print_number(high, sizeof high, setting->max);
    const char *unit = setting->unit ? setting->unit : "";
    const char *space = setting->unit ? " " : "";
    switch (setting->type) {
    case BASE_SETTING_STRING:
    case BASE_SETTING_PATH:
        snprintf(text, size, "%s of %s to %zu bytes",
                 setting->type == BASE_SETTING_PATH ? "a path" : "a text", low,
                 setting->size - 1);
        return;
    case BASE_SETTING_BOOL: snprintf(text, size, "true or false"); return;
    case BASE_SETTING_UNSIGNED:
    case BASE_SETTING_SIGNED:
        snprintf(text, size, "a whole number from %s to %s%s%s", low, high,
                 space, unit);
        return;
    case BASE_SETTING_DOUBLE:
        snprintf(text, size, "a number from %s to %s%s%s", low, high, space,
                 unit);
        return;
    case BASE_SETTING_ENUM:
        print_choices(names, sizeof names, setting->choices);
        snprintf(text, size, "%s", names);
        return;
    }
}

static enum base_status refuse(const struct base_setting *setting,
                               const char *value,
                               const struct base_setting_place *place,
                               struct base_error *error)
{
    char where[600], allowed[400];
    base_setting_place_text(place, where, sizeof where);
    print_allowed(allowed, sizeof allowed, setting);
    return base_fail(error, BASE_CONFIG, "%s%s: \"%.200s\" is not allowed: %s",
                     where, setting->name, value, allowed);
}

enum base_status base_settings_path(char *joined, size_t size,
                                    const char *folder, const char *path,
                                    struct base_error *error)
{
    bool alone = path[0] == '/' || path[0] == '\0' || !folder || !folder[0];
    const char *slash = alone ? "" : "/";
    if (alone)
        folder = "";
    /* Nothing is written unless all of it fits. */
    if (strlen(folder) + strlen(slash) + strlen(path) >= size)
        return base_fail(error, BASE_LIMIT,
                         "path \"%.200s\" is longer than %zu bytes", path,
                         size - 1);
    snprintf(joined, size, "%s%s%s", folder, slash, path);
    return BASE_OK;
}

static bool parse_bool(const char *value, bool *flag)
{
    bool on = strcmp(value, "true") == 0;
    if (!on && strcmp(value, "false") != 0)
        return false;
    *flag = on;
    return true;
}

/* Stores an integer of `size` bytes; little-endian machines only (bytes.h). */
static void store_integer(void *member, size_t size, uint64_t bits)
{
    memcpy(member, &bits, size);
}

static bool set_unsigned(const struct base_setting *setting, const char *value,
                         void *member)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end || errno ||
        (double)number < setting->min || (double)number > setting->max)
        return false;
    store_integer(member, setting->size, number);
    return true;
}

static bool set_signed(const struct base_setting *setting, const char *value,
                       void *member)
{
    char *end;
    const char *digits = value + (value[0] == '-');
    errno = 0;
    long long number = strtoll(value, &end, 10);
    if (digits[0] < '0' || digits[0] > '9' || *end || errno ||
        (double)number < setting->min || (double)number > setting->max)
        return false;
    store_integer(member, setting->size, (uint64_t)number);
    return true;
}

static bool set_double(const struct base_setting *setting, const char *value,
                       void *member)
{
    char *end;
    double number = strtod(value, &end);
    if (end == value || *end || !isfinite(number) || number < setting->min ||
        number > setting->max)
        return false;
    if (setting->size == sizeof(float))
        *(float *)member = (float)number;
    else
        *(double *)member = number;
    return true;
}

static bool set_enum(const struct base_setting *setting, const char *value,
                     void *member)
{
    for (unsigned i = 0; setting->choices[i]; i++)
        if (strcmp(setting->choices[i], value) == 0) {
            store_integer(member, setting->size, i);
            return true;
        }
    return false;
}

static bool set_text(const struct base_setting *setting, const char *value,
                     char *member)
{
    size_t length = strlen(value);
    if (length >= setting->size || (double)length < setting->min)
        return false;
    memcpy(member, value, length + 1);
    return true;
}

static bool set_path(const struct base_setting *setting, const char *value,
                     const char *folder, char *member)
{
    if ((double)strlen(value) < setting->min)
        return false;
    return base_settings_path(member, setting->size, folder, value, NULL) ==
           BASE_OK;
}

enum base_status base_settings_set(const struct base_settings *settings,
                                   unsigned index, const char *value,
                                   const struct base_setting_place *place,
                                   void *target, struct base_error *error)
{
    const struct base_setting *setting = &settings->table[index];
    void *member = (char *)target + setting->offset;
    bool good = false;
    switch (setting->type) {
    case BASE_SETTING_STRING: good = set_text(setting, value, member); break;
    case BASE_SETTING_PATH:
        good = set_path(setting, value, place->folder, member);
        break;
    case BASE_SETTING_BOOL: good = parse_bool(value, member); break;
    case BASE_SETTING_UNSIGNED:
        good = set_unsigned(setting, value, member);
        break;
    case BASE_SETTING_SIGNED: good = set_signed(setting, value, member); break;
    case BASE_SETTING_DOUBLE: good = set_double(setting, value, member); break;
    case BASE_SETTING_ENUM: good = set_enum(setting, value, member); break;
    }
    return good ? BASE_OK : refuse(setting, value, place, error);
}

static uint64_t load_integer(const void *member, size_t size)
{
    uint64_t bits = 0;
    memcpy(&bits, member, size);
    return bits;
}

static int64_t load_signed(const void *member, size_t size)
{
    if (size == sizeof(int32_t))
        return (int32_t)load_integer(member, size);
    return (int64_t)load_integer(member, size);
}

/* As few digits as bring the same value back. */
static int print_real(const struct base_setting *setting, const void *member,
                      char *text, size_t size)
{
    bool narrow = setting->size == sizeof(float);
    double value = narrow ? (double)*(const float *)member
                          : *(const double *)member;
    char digits[40];
    for (int precision = 1; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, value);
        double back = strtod(digits, NULL);
        if (narrow ? (float)back == (float)value : back == value)
            break;
    }
    return snprintf(text, size, "%s", digits);
}

int base_settings_text(const struct base_settings *settings, unsigned index,
                       const void *target, char *text, size_t size)
{
    const struct base_setting *setting = &settings->table[index];
    const void *member = (const char *)target + setting->offset;
    uint64_t bits;
    switch (setting->type) {
    case BASE_SETTING_STRING:
    case BASE_SETTING_PATH:
        return snprintf(text, size, "%s", (const char *)member);
    case BASE_SETTING_SIGNED:
        return snprintf(text, size, "%lld",
                        (long long)load_signed(member, setting->size));
    case BASE_SETTING_DOUBLE: return print_real(setting, member, text, size);
    default: break;
    }
    bits = load_integer(member, setting->size);
    if (setting->type == BASE_SETTING_BOOL)
        return snprintf(text, size, "%s", bits ? "true" : "false");
    if (setting->type == BASE_SETTING_ENUM)
        return snprintf(text, size, "%s", setting->choices[bits]);
    return snprintf(text, size, "%llu", (unsigned long long)bits);
}

enum base_status base_settings_default(const struct base_settings *settings,
                                       const struct base_setting_place *place,
                                       void *target, struct base_error *error)
{
    for (unsigned i = 0; i < settings->count; i++) {
        const struct base_setting *setting = &settings->table[i];
        enum base_status status;
        if (!setting->fallback) {
            memset((char *)target + setting->offset, 0, setting->size);
            continue;
        }
        status = base_settings_set(settings, i, setting->fallback, place,
                                   target, error);
        if (status != BASE_OK)
            return base_wrap(error, "default");
    }
    return BASE_OK;
}

enum { KEY_MAX = 128 };

/* Levenshtein distance of two short texts; anything longer counts as far. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[KEY_MAX + 1];
    size_t width = strlen(b);
    if (width > KEY_MAX || strlen(a) > KEY_MAX)
        return 2 * KEY_MAX;
    for (size_t j = 0; j <= width; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; a[i - 1]; i++) {
        unsigned corner = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= width; j++) {
            unsigned change = corner + (a[i - 1] != b[j - 1]);
            corner = row[j];
            unsigned grow = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = change < grow ? change : grow;
        }
    }
    return row[width];
}

/* A key that only lost its folder ("batch_size") is near as well. */
static unsigned difference(const char *name, const char *key)
{
    const char *last = strrchr(name, '.');
    const char *given = strrchr(key, '.');
    unsigned whole = distance(name, key);
    unsigned tail = distance(last ? last + 1 : name, given ? given + 1 : key);
    return tail == 0 ? 1 : whole;
}

enum base_status base_settings_unknown(const struct base_settings *settings,
                                       const char *key,
                                       const struct base_setting_place *place,
                                       struct base_error *error)
{
    char where[600];
    const char *nearest = NULL;
    unsigned best = (unsigned)strlen(key) / 3 + 2;
    for (unsigned i = 0; i < settings->count; i++) {
        unsigned d = difference(settings->table[i].name, key);
        if (d < best) {
            best = d;
            nearest = settings->table[i].name;
        }
    }
    base_setting_place_text(place, where, sizeof where);
    if (nearest)
        return base_fail(error, BASE_CONFIG,
                         "%s%.200s: no such setting; did you mean \"%s\"?",
                         where, key, nearest);
    return base_fail(error, BASE_CONFIG, "%s%.200s: no such setting", where,
                     key);
}

void base_settings_reference(const struct base_settings *settings, FILE *out)
{
    for (unsigned i = 0; i < settings->count; i++) {
        const struct base_setting *setting = &settings->table[i];
        char allowed[400];
        print_allowed(allowed, sizeof allowed, setting);
        fprintf(out, "%s\n    %s\n    allowed: %s\n    default: %s%s%s\n\n",
                setting->name, setting->doc, allowed,
                !setting->fallback     ? "none, must be given"
                : setting->fallback[0] ? setting->fallback
                                       : "empty",
                setting->fallback && setting->fallback[0] && setting->unit ? " "
                                                                           : "",
                setting->fallback && setting->fallback[0] && setting->unit
                    ? setting->unit
                    : "");
    }
}
