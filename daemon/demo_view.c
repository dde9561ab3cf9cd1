/* SPDX-License-Identifier: Apache-2.0 */
/* The demo's view, lines and JSON; see demo_view.h. */
#include "daemon/demo_view.h"

#include <math.h>
#include <string.h>

const struct demo_window *demo_best_window(const struct demo_facts *facts)
{
    const struct demo_window *best = NULL;
    for (unsigned i = 0; i < facts->window_count; i++) {
        const struct demo_window *window = &facts->windows[i];
        if (isfinite(window->auc) && isfinite(window->ceiling) &&
            (!best || window->begin_ms > best->begin_ms))
            best = window;
    }
    return best;
}

void demo_set_window(struct demo_facts *facts, int64_t begin_ms,
                     const double *auc, const double *ceiling)
{
    struct demo_window *window = NULL;
    for (unsigned i = 0; i < facts->window_count; i++)
        if (facts->windows[i].begin_ms == begin_ms)
            window = &facts->windows[i];
    if (!window) {
        if (facts->window_count == DEMO_WINDOWS) {
            memmove(facts->windows, facts->windows + 1,
                    (DEMO_WINDOWS - 1) * sizeof *facts->windows);
            facts->window_count--;
        }
        window = &facts->windows[facts->window_count++];
        *window = (struct demo_window){begin_ms, NAN, NAN};
    }
    if (auc)
        window->auc = *auc;
    if (ceiling)
        window->ceiling = *ceiling;
}

void demo_result(const struct demo_facts *facts, double *auc, double *ceiling)
{
    const struct demo_window *best = demo_best_window(facts);
    *auc = best ? best->auc : facts->auc_total;
    *ceiling = best ? best->ceiling : facts->ceiling_total;
}

/* How far from 0.5 to the ceiling, in percent. */
static double way(double auc, double ceiling)
{
    return 100 * (auc - 0.5) / (ceiling - 0.5);
}

static void print_auc(FILE *out, const char *name, double auc, double ceiling)
{
    fprintf(out, "  %-22s", name);
    if (isfinite(auc))
        fprintf(out, "%.4f", auc);
    else
        fprintf(out, "-     ");
    if (isfinite(ceiling))
        fprintf(out, "   best possible %.4f", ceiling);
    if (isfinite(auc) && isfinite(ceiling))
        fprintf(out, "   %.0f %% of the way from 0.5", way(auc, ceiling));
    fprintf(out, "\033[K\n");
}

