/* SPDX-License-Identifier: Apache-2.0 */
/* /status: the whole status as one JSON object; see status.h. */
#include "daemon/status.h"

#include <math.h>
#include <stddef.h>

#include <jansson.h>

#include "base/log.h"

#include "learner/settings.h"

const char *const daemon_model_state_words[] = {
    [DAEMON_MODEL_TRAINING] = "training",
    [DAEMON_MODEL_DETACHED] = "detached",
    [DAEMON_MODEL_FAILED] = "failed",
    [DAEMON_MODEL_REFUSED] = "refused",
};

#define U64(value) json_integer((json_int_t)(value))

/* JSON knows no "not a number". */
static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *window_json(const struct learner_window *window)
{
    return json_pack(
        "{s:I,s:I,s:I,s:I,s:o,s:o,s:o,s:o}", "begin_ms",
        (json_int_t)window->begin_ms, "samples", (json_int_t)window->samples,
        "positives", (json_int_t)window->positives, "users",
        (json_int_t)window->users, "auc", number(window->auc), "user_auc",
        number(window->user_auc), "log_loss", number(window->log_loss),
        "calibration", number(window->calibration));
}

static json_t *buckets_json(const uint64_t buckets[INGEST_BUCKET_COUNT])
{
    json_t *object = json_object();
    for (unsigned i = 0; i < INGEST_BUCKET_COUNT; i++)
        json_object_set_new(object, ingest_bucket_name(i), U64(buckets[i]));
    return object;
}

static json_t *reasons_json(const struct ingest_status *ingest)
{
    json_t *object = json_object();
    for (unsigned i = 1; i < INGEST_REASON_COUNT; i++)
        json_object_set_new(object, ingest_reason_name(i),
                            U64(ingest->reasons[i]));
    return object;
}

/* The command that lets a stopped partition go on; "" of the others. */
static json_t *resume_json(const struct daemon_status *status,
                           const struct ingest_partition_status *partition)
{
    const char *file = status->config_file;
    if (!partition->stopped)
        return json_string("");
    return json_sprintf("interestd skip --config %s %s",
                        file && file[0] ? file : "FILE", partition->resume);
}

static json_t *partition_json(const struct daemon_status *status,
                              const struct ingest_partition_status *partition)
{
    json_int_t lag = partition->high >= partition->next
                         ? partition->high - partition->next
                         : -1;
    return json_pack("{s:s,s:i,s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:s,s:I,s:I,s:I,"
                     "s:o,s:o}", "topic",
                     partition->topic ? "clicks" : "impressions", "partition",
                     (int)partition->partition, "start",
                     (json_int_t)partition->start, "before",
                     (json_int_t)partition->before, "next",
                     (json_int_t)partition->next, "high",
                     (json_int_t)partition->high, "lag_records", lag, "own_ms",
                     (json_int_t)partition->own_ms, "stopped",
                     partition->stopped, "stop_reason", partition->stop_reason,
                     "lost_from", (json_int_t)partition->lost_from, "lost_to",
                     (json_int_t)partition->lost_to, "transaction_ms",
                     (json_int_t)partition->transaction_ms, "resume",
                     resume_json(status, partition), "buckets",
                     buckets_json(partition->buckets));
}

/* Members of a status struct that are plain integers. */
struct member {
    const char *name;
    size_t offset;
};

#define IN(field)                                                              \
    {                                                                          \
#field, offsetof(struct ingest_status, field)                          \
    }
