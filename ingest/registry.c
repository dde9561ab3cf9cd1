/* SPDX-License-Identifier: Apache-2.0 */
/* The schema registry's client; see registry.h. Entries stand in one array
 * under the mutex; the thread takes the one that is due first, asks without
 * the mutex, and files the answer. */
#include "ingest/registry.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <curl/curl.h>
#include <jansson.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/map.h"
#include "base/random.h"

enum {
    ANSWER_MAX = 2 << 20, /* bytes of an HTTP answer */
    TIMEOUT_MS = 10000,
    SPACING_MS = 100,   /* between requests: RATE is ten a second .. */
    BURST = 10,         /* .. after so many at once */
    BACKOFF_MS = 1000,  /* doubles .. */
    BACKOFF_MAX_MS = 60000,
    BELIEVED_AFTER = 3, /* answers "not found" until ABSENT */
    FLOOD = 16,         /* ids found to be ABSENT, of which .. */
    FORGOTTEN_MS = 10000, /* .. one is forgotten so often */
    FAR = 1000,         /* above twice the greatest known id */
};

struct entry {
    uint32_t id;
    enum ingest_registry_state state;
    unsigned failures, denials;
    int64_t due_ms; /* monotonic: when to ask next, 0: never; where ABSENT.. */
    bool named;     /* .. only if a record named it since that time */
};

struct ingest_registry {
    struct ingest_registry_config config;
    CURL *curl;
    char *answer;
    size_t answer_size;
    pthread_t thread;
    bool started;
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t changed;
    bool stopping;
    struct base_map *index; /* id -> its entry's place */
    struct entry entries[INGEST_REGISTRY_IDS_MAX];
    unsigned count;
    uint32_t greatest; /* id that is READY; 0: none yet */
    unsigned denied;   /* ids lately; see FLOOD */
    int64_t denied_ms; /* up to when they were forgotten */
    unsigned troubles; /* of the registry itself, in a row */
    int64_t pause_ms;  /* monotonic: nothing is asked before */
    struct ingest_registry_status status;
};

/* ---- one request --------------------------------------------------------- */

static size_t receive(char *bytes, size_t size, size_t count, void *self)
{
    struct ingest_registry *registry = self;
    size *= count;
    if (size > ANSWER_MAX - registry->answer_size)
        return 0; /* libcurl ends the transfer */
    memcpy(registry->answer + registry->answer_size, bytes, size);
    registry->answer_size += size;
    return size;
}

static int ended(void *self, curl_off_t a, curl_off_t b, curl_off_t c,
                 curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    struct ingest_registry *registry = self;
    pthread_mutex_lock(&registry->mutex);
    bool stopping = registry->stopping;
    pthread_mutex_unlock(&registry->mutex);
    return stopping;
}

/* The schema's text out of {"schema": ..}; FOREIGN where it cannot serve. */
static enum base_status read_answer(const json_t *json, const char **schema,
                                    enum ingest_registry_state *state,
                                    struct base_error *error)
{
    const char *type = json_string_value(json_object_get(json, "schemaType"));
    *schema = json_string_value(json_object_get(json, "schema"));
    if (!*schema)
        return base_fail(error, BASE_DATA,
                         "an answer without the text \"schema\"");
    *state = INGEST_REGISTRY_READY;
    if ((type && strcmp(type, "AVRO") != 0) ||
        json_array_size(json_object_get(json, "references")) > 0)
        *state = INGEST_REGISTRY_FOREIGN;
    return BASE_OK;
}

static enum base_status keep(struct ingest_registry *registry, uint32_t id,
                             enum ingest_registry_state *state,
                             struct base_error *error)
{
    json_error_t why;
    json_t *json = json_loadb(registry->answer, registry->answer_size, 0,
                              &why);
    if (!json)
        return base_fail(error, BASE_DATA, "an answer that is no JSON: %s",
                         why.text);
    const char *schema;
    char name[32], path[1200];
    enum base_status status =
        read_answer(json, &schema, state, error);
    snprintf(name, sizeof name, "%u.avsc", id);
    if (!status && *state == INGEST_REGISTRY_READY) {
        status = base_file_join(path, sizeof path, registry->config.folder,
                                name, error);
        if (!status)
            status = base_file_replace(path, schema, strlen(schema), error);
    }
    json_decref(json);
    return status;
}

