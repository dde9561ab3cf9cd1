/* SPDX-License-Identifier: Apache-2.0 */
/* One line of a settings table, by type: short names, for the .c files that
 * hold such a table (settings.h) and for nobody else. */
#ifndef BASE_SETTING_LINES_H
#define BASE_SETTING_LINES_H

#include "base/settings.h"

#define TEXT(name, at, fallback, least, doc)                                   \
    {                                                                          \
        name, BASE_SETTING_STRING, at, fallback, least, 0, NULL, NULL, doc     \
    }
#define PATH(name, at, fallback, least, doc)                                   \
    {                                                                          \
        name, BASE_SETTING_PATH, at, fallback, least, 0, NULL, NULL, doc       \
    }
#define FLAG(name, at, fallback, doc)                                          \
    {                                                                          \
        name, BASE_SETTING_BOOL, at, fallback, 0, 1, NULL, NULL, doc           \
    }
#define COUNT(name, at, fallback, min, max, unit, doc)                         \
    {                                                                          \
        name, BASE_SETTING_UNSIGNED, at, fallback, min, max, unit, NULL, doc   \
    }
#define TIME(name, at, fallback, min, max, doc)                                \
    {                                                                          \
        name, BASE_SETTING_SIGNED, at, fallback, min, max, "ms", NULL, doc     \
    }
#define REAL(name, at, fallback, min, max, doc)                                \
    {                                                                          \
        name, BASE_SETTING_DOUBLE, at, fallback, min, max, NULL, NULL, doc     \
    }
#define CHOICE(name, at, fallback, choices, doc)                               \
    {                                                                          \
        name, BASE_SETTING_ENUM, at, fallback, 0, 0, NULL, choices, doc        \
    }

#endif
