/* SPDX-License-Identifier: Apache-2.0 */
/* /metrics in the Prometheus text format, from one list of name, kind, scale
 * and help. Names end in their base unit (_seconds, _bytes, _ratio) or in
 * _total for counters; what is unknown is not a number.
 * Every family has its HELP and TYPE once, label values are escaped. See
 * status.h.
 *
 * A counter falls only where the process starts anew. What a model has seen
 * since it began also falls back to the checkpoint behind a kill -9; a rate of
 * it is better taken of the position, a gauge. */
#include "daemon/status.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "learner/settings.h"

enum kind { COUNTER, GAUGE };
enum form {
    INTEGER,
    KNOWN, /* an integer; below 0: unknown */
    TIME,  /* an integer; 0: there was none */
    REAL
};

struct metric {
    const char *name;
    enum kind kind;
    enum form form;
    size_t offset; /* in struct daemon_status */
    double scale;  /* to the base unit */
    const char *help;
};

#define IN(member) INTEGER, offsetof(struct daemon_status, member), 1
#define OPEN(member) KNOWN, offsetof(struct daemon_status, member), 1
#define AT(member) TIME, offsetof(struct daemon_status, member), 1e-3
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
    {"ingest_lag_records", GAUGE, OPEN(ingest.lag_records),
     "Records in Kafka that are not applied yet."},
    {"ingest_pending_impressions", GAUGE, IN(ingest.pending),
     "Impressions whose window is open."},
    {"ingest_waiting_clicks", GAUGE, IN(ingest.waiting_clicks),
     "Clicks that wait for their impression."},
    {"ingest_evicted_total", COUNTER, IN(ingest.evicted),
     "Impressions beyond ingest.pending_max, which left without their label."},
    {"ingest_evicted_clicks_total", COUNTER, IN(ingest.evicted_clicks),
     "Clicks beyond ingest.waiting_clicks_max, which no longer waited for "
     "their impression."},
    {"ingest_ids", GAUGE, IN(ingest.ids),
     "Ids that wait or are remembered, of both topics."},
    {"ingest_ids_forgotten_total", COUNTER, IN(ingest.ids_forgotten),
     "Ids beyond ingest.remembered_max that went before their time, in this "
     "process."},
    {"ingest_forget_requests_total", COUNTER, IN(ingest.forget.serial),
     "Requests to forget users that the state has obeyed."},
    {"ingest_forget_done_total", COUNTER, IN(ingest.forget.done),
     "Those of them after which nothing is left of the users."},
    {"ingest_skew_compared_total", COUNTER, IN(ingest.skew.compared),
     "Impressions whose served history was compared with their sample's, by "
     "this process."},
    {"ingest_users", GAUGE, IN(ingest.users), "Users with a sequence."},
    {"ingest_journal_end_positions", GAUGE, IN(ingest.journal_end),
     "Samples written to the journal."},
    {"ingest_journal_begin_positions", GAUGE, IN(ingest.journal_begin),
     "Oldest kept position of the journal."},
    {"ingest_journal_bytes", GAUGE, IN(ingest.journal_bytes),
     "Size of the kept journal."},
    {"ingest_journal_max_bytes", GAUGE, IN(usage.journal_max_bytes),
     "Cap of the journal, ingest.journal_max_mb."},
    {"ingest_map_used_bytes", GAUGE, IN(ingest.map_used_bytes),
     "Used part of the LMDB map."},
    {"ingest_map_max_bytes", GAUGE, IN(usage.map_max_bytes),
     "Cap of the LMDB map, ingest.map_mb."},
    {"ingest_disk_free_bytes", GAUGE, IN(ingest.disk_free_bytes),
     "Room that is left where the state lies."},
    {"ingest_disk_reserve_bytes", GAUGE, IN(ingest.disk_reserve_bytes),
     "Below this nothing is taken in, ingest.disk_reserve_mb."},
    {"ingest_disk_low", GAUGE, IN(ingest.disk_low),
     "1 while nothing is taken in for want of room."},
    {"ingest_disk_stops_total", COUNTER, IN(ingest.disk_stops),
     "Times the intake stopped for want of room, in this process."},
    {"ingest_map_bytes", GAUGE, IN(ingest.map_bytes),
     "Size of the LMDB map as it is; it grows to its cap."},
    {"ingest_store_readers", GAUGE, IN(ingest.reader_slots),
     "Slots in use of the store's reader table, of all processes."},
    {"ingest_store_reader_lag_commits", GAUGE, IN(ingest.reader_lag_commits),
     "Commits since the oldest open view of the store; what was freed since "
     "cannot be used again while it stands."},
    {"ingest_store_dead_readers_total", COUNTER, IN(ingest.dead_readers),
     "Slots freed behind readers that had died, in this process."},
    {"ingest_last_commit_seconds", GAUGE, SCALED(ingest.last_commit_us, 1e-6),
     "Duration of the newest commit."},
    {"ingest_max_commit_seconds", GAUGE, SCALED(ingest.max_commit_us, 1e-6),
     "Longest commit of this process."},
    {"ingest_applied_timestamp_seconds", GAUGE, AT(ingest.applied_ms),
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
    {"ingest_group_numbers", GAUGE, IN(ingest.group.numbers),
     "Partition numbers, of both topics, that the group has given us."},
    {"ingest_group_assignments_total", COUNTER, IN(ingest.group.assignments),
     "Assignments taken from the group, in this process."},
    {"ingest_group_losses_total", COUNTER, IN(ingest.group.losses),
     "Times the group took its partitions away unasked, in this process."},
    {"ingest_registry_requests_total", COUNTER, IN(ingest.registry_requests),
     "Requests to the schema registry."},
    {"learner_position", GAUGE, IN(learner.position),
     "Journal position trained up to."},
    {"learner_samples_total", COUNTER, IN(learner.samples), "Samples trained."},
    {"learner_batches_total", COUNTER, IN(learner.batches), "Batches trained."},
    {"learner_rejected_total", COUNTER, IN(learner.rejected),
     "Samples of steps that were not finite."},
    {"learner_skipped_total", COUNTER, IN(learner.skipped),
     "Samples that rollbacks left out."},
    {"learner_newest_event_timestamp_seconds", GAUGE,
     AT(learner.newest_event_ms), "Event time of the newest trained sample."},
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
    {"publish_created_timestamp_seconds", GAUGE, AT(publish.created_ms),
     "When it was published."},
    {"publish_newest_event_timestamp_seconds", GAUGE,
     AT(publish.newest_event_ms), "Event time of its newest sample."},
    {"publish_interval_seconds", GAUGE, SCALED(usage.publish_interval_ms, 1e-3),
     "publish.delta_ms; 0: only at the end."},
    {"publish_versions_total", COUNTER, IN(publish.published),
     "Versions published by this process."},
    {"publish_failures_total", COUNTER, IN(publish.failed),
     "Publications that failed."},
    {"publish_deltas_total", COUNTER, IN(publish.deltas),
     "Of those, deltas."},
    {"publish_delta_bytes_total", COUNTER, IN(publish.delta_bytes),
     "Bytes of their files."},
    {"publish_chain_deltas", GAUGE, IN(publish.chain),
     "Deltas since the newest base."},
    {"publish_bases_total", COUNTER, IN(publish.beside.written),
     "Bases written beside deltas by this process."},
    {"publish_base_failures_total", COUNTER, IN(publish.beside.failed),
     "Bases that could not be written, by this process."},
    {"publish_base_seconds", GAUGE, SCALED(publish.beside.last_us, 1e-6),
     "Duration of the newest."},
    {"publish_event_to_cut_seconds", GAUGE, SCALED(publish.cut_lag_ms, 1e-3),
     "From the event time of its newest sample to the copy of the newest "
     "delta's weights."},
    {"publish_cut_to_commit_seconds", GAUGE, SCALED(publish.commit_ms, 1e-3),
     "From there to its commit."},
    {"publish_forced_total", COUNTER, IN(publish.gate.forced),
     "Versions published against the gate's word, by this process."},
    {"publish_last_seconds", GAUGE, SCALED(publish.last_us, 1e-6),
     "Duration of the newest publication."},
    {"loop_lag_seconds", GAUGE, SCALED(loop_lag_us, 1e-6),
     "Lateness of the event loop's last tick."},
    /* Names that every Prometheus client has, without our prefix. */
    {"process_cpu_seconds_total", COUNTER, RE(usage.cpu_seconds),
     "Processor time of user and system."},
    {"process_resident_memory_bytes", GAUGE, OPEN(usage.resident_bytes),
     "Resident memory."},
    {"process_virtual_memory_bytes", GAUGE, OPEN(usage.virtual_bytes),
     "Virtual memory."},
    {"process_open_fds", GAUGE, OPEN(usage.open_files),
     "Open file descriptors."},
    {"process_max_fds", GAUGE, OPEN(usage.open_files_max),
     "Most file descriptors that may be open."},
    {"process_start_time_seconds", GAUGE, AT(started_ms),
     "When the daemon was started."},
};

