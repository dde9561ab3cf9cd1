/* SPDX-License-Identifier: Apache-2.0 */
/* See streams.h. */
#include "streams.h"

#include "base/random.h"

uint64_t stream_draw(struct stream_draw *draw, uint64_t below)
{
    return base_random_below(
        base_random_u64(draw->seed, 1, draw->count++, 0), below);
}

void stream_draw_config(struct stream_draw *draw,
                        struct ingest_config *config)
{
    config->label_mode =
        stream_draw(draw, 2) ? INGEST_LABEL_FNW : INGEST_LABEL_WINDOW;
    config->window_ms = (int64_t)stream_draw(draw, 60);
    config->lateness_ms = (int64_t)stream_draw(draw, 25);
    config->skew_ms = (int64_t)stream_draw(draw, 12);
    config->history_max = 1 + (uint32_t)stream_draw(draw, 5);
    config->history_slack = (uint32_t)stream_draw(draw, 4);
    config->history_ttl_ms =
        stream_draw(draw, 2) ? 0 : (int64_t)stream_draw(draw, 80);
    config->pending_max =
        stream_draw(draw, 3) ? 1000 : 1 + stream_draw(draw, 12);
    config->negative_keep = stream_draw(draw, 3) ? 1 : 0.5;
    config->batch_size = 1 + (uint32_t)stream_draw(draw, 9);
    config->waiting_clicks_max =
        stream_draw(draw, 3) ? 0 : 1 + stream_draw(draw, 5);
    config->remembered_max =
        stream_draw(draw, 3) ? 0 : 1 + stream_draw(draw, 20);
}

void stream_draw_event(struct stream_draw *draw, struct fixture_event *made,
                       int64_t now)
{
    int64_t ms =
        now - (int64_t)stream_draw(draw, stream_draw(draw, 4) ? 10 : 60);
    uint64_t user = stream_draw(draw, 4);
    uint64_t near = (uint64_t)now / 3; /* ids that others use too */
    uint64_t impression = near + stream_draw(draw, 12);
    if (ms < 1)
        ms = 1;
    if (stream_draw(draw, 5))
        user = impression % 4;
    if (stream_draw(draw, 100) < 55) {
        fixture_impression(made, 0, ms, user, impression,
                           stream_draw(draw, 50));
    } else {
        uint64_t named = stream_draw(draw, 8) ? impression : 0;
        uint64_t click = near + stream_draw(draw, 9);
        fixture_click(made, 0, ms, user, named, click, stream_draw(draw, 50));
    }
    if (stream_draw(draw, 25) == 0) {
        made->event.kind = INGEST_EVENT_DEAD;
        made->event.reason =
            (uint8_t)(1 + stream_draw(draw, INGEST_REASON_COUNT - 1));
        made->event.ids = NULL;
        made->event.payload = (const uint8_t *)"spoilt";
        made->event.payload_size = 6;
    }
}

/* Its place in its partition and in the order of all. */
static void set_place(struct stream_draw *draw, struct ingest_event *event,
                      struct ingest_event *before, int64_t last_ms)
{
    event->offset = before->offset + 1 + (stream_draw(draw, 10) ? 0 : 2);
    event->own_ms = before->own_ms;
    if (event->kind != INGEST_EVENT_DEAD && event->event_ms > event->own_ms)
        event->own_ms = event->event_ms;
    event->apply_ms = before->apply_ms;
    if (event->apply_ms < event->own_ms)
        event->apply_ms = event->own_ms;
    if (event->apply_ms < last_ms) {
        event->apply_ms = last_ms + (int64_t)stream_draw(draw, 2);
        event->decisions = INGEST_FLOORED;
    }
    *before = *event;
}

void stream_draw_merged(struct stream_draw *draw, struct fixture_event *events,
                        unsigned count)
{
    struct ingest_event before[INGEST_TOPICS][STREAM_PARTITIONS];
    int64_t now = 50, last_ms = 0;
    for (unsigned i = 0; i < INGEST_TOPICS * STREAM_PARTITIONS; i++)
        before[i / STREAM_PARTITIONS][i % STREAM_PARTITIONS] =
            (struct ingest_event){.offset = -1};
    for (unsigned i = 0; i < count; i++) {
        struct ingest_event *event = &events[i].event;
        now += stream_draw(draw, 30) ? (int64_t)stream_draw(draw, 4)
                                     : (int64_t)stream_draw(draw, 150);
        stream_draw_event(draw, &events[i], now);
        event->partition = (int32_t)stream_draw(draw, STREAM_PARTITIONS);
        set_place(draw, event, &before[event->topic][event->partition],
                  last_ms);
        last_ms = event->apply_ms;
    }
}
