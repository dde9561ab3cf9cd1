/* SPDX-License-Identifier: Apache-2.0 */
/* Sequences in the store, through one decoded user: a page's events follow
 * each other, so most of them find their user loaded. Thread: store. A record
 * that does not verify is dropped and counted; what a pending impression saw
 * of it is unknown, so the ordinals go on far above any it can have seen. */
#include "ingest/join.h"

#include "base/bytes.h"
#include "base/log.h"

enum { DAMAGED_SHIFT = 20 };
#define DAMAGED_ORDINAL 0x80000000u

enum base_status ingest_users_save(struct ingest_state *state,
                                   struct base_error *error)
{
    uint8_t key[8];
    if (!state->user_loaded || !state->user_dirty)
        return BASE_OK;
    state->user_dirty = false;
    base_put_u64_be(key, state->user.user);
    size_t size = ingest_sequence_encode(&state->user);
    return ingest_store_put(state->store, INGEST_DB_SEQUENCES,
                            (struct ingest_bytes){key, sizeof key},
                            (struct ingest_bytes){state->user.value, size},
                            error);
}

static void replace_damaged(struct ingest_state *state, uint64_t user)
{
    base_log(BASE_LOG_WARN,
             "event=sequence_dropped user=%016llx reason=\"does not verify\"",
             (unsigned long long)user);
    ingest_sequence_clear(&state->user, user);
    state->user.present = true;
    state->user.next_ordinal =
        DAMAGED_ORDINAL + ((uint32_t)state->totals.damaged << DAMAGED_SHIFT);
    state->user.partition = -1;
    state->user_dirty = true;
    state->totals.damaged++;
}

enum base_status ingest_users_load(struct ingest_state *state, uint64_t user,
                                   struct base_error *error)
{
    uint8_t key[8];
    struct ingest_bytes value;
    if (state->user_loaded && state->user.user == user)
        return BASE_OK;
    enum base_status status = ingest_users_save(state, error);
    if (status)
        return status;
    state->user_loaded = false;
    base_put_u64_be(key, user);
    status = ingest_store_get(state->store, INGEST_DB_SEQUENCES,
                              (struct ingest_bytes){key, sizeof key}, &value,
                              error);
    if (status)
        return status;
    state->user_loaded = true;
    state->user_dirty = false;
    if (!value.data)
        ingest_sequence_clear(&state->user, user);
    else if (!ingest_sequence_decode(&state->user, user, value.data,
                                     value.size))
        replace_damaged(state, user);
    return BASE_OK;
}

enum base_status ingest_users_forget(struct ingest_state *state, uint64_t user,
                                     bool *there, struct base_error *error)
{
    uint8_t key[8];
    struct ingest_bytes value, at = {key, sizeof key};
    bool loaded = state->user_loaded && state->user.user == user;
    base_put_u64_be(key, user);
    enum base_status status = ingest_store_get(
        state->store, INGEST_DB_SEQUENCES, at, &value, error);
    if (status)
        return status;
    *there = value.data != NULL || (loaded && state->user.present);
    if (loaded)
        state->user_loaded = state->user_dirty = false;
    return value.data ? ingest_store_remove(state->store, INGEST_DB_SEQUENCES,
                                            at, error)
                      : BASE_OK;
}

enum base_status ingest_users_seen(struct ingest_state *state, uint64_t user,
                                   int32_t partition,
                                   struct base_error *error)
{
    enum base_status status = ingest_users_load(state, user, error);
    struct ingest_sequence *sequence = &state->user;
    if (status || !sequence->present || sequence->partition == partition ||
        sequence->flags & INGEST_SEQUENCE_CROSSED)
        return status;
    if (sequence->partition < 0) { /* its record was dropped */
        sequence->partition = partition;
    } else {
        sequence->flags |= INGEST_SEQUENCE_CROSSED;
        state->totals.crossed++;
    }
    state->user_dirty = true;
    return BASE_OK;
}

enum base_status ingest_users_behave(struct ingest_state *state, uint64_t user,
                                     int32_t partition, int64_t event_ms,
                                     const uint64_t *ids,
                                     struct base_error *error)
{
    enum base_status status =
        ingest_users_seen(state, user, partition, error);
    if (status)
        return status;
    if (!state->user.present)
        state->user.partition = partition;
    ingest_sequence_add(&state->user, event_ms, ids);
    state->user_dirty = true;
    return BASE_OK;
}
