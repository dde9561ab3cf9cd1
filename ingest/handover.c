/* SPDX-License-Identifier: Apache-2.0 */
/* Hand-over between the members of a group: which partition numbers the source
 * merges.
 *
 * 1. With a revoke nothing more is handed over; it is acknowledged once all
 *    that was is committed.
 * 2. Only the assignment behind it tells what is gone: what waits of these
 *    numbers leaves then, behind all that was merged and before anything else
 *    is. A number that comes straight back loses nothing.
 * 3. What another member makes of a number does not matter here: it goes on
 *    from this state's own offset, and reads what it missed from the log.
 *
 * Role ingest. Does not talk to the coordinator (group.c). */
#include "ingest/source_parts.h"

#include "base/clock.h"

/* All that was handed over is in a commit. */
static bool is_committed(struct ingest_source *source)
{
    return source->wiring.committed(source->wiring.self) == source->handed;
}

/* Whether other numbers are read now than the group gives us. */
static bool has_changed(const struct ingest_source *source)
{
    for (unsigned i = 0; i < INGEST_NUMBERS_MAX; i++)
        if (source->owned[i] != ingest_group_owns(source->group, i))
            return true;
    return false;
}

static enum base_status take_over(struct ingest_source *source,
                                  struct base_error *error)
{
    bool all = false;
    for (unsigned i = 0; i < INGEST_NUMBERS_MAX; i++) {
        if (!source->merged[i] || ingest_group_owns(source->group, i))
            continue;
        if (ingest_source_say_revoked(source, (int32_t)i, &all, error))
            return error->status;
        if (!all)
            return BASE_OK; /* next round */
        source->merged[i] = false;
    }
    source->reopen = has_changed(source);
    pthread_mutex_lock(&source->mutex);
    for (unsigned i = 0; i < INGEST_NUMBERS_MAX; i++) {
        source->owned[i] = ingest_group_owns(source->group, i);
        source->merged[i] |= source->owned[i];
    }
    pthread_mutex_unlock(&source->mutex);
    source->assignment = ingest_group_assignment(source->group);
    source->held = false;
    return BASE_OK;
}

static enum base_status join(struct ingest_source *source,
                             struct base_error *error)
{
    struct ingest_group *group;
    if (ingest_group_new(source->config, source->event_fd, &group, error))
        return error->status;
    pthread_mutex_lock(&source->mutex);
    source->group = group;
    pthread_mutex_unlock(&source->mutex);
    return BASE_OK;
}

void ingest_source_hear_group(struct ingest_source *source)
{
    if (source->group &&
        ingest_group_poll(source->group, base_monotonic_ms()) ==
            INGEST_GROUP_REVOKING &&
        is_committed(source))
        ingest_group_release(source->group);
}

enum base_status ingest_source_follow_group(struct ingest_source *source,
                                            struct base_error *error)
{
    if (source->config->assignment != INGEST_ASSIGN_GROUP)
        return BASE_OK;
    if (!source->group && join(source, error))
        return error->status;
    switch (ingest_group_poll(source->group, source->now_ms)) {
    case INGEST_GROUP_REVOKING:
        source->held = true;
        if (is_committed(source))
            ingest_group_release(source->group);
        return BASE_OK;
    case INGEST_GROUP_MEMBER:
        if (source->assignment == ingest_group_assignment(source->group) &&
            !source->held)
            return BASE_OK;
        source->held = true;
        return take_over(source, error);
    default: source->held = true; return BASE_OK;
    }
}
