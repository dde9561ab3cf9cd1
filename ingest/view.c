/* SPDX-License-Identifier: Apache-2.0 */
/* See view.h. */
#include "ingest/view.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "ingest/digest.h"
#include "ingest/stream.h"

enum { OLD_MS = 1000 };

static enum base_status take_totals(struct ingest_view *view,
                                    struct ingest_bytes value,
                                    struct base_error *error)
{
    struct ingest_totals *totals = &view->totals;
    if (value.size != sizeof *totals)
        return base_fail(error, BASE_CORRUPT,
                         "inspect: the record of totals is of another format");
    memcpy(totals, value.data, sizeof *totals);
    if (totals->hash !=
        ingest_digest_64((const uint8_t *)totals + 8, sizeof *totals - 8, 0))
        return base_fail(error, BASE_CORRUPT,
                         "inspect: the record of totals does not verify");
    return BASE_OK;
}

static enum base_status take_stream(struct ingest_view *view,
                                    struct ingest_bytes value,
                                    struct base_error *error)
{
    char number[64];
    if (((const char *)value.data)[value.size - 1] != '\0')
        return base_fail(error, BASE_CORRUPT,
                         "inspect: the stored configuration has no end");
    free(view->stream);
    view->stream = strdup(value.data);
    if (!view->stream)
        return base_fail(error, BASE_SYSTEM, "inspect: no memory");
    ingest_stream_value(view->stream, "field_count", number, sizeof number);
    view->field_count = (unsigned)strtoul(number, NULL, 10);
    ingest_stream_value(view->stream, "item_count", number, sizeof number);
    view->item_count = (unsigned)strtoul(number, NULL, 10);
    if (view->field_count == 0 || view->field_count > LEARNER_FIELDS_MAX ||
        view->item_count == 0 || view->item_count > view->field_count)
        return base_fail(error, BASE_CORRUPT,
                         "inspect: the stored configuration has no fields");
    return BASE_OK;
}

static enum base_status load(struct ingest_view *view, struct base_error *error)
{
    struct ingest_bytes totals, stream = {NULL, 0};
    view->begun_ms = base_monotonic_ms();
    enum base_status status = ingest_reader_begin(view->reader, error);
    if (!status)
        status = ingest_reader_get(view->reader, INGEST_DB_META,
                                   (struct ingest_bytes){"state", 5}, &totals,
                                   error);
    if (!status)
        status = ingest_reader_get(view->reader, INGEST_DB_META,
                                   (struct ingest_bytes){"stream", 6}, &stream,
                                   error);
    if (!status && (!totals.data || !stream.data))
        status = base_fail(error, BASE_NO_INPUT, "inspect: the store is empty");
    if (!status)
        status = take_totals(view, totals, error);
    return status ? status : take_stream(view, stream, error);
}

enum base_status ingest_view_open(struct ingest_view *view, const char *folder,
                                  struct base_error *error)
{
    *view = (struct ingest_view){.store = NULL};
    enum base_status status =
        ingest_store_open_read(folder, &view->store, error);
    if (!status)
        status = ingest_reader_new(view->store, &view->reader, error);
    return status ? status : load(view, error);
}

void ingest_view_close(struct ingest_view *view)
{
    ingest_reader_free(view->reader);
    ingest_store_free(view->store);
    free(view->stream);
    *view = (struct ingest_view){.store = NULL};
}

enum base_status ingest_view_renew(struct ingest_view *view,
                                   struct base_error *error)
{
    ingest_reader_end(view->reader);
    return load(view, error);
}

bool ingest_view_old(const struct ingest_view *view)
{
    return base_monotonic_ms() - view->begun_ms >= OLD_MS;
}
