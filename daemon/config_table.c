/* SPDX-License-Identifier: Apache-2.0 */
/* The settings of the configuration file; see config_table.h. The sample file
 * configs/interestd.yaml names every one of them; a test compares. */
#include "daemon/config_table.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/setting_lines.h"
#include "learner/settings.h"

#define AT(member) BASE_SETTING_MEMBER(struct config_draft, member)
#define IN(member) AT(config.ingest.member)
#define LEARN(member) AT(config.learner.member)

enum { TOPIC_IMPRESSIONS, TOPIC_CLICKS };
#define DAY_MS 86400e3

static const char *const level_choices[] = {"debug", "info", "warn", "error",
                                            NULL};
static const char *const framing_choices[] = {"plain", "confluent", NULL};
static const char *const row_choices[] = {
    [SNAPSHOT_ROW_F32] = "F32", [SNAPSHOT_ROW_F16] = "F16",
    [SNAPSHOT_ROW_I8] = "I8", NULL};
static const char *const assignment_choices[] = {"all", "group", NULL};
static const char *const label_choices[] = {"window", "fnw", NULL};
static const char *const transform_choices[] = {"none", "hour", "weekday",
                                                "bucket", NULL};

static const struct base_setting settings[] = {
    PATH("state", AT(config.state), "state", 1,
         "Folder of this instance's state: LMDB in store/, checkpoints in "
         "checkpoints/, and the lock. One daemon at a time."),
    PATH("model_folder", AT(config.snapshot.folder), "model", 1,
         "Folder where versions are published; rankers follow it."),
    TEXT("model_name", AT(config.snapshot.model_name), "ctr", 1,
         "Name in manifests and announcements."),
    CHOICE("log.level", AT(config.log_level), "info", level_choices,
           "Log lines below this level are dropped."),

    TEXT("kafka.brokers", AT(config.kafka_brokers), NULL, 1,
         "Comma-separated host:port list to bootstrap from."),
    TEXT("kafka.group", AT(config.kafka_group), "interestd", 1,
         "Group under which offsets are committed as telemetry; the truth is "
         "in the state folder."),
    CHOICE("kafka.assignment", IN(assignment), "all", assignment_choices,
           "Partitions that are read: all there are, or those that "
           "kafka.group gives this member of it (range assignor); offsets "
           "stay in the state either way."),
    TEXT("kafka.announcement_topic", IN(announcement_topic), "", 0,
         "Topic that names each new version; empty: none."),

    TEXT("registry.url", IN(registry_url), "", 0,
         "Schema registry that knows the ids of framing confluent, such as "
         "http://registry:8081; empty: none."),
    TEXT("registry.user", IN(registry_user), "", 0,
         "User of the registry, its password is registry.password; empty: "
         "none."),

    TEXT("impressions.topic", IN(topics[TOPIC_IMPRESSIONS].name), "impressions",
         1, "Topic of what was shown."),
    PATH("impressions.schema", IN(topics[TOPIC_IMPRESSIONS].schema),
         "schemas/impression.avsc", 1,
         "plain: the writer's schema, an .avsc file; confluent: a folder of "
         "<id>.avsc files."),
    CHOICE("impressions.framing", IN(topics[TOPIC_IMPRESSIONS].framing),
           "plain", framing_choices,
           "What precedes the Avro bytes: nothing, or magic 0 and schema id."),
    PATH("impressions.reader_schema",
         IN(topics[TOPIC_IMPRESSIONS].reader_schema), "", 0,
         "An .avsc file whose fields the paths name, with defaults for what a "
         "writer lacks and aliases for what it calls otherwise; empty: the "
         "paths name the writers' own fields."),
    TEXT("impressions.event_id", IN(topics[TOPIC_IMPRESSIONS].mapping.event_id),
         "impression_id", 1, "Path of the impression's unique id."),
    TEXT("impressions.user", IN(topics[TOPIC_IMPRESSIONS].mapping.user),
         "user_id", 1, "Path of the user's id."),
    TEXT("impressions.time", IN(topics[TOPIC_IMPRESSIONS].mapping.time),
         "event_ms", 1, "Path of the event time, milliseconds UTC."),
    TEXT("impressions.served_history_hash",
         IN(topics[TOPIC_IMPRESSIONS].mapping.served_hash), "", 0,
         "Path of the hash of the history that the ranker scored with "
         "(interest_history_hash; a long, or 16 hex digits): it is compared "
         "with the sample's; empty: not."),
    TEXT("impressions.served_history_length",
         IN(topics[TOPIC_IMPRESSIONS].mapping.served_length), "", 0,
         "Path of that history's number of behaviors."),
    TEXT("impressions.served_version",
         IN(topics[TOPIC_IMPRESSIONS].mapping.served_version), "", 0,
         "Path of the number of the version that scored; empty: not said."),

    TEXT("clicks.topic", IN(topics[TOPIC_CLICKS].name), "clicks", 1,
         "Topic of what was clicked."),
    PATH("clicks.schema", IN(topics[TOPIC_CLICKS].schema), "schemas/click.avsc",
         1, "As impressions.schema."),
    CHOICE("clicks.framing", IN(topics[TOPIC_CLICKS].framing), "plain",
           framing_choices, "As impressions.framing."),
    PATH("clicks.reader_schema", IN(topics[TOPIC_CLICKS].reader_schema), "", 0,
         "As impressions.reader_schema."),
    TEXT("clicks.event_id", IN(topics[TOPIC_CLICKS].mapping.event_id), "", 0,
         "Path of the click's unique id; empty: impression, user, item and "
         "time identify it."),
    TEXT("clicks.impression", IN(topics[TOPIC_CLICKS].mapping.impression),
         "impression_id", 1,
         "Path of the id of the impression that was clicked."),
    TEXT("clicks.user", IN(topics[TOPIC_CLICKS].mapping.user), "user_id", 1,
         "Path of the user's id."),
    TEXT("clicks.time", IN(topics[TOPIC_CLICKS].mapping.time), "event_ms", 1,
         "Path of the event time, milliseconds UTC."),

    CHOICE("ingest.label_mode", IN(label_mode), "window", label_choices,
           "window: an impression is labelled when its window closes; fnw: a "
           "negative at once and a re-weighted positive at the click."),
    TIME("ingest.window_ms", IN(window_ms), "1800000", 1, 7 * DAY_MS,
         "A click this long after its impression still labels it."),
    TIME("ingest.lateness_ms", IN(lateness_ms), "60000", 0, DAY_MS,
         "An event this far behind its partition is late: no label."),
    TIME("ingest.skew_ms", IN(skew_ms), "2000", 0, DAY_MS,
         "A click may carry a time this much before its impression."),
    COUNT("ingest.history_max", IN(history_max), "100", 1, LEARNER_HISTORY_MAX,
          "behaviors", "Newest behaviors of a user that a sample carries."),
    COUNT("ingest.history_slack", IN(history_slack), "64", 64, 4096,
          "behaviors",
          "Kept beyond history_max, so that late histories stay whole."),
    TIME("ingest.history_ttl_ms", IN(history_ttl_ms), "0", 0, 3650 * DAY_MS,
         "Older behaviors are left out of histories; 0: no bound. The sequence "
         "of a user who does not come back stays; interestd forget removes it."),
    COUNT("ingest.pending_max", IN(pending_max), "10000000", 1, 1e9,
          "impressions",
          "Open impressions; beyond, the one that would close first leaves "
          "without a label."),
    COUNT("ingest.waiting_clicks_max", IN(waiting_clicks_max), "1000000", 0, 1e9,
          "clicks",
          "Clicks that wait for their impression; beyond, the one that has waited "
          "out first counts as evicted and is a behavior at once; 0: no cap."),
    COUNT("ingest.remembered_max", IN(remembered_max), "20000000", 0, 1e9,
          "events",
          "Newest events of each topic whose ids are remembered at most, as long "
          "as ingest.lateness_ms asks for it; an id sent again later is taken for "
          "a new one; 0: no cap."),
    REAL("ingest.negative_keep", IN(negative_keep), "1", 1e-6, 1,
         "Share of negatives that become samples (window mode), chosen by "
         "the hash of the impression's id."),
    COUNT("ingest.idle_ms", IN(idle_ms), "100", 1, 60000, "ms",
          "A record waits this long for a quiet partition before the broker "
          "is asked whether that one is at its end."),
    COUNT("ingest.commit_events", IN(commit_events), "20000", 1, 1e7, "events",
          "Events of one commit at most."),
    COUNT("ingest.commit_ms", IN(commit_ms), "100", 1, 60000, "ms",
          "Age of the oldest uncommitted event at most."),
    COUNT("ingest.map_mb", AT(map_mb), "16384", 16, 16e6, "MiB",
          "Size of the LMDB map: a cap on the state, not an allocation."),
    COUNT("ingest.journal_max_mb", AT(journal_max_mb), "4096", 1, 16e6, "MiB",
          "Journal that may wait for the learner; at the cap ingest waits."),
    COUNT("ingest.disk_reserve_mb", AT(disk_reserve_mb), "512", 0, 16e6, "MiB",
          "With less room than this where the state lies nothing more is taken "
          "in, until there is an eighth more again; 0: never."),
    FLAG("ingest.disk_check", AT(config.disk_check), "true",
         "Refuse to start where the disk cannot hold the sum of all caps."),
    FLAG("ingest.journal_keep", IN(journal_keep), "false",
         "Never trim the journal (audits, tests)."),
    COUNT("ingest.dead_letter_max_mb", AT(dead_letter_max_mb), "256", 0, 1e6,
          "MiB", "Dead letters kept; the oldest go first, counted."),
    COUNT("ingest.event_max", IN(event_max), "1048576", 64, 1e8, "bytes",
          "A record that is larger with its key and headers is a dead letter."),
    PATH("ingest.decisions", IN(decisions), "", 0,
         "File of recorded decisions to take as input; empty: none."),

    COUNT("learner.flush_ms", IN(flush_ms), "100", 0, 60000, "ms",
          "A waiting part of a batch is closed this early when the trainer "
          "is idle; 0: never, so that batches do not depend on time."),
    TIME("learner.window_ms", LEARN(window_ms), "3600000", 100, 31 * DAY_MS,
         "Event-time windows of the metrics."),
    COUNT("learner.window_samples", LEARN(window_samples), "50000", 100, 1e8,
          "samples", "Sample windows of the metrics."),
    COUNT("learner.checkpoint_seconds", LEARN(checkpoint_seconds), "60", 0,
          86400, "s",
          "Checkpoints are at least this far apart; 0: only on request and "
          "at the end."),
    COUNT("learner.checkpoints_kept", LEARN(checkpoints_kept), "2", 1, 100,
          "checkpoints", "The journal behind the oldest of them is trimmed."),

    TEXT("publish.model", AT(config.publish.model), "", 0,
         "Name of the model that is published; empty: the main one. A shadow "
         "that is detached publishes nothing more."),
    COUNT("publish.delta_ms", AT(config.publish.delta_ms), "500", 0, 86400e3,
          "ms",
          "A version, what changed since the one before, is published this "
          "often, where something was trained; 0: only at the end."),
    CHOICE("publish.row_dtype", AT(config.snapshot.row_type), "F32",
           row_choices,
           "How rows are published: as they are, as float16, or as int8 with a "
           "scale for each row. Another one begins a chain of its own."),
    COUNT("publish.base_deltas", AT(config.publish.base_deltas), "600", 0, 1e6,
          "deltas",
          "A base is written beside a delta after so many: new readers begin "
          "there. It costs a checkpoint. 0: not because of their number."),
    COUNT("publish.base_bytes", AT(config.publish.base_bytes), "536870912", 0,
          1e15, "bytes",
          "The same after so many bytes of deltas; 0: not because of that."),
    COUNT("publish.versions_kept", AT(config.snapshot.versions_kept), "5", 2,
          100000, "versions",
          "Older versions are removed, but for pinned ones and what readers "
          "need to begin."),
    COUNT("publish.bases_kept", AT(config.snapshot.bases_kept), "2", 1, 1000,
          "bases", "The newest versions where a reader can begin, kept with "
                   "all deltas after the oldest of them."),
    COUNT("publish.golden_requests", AT(config.snapshot.golden_requests), "4",
          0, 64, "requests",
          "Requests with their scores in each manifest; a ranker recomputes "
          "them before it serves the version."),

    COUNT("publish.gate_samples", AT(config.publish.gate.samples), "100", 0,
          1e12, "samples",
          "Gate: a model that has trained fewer is not published. The first "
          "version of a model meets this rule only."),
    REAL("publish.gate_auc_drop", AT(config.publish.gate.auc_drop), "0.05", 0,
         1,
         "Gate: held where the progressive AUC of the newest closed sample "
         "window is lower than the newest version's by more; 1: never. Small "
         "learner.window_samples need more room."),
    REAL("publish.gate_calibration_min",
         AT(config.publish.gate.calibration_min), "0.5", 0, 1,
         "Gate: held where predicted over observed clicks of that window is "
         "below this and further from 1 than the newest version's."),
    REAL("publish.gate_calibration_max",
         AT(config.publish.gate.calibration_max), "2", 1, 1e9,
         "Gate: the same, above this."),
    REAL("publish.gate_norm_factor", AT(config.publish.gate.norm_factor), "2",
         1, 1e9,
         "Gate: held where the norm of the dense weights has grown by more "
         "than this factor since the newest version."),

    TEXT("http.listen", AT(config.http.listen), "127.0.0.1", 1,
         "Numeric address of the page (/), /metrics, /status, /livez and "
         "/readyz."),
    COUNT("http.port", AT(config.http.port), "8088", 0, 65535, NULL,
          "Port; 0: any free one, written to <state>/http.port."),
    COUNT("http.connections_max", AT(config.http.connections_max), "64", 1,
          4096, "connections", "More are refused."),
};

