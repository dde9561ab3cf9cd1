/* SPDX-License-Identifier: Apache-2.0 */
/* /metrics in the Prometheus text format, from one list of name, kind, scale
 * and help. Names end in their base unit (_seconds, _bytes) or in _total for
 * counters. See status.h. */
#include "daemon/status.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "learner/settings.h"

enum kind { COUNTER, GAUGE };
enum form { INTEGER, REAL };

struct metric {
    const char *name;
    enum kind kind;
    enum form form;
    size_t offset; /* in struct daemon_status */
    double scale;  /* to the base unit */
    const char *help;
};

#define IN(member) INTEGER, offsetof(struct daemon_status, member), 1
#define SCALED(member, scale)                                                  \
    INTEGER, offsetof(struct daemon_status, member), scale
#define RE(member) REAL, offsetof(struct daemon_status, member), 1

static const struct metric metrics[] = {
    {"ingest_events_total", COUNTER, IN(ingest.events),
     "Events applied since the state was made."},
    {"ingest_commits_total", COUNTER, IN(ingest.commits),
     "Transactions committed since the state was made."},
    {"ingest_unaccounted_offsets", GAUGE, IN(ingest.unaccounted),
     "Consumed offsets in no bucket; anything but 0 ends the daemon."},
    {"ingest_lag_records", GAUGE, IN(ingest.lag_records),
     "Records in Kafka that are not applied yet; -1: unknown."},
    {"ingest_pending_impressions", GAUGE, IN(ingest.pending),
     "Impressions whose window is open."},
    {"ingest_users", GAUGE, IN(ingest.users), "Users with a sequence."},
    {"ingest_journal_end_positions", GAUGE, IN(ingest.journal_end),
     "Samples written to the journal."},
    {"ingest_journal_bytes", GAUGE, IN(ingest.journal_bytes),
     "Size of the kept journal."},
    {"ingest_map_used_bytes", GAUGE, IN(ingest.map_used_bytes),
     "Used part of the LMDB map."},
    {"ingest_last_commit_seconds", GAUGE, SCALED(ingest.last_commit_us, 1e-6),
     "Duration of the newest commit."},
    {"ingest_max_commit_seconds", GAUGE, SCALED(ingest.max_commit_us, 1e-6),
     "Longest commit of this process."},
    {"ingest_applied_timestamp_seconds", GAUGE, SCALED(ingest.applied_ms, 1e-3),
     "Event time of the last applied event."},
    {"ingest_history_cut_total", COUNTER, IN(ingest.history_cut),
     "Histories that lost behaviors to a late order of arrival."},
    {"ingest_floored_records_total", COUNTER, IN(ingest.floored_records),
     "Records that came after their turn and got a floor."},
    {"ingest_clamped_records_total", COUNTER, IN(ingest.clamped_records),
     "Records with a time ahead of the wall clock."},
    {"ingest_late_labels_lost_total", COUNTER, IN(ingest.late_labels_lost),
     "Clicks that came too late to label."},
    {"ingest_dead_letters_dropped_total", COUNTER,
     IN(ingest.dead_letters_dropped), "Dead letters beyond the cap."},
    {"ingest_decisions_total", COUNTER, IN(ingest.decisions),
     "Decisions by a clock or an operator."},
    {"ingest_features_cut_total", COUNTER, IN(ingest.features_cut),
     "Elements of multi-hot arrays beyond their places, in this process."},
    {"ingest_crossed_partitions_total", COUNTER, IN(ingest.crossed_partitions),
     "Events of a user in different partition numbers."},
    {"ingest_parked_partitions", GAUGE, IN(ingest.parked_partitions),
     "Partitions that wait for a schema of the registry."},
    {"ingest_registry_requests_total", COUNTER, IN(ingest.registry_requests),
     "Requests to the schema registry."},
    {"learner_position", GAUGE, IN(learner.position),
     "Journal position trained up to."},
    {"learner_samples_total", COUNTER, IN(learner.samples), "Samples trained."},
    {"learner_batches_total", COUNTER, IN(learner.batches), "Batches trained."},
    {"learner_rejected_total", COUNTER, IN(learner.rejected),
     "Samples of steps that were not finite."},
    {"learner_newest_event_timestamp_seconds", GAUGE,
     SCALED(learner.newest_event_ms, 1e-3),
     "Event time of the newest trained sample."},
    {"learner_table_bytes", GAUGE, IN(learner.table_bytes),
     "Memory of the embedding tables."},
    {"learner_checkpoints_total", COUNTER, IN(learner.checkpoints),
     "Checkpoints written by this process."},
    {"learner_checkpoint_position", GAUGE, IN(learner.checkpoint_position),
     "Position of the newest checkpoint."},
    {"learner_cut_waits_total", COUNTER, IN(learner.cut_waits),
     "Times the trainer waited for the checkpoint writer."},
    {"learner_busy_seconds_total", COUNTER, RE(learner.busy_seconds),
     "Time in training steps."},
    {"learner_auc", GAUGE, RE(learner.last_samples.auc),
     "Progressive AUC of the newest sample window."},
    {"learner_user_auc", GAUGE, RE(learner.last_samples.user_auc),
     "User-weighted progressive AUC of the newest sample window."},
    {"learner_log_loss", GAUGE, RE(learner.last_samples.log_loss),
     "Progressive log loss of the newest sample window."},
    {"learner_calibration", GAUGE, RE(learner.last_samples.calibration),
     "Predicted over observed clicks of the newest sample window."},
    {"publish_version", GAUGE, IN(publish.version), "Newest version."},
    {"publish_epoch", GAUGE, IN(publish.epoch), "Its epoch."},
    {"publish_position", GAUGE, IN(publish.position),
     "Journal position of its weights."},
    {"publish_created_timestamp_seconds", GAUGE,
     SCALED(publish.created_ms, 1e-3), "When it was published."},
    {"publish_versions_total", COUNTER, IN(publish.published),
     "Versions published by this process."},
    {"publish_failures_total", COUNTER, IN(publish.failed),
     "Publications that failed."},
    {"publish_last_seconds", GAUGE, SCALED(publish.last_us, 1e-6),
     "Duration of the newest publication."},
    {"loop_lag_seconds", GAUGE, SCALED(loop_lag_us, 1e-6),
     "Lateness of the event loop's last tick."},
};

