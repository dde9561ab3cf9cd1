/* SPDX-License-Identifier: Apache-2.0 */
/* Files that the executable carries (embed.cmake makes the tables). Read
 * only. */
#ifndef DAEMON_EMBEDDED_H
#define DAEMON_EMBEDDED_H

#include <stddef.h>

struct daemon_embedded {
    const char *name; /* without folder; NULL ends the table */
    const unsigned char *data;
    size_t size;
};

extern const struct daemon_embedded daemon_embedded[]; /* the demo's
    configuration, the schemas */
extern const struct daemon_embedded daemon_page_files[]; /* page.h */

#endif
