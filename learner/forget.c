/* SPDX-License-Identifier: Apache-2.0 */
/* What the learner drops when the journal says that a user is forgotten: the
 * rows of the user's own id, and the user's name in open metric windows. A
 * function of the journal like all else, so a checkpoint before the forget and
 * the journal behind it end with the same bits.
 *
 * What changed since the newest version is no longer known then: a delta would
 * name the row that went. So the next version is a base, by construction.
 *
 * Stays: what dense weights and rows of goods learned; the pool of negatives,
 * which holds goods only; the cells of admission, which count ids and name
 * none. Thread: train. */
#include <string.h>

#include "learner/model.h"
#include "learner/trainer.h"

/* The model's table of that name; its count of tables where it has none. */
static unsigned find_table(const struct learner_model *model, const char *name)
{
    unsigned t = 0;
    while (t < learner_model_tables(model) &&
           strcmp(learner_model_table(model, t)->name, name) != 0)
        t++;
    return t;
}

BASE_ON(train)
static void drop_row(struct learner_trainer *trainer, uint32_t stream_table,
                     uint64_t key)
{
    const struct learner_schema *schema = &trainer->config.schema;
    if (stream_table >= schema->table_count)
        return;
    unsigned t = find_table(trainer->model, schema->tables[stream_table].name);
    if (t == learner_model_tables(trainer->model))
        return; /* the model does not use it */
    uint32_t slot = learner_table_find(trainer->tables[t], key);
    if (slot == 0)
        return;
    learner_eviction_remove(&trainer->gather.eviction, t, trainer->tables[t],
                            slot);
    trainer->forgotten_rows++;
}

void learner_trainer_forget(struct learner_trainer *trainer,
                            const struct learner_batch *batch)
{
    for (uint32_t i = 0; i < batch->forgets; i++) {
        const struct learner_forget *forget = &batch->forget[i];
        if (forget->user == 0)
            continue;
        learner_delta_lose(trainer->delta, "a user was forgotten");
        for (uint32_t r = 0; r < forget->rows; r++)
            drop_row(trainer, forget->row[r].table, forget->row[r].key);
        pthread_mutex_lock(&trainer->mutex);
        learner_metrics_forget(trainer->metrics, forget->user);
        trainer->shared.forgotten_rows = trainer->forgotten_rows;
        learner_trainer_measure(trainer);
        pthread_mutex_unlock(&trainer->mutex);
    }
}