static const struct member ingest_members[] = {
    IN(events),           IN(commits),
    IN(journal_end),      IN(batch_end),
    IN(journal_begin),    IN(journal_bytes),
    IN(unaccounted),      IN(users),
    IN(pending),          IN(history_cut),
    IN(floored_records),  IN(clamped_records),
    IN(late_labels_lost), IN(dead_letters_dropped),
    IN(decisions),        IN(crossed_partitions),
    IN(applied_ms),       IN(lag_records),
    IN(evicted),          IN(evicted_clicks),
    IN(waiting_clicks),   IN(ids),
    IN(ids_forgotten),    IN(decisions_trimmed),
    IN(disk_free_bytes),  IN(disk_reserve_bytes),
    IN(disk_low),         IN(disk_stops),
    IN(map_used_bytes),   IN(map_bytes),
    IN(reader_slots),     IN(reader_lag_commits),
    IN(dead_readers),     IN(last_commit_us),
    IN(max_commit_us),    IN(features_cut),
};
#undef IN

#define IN(field)                                                              \
    {                                                                          \
#field, offsetof(struct learner_status, field)                         \
    }
static const struct member learner_members[] = {
    IN(begin),
    IN(position),
    IN(samples),
    IN(batches),
    IN(rejected),
    IN(forgets),
    IN(skipped),
    IN(skip_from),
    IN(skip_to),
    IN(forgotten_rows),
    IN(rejected_batches),
    IN(rejected_position),
    IN(newest_event_ms),
    IN(evicted),
    IN(admission_waiting),
    IN(table_bytes),
    IN(dense_bytes),
    IN(checkpoints),
    IN(checkpoint_position),
    IN(oldest_checkpoint),
    IN(cut_waits),
};
#undef IN

static json_t *members_json(const void *from, const struct member *members,
                            size_t count)
{
    json_t *object = json_object();
    for (size_t i = 0; i < count; i++) {
        int64_t value =
            *(const int64_t *)((const char *)from + members[i].offset);
        json_object_set_new(object, members[i].name, json_integer(value));
    }
    return object;
}

/* The shadows' readers of the journal. */
static json_t *followers_json(const struct ingest_status *ingest)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < ingest->follower_count; i++) {
        const struct ingest_follower_status *one = &ingest->followers[i];
        json_array_append_new(list,
                              json_pack("{s:s,s:I,s:I,s:b}", "model", one->name,
                                        "position", (json_int_t)one->position,
                                        "kept_from", (json_int_t)one->kept_from,
                                        "detached", one->detached));
    }
    return list;
}

static json_t *skew_json(const struct ingest_skew_status *skew)
{
    json_t *versions = json_array();
    for (unsigned i = 0; i < skew->version_count; i++) {
        const struct ingest_skew_version *one = &skew->versions[i];
        json_array_append_new(
            versions,
            json_pack("{s:I,s:I,s:I,s:f}", "version", (json_int_t)one->version,
                      "compared", (json_int_t)one->compared, "mismatched",
                      (json_int_t)one->mismatched, "rate",
                      (double)one->mismatched / (double)one->compared));
    }
    return json_pack("{s:I,s:I,s:I,s:I,s:o}", "compared",
                     (json_int_t)skew->compared, "shorter",
                     (json_int_t)skew->mismatched[INGEST_SKEW_SHORTER],
                     "longer", (json_int_t)skew->mismatched[INGEST_SKEW_LONGER],
                     "content",
                     (json_int_t)skew->mismatched[INGEST_SKEW_CONTENT],
                     "versions", versions);
}

/* Membership, with the numbers that are ours; null outside of a group. */
static json_t *group_json(const struct ingest_status *ingest)
{
    const struct ingest_group_status *group = &ingest->group;
    if (!group->state[0])
        return json_null();
    json_t *numbers = json_array();
    for (unsigned i = 0; i < ingest->partition_count; i++)
        if (ingest->partitions[i].topic == INGEST_IMPRESSIONS &&
            !ingest->partitions[i].away)
            json_array_append_new(
                numbers, json_integer(ingest->partitions[i].partition));
    return json_pack("{s:s,s:o,s:I,s:I,s:s}", "state", group->state, "numbers",
                     numbers, "assignments", (json_int_t)group->assignments,
                     "losses", (json_int_t)group->losses, "error",
                     group->error);
}

