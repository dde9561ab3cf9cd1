/* SPDX-License-Identifier: Apache-2.0 */
/* /status and /metrics: whole JSON and Prometheus text from any numbers, the
 * demo reads its facts back from them. */
#include "daemon/status.h"

#include <ctype.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "daemon/demo_status.h"
#include "daemon/models.h"

static struct daemon_status *make(void)
{
    struct daemon_status *status = calloc(1, sizeof *status);
    assert_non_null(status);
    status->phase = "running";
    status->started_ms = 1000;
    status->now_ms = 5000;
    status->ingest.events = 12;
    status->ingest.journal_end = 9;
    status->ingest.batch_end = 8;
    status->ingest.lag_records = -1;
    status->ingest.applied_ms = 4000;
    status->ingest.buckets[INGEST_POSITIVE] = 3;
    status->ingest.reasons[INGEST_REASON_WIRE] = 2;
    status->ingest.at_end = true;
    strcpy(status->ingest.broker_error, "a \"quoted\" text\n");
    status->ingest.broker_refuses = true;
    status->ingest.partition_count = 2;
    status->ingest.partitions[0] = (struct ingest_partition_status){
        .topic = 0, .partition = 3, .next = 10, .high = 15};
    status->ingest.partitions[1] = (struct ingest_partition_status){
        .topic = 1, .partition = 3, .next = 10, .high = -1};
    status->learner.position = 8;
    status->learner.samples = 8;
    status->learner.rows[0] = 77;
    status->learner.total.auc = 0.75;
    status->learner.last_samples.auc = NAN;
    status->ingest.follower_count = 1;
    status->ingest.followers[0] = (struct ingest_follower_status){
        .name = "slow", .position = 5, .kept_from = 4, .detached = true};
    status->model_count = 3;
    status->models[0] = (struct daemon_model_status){.name = "main",
                                                     .kind = LEARNER_DIEN,
                                                     .table_count = 1,
                                                     .tables = {"goods"},
                                                     .learner = status->learner,
                                                     .base = "b",
                                                     .published = true,
                                                     .rela_impr = 12.5,
                                                     .rela_impr_total = NAN};
    status->models[1] =
        (struct daemon_model_status){.name = "b",
                                     .kind = LEARNER_BASE,
                                     .shadow = true,
                                     .base = "b",
                                     .rela_impr = 0,
                                     .rela_impr_total = 0,
                                     .learner = {.position = 5, .begin = 3}};
    status->models[2] =
        (struct daemon_model_status){.name = "slow",
                                     .kind = LEARNER_LR,
                                     .shadow = true,
                                     .base = "b",
                                     .state = DAEMON_MODEL_DETACHED,
                                     .reason = "could not keep up",
                                     .rela_impr = NAN,
                                     .rela_impr_total = NAN};
    status->publish.version = 4;
    status->publish.published = 2;
    status->window_count = 1;
    status->windows[0] = (struct learner_window){
        .begin_ms = 20000, .samples = 5, .auc = 0.625, .user_auc = NAN};
    return status;
}

static void test_json(void **state)
{
    (void)state;
    struct daemon_status *status = make();
    char *text = daemon_status_json(status);
    assert_non_null(text);
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    json_t *ingest = json_object_get(root, "ingest");
    json_t *learner = json_object_get(root, "learner");
    assert_int_equal(json_integer_value(json_object_get(ingest, "events")), 12);
    assert_string_equal(
        json_string_value(json_object_get(ingest, "broker_error")),
        "a \"quoted\" text\n");
    assert_int_equal(json_integer_value(json_object_get(
                         json_object_get(ingest, "buckets"), "positive")),
                     3);
    json_t *partitions = json_object_get(ingest, "partitions");
    assert_int_equal(json_array_size(partitions), 2);
    assert_int_equal(json_integer_value(json_object_get(
                         json_array_get(partitions, 0), "lag_records")),
                     5);
    assert_int_equal(json_integer_value(json_object_get(
                         json_array_get(partitions, 1), "lag_records")),
                     -1);
    assert_int_equal(json_integer_value(json_object_get(
                         json_object_get(learner, "rows"), "goods")),
                     77);
    assert_true(json_is_null(
        json_object_get(json_object_get(learner, "last_samples"), "auc")));
    assert_int_equal(json_integer_value(json_object_get(
                         json_object_get(root, "age_ms"), "applied")),
                     1000);
    assert_int_equal(json_integer_value(json_object_get(
                         json_object_get(root, "age_ms"), "trained")),
                     -1);
    json_decref(root);
    free(text);
    free(status);
}