/* Whether an answer 404 is the registry's own word (error_code 404xx) and not
 * that of a proxy before it, or of a server that has no such path. */
static bool is_denial(const struct ingest_registry *registry)
{
    json_t *json = json_loadb(registry->answer, registry->answer_size, 0, NULL);
    json_int_t code = json_integer_value(json_object_get(json, "error_code"));
    json_decref(json);
    return code / 100 == 404;
}

/* Seconds that the registry asks to be left alone, as milliseconds. */
static int64_t retry_after_ms(struct ingest_registry *registry)
{
    curl_off_t seconds = 0;
    curl_easy_getinfo(registry->curl, CURLINFO_RETRY_AFTER, &seconds);
    return seconds < BACKOFF_MAX_MS / 1000 ? (int64_t)seconds * 1000
                                           : BACKOFF_MAX_MS;
}

/* Asks for one id, without the mutex. Not BASE_OK: no answer; *pause_ms is
 * not negative where the registry is at fault, not what it said of this id. */
static enum base_status request(struct ingest_registry *registry, uint32_t id,
                                enum ingest_registry_state *state,
                                int64_t *pause_ms, struct base_error *error)
{
    *pause_ms = -1;
    char url[1200];
    size_t size = strlen(registry->config.url);
    while (size > 0 && registry->config.url[size - 1] == '/')
        size--;
    snprintf(url, sizeof url, "%.*s/schemas/ids/%u", (int)size,
             registry->config.url, id);
    registry->answer_size = 0;
    curl_easy_setopt(registry->curl, CURLOPT_URL, url);
    CURLcode failed = curl_easy_perform(registry->curl);
    if (failed) {
        *pause_ms = failed == CURLE_WRITE_ERROR ? -1 : 0; /* too large */
        return base_fail(error, BASE_AGAIN, "%s: %s", url,
                         curl_easy_strerror(failed));
    }
    long code = 0;
    curl_easy_getinfo(registry->curl, CURLINFO_RESPONSE_CODE, &code);
    *state = INGEST_REGISTRY_ABSENT;
    if (code == 404 && is_denial(registry))
        return BASE_OK;
    if (code == 429 || code >= 500)
        *pause_ms = retry_after_ms(registry);
    if (code != 200)
        return base_fail(error, BASE_AGAIN, "%s: HTTP status %ld%s", url, code,
                         code == 404 ? ", not of a registry: is its URL right?"
                                     : "");
    return keep(registry, id, state, error) ? base_wrap(error, "%s", url)
                                            : BASE_OK;
}

/* ---- the thread ---------------------------------------------------------- */

static struct entry *find(struct ingest_registry *registry, uint32_t id)
{
    const uint64_t *place = base_map_get(registry->index, id);
    return place ? &registry->entries[*place] : NULL;
}

static void know(struct ingest_registry *registry, uint32_t id)
{
    if (id > registry->greatest)
        registry->greatest = id;
}

/* A registry counts its ids up: one far above those that are known is hardly
 * its own. */
static bool is_far(const struct ingest_registry *registry, uint32_t id)
{
    return registry->greatest &&
           id > 2 * (uint64_t)registry->greatest + FAR;
}

static bool is_flood(struct ingest_registry *registry)
{
    int64_t now_ms = base_monotonic_ms();
    int64_t gone = (now_ms - registry->denied_ms) / FORGOTTEN_MS;
    registry->denied_ms += gone * FORGOTTEN_MS;
    registry->denied -= gone < registry->denied ? (unsigned)gone
                                                : registry->denied;
    return registry->denied >= FLOOD;
}

static void count_denied(struct ingest_registry *registry)
{
    if (!is_flood(registry) || registry->denied < 2 * FLOOD)
        registry->denied++;
}

static bool waits(const struct entry *entry)
{
    return entry->state == INGEST_REGISTRY_WANTED;
}