static json_t *ingest_json(const struct daemon_status *status)
{
    const struct ingest_status *ingest = &status->ingest;
    json_t *object =
        members_json(ingest, ingest_members,
                     sizeof ingest_members / sizeof ingest_members[0]);
    json_t *partitions = json_array();
    for (unsigned i = 0; i < ingest->partition_count; i++)
        json_array_append_new(partitions,
                              partition_json(status, &ingest->partitions[i]));
    json_object_set_new(object, "at_end", json_boolean(ingest->at_end));
    json_object_set_new(object, "registry_error",
                        json_string(ingest->registry_error));
    json_object_set_new(object, "registry_requests",
                        json_integer((json_int_t)ingest->registry_requests));
    json_object_set_new(object, "parked_partitions",
                        json_integer((json_int_t)ingest->parked_partitions));
    json_object_set_new(object, "broker_refuses",
                        json_boolean(ingest->broker_refuses));
    json_object_set_new(object, "broker_error",
                        json_string(ingest->broker_error));
    json_object_set_new(object, "buckets", buckets_json(ingest->buckets));
    json_object_set_new(object, "dead_letter_reasons", reasons_json(ingest));
    json_object_set_new(object, "partitions", partitions);
    json_object_set_new(object, "followers", followers_json(ingest));
    json_object_set_new(object, "skew", skew_json(&ingest->skew));
    json_object_set_new(object, "group", group_json(ingest));
    return object;
}

/* What the status of any model has. */
static json_t *numbers_json(const struct daemon_model_status *model)
{
    const struct learner_status *learner = &model->learner;
    json_t *object =
        members_json(learner, learner_members,
                     sizeof learner_members / sizeof learner_members[0]);
    json_t *rows = json_object();
    for (unsigned i = 0; i < model->table_count; i++)
        json_object_set_new(rows, model->tables[i], U64(learner->rows[i]));
    json_object_set_new(object, "busy_seconds", number(learner->busy_seconds));
    json_object_set_new(object, "loss", number(learner->loss));
    json_object_set_new(object, "auxiliary_loss",
                        number(learner->auxiliary_loss));
    json_object_set_new(object, "rejected_for",
                        json_string(learner->rejected_for));
    json_object_set_new(object, "rows", rows);
    json_object_set_new(object, "last_samples",
                        window_json(&learner->last_samples));
    json_object_set_new(object, "last_time", window_json(&learner->last_time));
    json_object_set_new(object, "total", window_json(&learner->total));
    return object;
}

static json_t *model_json(const struct daemon_model_status *model)
{
    json_t *object = numbers_json(model);
    json_t *more = json_pack(
        "{s:s,s:s,s:b,s:b,s:s,s:s,s:{s:s,s:I,s:o,s:o}}", "name", model->name,
        "kind", learner_kind_words[model->kind], "shadow", model->shadow,
        "published", model->published, "state",
        daemon_model_state_words[model->state], "reason", model->reason,
        "rela_impr", "base", model->base, "window_begin_ms",
        (json_int_t)model->rela_impr_window_ms, "window",
        number(model->rela_impr), "total", number(model->rela_impr_total));
    json_object_update(more, object);
    json_decref(object);
    return more;
}

static json_t *models_json(const struct daemon_status *status)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < status->model_count; i++)
        json_array_append_new(list, model_json(&status->models[i]));
    return list;
}

static json_t *learner_json(const struct daemon_status *status)
{
    json_t *object = numbers_json(&status->models[0]);
    json_t *windows = json_array();
    for (unsigned i = 0; i < status->window_count; i++)
        json_array_append_new(windows, window_json(&status->windows[i]));
    json_object_set_new(object, "arithmetic",
                        json_string(learner_arithmetic()));
    json_object_set_new(object, "kernels", json_string(learner_kernels()));
    json_object_set_new(object, "windows", windows);
    return object;
}

