/* SPDX-License-Identifier: Apache-2.0 */
/* Resume: lets partitions that stopped for cause go on; see ingest.h for the
 * rules. Asks the brokers first, plans every move, prints all of them, and
 * only then changes the state: one transaction for everything.
 *
 * 1. Without `yes` nothing is written.
 * 2. No offset of a log that was read is read again: what is not known to be
 *    another log only goes forward.
 * 3. Of another cluster every partition is another log, but where the very
 *    record of its anchor stands at its offset (a copy that keeps offsets).
 *
 * One thread. Does not judge while the daemon runs (opening.c, intake.c). */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ingest/anchor.h"
#include "ingest/state.h"
#include "ingest/topics.h"

enum { TRIES = 5 };

struct resume {
    const struct ingest_config *config;
    const struct ingest_resume *asked;
    FILE *out;
    struct ingest_state *state;
    rd_kafka_t *helper;
    char cluster[256];
    bool other_cluster;
    /* Of the partition numbers asked for, both topics. */
    unsigned count, moves;
    struct ingest_position positions[INGEST_PARTITIONS_MAX];
    unsigned slots[INGEST_PARTITIONS_MAX]; /* 0, 1, .. */
    int64_t low[INGEST_PARTITIONS_MAX], high[INGEST_PARTITIONS_MAX];
    enum ingest_anchor anchors[INGEST_PARTITIONS_MAX];
    bool moved[INGEST_PARTITIONS_MAX];
    struct ingest_skip skips[INGEST_PARTITIONS_MAX];
};

/* ---- what is there ------------------------------------------------------ */

static enum base_status open_state(struct resume *resume,
                                   struct base_error *error)
{
    char path[1100];
    snprintf(path, sizeof path, "%s/data.mdb", resume->config->folder);
    if (access(path, R_OK))
        return base_fail_errno(error, errno, "no state in %s",
                               resume->config->folder);
    enum base_status status =
        ingest_state_open(resume->config, &resume->state, error);
    return status == BASE_UNAVAILABLE
               ? base_wrap(error, "stop the daemon first, its partitions are "
                                  "resumed while it is down")
               : status;
}

static enum base_status choose(struct resume *resume, struct base_error *error)
{
    unsigned count;
    const struct ingest_position *positions =
        ingest_state_positions(resume->state, &count);
    for (unsigned i = 0; i < count; i++) {
        if (resume->asked->partition >= 0 &&
            positions[i].partition != resume->asked->partition)
            continue;
        resume->slots[resume->count] = resume->count;
        resume->positions[resume->count++] = positions[i];
    }
    return resume->count ? BASE_OK
                         : base_fail(error, BASE_USAGE,
                                     "the state has never read partition %d",
                                     (int)resume->asked->partition);
}

static enum base_status ask_cluster(struct resume *resume,
                                    struct base_error *error)
{
    const char *known = ingest_state_cluster(resume->state);
    if (ingest_topics_cluster(resume->helper, resume->cluster,
                              sizeof resume->cluster, error))
        return error->status;
    resume->other_cluster = known[0] && strcmp(known, resume->cluster) != 0;
    if (resume->other_cluster && !resume->asked->accept_cluster)
        return base_fail(error, BASE_CONFIG,
                         "the brokers are cluster %s, the state was read from "
                         "%s; --accept-cluster with --partition all takes "
                         "the new one", resume->cluster, known);
    return BASE_OK;
}

static enum base_status ask(struct resume *resume, struct base_error *error)
{
    static const atomic_bool never;
    unsigned count;
    if (ingest_topics_count(resume->helper, resume->config, &count, error))
        return error->status;
    for (unsigned i = 0; i < resume->count; i++)
        if ((unsigned)resume->positions[i].partition >= count)
            return base_fail(error, BASE_CONFIG,
                             "the topics have %u partitions now, the state "
                             "has read number %d; a state is not carried over "
                             "to fewer", count,
                             resume->positions[i].partition);
    if (ask_cluster(resume, error) ||
        ingest_topics_ranges(resume->helper, resume->config, resume->positions,
                             resume->slots, resume->count, resume->low,
                             resume->high, error))
        return error->status;
    return ingest_anchor_check(resume->helper, resume->config,
                               resume->positions, resume->count,
                               INGEST_ANSWER_MS, &never, resume->anchors,
                               error);
}

static enum base_status ask_brokers(struct resume *resume,
                                    struct base_error *error)
{
    const struct ingest_kafka_callbacks callbacks = {.self = NULL};
    enum base_status status =
        ingest_kafka_new(resume->config, INGEST_KAFKA_HELPER, 0, &callbacks,
                         &resume->helper, error);
    for (int i = 0; !status && i < TRIES; i++) {
        *error = (struct base_error){.text = ""};
        status = ask(resume, error);
        if (!status || !error->retriable)
            return status;
        status = i + 1 < TRIES ? BASE_OK : status;
    }
    return status;
}

/* ---- what to do --------------------------------------------------------- */

static const char *topic_of(const struct resume *resume, unsigned i)
{
    return resume->config->topics[resume->positions[i].topic].name;
}

static bool is_other_log(const struct resume *resume, unsigned i)
{
    if (resume->other_cluster)
        return resume->anchors[i] != INGEST_ANCHOR_SAME;
    return resume->anchors[i] == INGEST_ANCHOR_OTHER ||
           resume->positions[i].next > resume->high[i];
}