#define OF(member) BASE_SETTING_MEMBER(struct config_feature, member)

static const struct base_setting feature_settings[] = {
    TEXT("name", OF(name), NULL, 1, "Name of the field, unique."),
    TEXT("group", OF(group), NULL, 1,
         "profile: of the user; item: of the candidate and of each "
         "behavior; context: of the scene; any other name: a group of its "
         "own beside the scene."),
    COUNT("dimension", OF(dimension), NULL, 1, LEARNER_DIMENSION_MAX, "floats",
          "Length of one embedding."),
    TEXT("path", OF(path), NULL, 1, "Path in the impression's record."),
    CHOICE("transform", OF(transform), "none", transform_choices,
           "hour, weekday: the UTC hour of the day (0 to 23), the UTC day of "
           "the week (0 Monday to 6 Sunday) of a time; bucket: how many "
           "bounds are at most the number."),
    TEXT("bounds", OF(bounds), "", 0,
         "Of a bucket: ascending numbers, [18, 25, 35]."),
    COUNT("values", OF(values), "1", 1, LEARNER_FIELDS_MAX, "places",
          "Above 1: a multi-hot field, which takes the first so many elements "
          "of an array; more are cut, counted in features_cut."),
    TEXT("table", OF(table), "", 0,
         "Embedding table; fields may share one. Empty: its own name."),
    TEXT("click", OF(click), "", 0,
         "Path in the click's record (item group). Empty: the same path."),
};