static json_t *judged_json(const struct daemon_gate_status *gate)
{
    const struct snapshot_judged *judged = &gate->judged;
    if (!gate->judged_once)
        return json_null();
    return json_pack("{s:I,s:o,s:o,s:o}", "samples",
                     (json_int_t)judged->samples, "auc", number(judged->auc),
                     "calibration", number(judged->calibration), "dense_norm",
                     number(judged->dense_norm));
}

static json_t *gate_json(const struct daemon_gate_status *gate)
{
    json_t *held = json_object();
    for (unsigned i = 1; i < DAEMON_GATE_REASONS; i++)
        json_object_set_new(held, daemon_gate_words[i], U64(gate->held[i]));
    return json_pack("{s:b,s:s,s:s,s:I,s:I,s:I,s:o,s:o}", "holding",
                     gate->holding, "reason", daemon_gate_words[gate->reason],
                     "text", gate->text, "since_ms", (json_int_t)gate->since_ms,
                     "position", (json_int_t)gate->position, "forced",
                     (json_int_t)gate->forced, "held", held, "judged",
                     judged_json(gate));
}

static json_t *verdict_json(const struct daemon_verdict *verdict)
{
    bool passed = verdict->verdict == DAEMON_GATE_PASSED;
    json_t *object = json_pack(
        "{s:I,s:s,s:s,s:I,s:I}", "at_ms", (json_int_t)verdict->at_ms, "gate",
        verdict->forced ? "forced" : daemon_gate_words[verdict->verdict],
        "text", verdict->text, "times", (json_int_t)verdict->times, "position",
        (json_int_t)verdict->position);
    json_object_set_new(object, "auc", number(verdict->auc));
    json_object_set_new(object, "calibration", number(verdict->calibration));
    if (!passed)
        return object;
    json_object_set_new(object, "version",
                        json_sprintf("v%llu-%llu",
                                     (unsigned long long)verdict->epoch,
                                     (unsigned long long)verdict->version));
    json_object_set_new(object, "kind",
                        json_string(verdict->delta ? "delta" : "base"));
    json_object_set_new(object, "bytes", U64(verdict->bytes));
    json_object_set_new(object, "newest_event_ms",
                        json_integer((json_int_t)verdict->newest_event_ms));
    return object;
}

/* What this process published and held lately, and the distribution of the
 * age of each version's newest sample. */
static json_t *recent_json(const struct daemon_recent *recent)
{
    json_t *list = json_array(), *counts = json_array(), *bounds = json_array();
    for (unsigned i = 0; i < recent->count; i++)
        json_array_append_new(list, verdict_json(&recent->verdict[i]));
    for (unsigned i = 0; i < DAEMON_FRESH_BUCKETS; i++)
        json_array_append_new(counts, U64(recent->fresh[i]));
    for (unsigned i = 0; i < DAEMON_FRESH_BUCKETS - 1; i++)
        json_array_append_new(bounds, json_real(daemon_fresh_bounds[i]));
    return json_pack("{s:o,s:{s:o,s:o}}", "verdicts", list, "fresh",
                     "seconds", bounds, "versions", counts);
}

static json_t *usage_json(const struct daemon_usage *usage)
{
    json_t *object = json_pack(
        "{s:I,s:I,s:I,s:I,s:f,s:I}", "resident_bytes",
        (json_int_t)usage->resident_bytes, "journal_max_bytes",
        (json_int_t)usage->journal_max_bytes, "map_max_bytes",
        (json_int_t)usage->map_max_bytes, "publish_interval_ms",
        (json_int_t)usage->publish_interval_ms, "cpu_seconds",
        usage->cpu_seconds, "memory_bytes", (json_int_t)usage->memory_bytes);
    json_t *disks = json_object();
    for (unsigned i = 0; i < DAEMON_DISKS; i++)
        json_object_set_new(
            disks, daemon_disk_words[i],
            json_pack("{s:I,s:I}", "available_bytes",
                      (json_int_t)usage->disks[i].available_bytes,
                      "size_bytes", (json_int_t)usage->disks[i].size_bytes));
    json_object_set_new(object, "disks", disks);
    return object;
}