#undef IN
#undef SCALED
#undef RE
#define IN(member) INTEGER, offsetof(struct daemon_model_status, member), 1
#define SCALED(member, scale)                                                  \
    INTEGER, offsetof(struct daemon_model_status, member), scale
#define RE(member) REAL, offsetof(struct daemon_model_status, member), 1

/* Of every model, with its name as a label. */
static const struct metric model_metrics[] = {
    {"model_begin_position", GAUGE, IN(learner.begin),
     "Journal position where the model began."},
    {"model_position", GAUGE, IN(learner.position),
     "Journal position trained up to."},
    {"model_samples_total", COUNTER, IN(learner.samples), "Samples trained."},
    {"model_rejected_total", COUNTER, IN(learner.rejected),
     "Samples of steps that were not finite."},
    {"model_newest_event_timestamp_seconds", GAUGE,
     SCALED(learner.newest_event_ms, 1e-3),
     "Event time of the newest trained sample."},
    {"model_table_bytes", GAUGE, IN(learner.table_bytes),
     "Memory of the embedding tables."},
    {"model_evicted_rows_total", COUNTER, IN(learner.evicted),
     "Rows that went by age, in this process."},
    {"model_admission_waiting_ids", GAUGE, IN(learner.admission_waiting),
     "Ids counted but not admitted, about."},
    {"model_busy_seconds_total", COUNTER, RE(learner.busy_seconds),
     "Time in training steps."},
    {"model_loss", GAUGE, RE(learner.loss),
     "Training loss of a sample, newest window."},
    {"model_auxiliary_loss", GAUGE, RE(learner.auxiliary_loss),
     "Auxiliary loss, newest window."},
    {"model_auc", GAUGE, RE(learner.last_samples.auc),
     "Progressive AUC of the newest sample window."},
    {"model_user_auc", GAUGE, RE(learner.last_samples.user_auc),
     "User-weighted progressive AUC of the newest sample window."},
    {"model_log_loss", GAUGE, RE(learner.last_samples.log_loss),
     "Progressive log loss of the newest sample window."},
    {"model_calibration", GAUGE, RE(learner.last_samples.calibration),
     "Predicted over observed clicks of the newest sample window."},
    {"model_total_auc", GAUGE, RE(learner.total.auc),
     "Progressive AUC since the model began."},
    {"model_total_log_loss", GAUGE, RE(learner.total.log_loss),
     "Progressive log loss since the model began."},
};

