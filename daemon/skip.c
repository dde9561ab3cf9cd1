/* SPDX-License-Identifier: Apache-2.0 */
/* `interestd skip`: an operator's word that a partition which stopped for
 * cause goes on, and what may be lost for it. The daemon must be down. One
 * thread; ingest.h has the rules. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/commands.h"
#include "daemon/config.h"
#include "daemon/options.h"
#include "ingest/ingest.h"

static const char about[] =
    "Lets a partition go on that the daemon stopped: its place was removed by\n"
    "retention, its topic was made anew or cut short, a batch is damaged. Stop "
    "the\ndaemon first. Says what will be done and what is lost for good; only "
    "with --yes\nis it done, as a recorded decision.\n\n"
    "  --from earliest  the log as read so far: where it begins now, or where "
    "we are.\n"
    "                   Another log (made anew): its begin\n"
    "  --from latest    the log's end: all before it is lost\n"
    "  --from OFFSET    needs --topic; behind a damaged batch, for one\n\n"
    "Lost offsets count in the ledger's bucket \"lost\". Of another log the "
    "ledger\nstarts again: `start` and `next` are its offsets, `before` is how "
    "many were\nconsumed of the former ones, whose buckets stay; what the "
    "former log still had\nis not counted. Events older than what was read "
    "before are late there too. A log\nthat was cut short cannot be told from "
    "one made anew: --from earliest would\nread what is left of it once more, "
    "--from latest does not.\n"
    "Pending impressions of the number leave without a label. Rebuilds that "
    "are given\nthe decisions refuse such a file: what is lost cannot be "
    "repeated.";

static enum base_status read_partition(const char *text, int32_t *partition,
                                       struct base_error *error)
{
    char *end;
    *partition = -1;
    if (strcmp(text, "all") == 0)
        return BASE_OK;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || number > INT_MAX)
        return base_fail(error, BASE_USAGE,
                         "--partition is a number or \"all\", not \"%.100s\"",
                         text);
    *partition = (int32_t)number;
    return BASE_OK;
}

static enum base_status read_from(const char *text,
                                  struct ingest_resume *asked,
                                  struct base_error *error)
{
    char *end;
    errno = 0;
    asked->from = INGEST_OFFSET;
    if (strcmp(text, "earliest") == 0)
        asked->from = INGEST_EARLIEST;
    else if (strcmp(text, "latest") == 0)
        asked->from = INGEST_LATEST;
    else if (text[0] < '0' || text[0] > '9' ||
             (asked->offset = strtoll(text, &end, 10), *end) || errno)
        return base_fail(error, BASE_USAGE,
                         "--from is \"earliest\", \"latest\" or an offset, "
                         "not \"%.100s\"", text);
    return BASE_OK;
}

static enum base_status read_topic(const char *text, int *topic,
                                   struct base_error *error)
{
    static const char *const names[] = {"impressions", "clicks"};
    *topic = -1;
    if (!text)
        return BASE_OK;
    for (int i = 0; i < INGEST_TOPICS; i++)
        if (strcmp(text, names[i]) == 0)
            *topic = i;
    return *topic >= 0 ? BASE_OK
                       : base_fail(error, BASE_USAGE,
                                   "--topic is \"impressions\" or \"clicks\", "
                                   "not \"%.100s\"", text);
}

static enum base_status parse(int argc, char **argv,
                              struct daemon_config *config,
                              struct ingest_resume *asked,
                              struct base_error *error)
{
    const char *file = NULL, *partition = NULL, *from = NULL, *topic = NULL;
    struct option_list sets = {0};
    const struct option table[] = {
        {"config", OPTION_TEXT, &file, "FILE", true,
         "the daemon's file, which names state and brokers"},
        {"set", OPTION_LIST, &sets, "KEY=VALUE", false,
         "a setting over the file's"},
        {"partition", OPTION_TEXT, &partition, "N|all", true,
         "number, in both topics"},
        {"from", OPTION_TEXT, &from, "PLACE", true,
         "earliest, latest or an offset"},
        {"topic", OPTION_TEXT, &topic, "TOPIC", false,
         "impressions or clicks alone; the other one stays where it is"},
        {"accept-cluster", OPTION_FLAG, &asked->accept_cluster, NULL, false,
         "the brokers may be another cluster; with --partition all"},
        {"yes", OPTION_FLAG, &asked->yes, NULL, false,
         "do it; else only what would be done is said"},
    };
    const struct options options = {
        .usage = "interestd skip --config FILE --partition N --from "
                 "earliest|latest|OFFSET\n       [--topic impressions|clicks] "
                 "[--accept-cluster] [--yes]",
        .about = about, .table = table,
        .count = sizeof table / sizeof table[0]};
    if (options_parse(&options, argc, argv, error) ||
        read_partition(partition, &asked->partition, error) ||
        read_from(from, asked, error) ||
        read_topic(topic, &asked->topic, error))
        return error->status;
    return daemon_config_load_with(file, sets.values, sets.count, config,
                                   error);
}

int daemon_skip_main(int argc, char **argv)
{
    struct base_error error = {.text = ""};
    struct ingest_resume asked = {0};
    struct daemon_config *config = malloc(sizeof *config);
    enum base_status status =
        config ? parse(argc, argv, config, &asked, &error)
               : base_fail(&error, BASE_SYSTEM, "no memory");
    if (!status)
        status = ingest_resume(&config->ingest, &asked, stdout, &error);
    free(config);
    return options_exit("skip", status, &error);
}