#undef IN
#undef OPEN
#undef AT
#undef SCALED
#undef RE
#define IN(member) INTEGER, offsetof(struct daemon_model_status, member), 1
#define AT(member) TIME, offsetof(struct daemon_model_status, member), 1e-3
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
    {"model_rejected_batches_total", COUNTER, IN(learner.rejected_batches),
     "Batches that were not finite, in this process."},
    {"model_newest_event_timestamp_seconds", GAUGE, AT(learner.newest_event_ms),
     "Event time of the newest trained sample."},
    {"model_table_bytes", GAUGE, IN(learner.table_bytes),
     "Memory of the embedding tables."},
    {"model_evicted_rows_total", COUNTER, IN(learner.evicted),
     "Rows that went by age."},
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

struct label {
    const char *name, *value;
};

static const char *prefix(const char *name)
{
    return strncmp(name, "process_", 8) == 0 ? "" : "interestd_";
}

static void print_head(FILE *out, const char *name, enum kind kind,
                       const char *help)
{
    fprintf(out, "# HELP %s%s %s\n# TYPE %s%s %s\n", prefix(name), name, help,
            prefix(name), name, kind == COUNTER ? "counter" : "gauge");
}

static void print_escaped(FILE *out, const char *text)
{
    for (; *text; text++)
        if (*text == '\n')
            fputs("\\n", out);
        else if (*text == '"' || *text == '\\')
            fprintf(out, "\\%c", *text);
        else
            fputc(*text, out);
}

