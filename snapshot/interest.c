/* SPDX-License-Identifier: Apache-2.0 */
/* libinterest; see interest.h. How a version is swapped without a stall:
 *
 *  1. `current` names the served version. A scoring call writes it into its
 *     scorer's `pinned`, then looks at `current` again and repeats where it
 *     has changed; at its end it clears `pinned`. No lock, no count.
 *  2. interest_refresh exchanges `current` first, and only then looks at all
 *     `pinned`. So a version that is not current and in no `pinned` can never
 *     be taken up again; it is freed there, by the refreshing thread. One that
 *     is pinned waits in `retired` for a later refresh or for close.
 *  3. Models (schema, shapes) of all versions ever served live until close:
 *     few, small, and names and scratch point into them.
 *  4. All versions that a model serves have the same fields and transforms: a
 *     request in the making when a version is swapped fits to the next one.
 *  5. `lock` guards the list of scorers and `info`; it is never held while
 *     loading, freeing or scoring. */
#include "snapshot/interest.h"

#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "snapshot/golden.h"
#include "snapshot/version.h"

/* What scratch depends on; shared by versions of equal configuration. */
struct shape {
    struct shape *next;
    struct learner_model *model; /* OWNS */
    uint64_t config_hash;
    struct snapshot_transform transforms[LEARNER_FIELDS_MAX]; /* of fields */
};

struct served {
    struct served *next; /* in retired */
    const struct shape *shape;
    struct snapshot_version version;
    struct interest_version info;
};

struct interest_model {
    char folder[PATH_MAX];
    int descriptor; /* inotify, or -1 */
    _Atomic(struct served *) current;
    /* The refreshing thread's. */
    struct shape *shapes;
    struct served *retired;
    pthread_mutex_t lock;
    struct interest_scorer *scorers; /* under lock */
    struct interest_version info;    /* under lock */
    _Atomic(const struct shape *) shape; /* of current */
};

struct interest_scorer {
    struct interest_scorer *next; /* under the model's lock */
    struct interest_model *model;
    _Atomic(struct served *) pinned;
    const struct shape *shape; /* that scratch was made for */
    struct learner_scorer *scratch;
    uint32_t history_max, candidates_max;
};

/* ---- errors -------------------------------------------------------------- */

static int fail(struct interest_error *error, enum interest_status status,
                const char *text)
{
    if (error) {
        error->status = status;
        snprintf(error->text, sizeof error->text, "%s", text);
    }
    return (int)status;
}

static enum interest_status status_of(enum base_status status)
{
    switch (status) {
    case BASE_OK: return INTEREST_OK;
    case BASE_CONFIG: return INTEREST_FORMAT;
    case BASE_LIMIT: return INTEREST_LIMIT;
    case BASE_CORRUPT:
    case BASE_NO_INPUT: /* a file that the manifest names */
    case BASE_DATA: return INTEREST_CORRUPT;
    default: return INTEREST_SYSTEM;
    }
}

static int pass(struct interest_error *error, const struct base_error *from)
{
    return fail(error, status_of(from->status), from->text);
}

/* ---- loading ------------------------------------------------------------- */

/* Names, groups and tables (which ids depend on); not dimensions. */
static bool same_fields(const struct learner_schema *a,
                        const struct learner_schema *b)
{
    if (a->field_count != b->field_count)
        return false;
    for (unsigned i = 0; i < a->field_count; i++) {
        const struct learner_field *x = &a->fields[i], *y = &b->fields[i];
        if (strcmp(x->name, y->name) != 0 || x->group != y->group ||
            x->continues != y->continues ||
            strcmp(a->tables[x->table].name, b->tables[y->table].name) != 0)
            return false;
    }
    return true;
}

static bool same_transforms(const struct snapshot_transform *a,
                            const struct snapshot_transform *b)
{
    for (unsigned i = 0; i < LEARNER_FIELDS_MAX; i++) {
        if (a[i].kind != b[i].kind || a[i].bound_count != b[i].bound_count)
            return false;
        for (unsigned j = 0; j < a[i].bound_count; j++)
            if (a[i].bounds[j] < b[i].bounds[j] ||
                a[i].bounds[j] > b[i].bounds[j])
                return false;
    }
    return true;
}

