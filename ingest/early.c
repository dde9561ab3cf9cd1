/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of refs in one array of nodes; see early.h. */
#include "ingest/early.h"

#include <stdlib.h>

enum { START_CAPACITY = 256 };

enum base_status ingest_early_init(struct ingest_early *early,
                                   struct base_error *error)
{
    *early = (struct ingest_early){0};
    return base_map_new(&early->heads, 0, error);
}

void ingest_early_fini(struct ingest_early *early)
{
    base_map_free(early->heads);
    free(early->nodes);
    *early = (struct ingest_early){0};
}

static enum base_status grow(struct ingest_early *early,
                             struct base_error *error)
{
    uint32_t capacity = early->capacity ? early->capacity * 2 : START_CAPACITY;
    struct ingest_early_node *nodes =
        realloc(early->nodes, capacity * sizeof *nodes);
    if (!nodes)
        return base_fail(error, BASE_SYSTEM, "clicks: no memory for %u",
                         capacity);
    early->nodes = nodes;
    early->capacity = capacity;
    return BASE_OK;
}

/* An unused node's index + 1; 0 with *error. */
static uint32_t new_node(struct ingest_early *early, struct base_error *error)
{
    uint32_t node = early->unused;
    if (node) {
        early->unused = early->nodes[node - 1].next;
        return node;
    }
    if (early->count == early->capacity && grow(early, error))
        return 0;
    return ++early->count;
}

enum base_status ingest_early_add(struct ingest_early *early,
                                  uint64_t impression, uint64_t ref,
                                  struct base_error *error)
{
    uint32_t node = new_node(early, error);
    if (!node)
        return BASE_SYSTEM;
    early->nodes[node - 1] = (struct ingest_early_node){.ref = ref};
    uint64_t *head = base_map_get(early->heads, impression);
    if (!head)
        return base_map_put(early->heads, impression,
                            (uint64_t)node << 32 | node, error);
    early->nodes[(uint32_t)*head - 1].next = node;
    *head = (*head & ~(uint64_t)UINT32_MAX) | node;
    return BASE_OK;
}

bool ingest_early_peek(const struct ingest_early *early, uint64_t impression,
                       uint64_t *ref)
{
    const uint64_t *head = base_map_get(early->heads, impression);
    if (head)
        *ref = early->nodes[(*head >> 32) - 1].ref;
    return head != NULL;
}

bool ingest_early_take(struct ingest_early *early, uint64_t impression,
                       uint64_t *ref)
{
    uint64_t *head = base_map_get(early->heads, impression);
    if (!head)
        return false;
    uint32_t first = (uint32_t)(*head >> 32);
    struct ingest_early_node *node = &early->nodes[first - 1];
    *ref = node->ref;
    if (node->next)
        *head = (uint64_t)node->next << 32 | (uint32_t)*head;
    else
        base_map_remove(early->heads, impression);
    node->next = early->unused;
    early->unused = first;
    return true;
}