/* The newest warnings and errors of the log, as they stand there. */
static json_t *warnings_json(void)
{
    struct base_log_line lines[BASE_LOG_KEPT];
    unsigned count = base_log_recent(lines, BASE_LOG_KEPT);
    json_t *list = json_array();
    for (unsigned i = 0; i < count; i++)
        json_array_append_new(list, json_string(lines[i].text));
    return list;
}

static json_t *publish_json(const struct daemon_publish_status *publish)
{
    json_t *rollback = json_pack(
        "{s:I,s:s,s:I,s:I}", "done", (json_int_t)publish->rollbacks, "error",
        publish->rollback_error, "of_epoch",
        (json_int_t)publish->rollback_epoch, "of_version",
        (json_int_t)publish->rollback_version);
    return json_pack(
        "{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:s,s:o,s:o,s:o}", "epoch",
        (json_int_t)publish->epoch, "version", (json_int_t)publish->version,
        "position", (json_int_t)publish->position, "created_ms",
        (json_int_t)publish->created_ms, "newest_event_ms",
        (json_int_t)publish->newest_event_ms, "published",
        (json_int_t)publish->published, "failed", (json_int_t)publish->failed,
        "last_us", (json_int_t)publish->last_us, "last_error",
        publish->last_error, "gate", gate_json(&publish->gate), "recent",
        recent_json(&publish->recent), "rollback", rollback);
}

/* How old the newest event is that has reached ..., in ms; -1: none yet. */
static json_int_t age(const struct daemon_status *status, int64_t event_ms)
{
    return event_ms > 0 ? status->now_ms - event_ms : -1;
}

bool daemon_status_ready(const struct daemon_status *status)
{
    bool running = status->phase[0] == 'r';
    for (unsigned i = 0; i < status->ingest.partition_count; i++)
        if (status->ingest.partitions[i].stopped)
            return false;
    return running && status->ingest.partition_count > 0 &&
           !status->ingest.disk_low;
}

static json_t *forget_json(const struct daemon_status *status)
{
    static const char *const phases[] = {
#define X(code, name) [code] = name,
        DAEMON_FORGET_PHASES(X)
#undef X
    };
#define IN(field) {#field, offsetof(struct ingest_forget_status, field)}
    static const struct member members[] = {
        IN(serial),  IN(done),        IN(purge),  IN(first),
        IN(position), IN(users),      IN(sequences), IN(impressions),
        IN(clicks),  IN(offsets),     IN(remembered), IN(letters)};
#undef IN
    json_t *object = members_json(&status->ingest.forget, members,
                                  sizeof members / sizeof members[0]);
    json_object_set_new(object, "phase",
                        json_string(phases[status->forget_phase]));
    json_object_set_new(object, "removed",
                        json_integer((json_int_t)status->publish.removed));
    return object;
}

char *daemon_status_json(const struct daemon_status *status)
{
    json_t *root = json_pack(
        "{s:s,s:b,s:b,s:I,s:I,s:I,s:{s:I,s:I,s:I},s:o,s:o,s:o,s:o}", "phase",
        status->phase, "ready", daemon_status_ready(status), "paused",
        status->paused, "now_ms", (json_int_t)status->now_ms, "uptime_ms",
        (json_int_t)(status->now_ms - status->started_ms), "loop_lag_us",
        (json_int_t)status->loop_lag_us, "age_ms", "applied",
        age(status, status->ingest.applied_ms), "trained",
        age(status, status->learner.newest_event_ms), "published",
        age(status, status->publish.newest_event_ms), "ingest",
        ingest_json(status), "learner", learner_json(status), "models",
        models_json(status), "publish", publish_json(&status->publish));
    if (root)
        json_object_set_new(root, "forget", forget_json(status));
    if (root)
        json_object_set_new(root, "usage", usage_json(&status->usage));
    if (root)
        json_object_set_new(root, "warnings", warnings_json());
    char *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    return text;
}
