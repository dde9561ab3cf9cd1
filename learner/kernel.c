/* SPDX-License-Identifier: Apache-2.0 */
/* Choice of the kernels; see kernel.h. The choice is made once and does not
 * change while the process lives, so two models never mix arithmetics. */
#include "learner/kernel.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "learner/learner.h"

const struct learner_kernels *learner_kernels_find(const char *name)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (strcmp(name, "avx512") == 0 && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma"))
        return &learner_kernels_avx512;
    if (strcmp(name, "avx2") == 0 && __builtin_cpu_supports("avx2") &&
        __builtin_cpu_supports("fma"))
        return &learner_kernels_avx2;
#endif
    return strcmp(name, "plain") == 0 ? &learner_kernels_plain : NULL;
}

static const struct learner_kernels *chosen;

static void choose(void)
{
    const char *forced = getenv("INTERESTD_KERNELS");
    if (forced)
        chosen = learner_kernels_find(forced);
    static const char *const best_first[] = {"avx512", "avx2", "plain"};
    for (unsigned i = 0; !chosen; i++)
        chosen = learner_kernels_find(best_first[i]);
}

const struct learner_kernels *learner_kernels_get(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, choose);
    return chosen;
}

const char *learner_arithmetic(void)
{
    return learner_kernels_get()->arithmetic;
}

const char *learner_kernels(void)
{
    return learner_kernels_get()->name;
}