static enum base_status find_shape(struct interest_model *model,
                                   const struct snapshot_manifest *manifest,
                                   const struct shape **shape,
                                   struct base_error *error)
{
    if (model->shapes &&
        (!same_fields(learner_model_schema(model->shapes->model),
                      &manifest->schema) ||
         !same_transforms(model->shapes->transforms, manifest->transforms)))
        return base_fail(error, BASE_CONFIG,
                         "its fields are not those of the served version; "
                         "close the model and open it again");
    for (struct shape *at = model->shapes; at; at = at->next) {
        if (at->config_hash == manifest->config_hash) {
            *shape = at;
            return BASE_OK;
        }
    }
    struct shape *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "no memory");
    enum base_status status = learner_model_new(
        &manifest->schema, &manifest->model, &made->model, error);
    if (status) {
        free(made);
        return status;
    }
    made->config_hash = manifest->config_hash;
    memcpy(made->transforms, manifest->transforms, sizeof made->transforms);
    made->next = model->shapes;
    model->shapes = made;
    *shape = made;
    return BASE_OK;
}

static void fill_info(struct served *served)
{
    const struct snapshot_manifest *manifest = &served->version.manifest;
    struct interest_version *info = &served->info;
    info->epoch = manifest->epoch;
    info->version = manifest->version;
    info->position = manifest->position;
    info->newest_event_ms = manifest->newest_event_ms;
    info->created_ms = manifest->created_ms;
    snprintf(info->name, sizeof info->name, "%s",
             served->version.current.name);
}

static void free_served(struct served *served)
{
    if (!served)
        return;
    snapshot_version_fini(&served->version);
    free(served);
}

static enum base_status load(struct interest_model *model,
                             const struct snapshot_current *current,
                             struct served **served, struct base_error *error)
{
    *served = calloc(1, sizeof **served);
    if (!*served)
        return base_fail(error, BASE_SYSTEM, "no memory");
    struct snapshot_version *version = &(*served)->version;
    enum base_status status =
        snapshot_version_begin(model->folder, current, version, error);
    if (!status)
        status = find_shape(model, &version->manifest, &(*served)->shape,
                            error);
    if (!status)
        status = snapshot_version_finish(version, (*served)->shape->model,
                                         error);
    if (status) {
        free_served(*served);
        *served = NULL;
        return status;
    }
    fill_info(*served);
    return BASE_OK;
}

/* ---- swapping ------------------------------------------------------------ */

static bool is_pinned(struct interest_model *model, const struct served *served)
{
    for (struct interest_scorer *at = model->scorers; at; at = at->next)
        if (atomic_load(&at->pinned) == served)
            return true;
    return false;
}

/* Frees what nobody uses any more. The refreshing thread's. */
static void reclaim(struct interest_model *model)
{
    struct served *unused = NULL;
    pthread_mutex_lock(&model->lock);
    for (struct served **at = &model->retired; *at;) {
        struct served *served = *at;
        if (is_pinned(model, served)) {
            at = &served->next;
            continue;
        }
        *at = served->next;
        served->next = unused;
        unused = served;
    }
    pthread_mutex_unlock(&model->lock);
    while (unused) {
        struct served *next = unused->next;
        free_served(unused);
        unused = next;
    }
}

static void swap(struct interest_model *model, struct served *served)
{
    pthread_mutex_lock(&model->lock);
    model->info = served->info;
    pthread_mutex_unlock(&model->lock);
    atomic_store(&model->shape, served->shape);
    struct served *old = atomic_exchange(&model->current, served);
    if (old) {
        old->next = model->retired;
        model->retired = old;
    }
}

static void drain(int descriptor)
{
    char events[4096];
    while (descriptor >= 0 && read(descriptor, events, sizeof events) > 0)
        continue;
}

/* Whether CURRENT names something to load; an error where it is older, or the
 * same version with another hash. */
static enum base_status judge(const struct snapshot_current *served,
                              const struct snapshot_current *named,
                              bool *newer, struct base_error *error)
{
    int order = snapshot_current_compare(named, served);
    *newer = order > 0;
    if (order < 0)
        return base_fail(error, BASE_CORRUPT,
                         "CURRENT names %s, older than the served %s; ignored",
                         named->name, served->name);
    if (order == 0 && !snapshot_hash_equal(named->hash, served->hash))
        return base_fail(error, BASE_CORRUPT,
                         "CURRENT names %s with another manifest hash than "
                         "the served one; ignored",
                         named->name);
    return BASE_OK;
}

