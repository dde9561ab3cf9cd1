/* SPDX-License-Identifier: Apache-2.0 */
/* `interestd fsck`: reads all that is kept and verifies it: hashes of every
 * value of the store, the journal's chain, the ledger's sums, every checkpoint,
 * the published version with its golden requests. Reads only; a running daemon
 * is not disturbed. Goes on after what is damaged, so that one run says all;
 * repairs nothing. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "daemon/commands.h"
#include "daemon/config.h"
#include "daemon/options.h"
#include "ingest/ingest.h"
#include "learner/learner.h"
#include "snapshot/interest.h"

struct fsck {
    bool json;
    unsigned damaged;
    unsigned parts;
};

/* error NULL: all well; count is of `things`. */
static void report(struct fsck *fsck, const char *part, uint64_t count,
                   const char *things, const struct base_error *error)
{
    fsck->parts++;
    fsck->damaged += error != NULL;
    if (fsck->json) {
        printf("%s{\"part\":\"%s\",\"good\":%s,\"count\":%" PRIu64,
               fsck->parts > 1 ? ",\n " : "[", part,
               error ? "false" : "true", count);
        if (error) {
            fputs(",\"error\":\"", stdout);
            for (const char *at = error->text; *at; at++)
                if (*at == '"' || *at == '\\')
                    printf("\\%c", *at);
                else if ((unsigned char)*at >= 0x20)
                    putchar(*at);
            putchar('"');
        }
        putchar('}');
    } else {
        printf("%-14s %-8s %" PRIu64 " %s\n", part,
               error ? "DAMAGED" : "good", count, things);
        if (error)
            printf("  %s\n", error->text);
    }
    fflush(stdout);
}

/* ---- the store ----------------------------------------------------------- */

static ssize_t count_lines(void *self, const char *text, size_t size)
{
    uint64_t *lines = self;
    for (size_t i = 0; i < size; i++)
        *lines += text[i] == '\n';
    return (ssize_t)size;
}

static enum base_status check_store(struct fsck *fsck, const char *folder,
                                    struct base_error *error)
{
    for (int i = 0; i < INGEST_INSPECT_COUNT; i++) {
        enum ingest_inspect view = (enum ingest_inspect)i;
        uint64_t lines = 0;
        FILE *counter = fopencookie(
            &lines, "w", (cookie_io_functions_t){.write = count_lines});
        if (!counter)
            return base_fail(error, BASE_SYSTEM, "no memory");
        struct base_error found;
        enum base_status status = ingest_inspect(folder, view, counter, &found);
        fclose(counter);
        if (status == BASE_NO_INPUT || status == BASE_SYSTEM) {
            *error = found;
            return status;
        }
        report(fsck, ingest_inspect_name(view), lines, "lines",
               status ? &found : NULL);
    }
    return BASE_OK;
}

/* ---- checkpoints and the model ------------------------------------------- */

static int is_checkpoint(const struct dirent *entry)
{
    return strncmp(entry->d_name, "ck-", 3) == 0;
}

/* A folder of a model's checkpoints; one that is not there holds none. A
 * running daemon may remove one under our hands. */
static void check_checkpoints(struct fsck *fsck, const char *model,
                              const char *folder)
{
    struct dirent **names = NULL;
    int count = scandir(folder, &names, is_checkpoint, alphasort);
    uint64_t good = 0;
    struct base_error error, first;
    bool damaged = count < 0 && errno != ENOENT;
    if (damaged)
        (void)base_fail_errno(&first, errno, "%s", folder);
    for (int i = 0; i < count; i++) {
        char path[1400];
        struct learner_checkpoint *checkpoint = NULL;
        snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        if (learner_checkpoint_open(path, &checkpoint, &error) == BASE_OK)
            good++;
        else if (!damaged && access(path, F_OK) == 0)
            first = error, damaged = true;
        learner_checkpoint_free(checkpoint);
        free(names[i]);
    }
    free(names);
    char part[64];
    snprintf(part, sizeof part, "checkpoints%s%s", *model ? "/" : "", model);
    report(fsck, part, good, "good", damaged ? &first : NULL);
}

static void check_model(struct fsck *fsck, const char *folder)
{
    struct interest_model *model = NULL;
    struct interest_error error;
    int status = interest_open(folder, &model, &error);
    struct base_error found;
    if (status && status != INTEREST_NO_MODEL)
        (void)base_fail(&found, BASE_CORRUPT, "%s", error.text);
    report(fsck, "model", status ? 0 : 1, "published version",
           status && status != INTEREST_NO_MODEL ? &found : NULL);
    interest_close(model);
}

static enum base_status check_all(struct fsck *fsck,
                                  const struct daemon_config *config,
                                  struct base_error *error)
{
    enum base_status status = check_store(fsck, config->ingest.folder, error);
    if (status && fsck->json && fsck->parts)
        puts("]");
    if (status)
        return status;
    check_checkpoints(fsck, "", config->learner.folder);
    for (unsigned i = 0; i < config->shadow_count; i++)
        check_checkpoints(fsck, config->shadows[i].name,
                          config->shadows[i].folder);
    check_model(fsck, config->snapshot.folder);
    if (fsck->json)
        puts("]");
    return fsck->damaged
               ? base_fail(error, BASE_CORRUPT,
                           "%u of %u parts are damaged; stop the daemon and "
                           "restore them from a backup, or remove the state "
                           "to build it again from Kafka",
                           fsck->damaged, fsck->parts)
               : BASE_OK;
}

int daemon_fsck_main(int argc, char **argv)
{
    const char *file = NULL;
    struct option_list sets = {0};
    struct fsck fsck = {0};
    const struct option table[] = {
        {"config", OPTION_TEXT, &file, "FILE", true,
         "the daemon's file, which names the folders"},
        {"set", OPTION_LIST, &sets, "KEY=VALUE", false,
         "a setting over the file's"},
        {"json", OPTION_FLAG, &fsck.json, NULL, false,
         "the answer as one JSON array"},
    };
    const struct options options = {
        .usage = "interestd fsck --config FILE",
        .about = "Reads the whole state, its checkpoints and the published "
                 "model, and verifies\nevery hash, chain and sum. A daemon may "
                 "be running. Exit status 76: damaged.",
        .table = table,
        .count = sizeof table / sizeof table[0],
    };
    struct base_error error;
    enum base_status status = options_parse(&options, argc, argv, &error);
    struct daemon_config *config = NULL;
    if (status == BASE_OK && !(config = malloc(sizeof *config)))
        status = base_fail(&error, BASE_SYSTEM, "no memory");
    if (status == BASE_OK)
        status = daemon_config_load_with(file, sets.values, sets.count, config,
                                         &error);
    if (status == BASE_OK)
        status = check_all(&fsck, config, &error);
    free(config);
    return options_exit("fsck", status, &error);
}