/* Whether `a` is asked for before `b`: partitions wait for what is WANTED, so
 * that goes first as soon as it is due. */
static bool before(const struct entry *a, const struct entry *b, int64_t now_ms)
{
    int64_t due_a = a->due_ms > now_ms ? a->due_ms : now_ms;
    int64_t due_b = b->due_ms > now_ms ? b->due_ms : now_ms;
    if (due_a != due_b)
        return due_a < due_b;
    return waits(a) != waits(b) ? waits(a) : a->due_ms < b->due_ms;
}

/* The entry to ask for next, and when; NULL: none. */
static struct entry *next_due(struct ingest_registry *registry, int64_t now_ms)
{
    struct entry *next = NULL;
    for (unsigned i = 0; i < registry->count; i++) {
        struct entry *entry = &registry->entries[i];
        if (entry->due_ms && (waits(entry) || entry->named) &&
            (!next || before(entry, next, now_ms)))
            next = entry;
    }
    return next;
}

static int64_t back_off(uint32_t id, unsigned times)
{
    int64_t wait_ms = times < 7 ? BACKOFF_MS << (times - 1) : BACKOFF_MAX_MS;
    if (wait_ms > BACKOFF_MAX_MS)
        wait_ms = BACKOFF_MAX_MS;
    uint64_t jitter = base_random_u64((uint64_t)base_monotonic_us(), 0, id, 0);
    return wait_ms + (int64_t)base_random_below(jitter, (uint64_t)wait_ms / 4);
}

static void note_failure(struct ingest_registry *registry, struct entry *entry,
                         int64_t pause_ms, const struct base_error *why)
{
    registry->status.failures++;
    if (pause_ms >= 0) {
        int64_t least_ms = back_off(entry->id, ++registry->troubles);
        registry->pause_ms = base_monotonic_ms() +
                             (pause_ms > least_ms ? pause_ms : least_ms);
    }
    snprintf(registry->status.trouble, sizeof registry->status.trouble,
             "%.199s", why->text);
    entry->due_ms = base_monotonic_ms() + back_off(entry->id,
                                                   ++entry->failures);
    base_log(BASE_LOG_WARN, "event=registry_trouble schema_id=%u text=\"%s\"",
             entry->id, why->text);
}

/* Why the records of this id become dead letters. */
static void say_unusable(uint32_t id, enum ingest_registry_state state)
{
    if (state == INGEST_REGISTRY_ABSENT)
        base_log(BASE_LOG_WARN,
                 "event=schema_absent schema_id=%u text=\"the registry does "
                 "not know it; its records become dead letters\"", id);
    else if (state == INGEST_REGISTRY_FOREIGN)
        base_log(BASE_LOG_WARN,
                 "event=schema_foreign schema_id=%u text=\"it is not Avro, or "
                 "refers to other schemas; its records become dead letters\"",
                 id);
}

/* With the mutex. */
static void file_answer(struct ingest_registry *registry, struct entry *entry,
                        enum ingest_registry_state state)
{
    registry->status.trouble[0] = '\0';
    registry->troubles = 0;
    entry->failures = 0;
    entry->due_ms = 0;
    entry->named = false;
    if (state == INGEST_REGISTRY_ABSENT) {
        entry->due_ms = base_monotonic_ms() + back_off(entry->id,
                                                       ++entry->denials);
        if (waits(entry) && entry->denials < BELIEVED_AFTER &&
            !is_far(registry, entry->id) && !is_flood(registry))
            state = INGEST_REGISTRY_WANTED;
        else
            count_denied(registry);
    } else {
        know(registry, entry->id);
    }
    if (state != entry->state)
        say_unusable(entry->id, state);
    entry->state = state;
}