/* The last windows as bars, oldest first: AUC climbing to its ceiling. */
static void print_climb(FILE *out, const struct demo_facts *facts)
{
    static const char *const bars[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    fprintf(out, "  %-22s", "by 10 s of events");
    unsigned from = facts->window_count > 40 ? facts->window_count - 40 : 0;
    for (unsigned i = from; i < facts->window_count; i++) {
        const struct demo_window *window = &facts->windows[i];
        if (!isfinite(window->auc) || !isfinite(window->ceiling))
            continue;
        double part = way(window->auc, window->ceiling) / 100 * 8;
        int bar = part < 0 ? 0 : part > 7 ? 7 : (int)part;
        fprintf(out, "%s", bars[bar]);
    }
    fprintf(out, "\033[K\n");
}

static void print_rela_impr(FILE *out, double rela_impr)
{
    if (isfinite(rela_impr))
        fprintf(out,
                "  RelaImpr              %+.1f %% against a base model on the "
                "same stream\033[K\n",
                rela_impr);
    else
        fprintf(out, "  RelaImpr              -\033[K\n");
}

void demo_print_view(FILE *out, const struct demo_facts *facts, bool first)
{
    double auc, ceiling;
    demo_result(facts, &auc, &ceiling);
    /* Over the lines of the last view. */
    fprintf(out, "%s", first ? "" : "\033[11A\r");
    fprintf(out, "interestd demo   %.0f of %llu s   %s\033[K\n", facts->seconds,
            (unsigned long long)facts->seconds_asked, facts->phase);
    fprintf(out,
            "  events                %llu   %.0f/s   lag %lld records\033[K\n",
            (unsigned long long)facts->events, facts->events_per_second,
            (long long)facts->lag_records);
    fprintf(out,
            "  samples               %llu   %.0f/s   waiting for their label "
            "%lld\033[K\n",
            (unsigned long long)facts->samples, facts->samples_per_second,
            (long long)facts->pending);
    print_auc(out, "AUC, just now", facts->auc_recent, facts->ceiling_total);
    print_auc(out, "AUC, last whole 10 s", auc, ceiling);
    print_auc(out, "AUC, from the start", facts->auc_total,
              facts->ceiling_total);
    print_climb(out, facts);
    print_rela_impr(out, facts->rela_impr);
    fprintf(out,
            "  model                 %s   its newest event is %.1f s "
            "old\033[K\n",
            facts->version_name[0] ? facts->version_name : "-",
            (double)facts->version_age_ms / 1e3);
    fprintf(out,
            "  versions              %llu published, %llu followed\033[K\n",
            (unsigned long long)facts->published,
            (unsigned long long)facts->followed);
    fprintf(out, "  scoring               %lld us a request\033[K\n",
            (long long)facts->latency_us);
    fflush(out);
}

static void print_or_dash(FILE *out, const char *name, double value)
{
    if (isfinite(value))
        fprintf(out, " %s=%.4f", name, value);
    else
        fprintf(out, " %s=-", name);
}

void demo_print_line(FILE *out, const struct demo_facts *facts)
{
    fprintf(out,
            "t=%.0fs %s events=%llu (%.0f/s) lag=%lld samples=%llu "
            "(%.0f/s)",
            facts->seconds, facts->phase, (unsigned long long)facts->events,
            facts->events_per_second, (long long)facts->lag_records,
            (unsigned long long)facts->samples, facts->samples_per_second);
    print_or_dash(out, "auc", facts->auc_recent);
    print_or_dash(out, "ceiling", facts->ceiling_total);
    fprintf(out,
            " model=%s age=%.1fs published=%llu followed=%llu "
            "score=%lldus\n",
            facts->version_name[0] ? facts->version_name : "-",
            (double)facts->version_age_ms / 1e3,
            (unsigned long long)facts->published,
            (unsigned long long)facts->followed, (long long)facts->latency_us);
    fflush(out);
}

static void print_json_number(FILE *out, const char *name, double value)
{
    if (isfinite(value))
        fprintf(out, ",\"%s\":%.6f", name, value);
    else
        fprintf(out, ",\"%s\":null", name);
}

void demo_print_json(FILE *out, const struct demo_facts *facts)
{
    double auc, ceiling;
    demo_result(facts, &auc, &ceiling);
    fprintf(out, "{\"events\":%llu,\"samples\":%llu",
            (unsigned long long)facts->events,
            (unsigned long long)facts->samples);
    print_json_number(out, "auc", auc);
    print_json_number(out, "auc_ceiling", ceiling);
    print_json_number(out, "auc_total", facts->auc_total);
    print_json_number(out, "auc_total_ceiling", facts->ceiling_total);
    print_json_number(out, "rela_impr_percent", facts->rela_impr);
    fprintf(out,
            ",\"versions_published\":%llu,\"versions_followed\":%llu,"
            "\"versions_refused\":%llu,\"unaccounted_offsets\":%lld,"
            "\"pending\":%lld,\"lag_records\":%lld,\"score_latency_us\":%lld",
            (unsigned long long)facts->published,
            (unsigned long long)facts->followed,
            (unsigned long long)facts->refused, (long long)facts->unaccounted,
            (long long)facts->pending, (long long)facts->lag_records,
            (long long)facts->latency_us);
    fprintf(out, ",\"seconds\":%.3f}\n", facts->seconds);
    fflush(out);
}