int interest_refresh(struct interest_model *model, int *changed,
                     struct interest_error *error)
{
    struct base_error why;
    struct snapshot_current named;
    struct served *served;
    bool newer = true;
    if (changed)
        *changed = 0;
    if (!model)
        return fail(error, INTEREST_ARGUMENT, "model is NULL");
    drain(model->descriptor);
    reclaim(model);
    enum base_status status =
        snapshot_current_read(model->folder, &named, &why);
    if (status == BASE_NO_INPUT)
        return fail(error, INTEREST_NO_MODEL, why.text);
    served = atomic_load(&model->current);
    if (!status && served)
        status = judge(&served->version.current, &named, &newer, &why);
    if (!status && !newer)
        return INTEREST_OK;
    if (!status)
        status = load(model, &named, &served, &why);
    if (status)
        return pass(error, &why);
    swap(model, served);
    reclaim(model);
    if (changed)
        *changed = 1;
    return INTEREST_OK;
}

/* ---- open and close ------------------------------------------------------ */

static int watch(const char *folder)
{
    int descriptor = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (descriptor < 0)
        return -1;
    if (inotify_add_watch(descriptor, folder, IN_MOVED_TO | IN_ONLYDIR) < 0) {
        close(descriptor);
        return -1;
    }
    return descriptor;
}

int interest_open(const char *folder, struct interest_model **model,
                  struct interest_error *error)
{
    if (!folder || !model || strlen(folder) >= PATH_MAX)
        return fail(error, INTEREST_ARGUMENT,
                    "folder or model is NULL, or the name is too long");
    *model = NULL;
    struct interest_model *made = calloc(1, sizeof *made);
    if (!made)
        return fail(error, INTEREST_SYSTEM, "no memory");
    strcpy(made->folder, folder);
    pthread_mutex_init(&made->lock, NULL);
    /* Before the first look, so that no move of CURRENT goes unseen. */
    made->descriptor = watch(folder);
    int status = interest_refresh(made, NULL, error);
    if (status) {
        interest_close(made);
        return status;
    }
    *model = made;
    return INTEREST_OK;
}

void interest_close(struct interest_model *model)
{
    if (!model)
        return;
    free_served(atomic_load(&model->current));
    while (model->retired) {
        struct served *next = model->retired->next;
        free_served(model->retired);
        model->retired = next;
    }
    while (model->shapes) {
        struct shape *next = model->shapes->next;
        learner_model_free(model->shapes->model);
        free(model->shapes);
        model->shapes = next;
    }
    if (model->descriptor >= 0)
        close(model->descriptor);
    pthread_mutex_destroy(&model->lock);
    free(model);
}

int interest_descriptor(const struct interest_model *model)
{
    return model->descriptor;
}

void interest_get_version(const struct interest_model *model,
                          struct interest_version *version)
{
    struct interest_model *locked = (struct interest_model *)model;
    pthread_mutex_lock(&locked->lock);
    *version = locked->info;
    pthread_mutex_unlock(&locked->lock);
}

/* ---- fields -------------------------------------------------------------- */

static const struct learner_schema *
schema_of(const struct interest_model *model)
{
    return learner_model_schema(atomic_load(&model->shape)->model);
}

static unsigned count_of(const struct learner_schema *schema, int group)
{
    const unsigned counts[] = {schema->profile_count, schema->item_count,
                               schema->context_count};
    return group >= 0 && group < 3 ? counts[group] : 0;
}

static const struct learner_field *
field_of(const struct learner_schema *schema, int group, unsigned index)
{
    if (index >= count_of(schema, group))
        return NULL;
    for (int before = 0; before < group; before++)
        index += count_of(schema, before);
    return &schema->fields[index];
}

const char *interest_field(const struct interest_model *model, int group,
                           unsigned index)
{
    const struct learner_field *field =
        field_of(schema_of(model), group, index);
    return field ? field->name : NULL;
}

unsigned interest_field_count(const struct interest_model *model, int group)
{
    return count_of(schema_of(model), group);
}

uint64_t interest_id(const struct interest_model *model, int group,
                     unsigned index, const char *value, size_t size)
{
    const struct learner_schema *schema = schema_of(model);
    const struct learner_field *field = field_of(schema, group, index);
    if (!field || !value)
        return 0;
    return learner_id(learner_table_seed(schema->tables[field->table].name),
                      value, size);
}

unsigned interest_field_places(const struct interest_model *model, int group,
                               unsigned index)
{
    const struct learner_field *field =
        field_of(schema_of(model), group, index);
    return field && !field->continues ? field->more + 1u : 0;
}