static void ask_one(struct ingest_registry *registry, uint32_t id)
{
    enum ingest_registry_state state = INGEST_REGISTRY_WANTED;
    struct base_error why = {.text = ""};
    registry->status.requests++;
    pthread_mutex_unlock(&registry->mutex);
    int64_t pause_ms;
    enum base_status status = request(registry, id, &state, &pause_ms, &why);
    pthread_mutex_lock(&registry->mutex);
    struct entry *entry = find(registry, id);
    if (registry->stopping || !entry)
        return;
    if (status)
        note_failure(registry, entry, pause_ms, &why);
    else
        file_answer(registry, entry, state);
    uint64_t one = 1;
    if (registry->config.event_fd >= 0 &&
        write(registry->config.event_fd, &one, sizeof one) < 0)
        return; /* full counter: the reader is awake anyway */
}

static void wait_until(struct ingest_registry *registry, int64_t until_ms)
{
    struct timespec until = {.tv_sec = until_ms / 1000,
                             .tv_nsec = until_ms % 1000 * 1000000};
    pthread_cond_timedwait(&registry->changed, &registry->mutex, &until);
}

static void *run(void *argument)
{
    struct ingest_registry *registry = argument;
    int64_t spent_ms = 0; /* each request costs SPACING_MS of the time */
    pthread_mutex_lock(&registry->mutex);
    while (!registry->stopping) {
        int64_t now_ms = base_monotonic_ms();
        const struct entry *next = next_due(registry, now_ms);
        int64_t free_ms = spent_ms - (BURST - 1) * SPACING_MS;
        if (free_ms < registry->pause_ms)
            free_ms = registry->pause_ms;
        if (!next) {
            pthread_cond_wait(&registry->changed, &registry->mutex);
        } else if (next->due_ms > now_ms || free_ms > now_ms) {
            wait_until(registry,
                       next->due_ms > free_ms ? next->due_ms : free_ms);
        } else {
            spent_ms = (spent_ms > now_ms ? spent_ms : now_ms) + SPACING_MS;
            ask_one(registry, next->id);
        }
    }
    pthread_mutex_unlock(&registry->mutex);
    return NULL;
}

/* ---- life ---------------------------------------------------------------- */

static enum base_status set_up_curl(struct ingest_registry *registry,
                                    struct base_error *error)
{
    const struct ingest_registry_config *config = &registry->config;
    registry->curl = curl_easy_init();
    registry->answer = malloc(ANSWER_MAX);
    if (!registry->curl || !registry->answer)
        return base_fail(error, BASE_SYSTEM, "registry: no memory");
    if (base_map_new(&registry->index, 0, error))
        return error->status;
    registry->denied_ms = base_monotonic_ms();
    CURL *curl = registry->curl;
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS,
                     config->timeout_ms ? (long)config->timeout_ms
                                        : (long)TIMEOUT_MS);
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, registry);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, ended);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, registry);
    if (*config->user) {
        curl_easy_setopt(curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        curl_easy_setopt(curl, CURLOPT_USERNAME, config->user);
        curl_easy_setopt(curl, CURLOPT_PASSWORD, config->password);
    }
    return BASE_OK;
}

enum base_status ingest_registry_check_url(const char *url,
                                           struct base_error *error)
{
    if ((strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0) &&
        strlen(url) <= 1024 && !strpbrk(url, "@?# "))
        return BASE_OK;
    return base_fail(error, BASE_CONFIG,
                     "schema registry: registry.url \"%s\" is no URL; one like "
                     "http://registry:8081 is due, registry.user and "
                     "registry.password stand apart",
                     strchr(url, '@') ? "..@.." : url);
}

static enum base_status start(struct ingest_registry *registry,
                              struct base_error *error)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&registry->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&registry->mutex, NULL);
    int refused = pthread_create(&registry->thread, NULL, run, registry);
    if (refused)
        return base_fail_errno(error, refused, "registry: start its thread");
    registry->started = true;
    return BASE_OK;
}