static void print_name(FILE *out, const char *name, const struct label *labels,
                       unsigned count)
{
    fprintf(out, "%s%s", prefix(name), name);
    for (unsigned i = 0; i < count; i++) {
        fprintf(out, "%c%s=\"", i ? ',' : '{', labels[i].name);
        print_escaped(out, labels[i].value);
        fputc('"', out);
    }
    if (count)
        fputc('}', out);
}

static void print_real(FILE *out, double value)
{
    if (isnan(value))
        fprintf(out, " NaN\n");
    else if (isinf(value))
        fprintf(out, " %cInf\n", value < 0 ? '-' : '+');
    else
        fprintf(out, " %.9g\n", value);
}

static void print_count(FILE *out, const char *name, struct label label,
                        uint64_t value)
{
    print_name(out, name, &label, 1);
    fprintf(out, " %llu\n", (unsigned long long)value);
}

static void print_integer(FILE *out, enum form form, int64_t value,
                          double scale)
{
    if ((form == KNOWN && value < 0) || (form == TIME && value == 0))
        print_real(out, (double)NAN);
    else if (scale == 1)
        fprintf(out, " %lld\n", (long long)value);
    else
        fprintf(out, " %.6f\n", (double)value * scale);
}

static void print_value(FILE *out, const struct metric *metric,
                        const void *from)
{
    const char *at = (const char *)from + metric->offset;
    if (metric->form == REAL)
        print_real(out, *(const double *)at);
    else
        print_integer(out, metric->form, *(const int64_t *)at, metric->scale);
}

static void print_metric(FILE *out, const struct metric *metric,
                         const struct daemon_status *status)
{
    print_head(out, metric->name, metric->kind, metric->help);
    print_name(out, metric->name, NULL, 0);
    print_value(out, metric, status);
}