/* Of a field, with its table's seed; NULL where there is no such field. */
static const struct snapshot_transform *
transform_of(const struct interest_model *model, int group, unsigned index,
             uint64_t *seed)
{
    const struct shape *shape = atomic_load(&model->shape);
    const struct learner_schema *schema = learner_model_schema(shape->model);
    const struct learner_field *field = field_of(schema, group, index);
    if (!field)
        return NULL;
    *seed = learner_table_seed(schema->tables[field->table].name);
    return &shape->transforms[field - schema->fields];
}

enum interest_transform
interest_field_transform(const struct interest_model *model, int group,
                         unsigned index)
{
    static const enum interest_transform kinds[] = {
        [SNAPSHOT_TRANSFORM_NONE] = INTEREST_VALUE,
        [SNAPSHOT_TRANSFORM_HOUR] = INTEREST_HOUR,
        [SNAPSHOT_TRANSFORM_WEEKDAY] = INTEREST_WEEKDAY,
        [SNAPSHOT_TRANSFORM_BUCKET] = INTEREST_BUCKET,
    };
    uint64_t seed;
    const struct snapshot_transform *transform =
        transform_of(model, group, index, &seed);
    return transform ? kinds[transform->kind] : INTEREST_VALUE;
}

uint64_t interest_time_id(const struct interest_model *model, int group,
                          unsigned index, int64_t time_ms)
{
    enum { HOUR_MS = 3600000, DAY_MS = 24 * HOUR_MS, THURSDAY = 3 };
    uint64_t seed;
    const struct snapshot_transform *transform =
        transform_of(model, group, index, &seed);
    int64_t within = time_ms % DAY_MS;
    within += within < 0 ? DAY_MS : 0;
    int64_t day = (time_ms - within) / DAY_MS; /* 1970 began on a Thursday */
    if (transform && transform->kind == SNAPSHOT_TRANSFORM_HOUR)
        return learner_id_of_int(seed, within / HOUR_MS);
    if (transform && transform->kind == SNAPSHOT_TRANSFORM_WEEKDAY)
        return learner_id_of_int(seed, ((day + THURSDAY) % 7 + 7) % 7);
    return 0;
}

uint64_t interest_bucket_id(const struct interest_model *model, int group,
                            unsigned index, double value)
{
    uint64_t seed;
    const struct snapshot_transform *transform =
        transform_of(model, group, index, &seed);
    if (!transform || transform->kind != SNAPSHOT_TRANSFORM_BUCKET ||
        isnan(value))
        return 0;
    int64_t bucket = 0;
    while (bucket < transform->bound_count &&
           transform->bounds[bucket] <= value)
        bucket++;
    return learner_id_of_int(seed, bucket);
}

/* ---- scoring ------------------------------------------------------------- */

/* Scratch for the shape of the version that is about to score. */
static int fit_scratch(struct interest_scorer *scorer,
                       const struct shape *shape,
                       struct interest_error *error)
{
    struct base_error why;
    struct learner_scorer *scratch;
    if (scorer->shape == shape)
        return INTEREST_OK;
    if (learner_scorer_new(shape->model, scorer->history_max,
                           scorer->candidates_max, &scratch, &why))
        return pass(error, &why);
    learner_scorer_free(scorer->scratch);
    scorer->scratch = scratch;
    scorer->shape = shape;
    return INTEREST_OK;
}

int interest_scorer_open(const struct interest_model *model,
                         size_t history_max, size_t candidates_max,
                         struct interest_scorer **scorer,
                         struct interest_error *error)
{
    if (!model || !scorer)
        return fail(error, INTEREST_ARGUMENT, "model or scorer is NULL");
    *scorer = NULL;
    if (history_max > LEARNER_HISTORY_MAX || candidates_max == 0 ||
        candidates_max > 1 << 20)
        return fail(error, INTEREST_LIMIT,
                    "history_max may be up to 1024, candidates_max from 1 to "
                    "1048576");
    struct interest_scorer *made = calloc(1, sizeof *made);
    if (!made)
        return fail(error, INTEREST_SYSTEM, "no memory");
    made->model = (struct interest_model *)model;
    made->history_max = history_max ? (uint32_t)history_max : 1;
    made->candidates_max = (uint32_t)candidates_max;
    int status = fit_scratch(made, atomic_load(&model->shape), error);
    if (status) {
        free(made);
        return status;
    }
    pthread_mutex_lock(&made->model->lock);
    made->next = made->model->scorers;
    made->model->scorers = made;
    pthread_mutex_unlock(&made->model->lock);
    *scorer = made;
    return INTEREST_OK;
}

