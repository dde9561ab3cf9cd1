/* SPDX-License-Identifier: Apache-2.0 */
/* libinterest over chains of deltas: what it serves is, bit for bit, the state
 * that was published, whatever way it took there; what is lost, reordered,
 * doubled or of another chain is never applied, and the reason is told. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "snapshot/interest.h"
#include "tests/snapshot/chain.h"

enum { CANDIDATES = 40, HISTORY = 30, ROWS = 300, TOUCHED = 20 };

struct bench {
    const char *folder;
    struct fixture fixture;
    struct snapshot_publisher *publisher;
    struct interest_model *model;
    uint64_t seed; /* of the next change */
};

static void open_model(struct bench *bench)
{
    struct interest_error error;
    if (interest_open(bench->folder, &bench->model, &error))
        fail_msg("%s", error.text);
}

/* A first base is published and served. */
static void open_bench(struct bench *bench, const char *folder,
                       enum snapshot_row_type type)
{
    *bench = (struct bench){.folder = folder, .seed = 1};
    fixture_init(&bench->fixture, 3, ROWS);
    bench->publisher = fixture_publisher(folder);
    bench->publisher->config.row_type = type;
    bench->publisher->config.versions_kept = 1000;
    fixture_publish(bench->publisher, &bench->fixture);
    open_model(bench);
}

static void close_bench(struct bench *bench)
{
    interest_close(bench->model);
    snapshot_publisher_free(bench->publisher);
    fixture_fini(&bench->fixture);
}

static struct snapshot_announcement publish_delta(struct bench *bench)
{
    struct chain_change change;
    chain_change(&bench->fixture, bench->seed++, TOUCHED, &change);
    struct snapshot_announcement said =
        chain_publish_delta(bench->publisher, &change);
    chain_change_fini(&change);
    return said;
}

static struct interest_request ask(const struct fixture_request *request)
{
    return (struct interest_request){
        .profile = request->profile,
        .history = request->history,
        .history_size = request->history_size,
        .items = request->items,
        .candidates = request->candidates,
        .context = request->context,
    };
}

/* `model` scores as the fixture does without files. */
static void expect_scores(struct interest_model *model,
                          const struct fixture *fixture, uint64_t version)
{
    struct interest_scorer *scorer;
    struct interest_error error;
    struct interest_version scored;
    float expected[CANDIDATES], got[CANDIDATES];
    if (interest_scorer_open(model, HISTORY, CANDIDATES, &scorer, &error))
        fail_msg("%s", error.text);
    for (unsigned i = 0; i < 8; i++) {
        struct fixture_request request;
        fixture_request(fixture, i, HISTORY, CANDIDATES, &request);
        struct interest_request asked = ask(&request);
        fixture_score(fixture, &request, expected);
        if (interest_score(scorer, &asked, got, NULL, &scored, &error))
            fail_msg("%s", error.text);
        assert_true(scored.version == version);
        assert_memory_equal(got, expected, sizeof got);
    }
    interest_scorer_close(scorer);
}

static struct interest_state state_of(const struct bench *bench)
{
    struct interest_state state;
    interest_get_state(bench->model, &state);
    return state;
}

static void refresh(struct bench *bench)
{
    struct interest_error error;
    int changed;
    if (interest_refresh(bench->model, &changed, &error))
        fail_msg("%s", error.text);
    assert_int_equal(changed, 1);
}

static void refuse(struct bench *bench, int expected, const char *complaint)
{
    struct interest_error error = {0};
    struct interest_state before = state_of(bench);
    int changed = 1, status = interest_refresh(bench->model, &changed, &error);
    struct interest_state after = state_of(bench);
    if (status != expected || !strstr(error.text, complaint))
        fail_msg("status %d, '%s' does not say '%s'", status, error.text,
                 complaint);
    assert_int_equal(changed, 0);
    assert_true(after.version.version == before.version.version);
    assert_true(after.errors == before.errors + 1);
    assert_true(after.errors_in_row == before.errors_in_row + 1);
    assert_int_equal(after.error.status, status);
    assert_string_equal(after.error.text, error.text);
}

static void path_of(const struct bench *bench, const char *name, char *path)
{
    snprintf(path, 1200, "%s/%s", bench->folder, name);
}