static void print_head(FILE *out, const char *name, enum kind kind,
                       const char *help)
{
    fprintf(out, "# HELP interestd_%s %s\n# TYPE interestd_%s %s\n", name, help,
            name, kind == COUNTER ? "counter" : "gauge");
}

static void print_real(FILE *out, double value)
{
    if (isnan(value))
        fprintf(out, " NaN\n");
    else
        fprintf(out, " %.9g\n", value);
}

static void print_value(FILE *out, const struct metric *metric,
                        const void *from)
{
    const char *at = (const char *)from + metric->offset;
    if (metric->form == REAL)
        print_real(out, *(const double *)at);
    else if (metric->scale == 1)
        fprintf(out, " %lld\n", (long long)*(const int64_t *)at);
    else
        fprintf(out, " %.6f\n", (double)*(const int64_t *)at * metric->scale);
}

static void print_metric(FILE *out, const struct metric *metric,
                         const struct daemon_status *status)
{
    print_head(out, metric->name, metric->kind, metric->help);
    fprintf(out, "interestd_%s", metric->name);
    print_value(out, metric, status);
}

static void print_model_metric(FILE *out, const struct metric *metric,
                               const struct daemon_status *status)
{
    print_head(out, metric->name, metric->kind, metric->help);
    for (unsigned i = 0; i < status->model_count; i++) {
        fprintf(out, "interestd_%s{model=\"%s\"}", metric->name,
                status->models[i].name);
        print_value(out, metric, &status->models[i]);
    }
}

static void print_states(FILE *out, const struct daemon_status *status)
{
    print_head(out, "model_info", GAUGE, "1; what the model is.");
    for (unsigned i = 0; i < status->model_count; i++)
        fprintf(out,
                "interestd_model_info{model=\"%s\",kind=\"%s\","
                "shadow=\"%s\",published=\"%s\"} 1\n",
                status->models[i].name,
                learner_kind_words[status->models[i].kind],
                status->models[i].shadow ? "true" : "false",
                status->models[i].published ? "true" : "false");
    print_head(out, "model_detached", GAUGE,
               "1 where a shadow no longer trains: detached, failed or "
               "refused.");
    for (unsigned i = 0; i < status->model_count; i++)
        fprintf(out, "interestd_model_detached{model=\"%s\"} %d\n",
                status->models[i].name,
                status->models[i].state != DAEMON_MODEL_TRAINING);
    print_head(out, "model_rows", GAUGE, "Rows of a model's table.");
    for (unsigned i = 0; i < status->model_count; i++)
        for (unsigned t = 0; t < status->models[i].table_count; t++)
            fprintf(out,
                    "interestd_model_rows{model=\"%s\",table=\"%s\"} %llu\n",
                    status->models[i].name, status->models[i].tables[t],
                    (unsigned long long)status->models[i].learner.rows[t]);
}

/* Absent where undefined. */
static void print_rela_impr(FILE *out, const struct daemon_status *status)
{
    print_head(out, "model_rela_impr_percent", GAUGE,
               "RelaImpr against the base model, over the newest event-time "
               "window of both, or since both began.");
    for (unsigned i = 0; i < status->model_count; i++) {
        const struct daemon_model_status *model = &status->models[i];
        const char *const names[] = {"window", "total"};
        const double values[] = {model->rela_impr, model->rela_impr_total};
        for (unsigned k = 0; k < 2; k++)
            if (isfinite(values[k]))
                fprintf(out,
                        "interestd_model_rela_impr_percent{model=\"%s\","
                        "base=\"%s\",over=\"%s\"} %.9g\n",
                        model->name, model->base, names[k], values[k]);
    }
}