const struct base_settings daemon_feature_table = {
    feature_settings, sizeof feature_settings / sizeof feature_settings[0]};

/* ---- the model's keys ---- */

#define IN_MODEL(member) BASE_SETTING_MEMBER(struct config_model, member)

static const struct base_setting model_settings[] = {
    TEXT("fields_off", IN_MODEL(fields_off), "", 0,
         "Names of features that this model does not use: [goods, shop]."),
    TEXT("name", IN_MODEL(name), "main", 1,
         "Name of the model in logs, metrics and publish.model."),
    CHOICE("profile", IN_MODEL(profile), "streaming", learner_profile_words,
           "Defaults of the model's keys: what a daemon should do, or the "
           "authors' code as it is."),
    COUNT("threads", IN_MODEL(threads), "1", 1, 64, "threads",
          "Workers of a training step; changes speed, not one bit."),
};

enum {
    OWN = sizeof settings / sizeof settings[0],
    MODEL_OWN = sizeof model_settings / sizeof model_settings[0],
    KEY_SIZE = 64,
};
static const char prefix[] = "learner.";

static struct base_setting main_table[CONFIG_SETTINGS_MAX];
static struct base_setting shadow_table[CONFIG_MODEL_SETTINGS_MAX];
static char keys[CONFIG_MODEL_SETTINGS_MAX][KEY_SIZE];
static struct base_settings main_settings, shadow_settings;
static pthread_once_t made = PTHREAD_ONCE_INIT;