void interest_scorer_close(struct interest_scorer *scorer)
{
    if (!scorer)
        return;
    pthread_mutex_lock(&scorer->model->lock);
    struct interest_scorer **at = &scorer->model->scorers;
    while (*at != scorer)
        at = &(*at)->next;
    *at = scorer->next;
    pthread_mutex_unlock(&scorer->model->lock);
    learner_scorer_free(scorer->scratch);
    free(scorer);
}

static struct served *pin(struct interest_scorer *scorer)
{
    struct served *served = atomic_load(&scorer->model->current);
    for (;;) {
        atomic_store(&scorer->pinned, served);
        struct served *again = atomic_load(&scorer->model->current);
        if (again == served)
            return served;
        served = again;
    }
}

static int check(const struct interest_scorer *scorer,
                 const struct learner_schema *schema,
                 const struct interest_request *request,
                 struct interest_error *error)
{
    if (request->candidates > scorer->candidates_max ||
        request->history_size > scorer->history_max) {
        char text[160];
        snprintf(text, sizeof text,
                 "%zu candidates and %zu behaviors; the scorer was opened "
                 "for %u and %u",
                 request->candidates, request->history_size,
                 scorer->candidates_max, scorer->history_max);
        return fail(error, INTEREST_LIMIT, text);
    }
    if ((schema->profile_count && !request->profile) ||
        (schema->context_count && !request->context) ||
        (request->history_size && !request->history) ||
        (request->candidates && !request->items))
        return fail(error, INTEREST_ARGUMENT,
                    "profile, history, items or context is NULL, but its "
                    "count is not 0");
    return INTEREST_OK;
}

/* attention (n,size) from (n,used), in place: what was not used gets 0. */
static void spread(float *attention, size_t n, size_t used, size_t size)
{
    size_t skipped = size - used;
    for (size_t i = n; skipped && i-- > 0;) {
        memmove(attention + i * size + skipped, attention + i * used,
                used * sizeof *attention);
        memset(attention + i * size, 0, skipped * sizeof *attention);
    }
}

/* Only `keep` of the negatives was trained: the logit is ln keep too high
 * (He et al. 2014). */
static void calibrate(float *probability, size_t n, float keep)
{
    for (size_t i = 0; keep < 1 && i < n; i++) {
        float odds = probability[i] * keep;
        probability[i] = odds / (odds + (1 - probability[i]));
    }
}

static int score(struct interest_scorer *scorer, const struct served *served,
                 const struct interest_request *request, float *probability,
                 float *attention, struct interest_error *error)
{
    int status = check(scorer, learner_model_schema(served->shape->model),
                       request, error);
    if (!status)
        status = fit_scratch(scorer, served->shape, error);
    if (status || request->candidates == 0)
        return status;
    struct base_error why;
    const struct snapshot_manifest *manifest = &served->version.manifest;
    struct learner_parameters parameters =
        snapshot_weights_parameters(&served->version.weights);
    size_t size = request->history_size, used = size;
    if (manifest->history_max && used > manifest->history_max)
        used = manifest->history_max;
    struct learner_request inner = {
        .profile = request->profile,
        .history = used < size ? request->history +
                                     (size - used) *
                                         manifest->schema.item_count
                               : request->history,
        .history_size = (uint32_t)used,
        .candidates = (uint32_t)request->candidates,
        .items = request->items,
        .context = request->context,
    };
    if (attention) /* kinds without attention leave it alone */
        memset(attention, 0, request->candidates * used * sizeof *attention);
    if (learner_score(scorer->scratch, &parameters, &inner, probability,
                      attention, &why))
        return pass(error, &why);
    calibrate(probability, request->candidates, (float)manifest->negative_keep);
    if (attention)
        spread(attention, request->candidates, used, size);
    return INTEREST_OK;
}

int interest_score(struct interest_scorer *scorer,
                   const struct interest_request *request, float *probability,
                   float *attention, struct interest_version *version,
                   struct interest_error *error)
{
    if (!scorer || !request || (request->candidates && !probability))
        return fail(error, INTEREST_ARGUMENT,
                    "scorer, request or probability is NULL");
    struct served *served = pin(scorer);
    int status =
        score(scorer, served, request, probability, attention, error);
    if (version && !status)
        *version = served->info;
    atomic_store(&scorer->pinned, NULL);
    return status;
}