static void print_model_metric(FILE *out, const struct metric *metric,
                               const struct daemon_status *status)
{
    print_head(out, metric->name, metric->kind, metric->help);
    for (unsigned i = 0; i < status->model_count; i++) {
        const struct label label = {"model", status->models[i].name};
        print_name(out, metric->name, &label, 1);
        print_value(out, metric, &status->models[i]);
    }
}

static void print_build(FILE *out)
{
    const struct label labels[] = {{"version", INTERESTD_VERSION},
                                   {"arithmetic", learner_arithmetic()},
                                   {"kernels", learner_kernels()}};
    print_head(out, "build_info", GAUGE, "1; what was built and is in use.");
    print_name(out, "build_info", labels, 3);
    fputs(" 1\n", out);
}

static void print_model_info(FILE *out, const struct daemon_status *status)
{
    print_head(out, "model_info", GAUGE, "1; what the model is.");
    for (unsigned i = 0; i < status->model_count; i++) {
        const struct daemon_model_status *model = &status->models[i];
        const struct label labels[] = {
            {"model", model->name},
            {"kind", learner_kind_words[model->kind]},
            {"shadow", model->shadow ? "true" : "false"},
            {"published", model->published ? "true" : "false"}};
        print_name(out, "model_info", labels, 4);
        fputs(" 1\n", out);
    }
}

static void print_states(FILE *out, const struct daemon_status *status)
{
    print_head(out, "model_detached", GAUGE,
               "1 where a shadow no longer trains: detached, failed or "
               "refused.");
    for (unsigned i = 0; i < status->model_count; i++)
        print_count(out, "model_detached",
                    (struct label){"model", status->models[i].name},
                    status->models[i].state != DAEMON_MODEL_TRAINING);
    print_head(out, "model_rows", GAUGE, "Rows of a model's table.");
    for (unsigned i = 0; i < status->model_count; i++)
        for (unsigned t = 0; t < status->models[i].table_count; t++) {
            const struct label labels[] = {
                {"model", status->models[i].name},
                {"table", status->models[i].tables[t]}};
            print_name(out, "model_rows", labels, 2);
            fprintf(out, " %llu\n",
                    (unsigned long long)status->models[i].learner.rows[t]);
        }
}

static void print_gate(FILE *out, const struct daemon_status *status)
{
    const struct daemon_gate_status *gate = &status->publish.gate;
    print_head(out, "publish_held_total", COUNTER,
               "Checkpoints that the gate held, by reason, by this process.");
    for (unsigned i = 1; i < DAEMON_GATE_REASONS; i++)
        fprintf(out, "interestd_publish_held_total{reason=\"%s\"} %llu\n",
                daemon_gate_words[i], (unsigned long long)gate->held[i]);
    print_head(out, "publish_holding", GAUGE,
               "1 while the gate holds back what is newest.");
    fprintf(out, "interestd_publish_holding %d\n", gate->holding);
    print_head(out, "paused", GAUGE, "1 while an operator has it paused.");
    fprintf(out, "interestd_paused %d\n", status->paused);
}

/* Of the published model's trainer. */
static void print_pauses(FILE *out, const struct daemon_status *status)
{
    const struct learner_pauses *pauses = &status->learner.pauses;
    unsigned long long count = 0;
    for (unsigned i = 0; i < status->model_count; i++)
        if (status->models[i].published)
            pauses = &status->models[i].learner.pauses;
    fputs("# HELP interestd_publish_pause_seconds Time between two batches in "
          "which the published model's trainer copied for a delta or a "
          "checkpoint, or waited for its writer.\n"
          "# TYPE interestd_publish_pause_seconds histogram\n", out);
    for (unsigned i = 0; i < LEARNER_PAUSE_BUCKETS; i++) {
        char bound[32] = "+Inf";
        if (i + 1 < LEARNER_PAUSE_BUCKETS)
            snprintf(bound, sizeof bound, "%g", learner_pause_bounds[i]);
        count += pauses->count[i];
        fprintf(out,
                "interestd_publish_pause_seconds_bucket{le=\"%s\"} %llu\n",
                bound, count);
    }
    fprintf(out,
            "interestd_publish_pause_seconds_sum %.9g\n"
            "interestd_publish_pause_seconds_count %llu\n",
            pauses->seconds, count);
}