static enum base_status plan_one(struct resume *resume, unsigned i,
                                 struct base_error *error)
{
    const struct ingest_position *position = &resume->positions[i];
    const struct ingest_resume *asked = resume->asked;
    int64_t low = resume->low[i], high = resume->high[i];
    bool other = is_other_log(resume, i);
    int64_t least = other || position->next < low ? low : position->next;
    int64_t to = asked->from == INGEST_EARLIEST ? least
                 : asked->from == INGEST_LATEST ? high
                                                : asked->offset;
    if (to < least || to > high)
        return base_fail(error, BASE_USAGE,
                         "%s/%d can go on from %lld to %lld, not at %lld",
                         topic_of(resume, i), position->partition,
                         (long long)least, (long long)high, (long long)to);
    resume->moved[i] = other || to != position->next;
    resume->moves += resume->moved[i];
    resume->skips[i] = (struct ingest_skip){
        .topic = position->topic, .partition = position->partition,
        .start = other ? low : -1, .to = to};
    return BASE_OK;
}

static enum base_status plan(struct resume *resume, struct base_error *error)
{
    for (unsigned i = 0; i < resume->count; i++)
        if ((resume->asked->topic < 0 ||
             resume->asked->topic == resume->positions[i].topic) &&
            plan_one(resume, i, error))
            return error->status;
    return BASE_OK;
}

static void print_move(const struct resume *resume, unsigned i)
{
    const struct ingest_skip *skip = &resume->skips[i];
    long long next = resume->positions[i].next, to = skip->to;
    long long from = skip->start < 0 ? next : skip->start;
    if (skip->start >= 0)
        fprintf(resume->out,
                "  it is another log than the one that was read%s: its "
                "offsets count anew from %lld on;\n  of the former one all "
                "from %lld on is lost, how much is not known\n",
                resume->other_cluster ? " (another cluster)" : "",
                (long long)skip->start, next);
    if (to > from)
        fprintf(resume->out, "  lost: offsets %lld to %lld, %lld of them, "
                "in bucket \"lost\"\n", from, to - 1, to - from);
    fprintf(resume->out, "  goes on at %lld\n", to);
}

static void print_plan(const struct resume *resume)
{
    for (unsigned i = 0; i < resume->count; i++) {
        long long next = resume->positions[i].next;
        fprintf(resume->out, "%s/%d: comes next %lld, the log holds [%lld, "
                "%lld)\n", topic_of(resume, i), resume->positions[i].partition,
                next, (long long)resume->low[i], (long long)resume->high[i]);
        if (resume->moved[i])
            print_move(resume, i);
        else if (is_other_log(resume, i) || next < resume->low[i])
            fprintf(resume->out, "  does not fit and is not asked for: it "
                    "will stop again\n");
        else
            fprintf(resume->out, "  goes on where it is\n");
    }
    if (resume->other_cluster)
        fprintf(resume->out, "cluster %s is taken for %s\n", resume->cluster,
                ingest_state_cluster(resume->state));
    if (resume->moves || resume->other_cluster)
        fprintf(resume->out, "%s\n", resume->asked->yes
                    ? "What waits of these partition numbers leaves without "
                      "a label."
                    : "Nothing is changed yet; --yes does it.");
    else
        fprintf(resume->out, "There is nothing to change.\n");
}

static enum base_status change(struct resume *resume, struct base_error *error)
{
    enum base_status status = ingest_state_begin(resume->state, error);
    if (!status && resume->other_cluster)
        status = ingest_state_accept_cluster(resume->state, resume->cluster,
                                             error);
    for (unsigned i = 0; !status && i < resume->count; i++)
        if (resume->moved[i])
            status = ingest_state_skip(resume->state, &resume->skips[i],
                                       error);
    return status ? status : ingest_state_commit(resume->state, error);
}

static enum base_status check_asked(const struct ingest_resume *asked,
                                    struct base_error *error)
{
    if (asked->from == INGEST_OFFSET &&
        (asked->partition < 0 || asked->topic < 0))
        return base_fail(error, BASE_USAGE,
                         "an offset is one of one topic and one partition");
    if (asked->accept_cluster && (asked->partition >= 0 || asked->topic >= 0))
        return base_fail(error, BASE_USAGE,
                         "another cluster is accepted for all partitions of "
                         "both topics at once");
    return BASE_OK;
}

enum base_status ingest_resume(const struct ingest_config *config,
                               const struct ingest_resume *asked, FILE *out,
                               struct base_error *error)
{
    enum base_status status = check_asked(asked, error);
    if (status)
        return status;
    struct resume *resume = calloc(1, sizeof *resume);
    if (!resume)
        return base_fail(error, BASE_SYSTEM, "resume: no memory");
    resume->config = config;
    resume->asked = asked;
    resume->out = out;
    status = open_state(resume, error);
    if (!status)
        status = choose(resume, error);
    if (!status)
        status = ask_brokers(resume, error);
    if (!status)
        status = plan(resume, error);
    if (!status)
        print_plan(resume);
    if (!status && asked->yes && (resume->moves || resume->other_cluster))
        status = change(resume, error);
    ingest_kafka_free(resume->helper);
    ingest_state_free(resume->state);
    free(resume);
    return status;
}