static void test_demo_reads_it(void **state)
{
    (void)state;
    struct daemon_status *status = make();
    static struct demo_facts facts;
    char *text = daemon_status_json(status);
    assert_true(demo_parse_status(text, &facts));
    assert_int_equal(facts.events, 12);
    assert_int_equal(facts.samples, 8);
    assert_int_equal(facts.journal_end, 9);
    assert_int_equal(facts.lag_records, -1);
    assert_int_equal(facts.published, 2);
    assert_true(facts.at_end);
    assert_true(facts.auc_total == 0.75);
    assert_true(facts.rela_impr == 12.5);
    assert_null(demo_best_window(&facts));
    demo_parse_producer("{\"events\":13,\"window_begin_ms\":20000,"
                        "\"window_auc_ceiling\":0.8,\"auc_ceiling\":null}",
                        &facts);
    assert_int_equal(facts.produced, 13);
    assert_true(isnan(facts.ceiling_total));
    const struct demo_window *window = demo_best_window(&facts);
    assert_non_null(window);
    assert_true(window->auc == 0.625 && window->ceiling == 0.8);
    demo_parse_ranker("{\"name\":\"v1-4\",\"versions\":3,\"version\":4,"
                      "\"latency_us\":9,\"now_ms\":50,\"newest_event_ms\":20}",
                      &facts);
    assert_int_equal(facts.followed, 3);
    assert_int_equal(facts.version_age_ms, 30);
    struct demo_facts before = facts;
    assert_false(demo_parse_status("{\"ingest\":3}", &facts));
    assert_false(demo_parse_status("nonsense", &facts));
    demo_parse_producer("[1", &facts);
    demo_parse_ranker("3", &facts);
    assert_memory_equal(&before, &facts, sizeof facts);
    free(text);
    free(status);
}

static void test_windows_are_bounded(void **state)
{
    (void)state;
    static struct demo_facts facts;
    double auc = 0.6, ceiling = 0.7;
    facts.window_count = 0;
    for (int64_t i = 0; i < DEMO_WINDOWS + 10; i++) {
        demo_set_window(&facts, i, &auc, NULL);
        demo_set_window(&facts, i, NULL, &ceiling);
    }
    assert_int_equal(facts.window_count, DEMO_WINDOWS);
    assert_int_equal(demo_best_window(&facts)->begin_ms, DEMO_WINDOWS + 9);
}

static void test_demo_prints(void **state)
{
    (void)state;
    static struct demo_facts facts;
    double auc = 0.85, ceiling = 0.875;
    char *text = NULL;
    size_t size = 0;
    memset(&facts, 0, sizeof facts);
    facts.phase = "learning";
    facts.auc_total = facts.auc_recent = facts.ceiling_total = NAN;
    FILE *out = open_memstream(&text, &size);
    demo_print_json(out, &facts);
    fclose(out);
    json_t *root = json_loads(text, 0, NULL);
    assert_non_null(root);
    assert_true(json_is_null(json_object_get(root, "auc")));
    json_decref(root);
    free(text);
    demo_set_window(&facts, 10, &auc, &ceiling);
    facts.auc_recent = 0.75;
    facts.rela_impr = 1.5;
    facts.ceiling_total = 0.8;
    out = open_memstream(&text, &size);
    demo_print_view(out, &facts, true);
    demo_print_line(out, &facts);
    fclose(out);
    assert_non_null(strstr(text, "0.8500   best possible 0.8750   93 %"));
    assert_non_null(strstr(text, "auc=0.7500 ceiling=0.8000"));
    assert_non_null(strstr(text, "RelaImpr              +1.5 % against"));
    free(text);
}

static void test_ready(void **state)
{
    (void)state;
    struct daemon_status *status = make();
    assert_true(daemon_status_ready(status));
    status->ingest.partitions[1].stopped = true;
    assert_false(daemon_status_ready(status));
    status->ingest.partitions[1].stopped = false;
    status->phase = "stopping";
    assert_false(daemon_status_ready(status));
    status->phase = "running";
    status->ingest.partition_count = 0;
    assert_false(daemon_status_ready(status));
    free(status);
}

