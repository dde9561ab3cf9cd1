/* SPDX-License-Identifier: Apache-2.0 */
/* make_model FOLDER [ROWS [DELTAS [PAUSE_MS [F32|F16|I8]]]]: publishes a small
 * model with drawn weights, then so many deltas, one each PAUSE_MS, every third
 * with a base beside it, for the tests that are not C: of the installed
 * library, of the file format, of the example server. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/snapshot/chain.h"

int main(int argc, char **argv)
{
    struct fixture fixture;
    if (argc < 2) {
        fprintf(stderr, "usage: make_model FOLDER [ROWS [DELTAS [PAUSE_MS "
                        "[TYPE]]]]\n");
        return 64;
    }
    fixture_init(&fixture, 17, argc > 2 ? strtoull(argv[2], NULL, 10) : 200);
    /* a row whose key is a value's id, so that a test can name it */
    uint64_t id = learner_id(learner_table_seed("goods"), "shoe7", 5);
    fixture.keys[1][fixture.rows - 1] = id;
    struct snapshot_publisher *publisher = fixture_publisher(argv[1]);
    if (argc > 5 && strcmp(argv[5], "F16") == 0)
        publisher->config.row_type = SNAPSHOT_ROW_F16;
    if (argc > 5 && strcmp(argv[5], "I8") == 0)
        publisher->config.row_type = SNAPSHOT_ROW_I8;
    struct snapshot_announcement said = fixture_publish(publisher, &fixture);
    unsigned long deltas = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
    for (unsigned long i = 1; i <= deltas; i++) {
        struct chain_change change;
        usleep(argc > 4 ? 1000 * (unsigned)atoi(argv[4]) : 0);
        chain_change(&fixture, i, fixture.rows / 8 + 4, &change);
        said = chain_publish_delta(publisher, &change);
        if (i % 3 == 0)
            chain_publish_beside(publisher, &fixture, &said);
        chain_change_fini(&change);
    }
    printf("%s\n", said.folder_name);
    snapshot_publisher_free(publisher);
    fixture_fini(&fixture);
    return 0;
}
