/* SPDX-License-Identifier: Apache-2.0 */
/* A ranker in C: scores candidates for a user with the published model.
 *
 *   ranker FOLDER HISTORY CANDIDATES
 *   ranker ./model "shoe7,sport;hat3,sport" "shoe8,sport;pan1,kitchen"
 *
 * An item is its values, in the order of the model's item fields; profile and
 * context are left unknown (id 0) here. */
#include <interest.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ITEMS = 100, FIELDS = 32 };

/* "a,b;c,d" -> ids (items, fields); returns the number of items. */
static size_t parse(const struct interest_model *model, const char *text,
                    uint64_t *ids)
{
    unsigned fields = interest_field_count(model, 1);
    size_t items = 0;
    while (*text && items < ITEMS) {
        for (unsigned i = 0; i < fields; i++) {
            size_t size = strcspn(text, ",;");
            ids[items * fields + i] =
                size ? interest_id(model, 1, i, text, size) : 0;
            text += size;
            text += *text == ',';
        }
        text += strcspn(text, ";");
        text += *text == ';';
        items++;
    }
    return items;
}

int main(int argc, char **argv)
{
    static uint64_t history[ITEMS * FIELDS], items[ITEMS * FIELDS];
    static const uint64_t unknown[FIELDS];
    struct interest_model *model;
    struct interest_scorer *scorer;
    struct interest_version version;
    struct interest_error error;
    float probability[ITEMS];
    if (argc != 4) {
        fprintf(stderr, "usage: ranker FOLDER HISTORY CANDIDATES\n");
        return 64;
    }
    if (interest_open(argv[1], &model, &error)) {
        fprintf(stderr, "ranker: %s\n", error.text);
        return 1;
    }
    struct interest_request request = {.profile = unknown,
                                       .context = unknown,
                                       .history = history,
                                       .items = items};
    request.history_size = parse(model, argv[2], history);
    request.candidates = parse(model, argv[3], items);
    int status = interest_scorer_open(model, ITEMS, ITEMS, &scorer, &error);
    if (!status) {
        status = interest_score(scorer, &request, probability, NULL, &version,
                                &error);
        interest_scorer_close(scorer);
    }
    if (status)
        fprintf(stderr, "ranker: %s\n", error.text);
    for (size_t i = 0; !status && i < request.candidates; i++)
        printf("%s candidate %zu: %.6f\n", version.name, i,
               (double)probability[i]);
    interest_close(model);
    return status;
}