static void move(const struct bench *bench, const char *from, const char *to)
{
    char old[1200], new[1200];
    path_of(bench, from, old);
    path_of(bench, to, new);
    assert_int_equal(rename(old, new), 0);
}

static void read_file(const struct bench *bench, const char *name, char **data,
                      size_t *size)
{
    char path[1200];
    path_of(bench, name, path);
    assert_int_equal(base_file_read(path, 1 << 24, data, size, NULL), 0);
}

static void read_text(const struct bench *bench, const char *name, char **text)
{
    size_t size;
    read_file(bench, name, text, &size);
}

static void write_file(const struct bench *bench, const char *name,
                       const char *data, size_t size)
{
    char path[1200];
    path_of(bench, name, path);
    assert_int_equal(base_file_replace(path, data, size, NULL), 0);
}

static void write_text(const struct bench *bench, const char *name,
                       const char *text)
{
    write_file(bench, name, text, strlen(text));
}

/* ---- the way it should be ------------------------------------------------ */

static void follow_row_type(const char *folder, enum snapshot_row_type type,
                            enum snapshot_dtype dtype)
{
    struct bench bench;
    open_bench(&bench, folder, type);
    fixture_round(&bench.fixture, dtype);
    expect_scores(bench.model, &bench.fixture, 1);
    for (uint64_t version = 2; version < 12; version++) {
        publish_delta(&bench);
        refresh(&bench);
        fixture_round(&bench.fixture, dtype);
        expect_scores(bench.model, &bench.fixture, version);
    }
    struct interest_state state = state_of(&bench);
    assert_true(state.bases == 1 && state.deltas == 10 && !state.resyncs);
    assert_true(state.errors == 0 && state.waiting == 0 && state.bytes > 0);
    assert_true(state.version.generation == 11);
    assert_true(state.version.served_ms >= state.version.created_ms);
    close_bench(&bench);
}

static void test_deltas(void **state)
{
    follow_row_type(*state, SNAPSHOT_ROW_F32, SNAPSHOT_F32);
}

static void test_deltas_of_halves(void **state)
{
    follow_row_type(*state, SNAPSHOT_ROW_F16, SNAPSHOT_F16);
}

static void test_deltas_of_bytes(void **state)
{
    follow_row_type(*state, SNAPSHOT_ROW_I8, SNAPSHOT_I8);
}

/* One look after many versions; and a reader that comes later. */
static void test_catching_up(void **state)
{
    struct bench bench;
    open_bench(&bench, *state, SNAPSHOT_ROW_F32);
    for (unsigned i = 0; i < 30; i++)
        publish_delta(&bench);
    refresh(&bench);
    expect_scores(bench.model, &bench.fixture, 31);
    assert_true(state_of(&bench).deltas == 30);
    interest_close(bench.model);
    open_model(&bench);
    expect_scores(bench.model, &bench.fixture, 31);
    assert_true(state_of(&bench).deltas == 30);
    close_bench(&bench);
}

/* A new reader loads the base beside and what came after it; a follower never
 * loads it. */
static void test_beside(void **state)
{
    struct bench bench;
    struct interest_model *late;
    struct interest_state known;
    struct snapshot_announcement said = {0};
    open_bench(&bench, *state, SNAPSHOT_ROW_F32);
    for (unsigned i = 0; i < 5; i++)
        said = publish_delta(&bench);
    chain_publish_beside(bench.publisher, &bench.fixture, &said);
    assert_int_equal(interest_open(*state, &late, NULL), 0);
    expect_scores(late, &bench.fixture, 6);
    interest_get_state(late, &known);
    assert_true(known.bases == 1 && known.deltas == 0);
    interest_close(late);
    for (unsigned i = 0; i < 3; i++)
        publish_delta(&bench);
    assert_int_equal(interest_open(*state, &late, NULL), 0);
    expect_scores(late, &bench.fixture, 9);
    interest_get_state(late, &known);
    assert_true(known.bases == 1 && known.deltas == 3);
    interest_close(late);
    refresh(&bench);
    assert_true(state_of(&bench).bases == 1);
    assert_true(state_of(&bench).deltas == 8);
    expect_scores(bench.model, &bench.fixture, 9);
    close_bench(&bench);
}