/* Absent where undefined. */
static void print_rela_impr(FILE *out, const struct daemon_status *status)
{
    print_head(out, "model_rela_impr_ratio", GAUGE,
               "RelaImpr against the base model, 0.01 for one percent, over "
               "the newest event-time window of both, or since both began.");
    for (unsigned i = 0; i < status->model_count; i++) {
        const struct daemon_model_status *model = &status->models[i];
        const char *const over[] = {"window", "total"};
        const double percents[] = {model->rela_impr, model->rela_impr_total};
        for (unsigned k = 0; k < 2; k++) {
            const struct label labels[] = {{"model", model->name},
                                           {"base", model->base},
                                           {"over", over[k]}};
            if (!isfinite(percents[k]))
                continue;
            print_name(out, "model_rela_impr_ratio", labels, 3);
            print_real(out, percents[k] / 100);
        }
    }
}

static void print_buckets(FILE *out, const struct ingest_status *ingest)
{
    print_head(out, "ingest_bucket_offsets", GAUGE,
               "Offsets of the ledger by bucket.");
    for (unsigned i = 0; i < INGEST_BUCKET_COUNT; i++)
        print_count(out, "ingest_bucket_offsets",
                    (struct label){"bucket", ingest_bucket_name(i)},
                    ingest->buckets[i]);
    static const char *const kinds[INGEST_SKEW_KINDS] = {
        [INGEST_SKEW_SHORTER] = "shorter",
        [INGEST_SKEW_LONGER] = "longer",
        [INGEST_SKEW_CONTENT] = "content"};
    print_head(out, "ingest_skew_mismatched_total", COUNTER,
               "Of those, served with a shorter history, a longer one, or one "
               "as long of other content.");
    for (unsigned i = 0; i < INGEST_SKEW_KINDS; i++)
        print_count(out, "ingest_skew_mismatched_total",
                    (struct label){"kind", kinds[i]},
                    ingest->skew.mismatched[i]);
    print_head(out, "ingest_dead_letters_total", COUNTER,
               "Dead letters by reason.");
    for (unsigned i = 1; i < INGEST_REASON_COUNT; i++)
        print_count(out, "ingest_dead_letters_total",
                    (struct label){"reason", ingest_reason_name(i)},
                    ingest->reasons[i]);
}

static int64_t next_of(const struct ingest_partition_status *partition)
{
    return partition->next;
}

static int64_t lag_of(const struct ingest_partition_status *partition)
{
    int64_t lag = partition->high - partition->next;
    return lag >= 0 ? lag : -1;
}

static int64_t transaction_of(const struct ingest_partition_status *partition)
{
    return partition->transaction_ms / 1000;
}

static int64_t stopped_of(const struct ingest_partition_status *partition)
{
    return partition->stopped;
}

static int64_t lost_of(const struct ingest_partition_status *partition)
{
    if (!partition->stopped || partition->lost_from < 0)
        return 0;
    return partition->lost_to < 0 ? -1
                                  : partition->lost_to - partition->lost_from;
}

static const struct {
    const char *name;
    enum form form;
    int64_t (*value)(const struct ingest_partition_status *partition);
    const char *help;
} partition_metrics[] = {
    {"ingest_next_offset", INTEGER, next_of, "Offset that is applied next."},
    {"ingest_partition_lag_records", KNOWN, lag_of,
     "Records of the partition that are not applied."},
    {"ingest_partition_transaction_seconds", INTEGER, transaction_of,
     "How long an open transaction has held the partition up."},
    {"ingest_partition_stopped", INTEGER, stopped_of,
     "1 where the partition was stopped for cause."},
    {"ingest_partition_lost_records", KNOWN, lost_of,
     "Records that a stopped partition will miss where it goes on."},
};