static void print_buckets(FILE *out, const struct ingest_status *ingest)
{
    print_head(out, "ingest_bucket_offsets", GAUGE,
               "Offsets of the ledger by bucket.");
    for (unsigned i = 0; i < INGEST_BUCKET_COUNT; i++)
        fprintf(out, "interestd_ingest_bucket_offsets{bucket=\"%s\"} %llu\n",
                ingest_bucket_name(i), (unsigned long long)ingest->buckets[i]);
    print_head(out, "ingest_dead_letters_total", COUNTER,
               "Dead letters by reason.");
    for (unsigned i = 1; i < INGEST_REASON_COUNT; i++)
        fprintf(out,
                "interestd_ingest_dead_letters_total{reason=\"%s\"} %llu\n",
                ingest_reason_name(i), (unsigned long long)ingest->reasons[i]);
}

static void print_partition(FILE *out, const char *name,
                            const struct ingest_partition_status *partition,
                            int64_t value)
{
    fprintf(out, "interestd_%s{topic=\"%s\",partition=\"%d\"} %lld\n", name,
            partition->topic ? "clicks" : "impressions",
            (int)partition->partition, (long long)value);
}

static void print_partitions(FILE *out, const struct ingest_status *ingest)
{
    print_head(out, "ingest_next_offset", GAUGE,
               "Offset that is applied next.");
    for (unsigned i = 0; i < ingest->partition_count; i++)
        print_partition(out, "ingest_next_offset", &ingest->partitions[i],
                        ingest->partitions[i].next);
    print_head(out, "ingest_partition_lag_records", GAUGE,
               "Records of the partition that are not applied; -1: unknown.");
    for (unsigned i = 0; i < ingest->partition_count; i++) {
        const struct ingest_partition_status *partition =
            &ingest->partitions[i];
        print_partition(out, "ingest_partition_lag_records", partition,
                        partition->high >= partition->next
                            ? partition->high - partition->next
                            : -1);
    }
    print_head(out, "ingest_partition_stopped", GAUGE,
               "1 where the partition was stopped for cause.");
    for (unsigned i = 0; i < ingest->partition_count; i++)
        print_partition(out, "ingest_partition_stopped", &ingest->partitions[i],
                        ingest->partitions[i].stopped);
}

/* The shadows' readers of the journal. */
static void print_followers(FILE *out, const struct ingest_status *ingest)
{
    print_head(out, "ingest_follower_kept_from_position", GAUGE,
               "Journal position from which a shadow may still need it.");
    for (unsigned i = 0; i < ingest->follower_count; i++)
        fprintf(out,
                "interestd_ingest_follower_kept_from_position{model=\"%s\"} "
                "%llu\n",
                ingest->followers[i].name,
                (unsigned long long)ingest->followers[i].kept_from);
}

char *daemon_status_metrics(const struct daemon_status *status)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    for (size_t i = 0; i < sizeof metrics / sizeof metrics[0]; i++)
        print_metric(out, &metrics[i], status);
    print_buckets(out, &status->ingest);
    print_partitions(out, &status->ingest);
    print_head(out, "learner_rows", GAUGE, "Rows of an embedding table.");
    for (unsigned i = 0; i < status->models[0].table_count; i++)
        fprintf(out, "interestd_learner_rows{table=\"%s\"} %llu\n",
                status->models[0].tables[i],
                (unsigned long long)status->learner.rows[i]);
    for (size_t i = 0; i < sizeof model_metrics / sizeof model_metrics[0]; i++)
        print_model_metric(out, &model_metrics[i], status);
    print_followers(out, &status->ingest);
    print_states(out, status);
    print_rela_impr(out, status);
    if (fclose(out)) {
        free(text);
        return NULL;
    }
    return text;
}