/* A base that is damaged, or not of its delta: an older one stands in. */
static void test_beside_damaged(void **state)
{
    static const char *const damages[] = {"manifest.json", "dense.safetensors",
                                          "table.goods.safetensors"};
    struct bench bench;
    open_bench(&bench, *state, SNAPSHOT_ROW_F32);
    for (unsigned i = 0; i < 3; i++) {
        struct interest_model *late;
        struct interest_state known;
        char name[200];
        struct snapshot_announcement said = publish_delta(&bench);
        chain_publish_beside(bench.publisher, &bench.fixture, &said);
        snprintf(name, sizeof name, "b%s/%s", said.folder_name + 1,
                 damages[i]);
        char *data = NULL;
        size_t size;
        read_file(&bench, name, &data, &size);
        data[size / 2] ^= 1;
        write_file(&bench, name, data, size);
        free(data);
        publish_delta(&bench);
        assert_int_equal(interest_open(*state, &late, NULL), 0);
        interest_get_state(late, &known);
        assert_true(known.bases == 1 && known.deltas == 2 * (i + 1));
        expect_scores(late, &bench.fixture, 1 + 2 * (i + 1));
        interest_close(late);
    }
    close_bench(&bench);
}

/* The publisher's lock on manifest.json is a removal; ours keeps it away. */
static void test_locks(void **state)
{
    struct bench bench;
    char path[1300];
    open_bench(&bench, *state, SNAPSHOT_ROW_F32);
    struct snapshot_announcement said = publish_delta(&bench);
    snprintf(path, sizeof path, "%s/%s/manifest.json", bench.folder,
             said.folder_name);
    int lock = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(flock(lock, LOCK_EX | LOCK_NB), 0);
    refuse(&bench, INTEREST_CORRUPT, "is being removed");
    close(lock);
    refresh(&bench);
    lock = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(flock(lock, LOCK_EX | LOCK_NB), 0); /* let go again */
    close(lock);
    close_bench(&bench);
}

/* ---- what goes wrong ----------------------------------------------------- */

/* A delta is lost: the base that comes is taken, the old version serves until
 * then. */
static void test_gap(void **state)
{
    struct bench bench;
    struct fixture before;
    open_bench(&bench, *state, SNAPSHOT_ROW_F32);
    fixture_init(&before, 3, ROWS);
    struct snapshot_announcement lost = publish_delta(&bench);
    move(&bench, lost.folder_name, "lost");
    struct snapshot_announcement said = publish_delta(&bench);
    refuse(&bench, INTEREST_CORRUPT, lost.folder_name);
    expect_scores(bench.model, &before, 1);
    chain_publish_beside(bench.publisher, &bench.fixture, &said);
    refresh(&bench);
    expect_scores(bench.model, &bench.fixture, 3);
    assert_true(state_of(&bench).resyncs == 1);
    assert_true(state_of(&bench).errors_in_row == 0);
    publish_delta(&bench);
    refresh(&bench);
    expect_scores(bench.model, &bench.fixture, 4);
    assert_true(state_of(&bench).resyncs == 1);
    fixture_fini(&before);
    close_bench(&bench);
}

/* Another chain, of a restarted publisher. */
static void test_new_chain(void **state)
{
    struct bench bench;
    open_bench(&bench, *state, SNAPSHOT_ROW_F32);
    publish_delta(&bench);
    refresh(&bench);
    fixture_publish(bench.publisher, &bench.fixture);
    publish_delta(&bench);
    refresh(&bench);
    expect_scores(bench.model, &bench.fixture, 4);
    assert_true(state_of(&bench).resyncs == 1);
    bench.publisher->config.row_type = SNAPSHOT_ROW_F16;
    fixture_publish(bench.publisher, &bench.fixture);
    refresh(&bench);
    fixture_round(&bench.fixture, SNAPSHOT_F16);
    expect_scores(bench.model, &bench.fixture, 5);
    assert_true(state_of(&bench).resyncs == 2);
    close_bench(&bench);
}

