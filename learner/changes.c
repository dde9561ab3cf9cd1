/* SPDX-License-Identifier: Apache-2.0 */
/* What changed since a moment; see changes.h. */
#include "learner/changes.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"

enum { FIRST_WORDS = 1024, FIRST_KEYS = 1024, HEAD = 40 };

void learner_changes_init(struct learner_changes *changes,
                          unsigned table_count)
{
    *changes = (struct learner_changes){.table_count = table_count};
}

void learner_changes_fini(struct learner_changes *changes)
{
    for (unsigned t = 0; t < changes->table_count; t++) {
        free(changes->tables[t].touched);
        free(changes->tables[t].fresh);
        free(changes->tables[t].gone);
    }
    *changes = (struct learner_changes){0};
}

void learner_changes_start(struct learner_changes *changes, uint64_t position,
                           const uint64_t journal_hash[2], uint64_t step)
{
    for (unsigned t = 0; t < changes->table_count; t++) {
        struct learner_changes_table *table = &changes->tables[t];
        if (table->words) {
            memset(table->touched, 0, table->words * sizeof(uint64_t));
            memset(table->fresh, 0, table->words * sizeof(uint64_t));
        }
        table->gone_count = 0;
    }
    changes->known = true;
    changes->position = position;
    memcpy(changes->journal_hash, journal_hash, sizeof changes->journal_hash);
    changes->step = step;
}

void learner_changes_lose(struct learner_changes *changes, const char *why)
{
    if (changes->known)
        base_log(BASE_LOG_WARN, "event=changes_lost position=%llu "
                 "reason=\"%s\" hint=\"the next version is a base\"",
                 (unsigned long long)changes->position, why);
    changes->known = false;
}

static bool grow_bits(uint64_t **bits, uint32_t words, uint32_t more)
{
    uint64_t *larger = realloc(*bits, more * sizeof *larger);
    if (!larger)
        return false;
    memset(larger + words, 0, (more - words) * sizeof *larger);
    *bits = larger;
    return true;
}

/* Room for the bits of `words` words. */
static bool reserve(struct learner_changes_table *table, uint32_t words)
{
    if (words <= table->words)
        return true;
    uint32_t more = table->words ? table->words : FIRST_WORDS;
    while (more < words)
        more *= 2;
    if (!grow_bits(&table->touched, table->words, more) ||
        !grow_bits(&table->fresh, table->words, more))
        return false;
    table->words = more;
    return true;
}

void learner_changes_touch(struct learner_changes *changes, unsigned t,
                           uint32_t slot, bool fresh)
{
    struct learner_changes_table *table = &changes->tables[t];
    uint64_t bit = UINT64_C(1) << (slot & 63);
    if (!changes->known)
        return;
    if (slot >> 6 >= table->words && !reserve(table, (slot >> 6) + 1)) {
        learner_changes_lose(changes, "no memory");
        return;
    }
    table->touched[slot >> 6] |= bit;
    if (fresh)
        table->fresh[slot >> 6] |= bit;
}

static bool add_gone(struct learner_changes_table *table, uint64_t key)
{
    if (table->gone_count == table->gone_room) {
        size_t room = table->gone_room ? 2 * table->gone_room : FIRST_KEYS;
        uint64_t *larger = realloc(table->gone, room * sizeof *larger);
        if (!larger)
            return false;
        table->gone = larger;
        table->gone_room = room;
    }
    table->gone[table->gone_count++] = key;
    return true;
}

void learner_changes_gone(struct learner_changes *changes, unsigned t,
                          uint32_t slot, uint64_t key)
{
    struct learner_changes_table *table = &changes->tables[t];
    uint64_t bit = UINT64_C(1) << (slot & 63);
    bool fresh = false;
    if (!changes->known)
        return;
    if (slot >> 6 < table->words) {
        fresh = table->fresh[slot >> 6] & bit;
        table->touched[slot >> 6] &= ~bit;
        table->fresh[slot >> 6] &= ~bit;
    }
    if (!fresh && !add_gone(table, key))
        learner_changes_lose(changes, "no memory");
}

/* ---- in a checkpoint ------------------------------------------------------ */

size_t learner_changes_size(const struct learner_changes *changes)
{
    size_t size = HEAD;
    for (unsigned t = 0; t < changes->table_count; t++)
        size += 16 + 8 * (changes->tables[t].words +
                          changes->tables[t].gone_count);
    return size;
}

static uint8_t *put_list(uint8_t *at, const uint64_t *values, size_t count)
{
    at = base_put_u64(at, count);
    if (count)
        memcpy(at, values, count * sizeof *values);
    return at + count * sizeof *values;
}

void *learner_changes_save(const struct learner_changes *changes, void *bytes)
{
    uint8_t *at = base_put_u64(bytes, changes->position);
    at = base_put_u64(at, changes->journal_hash[0]);
    at = base_put_u64(at, changes->journal_hash[1]);
    at = base_put_u64(at, changes->step);
    at = base_put_u64(at, changes->table_count);
    for (unsigned t = 0; t < changes->table_count; t++) {
        const struct learner_changes_table *table = &changes->tables[t];
        at = put_list(at, table->fresh, table->words);
        at = put_list(at, table->gone, table->gone_count);
    }
    return at;
}

/* Number of values that follow; false where they are not all there. */
static bool take_count(const uint8_t **bytes, size_t *size, uint64_t *count)
{
    if (*size < 8)
        return false;
    *count = base_get_u64(*bytes);
    *bytes += 8;
    *size -= 8;
    return *count <= *size / 8;
}

static void take_list(const uint8_t **bytes, size_t *size, uint64_t *values,
                      uint64_t count)
{
    if (count)
        memcpy(values, *bytes, count * sizeof *values);
    *bytes += count * sizeof *values;
    *size -= count * sizeof *values;
}

static enum base_status load_table(struct learner_changes_table *table,
                                   const uint8_t **bytes, size_t *size,
                                   struct base_error *error)
{
    uint64_t words, keys;
    if (!take_count(bytes, size, &words) || words > UINT32_MAX / 64)
        return base_fail(error, BASE_CORRUPT, "changes do not fit");
    if (!reserve(table, (uint32_t)words))
        return base_fail(error, BASE_SYSTEM, "no memory for changes");
    take_list(bytes, size, table->fresh, words);
    if (!take_count(bytes, size, &keys))
        return base_fail(error, BASE_CORRUPT, "changes do not fit");
    table->gone_count = 0;
    if (keys > table->gone_room) {
        free(table->gone);
        table->gone = malloc(keys * sizeof *table->gone);
        table->gone_room = table->gone ? keys : 0;
    }
    if (keys && !table->gone)
        return base_fail(error, BASE_SYSTEM, "no memory for changes");
    take_list(bytes, size, table->gone, keys);
    table->gone_count = keys;
    return BASE_OK;
}

enum base_status learner_changes_load(struct learner_changes *changes,
                                      const uint8_t **bytes, size_t *size,
                                      struct base_error *error)
{
    if (*size < HEAD || base_get_u64(*bytes + 32) != changes->table_count)
        return base_fail(error, BASE_CORRUPT, "changes do not fit");
    const uint64_t hash[2] = {base_get_u64(*bytes + 8),
                              base_get_u64(*bytes + 16)};
    learner_changes_start(changes, base_get_u64(*bytes), hash,
                          base_get_u64(*bytes + 24));
    *bytes += HEAD;
    *size -= HEAD;
    enum base_status status = BASE_OK;
    for (unsigned t = 0; !status && t < changes->table_count; t++)
        status = load_table(&changes->tables[t], bytes, size, error);
    changes->known = !status;
    return status;
}
