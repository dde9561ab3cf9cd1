/* SPDX-License-Identifier: Apache-2.0 */
/* Row regularizers; see regularizer.h. */
#include "learner/regularizer.h"

float learner_regularizer_factor(const struct learner_model_config *config,
                                 uint32_t count, uint32_t occurrences)
{
    if (!occurrences)
        return 0;
    switch (config->regularizer) {
    case LEARNER_L2: return config->lambda;
    case LEARNER_MBA: return config->lambda / (float)count;
    case LEARNER_DIFACTO:
        return (float)occurrences * (config->lambda / (float)count);
    case LEARNER_REGULARIZER_NONE:
    case LEARNER_DROPOUT:
    case LEARNER_FILTER: break;
    }
    return 0;
}

void learner_regularizer_add(float *restrict g, const float *restrict w,
                             size_t W, float factor)
{
    for (size_t i = 0; i < W; i++)
        g[i] += factor * w[i];
}

bool learner_regularizer_admits(const struct learner_model_config *config)
{
    return config->regularizer == LEARNER_FILTER ||
           config->regularizer == LEARNER_DIFACTO;
}
