/* SPDX-License-Identifier: Apache-2.0 */
/* The steps behind a forget; see forget.h. */
#include "daemon/forget.h"

void daemon_forget_look(const struct daemon_status *status,
                        struct daemon_forget_view *view)
{
    *view = (struct daemon_forget_view){
        .forget = status->ingest.forget,
        .journal_begin = status->ingest.journal_begin,
        .trained = UINT64_MAX,
        .checkpointed = UINT64_MAX,
        .oldest = UINT64_MAX,
        .published_position = status->publish.base_position,
        .version_position = status->publish.position,
        .purged = status->publish.purged};
    for (unsigned i = 0; i < status->model_count; i++) {
        const struct daemon_model_status *model = &status->models[i];
        const struct learner_status *learner = &model->learner;
        if (model->state != DAEMON_MODEL_TRAINING)
            continue;
        if (learner->position < view->trained)
            view->trained = learner->position;
        if (learner->checkpoint_position < view->checkpointed)
            view->checkpointed = learner->checkpoint_position;
        if (learner->oldest_checkpoint < view->oldest)
            view->oldest = learner->oldest_checkpoint;
        if (learner->checkpoint_position > view->newest)
            view->newest = learner->checkpoint_position;
        if (model->published)
            view->published = status->publish.version != 0;
    }
}

/* Until each model's oldest checkpoint is behind the request's records. */
static enum daemon_forget_act
next_checkpoint(struct daemon_forget *forget,
                const struct daemon_forget_view *view)
{
    if (view->checkpointed >= forget->goal) {
        /* All have one; the next must be another one. */
        forget->goal = view->newest + 1;
        forget->asked = false;
        if (view->trained < forget->goal)
            return DAEMON_FORGET_MARK;
    }
    if (view->trained < forget->goal) {
        forget->phase = DAEMON_FORGET_TRAINING;
        return DAEMON_FORGET_WAIT;
    }
    forget->phase = DAEMON_FORGET_CHECKPOINTS;
    if (forget->asked)
        return DAEMON_FORGET_WAIT;
    forget->asked = true;
    return DAEMON_FORGET_CHECKPOINT;
}

/* Once: `flag` remembers. */
static enum daemon_forget_act once(bool *flag, enum daemon_forget_act act)
{
    bool before = *flag;
    *flag = true;
    return before ? DAEMON_FORGET_WAIT : act;
}

/* Where the newest version is as new as the models, and of a chain that began
 * before the request, or before a restart, a base wants something newer. */
static enum daemon_forget_act next_base(struct daemon_forget *forget,
                                        const struct daemon_forget_view *view)
{
    if (view->trained <= view->version_position)
        return once(&forget->marking, DAEMON_FORGET_MARK);
    return once(&forget->publishing, DAEMON_FORGET_PUBLISH);
}

enum daemon_forget_act daemon_forget_next(struct daemon_forget *forget,
                                          const struct daemon_forget_view *view)
{
    const struct ingest_forget_status *request = &view->forget;
    if (request->serial == request->done) {
        *forget = (struct daemon_forget){.phase = DAEMON_FORGET_NOTHING};
        return DAEMON_FORGET_WAIT;
    }
    if (forget->serial != request->serial)
        *forget = (struct daemon_forget){.serial = request->serial,
                                         .goal = request->position};
    if (view->oldest < request->position)
        return next_checkpoint(forget, view);
    /* Its mark names nobody: the block that begins with it may stay, and a base
     * may stand before it. */
    forget->phase = DAEMON_FORGET_JOURNAL;
    if (view->journal_begin + 1 < request->position)
        return DAEMON_FORGET_WAIT;
    forget->phase = DAEMON_FORGET_VERSION;
    if (view->published && view->published_position + 1 < request->position)
        return next_base(forget, view);
    forget->phase = DAEMON_FORGET_PURGING;
    if (request->purge && view->purged < request->serial)
        return forget->purging++ % DAEMON_FORGET_PURGE_LOOKS
                   ? DAEMON_FORGET_WAIT
                   : DAEMON_FORGET_PURGE;
    return once(&forget->closing, DAEMON_FORGET_DONE);
}