static bool is_known(char names[][256], unsigned count, const char *name)
{
    for (unsigned i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* Who stopped says what is lost and how to go on. */
static void test_stopped_partition(void **state)
{
    (void)state;
    struct daemon_status *status = make();
    struct ingest_partition_status *lost = &status->ingest.partitions[0];
    lost->stopped = status->ingest.partitions[1].stopped = true;
    lost->lost_from = 10;
    lost->lost_to = 14;
    status->ingest.partitions[1].lost_from = -1;
    status->ingest.partitions[1].lost_to = -1;
    strcpy(lost->resume, "--partition 3 --from earliest");
    status->config_file = "of/mine.yaml";
    char *text = daemon_status_json(status);
    assert_non_null(strstr(text, "\"lost_from\": 10"));
    assert_non_null(strstr(text, "\"lost_to\": 14"));
    assert_non_null(
        strstr(text, "\"resume\": \"interestd skip --config of/mine.yaml "
                     "--partition 3 --from earliest\""));
    free(text);
    text = daemon_status_metrics(status);
    assert_non_null(strstr(text, "ingest_partition_lost_records{topic="
                                 "\"impressions\",partition=\"3\"} 4\n"));
    assert_non_null(strstr(text, "ingest_partition_lost_records{topic="
                                 "\"clicks\",partition=\"3\"} 0\n"));
    free(text);
    free(status);
}

/* Every line is a comment or `name{labels} value`; every name has HELP and
 * TYPE once and before it; counters end in _total. */
static void test_metrics(void **state)
{
    (void)state;
    struct daemon_status *status = make();
    char *text = daemon_status_metrics(status), *rest = NULL;
    char type[256] = "", help[256] = "", kind[32] = "";
    static char families[200][256];
    unsigned values = 0, family_count = 0;
    assert_non_null(text);
    assert_non_null(strstr(text, "\ninterestd_ingest_events_total 12\n"));
    assert_non_null(strstr(text, "\ninterestd_learner_auc NaN\n"));
    assert_non_null(strstr(text, "bucket_offsets{bucket=\"positive\"} 3\n"));
    assert_non_null(strstr(text, "dead_letters_total{reason=\"wire\"} 2\n"));
    assert_non_null(strstr(text, "{topic=\"impressions\",partition=\"3\"} 5"));
    assert_non_null(strstr(text, "learner_rows{table=\"goods\"} 77\n"));
    assert_non_null(
        strstr(text, "ingest_applied_timestamp_seconds 4.000000\n"));
    for (char *line = strtok_r(text, "\n", &rest); line;
         line = strtok_r(NULL, "\n", &rest)) {
        char name[256] = "";
        if (sscanf(line, "# HELP %255s", help) == 1) {
            assert_false(is_known(families, family_count, help));
            assert_in_range(family_count, 0, 199);
            strcpy(families[family_count++], help);
            continue;
        }
        if (sscanf(line, "# TYPE %255s %31s", type, kind) == 2) {
            assert_string_equal(type, help);
            continue;
        }
        assert_int_equal(sscanf(line, "%255[a-z0-9_]", name), 1);
        bool histogram = strcmp(kind, "histogram") == 0;
        if (histogram)
            assert_memory_equal(name, type, strlen(type));
        else
            assert_string_equal(name, type);
        size_t length = strlen(name);
        bool total = length > 6 && strcmp(name + length - 6, "_total") == 0;
        assert_true(histogram || total == (strcmp(kind, "counter") == 0));
        assert_non_null(strrchr(line, ' '));
        values++;
    }
    assert_true(values > 60);
    free(text);
    free(status);
}

/* Unknown numbers, infinite ones, and labels with all that must be escaped. */
static void test_metric_values(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "\ninterestd_ingest_lag_records NaN\n",
        "lag_records{topic=\"impressions\",partition=\"3\"} 5\n",
        "lag_records{topic=\"clicks\",partition=\"3\"} NaN\n",
        "\ninterestd_publish_created_timestamp_seconds NaN\n",
        "\ninterestd_model_log_loss{model=\"main\"} +Inf\n",
        "\ninterestd_model_calibration{model=\"main\"} -Inf\n",
        "\ninterestd_model_detached{model=\"a\\\"b\\\\c\\nd\"} 1\n",
        "\ninterestd_model_rejected_batches_total{model=\"main\"} 6\n",
        "\ninterestd_ready 1\n",
        "\ninterestd_ingest_broker_failing 1\n",
        "\ninterestd_ingest_broker_refusing 1\n",
        "\ninterestd_ingest_registry_failing 0\n",
        "\ninterestd_disk_available_bytes{folder=\"state\"} 4096\n",
        "\ninterestd_disk_available_bytes{folder=\"model\"} NaN\n",
        "\ninterestd_publish_interval_seconds 2.500000\n",
        "\nprocess_start_time_seconds 1.000000\n",
        "\nprocess_cpu_seconds_total 0.5\n",
    };
    struct daemon_status *status = make();
    struct learner_window *window = &status->models[0].learner.last_samples;
    window->log_loss = INFINITY;
    window->calibration = -INFINITY;
    status->models[0].learner.rejected_batches = 6;
    strcpy(status->models[2].name, "a\"b\\c\nd");
    status->usage.cpu_seconds = 0.5;
    status->usage.publish_interval_ms = 2500;
    status->usage.disks[DAEMON_DISK_STATE].available_bytes = 4096;
    status->usage.disks[DAEMON_DISK_MODEL].available_bytes = -1;
    char *text = daemon_status_metrics(status);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        if (!strstr(text, lines[i]))
            fail_msg("/metrics misses %s", lines[i]);
    assert_ptr_equal(strstr(text, "# HELP interestd_build_info"), text);
    assert_non_null(strstr(text, "\ninterestd_build_info{version=\""));
    free(text);
    free(status);
}

/* What the page shows beside the rest. */
static void test_page(void **state)
{
    (void)state;
    struct daemon_status *status = make();
    struct daemon_recent *recent = &status->publish.recent;
    const struct snapshot_judged judged = {.auc = 0.75, .calibration = NAN};
    const struct snapshot_announcement version = {
        .epoch = 7, .version = 2, .delta = true, .bytes = 99,
        .created_ms = 4000, .newest_event_ms = 3000};
    daemon_recent_held(recent, 3500, 5, DAEMON_GATE_AUC, "fell \"far\"");
    daemon_recent_passed(recent, &version, &judged);
    status->usage.memory_bytes = 1234;
    status->usage.disks[DAEMON_DISK_MODEL].size_bytes = 55;
    char *text = daemon_status_json(status);
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    json_t *told = json_object_get(json_object_get(root, "publish"), "recent");
    json_t *verdicts = json_object_get(told, "verdicts");
    json_t *held = json_array_get(verdicts, 0);
    json_t *passed = json_array_get(verdicts, 1);
    assert_int_equal(json_array_size(verdicts), 2);
    assert_string_equal(json_string_value(json_object_get(held, "gate")),
                        "auc");
    assert_null(json_object_get(held, "version"));
    assert_string_equal(json_string_value(json_object_get(passed, "version")),
                        "v7-2");
    assert_string_equal(json_string_value(json_object_get(passed, "kind")),
                        "delta");
    assert_true(json_is_null(json_object_get(passed, "calibration")));
    json_t *fresh = json_object_get(told, "fresh");
    assert_int_equal(json_array_size(json_object_get(fresh, "seconds")) + 1,
                     json_array_size(json_object_get(fresh, "versions")));
    json_t *usage = json_object_get(root, "usage");
    assert_int_equal(json_integer_value(json_object_get(usage,
                                                        "memory_bytes")),
                     1234);
    json_t *disk = json_object_get(json_object_get(usage, "disks"), "model");
    assert_int_equal(json_integer_value(json_object_get(disk, "size_bytes")),
                     55);
    assert_true(json_is_array(json_object_get(root, "warnings")));
    json_decref(root);
    free(text);
    free(status);
}

static void test_gate(void **state)
{
    (void)state;
    struct daemon_status *status = make();
    struct daemon_gate_status *gate = &status->publish.gate;
    char *text = daemon_status_json(status);
    assert_non_null(strstr(text, "\"holding\": false"));
    assert_non_null(strstr(text, "\"reason\": \"passed\""));
    assert_non_null(strstr(text, "\"judged\": null"));
    assert_non_null(strstr(text, "\"paused\": false"));
    free(text);
    status->paused = gate->holding = gate->judged_once = true;
    gate->reason = DAEMON_GATE_AUC;
    gate->held[DAEMON_GATE_AUC] = 3;
    gate->forced = 2;
    strcpy(gate->text, "AUC \"fell\"");
    gate->judged = (struct snapshot_judged){
        .samples = 9, .auc = 0.625, .calibration = NAN, .dense_norm = 1.5};
    text = daemon_status_json(status);
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_true(json_is_true(json_object_get(root, "paused")));
    json_t *said = json_object_get(json_object_get(root, "publish"), "gate");
    assert_true(json_is_true(json_object_get(said, "holding")));
    assert_string_equal(json_string_value(json_object_get(said, "text")),
                        "AUC \"fell\"");
    json_t *held = json_object_get(said, "held");
    assert_int_equal(json_object_size(held), DAEMON_GATE_REASONS - 1);
    assert_int_equal(json_integer_value(json_object_get(held, "auc")), 3);
    json_t *judged = json_object_get(said, "judged");
    assert_true(json_real_value(json_object_get(judged, "auc")) == 0.625);
    assert_true(json_is_null(json_object_get(judged, "calibration")));
    json_decref(root);
    free(text);
    text = daemon_status_metrics(status);
    assert_non_null(strstr(text, "publish_held_total{reason=\"auc\"} 3\n"));
    assert_non_null(strstr(text, "publish_held_total{reason=\"norm\"} 0\n"));
    assert_non_null(strstr(text, "\ninterestd_publish_holding 1\n"));
    assert_non_null(strstr(text, "\ninterestd_publish_forced_total 2\n"));
    assert_non_null(strstr(text, "\ninterestd_paused 1\n"));
    free(text);
    free(status);
}

/* Every model with its own numbers; what is undefined is absent. */
static void test_models(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "\ninterestd_model_position{model=\"main\"} 8\n",
        "\ninterestd_model_position{model=\"b\"} 5\n",
        "\ninterestd_model_begin_position{model=\"b\"} 3\n",
        "\ninterestd_ingest_follower_kept_from_position{model=\"slow\"} 4\n",
        "\ninterestd_model_info{model=\"main\",kind=\"dien\",shadow=\"false\","
        "published=\"true\"} 1\n",
        "\ninterestd_model_detached{model=\"main\"} 0\n",
        "\ninterestd_model_detached{model=\"slow\"} 1\n",
        "\ninterestd_model_rows{model=\"main\",table=\"goods\"} 77\n",
        "\ninterestd_model_rela_impr_ratio{model=\"main\",base=\"b\","
        "over=\"window\"} 0.125\n",
        "\ninterestd_model_rela_impr_ratio{model=\"b\",base=\"b\","
        "over=\"total\"} 0\n",
    };
    struct daemon_status *status = make();
    char *text = daemon_status_metrics(status);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        if (!strstr(text, lines[i]))
            fail_msg("/metrics misses %s", lines[i]);
    assert_null(strstr(text, "rela_impr_ratio{model=\"slow\""));
    assert_null(strstr(text, "base=\"b\",over=\"total\"} nan"));
    free(text);
    text = daemon_status_json(status);
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    json_t *models = json_object_get(root, "models");
    json_t *follower = json_array_get(
        json_object_get(json_object_get(root, "ingest"), "followers"), 0);
    assert_int_equal(json_integer_value(json_object_get(follower, "kept_from")),
                     4);
    assert_true(json_is_true(json_object_get(follower, "detached")));
    assert_int_equal(json_array_size(models), 3);
    json_t *main = json_array_get(models, 0), *slow = json_array_get(models, 2);
    json_t *rela = json_object_get(main, "rela_impr");
    assert_true(json_number_value(json_object_get(rela, "window")) == 12.5);
    assert_true(json_is_null(json_object_get(rela, "total")));
    assert_int_equal(json_integer_value(json_object_get(main, "samples")), 8);
    assert_true(json_is_true(json_object_get(main, "published")));
    assert_string_equal(json_string_value(json_object_get(slow, "state")),
                        "detached");
    assert_string_equal(json_string_value(json_object_get(slow, "reason")),
                        "could not keep up");
    json_decref(root);
    free(text);
    free(status);
}

static void test_rela_impr(void **state)
{
    (void)state;
    assert_true(fabs(daemon_rela_impr(0.75, 0.625) - 100) < 1e-9);
    assert_true(fabs(daemon_rela_impr(0.6, 0.7) + 50) < 1e-9);
    assert_true(daemon_rela_impr(0.7, 0.7) == 0);
    assert_true(fabs(daemon_rela_impr(0.4, 0.6) + 200) < 1e-9);
    assert_true(isnan(daemon_rela_impr(0.7, 0.5)));
    assert_true(isnan(daemon_rela_impr(0.7, 0.4)));
    assert_true(isnan(daemon_rela_impr(NAN, 0.6)));
    assert_true(isnan(daemon_rela_impr(0.6, NAN)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_demo_reads_it),
        cmocka_unit_test(test_windows_are_bounded),
        cmocka_unit_test(test_models),
        cmocka_unit_test(test_rela_impr),
        cmocka_unit_test(test_demo_prints),
        cmocka_unit_test(test_ready),
        cmocka_unit_test(test_stopped_partition),
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_metric_values),
        cmocka_unit_test(test_gate),
        cmocka_unit_test(test_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