/* Folders exchanged, doubled, or CURRENT put back. */
static void test_reordered(void **state)
{
    struct bench bench;
    open_bench(&bench, *state, SNAPSHOT_ROW_F32);
    char *first = NULL;
    read_text(&bench, "CURRENT", &first);
    struct snapshot_announcement a = publish_delta(&bench);
    struct snapshot_announcement b = publish_delta(&bench);
    move(&bench, a.folder_name, "held");
    move(&bench, b.folder_name, a.folder_name);
    move(&bench, "held", b.folder_name);
    refuse(&bench, INTEREST_CORRUPT, "hash is not the one that names it");
    move(&bench, a.folder_name, "held");
    refuse(&bench, INTEREST_CORRUPT, "hash is not the one that names it");
    move(&bench, b.folder_name, a.folder_name);
    move(&bench, "held", b.folder_name);
    refresh(&bench);
    expect_scores(bench.model, &bench.fixture, 3);
    write_text(&bench, "CURRENT", first);
    refuse(&bench, INTEREST_CORRUPT, "older than the served");
    free(first);
    close_bench(&bench);
}

/* Writes a manifest again with `old` replaced by `text`, and names its hash in
 * CURRENT. */
static void forge(struct bench *bench, const char *folder, const char *old,
                  const char *text)
{
    char name[200], line[200], hash[SNAPSHOT_HASH_TEXT];
    snprintf(name, sizeof name, "%s/manifest.json", folder);
    char *manifest = NULL;
    read_text(bench, name, &manifest);
    size_t room = strlen(manifest) + strlen(text) + 1;
    char *at = strstr(manifest, old), *forged = calloc(1, room);
    if (!at || !forged)
        fail_msg("no '%s' in %s", old, name);
    *at = '\0';
    snprintf(forged, room, "%s%s%s", manifest, text, at + strlen(old));
    write_text(bench, name, forged);
    snapshot_hash_print(snapshot_hash_of(forged, strlen(forged)), hash);
    snprintf(line, sizeof line, "%s %s\n", folder, hash);
    write_text(bench, "CURRENT", line);
    free(manifest);
    free(forged);
}

/* Parents that lead nowhere, to itself, or forward; counts that do not fit. */
static void test_forged_lineage(void **state)
{
    struct bench bench;
    char self[100], parent[100];
    open_bench(&bench, *state, SNAPSHOT_ROW_F32);
    publish_delta(&bench);
    refresh(&bench);
    struct snapshot_announcement said = publish_delta(&bench);
    snprintf(parent, sizeof parent, "\"version\": %llu,\n  \"hash\"",
             (unsigned long long)said.version - 1);
    snprintf(self, sizeof self, "\"version\": %llu,\n  \"hash\"",
             (unsigned long long)said.version);
    forge(&bench, said.folder_name, parent, self);
    refuse(&bench, INTEREST_CORRUPT, "is no older version");
    forge(&bench, said.folder_name, self, parent);
    forge(&bench, said.folder_name, "\"rows\": 300", "\"rows\": 301");
    refuse(&bench, INTEREST_CORRUPT, "300 rows now; the manifest says 301");
    forge(&bench, said.folder_name, "\"rows\": 301", "\"rows\": 300");
    refresh(&bench);
    expect_scores(bench.model, &bench.fixture, 3);
    close_bench(&bench);
}

/* A delta that says of a key that it went, which its parent never had. */
static void test_gone_unknown(void **state)
{
    struct bench bench;
    struct chain_change change;
    open_bench(&bench, *state, SNAPSHOT_ROW_F32);
    chain_change(&bench.fixture, 5, TOUCHED, &change);
    assert_true(change.gone_count[1] > 1);
    uint64_t right = change.gone[1][0];
    change.gone[1][0] = 1; /* ascends, is no key */
    struct snapshot_announcement said =
        chain_publish_delta(bench.publisher, &change);
    refuse(&bench, INTEREST_CORRUPT, "is said to be gone, but was not there");
    change.gone[1][0] = right;
    fixture_publish(bench.publisher, &bench.fixture);
    refresh(&bench);
    expect_scores(bench.model, &bench.fixture, said.version + 1);
    chain_change_fini(&change);
    close_bench(&bench);
}

