/* SPDX-License-Identifier: Apache-2.0 */
/* The gate's rules; see gate.h. */
#include "daemon/gate.h"

#include <math.h>
#include <stdio.h>

const char *const daemon_gate_words[] = {
    [DAEMON_GATE_PASSED] = "passed",
    [DAEMON_GATE_NOT_FINITE] = "not_finite",
    [DAEMON_GATE_SAMPLES] = "samples",
    [DAEMON_GATE_AUC] = "auc",
    [DAEMON_GATE_CALIBRATION] = "calibration",
    [DAEMON_GATE_NORM] = "norm",
    [DAEMON_GATE_ROLLBACK] = "rollback",
};

/* How far a calibration is from 1, either way. */
static double off(double calibration)
{
    return fabs(log(calibration));
}

static bool auc_fell(const struct daemon_gate_config *config, double last,
                     double next)
{
    return isfinite(last) && isfinite(next) && last - next > config->auc_drop;
}

static bool calibration_worse(const struct daemon_gate_config *config,
                              double last, double next)
{
    bool within =
        next >= config->calibration_min && next <= config->calibration_max;
    return isfinite(last) && isfinite(next) && !within && off(next) > off(last);
}

/* A norm of 0: the model has no matrices. */
static bool norm_grew(const struct daemon_gate_config *config, double last,
                      double next)
{
    return isfinite(last) && last > 0 && next > last * config->norm_factor;
}

enum daemon_gate_reason
daemon_gate_judge(const struct daemon_gate_config *config,
                  const struct snapshot_judged *last,
                  const struct snapshot_judged *next, char *text, size_t size)
{
    if (!isfinite(next->dense_norm)) {
        snprintf(text, size, "a dense weight is not finite");
        return DAEMON_GATE_NOT_FINITE;
    }
    if (next->samples < config->samples) {
        snprintf(text, size,
                 "%llu samples trained; publish.gate_samples wants %llu",
                 (unsigned long long)next->samples,
                 (unsigned long long)config->samples);
        return DAEMON_GATE_SAMPLES;
    }
    if (last && auc_fell(config, last->auc, next->auc)) {
        snprintf(text, size,
                 "AUC fell from %.4f to %.4f; publish.gate_auc_drop is %g",
                 last->auc, next->auc, config->auc_drop);
        return DAEMON_GATE_AUC;
    }
    if (last &&
        calibration_worse(config, last->calibration, next->calibration)) {
        snprintf(text, size,
                 "calibration went from %.4f to %.4f; "
                 "publish.gate_calibration_min and _max are %g and %g",
                 last->calibration, next->calibration, config->calibration_min,
                 config->calibration_max);
        return DAEMON_GATE_CALIBRATION;
    }
    if (last && norm_grew(config, last->dense_norm, next->dense_norm)) {
        snprintf(text, size,
                 "norm of the dense weights grew from %.4g to %.4g; "
                 "publish.gate_norm_factor is %g",
                 last->dense_norm, next->dense_norm, config->norm_factor);
        return DAEMON_GATE_NORM;
    }
    text[0] = '\0';
    return DAEMON_GATE_PASSED;
}
