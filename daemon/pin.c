/* SPDX-License-Identifier: Apache-2.0 */
/* `interestd pin`, `interestd unpin` and `interestd versions`: which published
 * versions there are, and which of them stay whatever comes. They work on the
 * model folder alone, beside a daemon or without one. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <jansson.h>

#include "daemon/commands.h"
#include "daemon/options.h"
#include "snapshot/snapshot.h"

/* A version by name, after the model folder. */
static int change(const char *command, const char *usage, const char *about,
                  enum base_status (*apply)(const char *folder,
                                            const char *name,
                                            struct base_error *error),
                  int argc, char **argv)
{
    const char *folder = NULL, *name[1] = {NULL};
    const struct option table[] = {
        {"model", OPTION_TEXT, &folder, "DIR", true, "the model folder"},
    };
    const struct options options = {.usage = usage,
                                    .about = about,
                                    .table = table,
                                    .count = 1,
                                    .positional_max = 1,
                                    .positional = name};
    struct base_error error;
    enum base_status status = options_parse(&options, argc, argv, &error);
    if (status == BASE_OK && !name[0])
        status = base_fail(&error, BASE_USAGE,
                           "name a version; interestd versions lists them");
    if (status == BASE_OK)
        status = apply(folder, name[0], &error);
    return options_exit(command, status, &error);
}

int daemon_pin_main(int argc, char **argv)
{
    return change("pin", "interestd pin VERSION --model DIR",
                  "Keeps a published version, with all that is needed to load "
                  "it, until it is\nunpinned. VERSION is a folder's name, "
                  "v<epoch>-<version>.",
                  snapshot_pin, argc, argv);
}

int daemon_unpin_main(int argc, char **argv)
{
    return change("unpin", "interestd unpin VERSION --model DIR",
                  "Takes back what `interestd pin` said: the version goes when "
                  "newer ones push it\nout.",
                  snapshot_unpin, argc, argv);
}

static void print(void *self, const struct snapshot_listed *version)
{
    char created[32] = "-";
    time_t seconds = (time_t)(version->created_ms / 1000);
    struct tm utc;
    (void)self;
    if (version->sound && gmtime_r(&seconds, &utc))
        strftime(created, sizeof created, "%Y-%m-%dT%H:%M:%SZ", &utc);
    printf("%-24s %s %s position=%llu bytes=%llu auc=%.4f calibration=%.4f",
           version->name, created, version->delta ? "delta" : "base ",
           (unsigned long long)version->position,
           (unsigned long long)version->bytes, version->judged.auc,
           version->judged.calibration);
    if (version->rollback_version)
        printf(" rollback-of-v%llu-%llu",
               (unsigned long long)version->rollback_epoch,
               (unsigned long long)version->rollback_version);
    printf("%s%s%s%s%s\n", version->judged.forced ? " forced" : "",
           version->beside ? " base-beside" : "",
           version->current ? " current" : "",
           version->pinned ? " pinned" : "",
           version->loadable ? "" : " not-loadable");
}

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static void print_json(void *self, const struct snapshot_listed *version)
{
    const struct snapshot_judged *judged = &version->judged;
    (void)self;
    json_t *object = json_pack(
        "{s:s,s:I,s:I,s:s,s:b,s:b,s:b,s:b,s:I,s:I,s:I,s:I,s:o}", "name",
        version->name, "epoch", (json_int_t)version->epoch, "version",
        (json_int_t)version->version, "kind",
        version->delta ? "delta" : "base", "base_beside", version->beside,
        "current", version->current, "pinned", version->pinned, "loadable",
        version->loadable, "position", (json_int_t)version->position,
        "created_ms", (json_int_t)version->created_ms, "newest_event_ms",
        (json_int_t)version->newest_event_ms, "bytes",
        (json_int_t)version->bytes, "gate",
        json_pack("{s:I,s:o,s:o,s:o,s:b}", "samples",
                  (json_int_t)judged->samples, "auc", number(judged->auc),
                  "calibration", number(judged->calibration), "dense_norm",
                  number(judged->dense_norm), "forced", judged->forced));
    if (object && version->rollback_version)
        json_object_set_new(
            object, "rollback_of",
            json_pack("{s:I,s:I}", "epoch",
                      (json_int_t)version->rollback_epoch, "version",
                      (json_int_t)version->rollback_version));
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    if (text)
        puts(text);
    json_decref(object);
    free(text);
}

int daemon_versions_main(int argc, char **argv)
{
    const char *folder = NULL;
    bool json = false;
    const struct option table[] = {
        {"model", OPTION_TEXT, &folder, "DIR", true, "the model folder"},
        {"json", OPTION_FLAG, &json, NULL, false, "one JSON object a line"},
    };
    const struct options options = {
        .usage = "interestd versions --model DIR [--json]",
        .about = "Lists the versions of a model folder, oldest first: when they "
                 "were published,\nof which journal position, what the gate "
                 "saw, which is current, which are pinned.",
        .table = table,
        .count = sizeof table / sizeof table[0],
    };
    struct base_error error;
    enum base_status status = options_parse(&options, argc, argv, &error);
    if (status == BASE_OK)
        status = snapshot_list(folder, json ? print_json : print, NULL, &error);
    return options_exit("versions", status, &error);
}
