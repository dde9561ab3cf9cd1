/* SPDX-License-Identifier: Apache-2.0 */
/* The page's files; see page.h. */
#include "daemon/page.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "daemon/embedded.h"

enum { MANIFEST_MAX = 8 << 20 };

const char daemon_page_policy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'";

static const struct {
    const char *ending, *type;
} types[] = {
    {".html", "text/html; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
};

static const char *type_of(const char *name)
{
    const char *ending = strrchr(name, '.');
    for (size_t i = 0; ending && i < sizeof types / sizeof types[0]; i++)
        if (strcmp(types[i].ending, ending) == 0)
            return types[i].type;
    return "application/octet-stream";
}

bool daemon_page_find(const char *url, struct daemon_page_file *file)
{
    static const char prefix[] = "/page/";
    const char *name = strcmp(url, "/") == 0 ? "index.html"
                       : strncmp(url, prefix, sizeof prefix - 1) == 0
                           ? url + sizeof prefix - 1
                           : "";
    for (const struct daemon_embedded *one = daemon_page_files; one->name;
         one++)
        if (strcmp(one->name, name) == 0) {
            *file =
                (struct daemon_page_file){type_of(name), one->data, one->size};
            return true;
        }
    return false;
}

enum base_status daemon_page_manifest(const char *folder, const char *name,
                                      char **text, struct base_error *error)
{
    char path[1400];
    unsigned long long epoch, version;
    size_t size;
    int end = 0;
    if (sscanf(name, "v%20llu-%20llu%n", &epoch, &version, &end) != 2 ||
        name[end] || strlen(name) > 48)
        return base_fail(error, BASE_USAGE,
                         "a version's name is v<epoch>-<version>");
    int used = snprintf(path, sizeof path, "%s/v%llu-%llu/manifest.json",
                        folder, epoch, version);
    if (used < 0 || (size_t)used >= sizeof path)
        return base_fail(error, BASE_LIMIT, "the model folder's path is long");
    return base_file_read(path, MANIFEST_MAX, text, &size, error);
}