enum base_status
ingest_registry_new(const struct ingest_registry_config *config,
                    struct ingest_registry **registry,
                    struct base_error *error)
{
    *registry = NULL;
    if (ingest_registry_check_url(config->url, error) ||
        base_file_make_folder(config->folder, error))
        return error->status;
    if (curl_global_init(CURL_GLOBAL_DEFAULT))
        return base_fail(error, BASE_SYSTEM, "registry: libcurl refuses");
    struct ingest_registry *made = calloc(1, sizeof *made);
    if (!made) {
        curl_global_cleanup();
        return base_fail(error, BASE_SYSTEM, "registry: no memory");
    }
    made->config = *config;
    enum base_status status = set_up_curl(made, error);
    if (!status)
        status = start(made, error);
    if (status) {
        ingest_registry_free(made);
        return status;
    }
    *registry = made;
    return BASE_OK;
}

void ingest_registry_free(struct ingest_registry *registry)
{
    if (!registry)
        return;
    if (registry->started) {
        pthread_mutex_lock(&registry->mutex);
        registry->stopping = true;
        pthread_cond_signal(&registry->changed);
        pthread_mutex_unlock(&registry->mutex);
        pthread_join(registry->thread, NULL);
        pthread_mutex_destroy(&registry->mutex);
        pthread_cond_destroy(&registry->changed);
    }
    curl_easy_cleanup(registry->curl);
    curl_global_cleanup();
    base_map_free(registry->index);
    free(registry->answer);
    free(registry);
}

/* ---- any thread ---------------------------------------------------------- */

static bool have_file(const struct ingest_registry *registry, uint32_t id)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/%u.avsc", registry->config.folder, id);
    return access(path, R_OK) == 0;
}

/* A place for one more. Where all are taken an id that was denied gives way, or
 * one that is known: its file, or another request, says so again. NULL: all
 * are waited for. */
static struct entry *find_place(struct ingest_registry *registry)
{
    struct entry *place = NULL;
    if (registry->count < INGEST_REGISTRY_IDS_MAX)
        return &registry->entries[registry->count++];
    for (unsigned i = 0; i < registry->count; i++) {
        struct entry *entry = &registry->entries[i];
        if (!waits(entry) && (!place || entry->due_ms > place->due_ms))
            place = entry;
    }
    if (place)
        base_map_remove(registry->index, place->id);
    return place;
}

/* Where there is no memory for it, it has no place either. */
static enum ingest_registry_state add(struct ingest_registry *registry,
                                      uint32_t id)
{
    bool there = have_file(registry, id);
    bool doubtful = !there && is_far(registry, id) && is_flood(registry);
    if (doubtful && registry->count == INGEST_REGISTRY_IDS_MAX)
        return INGEST_REGISTRY_ABSENT;
    struct entry *place = find_place(registry);
    if (!place)
        return INGEST_REGISTRY_WANTED;
    *place = (struct entry){
        .id = id,
        .state = there ? INGEST_REGISTRY_READY
                       : doubtful ? INGEST_REGISTRY_ABSENT
                                  : INGEST_REGISTRY_WANTED,
        .due_ms = there ? 0 : base_monotonic_ms(),
        .named = true};
    struct base_error error;
    if (base_map_put(registry->index, id,
                     (uint64_t)(place - registry->entries), &error))
        place->due_ms = 0; /* nobody finds it: not to be asked for */
    if (there)
        know(registry, id);
    else
        pthread_cond_signal(&registry->changed);
    return place->state;
}

enum ingest_registry_state ingest_registry_ask(struct ingest_registry *registry,
                                               uint32_t id)
{
    pthread_mutex_lock(&registry->mutex);
    struct entry *entry = find(registry, id);
    if (entry && entry->state == INGEST_REGISTRY_ABSENT && !entry->named &&
        base_monotonic_ms() >= entry->due_ms) {
        entry->named = true;
        pthread_cond_signal(&registry->changed);
    }
    enum ingest_registry_state state =
        entry ? entry->state : add(registry, id);
    pthread_mutex_unlock(&registry->mutex);
    return state;
}

void ingest_registry_get_status(struct ingest_registry *registry,
                                struct ingest_registry_status *status)
{
    pthread_mutex_lock(&registry->mutex);
    *status = registry->status;
    for (unsigned i = 0; i < registry->count; i++)
        status->wanted +=
            registry->entries[i].state == INGEST_REGISTRY_WANTED;
    pthread_mutex_unlock(&registry->mutex);
}