/* A delta whose weights are not those that its golden requests had. */
static void test_damaged_delta(void **state)
{
    struct bench bench;
    char name[200];
    open_bench(&bench, *state, SNAPSHOT_ROW_F32);
    struct snapshot_announcement said = publish_delta(&bench);
    forge(&bench, said.folder_name, "\"scores\": [\n    0.",
          "\"scores\": [\n    1.");
    refuse(&bench, INTEREST_CORRUPT, "scores");
    snprintf(name, sizeof name, "%s/table.cate.safetensors", said.folder_name);
    move(&bench, name, "held");
    refuse(&bench, INTEREST_CORRUPT, "scores"); /* the manifest comes first */
    close_bench(&bench);
}

/* ---- announcements ------------------------------------------------------- */

static size_t put_long(uint8_t *to, int64_t value)
{
    uint64_t zigzag = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    size_t size = 0;
    while (zigzag >= 0x80) {
        to[size++] = (uint8_t)(zigzag | 0x80);
        zigzag >>= 7;
    }
    to[size++] = (uint8_t)zigzag;
    return size;
}

static size_t put_text(uint8_t *to, const char *text)
{
    size_t size = put_long(to, (int64_t)strlen(text));
    memcpy(to + size, text, strlen(text));
    return size + strlen(text);
}

static size_t encode(const struct snapshot_announcement *said, uint8_t *bytes)
{
    size_t size = put_text(bytes, said->model_name);
    size += put_long(bytes + size, (int64_t)said->epoch);
    size += put_long(bytes + size, (int64_t)said->version);
    size += put_text(bytes + size, said->folder_name);
    size += put_text(bytes + size, said->manifest_hash);
    size += put_long(bytes + size, (int64_t)said->position);
    size += put_long(bytes + size, said->newest_event_ms);
    return size + put_long(bytes + size, said->created_ms);
}

static void test_announced(void **state)
{
    struct bench bench;
    struct interest_error error;
    uint8_t bytes[400];
    int changed;
    open_bench(&bench, *state, SNAPSHOT_ROW_F32);
    char *first = NULL;
    read_text(&bench, "CURRENT", &first);
    struct snapshot_announcement said = publish_delta(&bench);
    size_t size = encode(&said, bytes);
    write_text(&bench, "CURRENT", first); /* a share that lags */
    move(&bench, said.folder_name, "held");
    assert_int_equal(interest_announce(bench.model, bytes, size, &error), 0);
    assert_int_equal(interest_refresh(bench.model, &changed, &error),
                     INTEREST_NO_MODEL);
    assert_non_null(strstr(error.text, "is announced, but not there yet"));
    move(&bench, "held", said.folder_name);
    refresh(&bench);
    expect_scores(bench.model, &bench.fixture, 2);
    /* A heartbeat, and another model's. */
    assert_int_equal(interest_announce(bench.model, bytes, size, &error), 0);
    snprintf(said.model_name, sizeof said.model_name, "other");
    said.version = 9;
    snprintf(said.folder_name, sizeof said.folder_name, "v%llu-9",
             (unsigned long long)said.epoch);
    size = encode(&said, bytes);
    assert_int_equal(interest_announce(bench.model, bytes, size, &error), 0);
    assert_true(state_of(&bench).announcements == 2);
    assert_true(state_of(&bench).version.version == 2);
    free(first);
    close_bench(&bench);
}

static void test_no_announcement(void **state)
{
    struct bench bench;
    struct interest_error error;
    uint8_t bytes[400], longer[420] = {0};
    open_bench(&bench, *state, SNAPSHOT_ROW_F32);
    struct snapshot_announcement said = publish_delta(&bench);
    size_t size = encode(&said, bytes);
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *exact = malloc(cut ? cut : 1); /* overreads are seen */
        memcpy(exact, bytes, cut);
        assert_int_equal(interest_announce(bench.model, exact, cut, &error),
                         INTEREST_ARGUMENT);
        free(exact);
    }
    memcpy(longer, bytes, size); /* of a later schema */
    assert_int_equal(
        interest_announce(bench.model, longer, size + 20, &error), 0);
    said.version += 1; /* not the folder's */
    size = encode(&said, bytes);
    assert_int_equal(interest_announce(bench.model, bytes, size, &error),
                     INTEREST_ARGUMENT);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(
        interest_announce(bench.model, bytes, sizeof bytes, &error),
        INTEREST_ARGUMENT);
    assert_int_equal(interest_announce(NULL, bytes, 1, &error),
                     INTEREST_ARGUMENT);
    close_bench(&bench);
}

