/* SPDX-License-Identifier: Apache-2.0 */
/* Golden requests; see golden.h. */
#include "snapshot/golden.h"

#include <math.h>
#include <string.h>

#include "base/random.h"

enum { PURPOSE_GOLDEN = 0x676f6c64, CANDIDATES = 3 };

/* Histories of the first requests; then again from the start. */
static const uint32_t lengths[] = {0, 5, 17, 40};

/* Draws ids: mostly keys of the field's table (row 0 gives "unknown"), each
 * eighth one that no table has, so that the OOV row is scored too. A place of
 * a multi-hot field behind its first is absent half of the time. */
struct draw {
    const struct learner_schema *schema;
    const struct snapshot_weights *weights;
    uint64_t position, count;
};

static void draw_ids(struct draw *draw, unsigned first_field, unsigned fields,
                     size_t rows, uint64_t *ids)
{
    for (size_t i = 0; i < rows * fields; i++) {
        const struct learner_field *field =
            &draw->schema->fields[first_field + i % fields];
        const struct snapshot_table *table =
            &draw->weights->tables[field->table];
        uint64_t bits = base_random_u64(0, PURPOSE_GOLDEN, draw->position,
                                        draw->count++);
        if (field->continues && bits >> 63) {
            ids[i] = LEARNER_ABSENT;
            continue;
        }
        ids[i] = bits % 8 == 0 ? base_random_mix(bits)
                               : table->keys[base_random_below(
                                     base_random_mix(bits), table->rows)];
    }
}

static void draw_request(struct draw *draw, struct snapshot_golden *golden)
{
    const struct learner_schema *schema = draw->schema;
    unsigned item = schema->profile_count;
    unsigned context = item + schema->item_count;
    draw_ids(draw, 0, schema->profile_count, 1, golden->profile);
    draw_ids(draw, item, schema->item_count, golden->history_size,
             golden->history);
    draw_ids(draw, item, schema->item_count, golden->candidates,
             golden->items);
    draw_ids(draw, context, schema->context_count, 1, golden->context);
}

static enum base_status score(const struct snapshot_golden *golden,
                              const struct learner_model *model,
                              const struct learner_parameters *parameters,
                              float *probability, struct base_error *error)
{
    struct learner_scorer *scorer;
    struct learner_request request = {
        .profile = golden->profile,
        .history = golden->history,
        .history_size = golden->history_size,
        .candidates = golden->candidates,
        .items = golden->items,
        .context = golden->context,
    };
    uint32_t history_max = golden->history_size ? golden->history_size : 1;
    enum base_status status = learner_scorer_new(
        model, history_max, golden->candidates, &scorer, error);
    if (status)
        return status;
    status = learner_score(scorer, parameters, &request, probability, NULL,
                           error);
    learner_scorer_free(scorer);
    return status;
}

enum base_status snapshot_golden_make(struct snapshot_manifest *manifest,
                                      unsigned count,
                                      const struct learner_model *model,
                                      const struct snapshot_weights *weights,
                                      struct base_error *error)
{
    struct draw draw = {.schema = &manifest->schema,
                        .weights = weights,
                        .position = manifest->position};
    const struct learner_parameters parameters =
        snapshot_weights_parameters(weights);
    enum base_status status = BASE_OK;
    for (unsigned i = 0; !status && i < count && i < SNAPSHOT_GOLDEN_MAX;
         i++) {
        struct snapshot_golden *golden = &manifest->golden[i];
        status = snapshot_golden_init(
            golden, &manifest->schema,
            lengths[i % (sizeof lengths / sizeof *lengths)], CANDIDATES,
            error);
        if (status)
            break;
        manifest->golden_count = i + 1;
        draw_request(&draw, golden);
        status =
            score(golden, model, &parameters, golden->scores, error);
    }
    return status ? base_wrap(error, "golden request") : BASE_OK;
}

static bool agrees(float got, float expected, bool same_bits)
{
    if (same_bits)
        return memcmp(&got, &expected, sizeof got) == 0;
    return fabsf(got - expected) <= SNAPSHOT_GOLDEN_TOLERANCE;
}

enum base_status
snapshot_golden_check(const struct snapshot_manifest *manifest,
                      const struct learner_model *model,
                      const struct learner_parameters *parameters,
                      struct base_error *error)
{
    float got[SNAPSHOT_CANDIDATES_MAX];
    bool same_bits = strcmp(manifest->arithmetic, learner_arithmetic()) == 0;
    for (unsigned i = 0; i < manifest->golden_count; i++) {
        const struct snapshot_golden *golden = &manifest->golden[i];
        enum base_status status = score(golden, model, parameters, got, error);
        if (status)
            return base_wrap(error, "golden request %u", i);
        for (uint32_t c = 0; c < golden->candidates; c++)
            if (!agrees(got[c], golden->scores[c], same_bits))
                return base_fail(error, BASE_CORRUPT,
                                 "golden request %u, candidate %u: scores "
                                 "%.9g here (%s), %.9g in the manifest (%s)",
                                 i, c, (double)got[c], learner_arithmetic(),
                                 (double)golden->scores[c],
                                 manifest->arithmetic);
    }
    return BASE_OK;
}
