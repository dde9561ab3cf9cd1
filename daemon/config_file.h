/* SPDX-License-Identifier: Apache-2.0 */
/* YAML events to (dotted key, value, line, column): the only file that knows
 * libyaml. Knows mappings of mappings of scalars and, under one name, a list
 * of flat mappings; everything else is refused with its place. */
#ifndef DAEMON_CONFIG_FILE_H
#define DAEMON_CONFIG_FILE_H

#include "base/settings.h"
#include "base/status.h"

struct config_visitor {
    void *self;
    const char *list; /* the one key that holds a list of mappings */
    /* entry: number of the list entry the key stands in, from 0; -1: none.
     * key is then the key within the entry. */
    enum base_status (*scalar)(void *self, int entry, const char *key,
                               const char *value,
                               const struct base_setting_place *place,
                               struct base_error *error);
    /* List entry `entry` begins. */
    enum base_status (*begin)(void *self, int entry,
                              const struct base_setting_place *place,
                              struct base_error *error);
};

/* Reads `path` and hands over every scalar in order. */
enum base_status config_file_walk(const char *path, const char *folder,
                                  const struct config_visitor *visitor,
                                  struct base_error *error) BASE_MUST_CHECK;

#endif
