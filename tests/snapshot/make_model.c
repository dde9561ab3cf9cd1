/* SPDX-License-Identifier: Apache-2.0 */
/* make_model FOLDER [ROWS]: publishes a small model with drawn weights, for
 * the tests that are not C: of the installed library, of the file format. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/snapshot/fixture.h"

int main(int argc, char **argv)
{
    struct fixture fixture;
    if (argc < 2) {
        fprintf(stderr, "usage: make_model FOLDER [ROWS]\n");
        return 64;
    }
    fixture_init(&fixture, 17, argc > 2 ? strtoull(argv[2], NULL, 10) : 200);
    /* a row whose key is a value's id, so that a test can name it */
    uint64_t id = learner_id(learner_table_seed("goods"), "shoe7", 5);
    fixture.keys[1][fixture.rows - 1] = id;
    struct snapshot_publisher *publisher = fixture_publisher(argv[1]);
    struct snapshot_announcement said = fixture_publish(publisher, &fixture);
    printf("%s\n", said.folder_name);
    snapshot_publisher_free(publisher);
    fixture_fini(&fixture);
    return 0;
}
