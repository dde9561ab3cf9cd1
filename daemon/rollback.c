/* SPDX-License-Identifier: Apache-2.0 */
/* Rolling back; see rollback.h. */
#include "daemon/rollback.h"

enum { CHECKPOINTS_MAX = 256 };

/* A checkpoint at or before the version is kept, of the same model. */
static enum base_status
check_learner(const struct learner_trainer_config *model,
              const struct snapshot_listed *version, struct base_error *error)
{
    uint64_t positions[CHECKPOINTS_MAX], hash;
    unsigned count = 0;
    enum base_status status = snapshot_training_hash(
        &model->schema, &model->model, &hash, error);
    if (!status && hash != version->training_hash)
        status = base_fail(error, BASE_CONFIG,
                           "%s is of another model than the one configured; "
                           "without --learner it can be rolled back to",
                           version->name);
    if (!status)
        status = learner_checkpoint_list(model->folder, positions,
                                         CHECKPOINTS_MAX, &count, error);
    if (!status && (!count || positions[0] > version->position))
        status = base_fail(error, BASE_NO_INPUT,
                           "%s is of journal position %llu; the oldest "
                           "checkpoint that is kept is of %llu: the learner "
                           "cannot go back so far (learner.checkpoints_kept)",
                           version->name,
                           (unsigned long long)version->position,
                           (unsigned long long)(count ? positions[0] : 0));
    return status;
}

enum base_status
daemon_rollback_check(const struct daemon_config *config,
                      const struct learner_trainer_config *model,
                      const struct daemon_rollback *rollback,
                      struct snapshot_listed *version, struct base_error *error)
{
    enum base_status status = snapshot_find(
        config->snapshot.folder, rollback->version, version, error);
    if (!status && rollback->learner)
        status = check_learner(model, version, error);
    return status;
}

enum base_status
daemon_rollback_do(const struct daemon_rollback_site *site,
                   const struct daemon_rollback *rollback,
                   struct snapshot_announcement *made,
                   struct base_error *error)
{
    struct snapshot_listed version;
    *made = (struct snapshot_announcement){.version = 0};
    enum base_status status = daemon_rollback_check(
        site->config, site->model, rollback, &version, error);
    if (!status && version.position < site->forgotten)
        status = base_fail(error, BASE_DENIED,
                           "%s is of position %llu; users were forgotten at "
                           "%llu, and it may still have rows of them",
                           version.name, (unsigned long long)version.position,
                           (unsigned long long)site->forgotten);
    if (!status && rollback->learner && !site->trainer)
        status = base_fail(error, BASE_AGAIN,
                           "the model of publish.model is not trained");
    if (!status)
        status = snapshot_rollback(site->publisher, version.epoch,
                                   version.version, made, error);
    if (status) {
        made->version = 0;
        return status;
    }
    if (site->trainer)
        learner_trainer_lose(site->trainer);
    return rollback->learner
               ? learner_trainer_rollback(site->trainer, version.position,
                                          error)
               : BASE_OK;
}
