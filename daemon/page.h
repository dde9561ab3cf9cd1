/* SPDX-License-Identifier: Apache-2.0 */
/* What the page at / is made of: the files of daemon/page, which the
 * executable carries together with the library that draws its curves, and the
 * manifest of a version. The page fetches nothing from elsewhere, which its
 * Content-Security-Policy also says. Role loop. */
#ifndef DAEMON_PAGE_H
#define DAEMON_PAGE_H

#include <stddef.h>

#include "base/status.h"

struct daemon_page_file {
    const char *type; /* of the content */
    const unsigned char *data;
    size_t size;
};

extern const char daemon_page_policy[];

/* The file of "/" or "/page/NAME"; false: there is none. */
bool daemon_page_find(const char *url, struct daemon_page_file *file);

/* manifest.json of the version v<epoch>-<version> of the model folder, to be
 * freed. BASE_USAGE where `name` is no such name, BASE_NO_INPUT where there is
 * no such version. Reads a small file that was written lately. */
enum base_status daemon_page_manifest(const char *folder, const char *name,
                                      char **text,
                                      struct base_error *error) BASE_MUST_CHECK;

#endif