/* ---- the following thread ------------------------------------------------ */

struct seen {
    atomic_ullong version;
    atomic_uint failures;
};

static void on_changed(void *self, const struct interest_version *version)
{
    atomic_store(&((struct seen *)self)->version, version->version);
}

static void on_failed(void *self, const struct interest_error *error)
{
    if (error->text[0])
        atomic_fetch_add(&((struct seen *)self)->failures, 1);
}

static void wait_for_version(struct seen *seen, uint64_t version)
{
    for (unsigned i = 0; i < 3000; i++) {
        if (atomic_load(&seen->version) == version)
            return;
        usleep(10000);
    }
    fail_msg("version %llu was not followed", (unsigned long long)version);
}

static void test_thread(void **state)
{
    struct bench bench;
    struct seen seen = {0};
    struct interest_error error;
    struct interest_following how = {.poll_ms = 3600000, .changed = on_changed,
                                     .failed = on_failed, .self = &seen};
    open_bench(&bench, *state, SNAPSHOT_ROW_F32);
    assert_int_equal(interest_follow(bench.model, &how, &error), 0);
    assert_int_equal(interest_follow(bench.model, &how, &error),
                     INTEREST_ARGUMENT);
    for (uint64_t version = 2; version < 6; version++) {
        publish_delta(&bench);
        wait_for_version(&seen, version); /* inotify: no poll is near */
        expect_scores(bench.model, &bench.fixture, version);
    }
    assert_int_equal(atomic_load(&seen.failures), 0);
    struct snapshot_announcement lost = publish_delta(&bench);
    wait_for_version(&seen, 6);
    lost = publish_delta(&bench);
    wait_for_version(&seen, 7);
    move(&bench, lost.folder_name, "lost");
    publish_delta(&bench); /* its parent is what is served */
    wait_for_version(&seen, 8);
    write_text(&bench, "CURRENT", "nonsense\n");
    for (unsigned i = 0; i < 3000 && !atomic_load(&seen.failures); i++)
        usleep(10000);
    assert_true(atomic_load(&seen.failures) > 0);
    publish_delta(&bench);
    wait_for_version(&seen, 9);
    expect_scores(bench.model, &bench.fixture, 9);
    close_bench(&bench);
}

/* An announcement wakes the thread where inotify sees nothing. */
static void test_thread_announced(void **state)
{
    struct bench bench;
    struct seen seen = {0};
    uint8_t bytes[400];
    struct interest_following how = {.poll_ms = 3600000, .changed = on_changed,
                                     .self = &seen};
    open_bench(&bench, *state, SNAPSHOT_ROW_F32);
    assert_int_equal(interest_follow(bench.model, &how, NULL), 0);
    publish_delta(&bench);
    wait_for_version(&seen, 2);
    assert_int_equal(inotify_rm_watch(interest_descriptor(bench.model), 1), 0);
    struct snapshot_announcement said = publish_delta(&bench);
    size_t size = encode(&said, bytes);
    assert_int_equal(interest_announce(bench.model, bytes, size, NULL), 0);
    wait_for_version(&seen, 3);
    close_bench(&bench);
}

#define WITH_FOLDER(test) \
    cmocka_unit_test_setup_teardown(test, fixture_folder, fixture_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_deltas),
        WITH_FOLDER(test_deltas_of_halves),
        WITH_FOLDER(test_deltas_of_bytes),
        WITH_FOLDER(test_catching_up),
        WITH_FOLDER(test_beside),
        WITH_FOLDER(test_beside_damaged),
        WITH_FOLDER(test_locks),
        WITH_FOLDER(test_gap),
        WITH_FOLDER(test_new_chain),
        WITH_FOLDER(test_reordered),
        WITH_FOLDER(test_forged_lineage),
        WITH_FOLDER(test_gone_unknown),
        WITH_FOLDER(test_damaged_delta),
        WITH_FOLDER(test_announced),
        WITH_FOLDER(test_no_announcement),
        WITH_FOLDER(test_thread),
        WITH_FOLDER(test_thread_announced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