static void print_partitions(FILE *out, const struct ingest_status *ingest)
{
    for (size_t m = 0;
         m < sizeof partition_metrics / sizeof partition_metrics[0]; m++) {
        const char *name = partition_metrics[m].name;
        print_head(out, name, GAUGE, partition_metrics[m].help);
        for (unsigned i = 0; i < ingest->partition_count; i++) {
            const struct ingest_partition_status *one = &ingest->partitions[i];
            char number[16];
            const struct label labels[] = {
                {"topic", one->topic ? "clicks" : "impressions"},
                {"partition", number}};
            snprintf(number, sizeof number, "%d", (int)one->partition);
            print_name(out, name, labels, 2);
            print_integer(out, partition_metrics[m].form,
                          partition_metrics[m].value(one), 1);
        }
    }
}

/* Whether those that the daemon works with answer, and it is ready itself. */
static void print_health(FILE *out, const struct daemon_status *status)
{
    const struct {
        const char *name, *help;
        bool value;
    } flags[] = {
        {"ready", "1 where /readyz says so.", daemon_status_ready(status)},
        {"ingest_at_end", "1 where every partition is applied to its end.",
         status->ingest.at_end},
        {"ingest_broker_failing", "1 while the brokers are in trouble.",
         status->ingest.broker_error[0] != '\0'},
        {"ingest_broker_refusing",
         "1 while the brokers refuse credentials or certificates.",
         status->ingest.broker_refuses},
        {"ingest_group_waiting",
         "1 while the consumer group has not given us an assignment.",
         status->ingest.group.state[0] &&
             strcmp(status->ingest.group.state, "member") != 0},
        {"ingest_registry_failing", "1 while the registry is in trouble.",
         status->ingest.registry_error[0] != '\0'},
    };
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        print_head(out, flags[i].name, GAUGE, flags[i].help);
        print_name(out, flags[i].name, NULL, 0);
        fprintf(out, " %d\n", flags[i].value);
    }
}

static void print_disks(FILE *out, const struct daemon_usage *usage)
{
    print_head(out, "disk_available_bytes", GAUGE,
               "Room left on the disk of a folder.");
    for (unsigned i = 0; i < DAEMON_DISKS; i++) {
        const struct label label = {"folder", daemon_disk_words[i]};
        print_name(out, "disk_available_bytes", &label, 1);
        print_integer(out, KNOWN, usage->disks[i].available_bytes, 1);
    }
    print_head(out, "disk_size_bytes", GAUGE, "Size of the folder's disk.");
    for (unsigned i = 0; i < DAEMON_DISKS; i++) {
        const struct label label = {"folder", daemon_disk_words[i]};
        print_name(out, "disk_size_bytes", &label, 1);
        print_integer(out, KNOWN, usage->disks[i].size_bytes, 1);
    }
}

/* The shadows' readers of the journal. */
static void print_followers(FILE *out, const struct ingest_status *ingest)
{
    print_head(out, "ingest_follower_kept_from_position", GAUGE,
               "Journal position from which a shadow may still need it.");
    for (unsigned i = 0; i < ingest->follower_count; i++)
        print_count(out, "ingest_follower_kept_from_position",
                    (struct label){"model", ingest->followers[i].name},
                    ingest->followers[i].kept_from);
}

static void print_models(FILE *out, const struct daemon_status *status)
{
    print_head(out, "learner_rows", GAUGE, "Rows of an embedding table.");
    for (unsigned i = 0; i < status->models[0].table_count; i++)
        print_count(out, "learner_rows",
                    (struct label){"table", status->models[0].tables[i]},
                    status->learner.rows[i]);
    for (size_t i = 0; i < sizeof model_metrics / sizeof model_metrics[0]; i++)
        print_model_metric(out, &model_metrics[i], status);
    print_model_info(out, status);
    print_states(out, status);
    print_rela_impr(out, status);
}

char *daemon_status_metrics(const struct daemon_status *status)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    print_build(out);
    for (size_t i = 0; i < sizeof metrics / sizeof metrics[0]; i++)
        print_metric(out, &metrics[i], status);
    print_health(out, status);
    print_disks(out, &status->usage);
    print_buckets(out, &status->ingest);
    print_partitions(out, &status->ingest);
    print_followers(out, &status->ingest);
    print_gate(out, status);
    print_pauses(out, status);
    print_models(out, status);
    if (fclose(out)) {
        free(text);
        return NULL;
    }
    return text;
}