/* One key of a model in both tables. */
static void add_key(const struct base_setting *setting, size_t offset)
{
    unsigned at = shadow_settings.count++;
    struct base_setting *shadow = &shadow_table[at];
    struct base_setting *main = &main_table[main_settings.count++];
    *shadow = *setting;
    shadow->offset += offset;
    *main = *shadow;
    main->offset += offsetof(struct config_draft, main);
    snprintf(keys[at], KEY_SIZE, "%s%s", prefix, setting->name);
    main->name = keys[at];
    if (strcmp(setting->name, "name") == 0)
        shadow->fallback = NULL; /* must be given */
}

static void make_tables(void)
{
    BASE_ASSERT(learner_model_switches.count + MODEL_OWN <=
                    CONFIG_MODEL_SETTINGS_MAX &&
                OWN + CONFIG_MODEL_SETTINGS_MAX <= CONFIG_SETTINGS_MAX);
    main_settings = (struct base_settings){main_table, OWN};
    shadow_settings = (struct base_settings){shadow_table, 0};
    memcpy(main_table, settings, sizeof settings);
    for (unsigned i = 0; i < learner_model_switches.count; i++)
        add_key(&learner_model_switches.table[i],
                offsetof(struct config_model, model));
    for (unsigned i = 0; i < MODEL_OWN; i++)
        add_key(&model_settings[i], 0);
}

const struct base_settings *daemon_config_table(void)
{
    pthread_once(&made, make_tables);
    return &main_settings;
}

unsigned daemon_config_model_first(void)
{
    return OWN;
}

const struct base_settings *daemon_shadow_table(void)
{
    pthread_once(&made, make_tables);
    return &shadow_settings;
}
