/* SPDX-License-Identifier: Apache-2.0 */
/* make_kinds FOLDER: publishes a model of every case of kinds.h into a folder
 * of its own below FOLDER, for readers in other languages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/file.h"
#include "tests/snapshot/kinds.h"

int main(int argc, char **argv)
{
    struct base_error error;
    if (argc != 2) {
        fprintf(stderr, "usage: make_kinds FOLDER\n");
        return 64;
    }
    if (base_file_make_folder(argv[1], &error)) {
        fprintf(stderr, "make_kinds: %s\n", error.text);
        return 1;
    }
    for (unsigned i = 0; i < kind_case_count; i++) {
        char folder[1100];
        struct run run;
        snprintf(folder, sizeof folder, "%s/%s", argv[1], kind_cases[i].name);
        kind_train(&kind_cases[i], &run);
        kind_publish(&run, folder);
        run_fini(&run);
        printf("%s\n", kind_cases[i].name);
    }
    return 0;
}
