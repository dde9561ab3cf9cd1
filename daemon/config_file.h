/* SPDX-License-Identifier: Apache-2.0 */
/* YAML events to (dotted key, value, line, column): the only file that knows
 * libyaml. Knows mappings of mappings of scalars and of lists of scalars and,
 * under given names, lists of flat mappings; everything else is refused with
 * its place. */
#ifndef DAEMON_CONFIG_FILE_H
#define DAEMON_CONFIG_FILE_H

#include "base/settings.h"
#include "base/status.h"

/* An entry of a list of mappings. */
struct config_entry {
    const char *list; /* "features" */
    unsigned number;  /* from 0 */
};

struct config_visitor {
    void *self;
    const char *const *lists; /* keys that hold a list of mappings; NULL ends */
    /* entry: the list entry the key stands in, NULL: none; key is then the key
     * within the entry. A list of scalars comes as one value, "a,b,c". */
    enum base_status (*scalar)(void *self, const struct config_entry *entry,
                               const char *key, const char *value,
                               const struct base_setting_place *place,
                               struct base_error *error);
    /* A list entry begins. */
    enum base_status (*begin)(void *self, const struct config_entry *entry,
                              const struct base_setting_place *place,
                              struct base_error *error);
};

/* Reads `path` and hands over every scalar in order. */
enum base_status config_file_walk(const char *path, const char *folder,
                                  const struct config_visitor *visitor,
                                  struct base_error *error) BASE_MUST_CHECK;

#endif
