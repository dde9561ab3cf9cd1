# SPDX-License-Identifier: Apache-2.0
"""Tables, verdicts and figures from the runs' results. Every number is a mean
over seeds; a spread is half the distance between lowest and highest."""

import datetime
import math
import os

import grid
import metrics
import plots

TOLERANCE = 0.002  # AUC by which a twin may be better


def date_of(day):
    return (datetime.date(1970, 1, 1) +
            datetime.timedelta(days=int(day))).strftime("%m-%d")


def mean(values):
    return sum(values) / len(values)


def spread(values):
    return (max(values) - min(values)) / 2


def percent(value):
    """Not a number: BaseModel is not there to compare with."""
    return "-" if math.isnan(value) else f"{value:+.2f}"


def table(head, rows):
    """Markdown; the first column is text, the rest are numbers."""
    lines = ["| " + " | ".join(head) + " |",
             "|---" + "|---:" * (len(head) - 1) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


class Results:
    """What is known: (data, model name) -> {seed: result}."""

    def __init__(self, jobs):
        self.known, self.models = {}, {}
        for job in jobs:
            self.models[job.run.model.name] = job.run.model
            if job.done():
                key = job.run.data, job.run.model.name
                self.known.setdefault(key, {})[job.run.seed] = job.result()

    def has(self, data, *names):
        return all((data, name) in self.known for name in names)

    def of(self, data, names):
        return [name for name in names if (data, name) in self.known]

    def seeds(self, data, *names):
        """Those that all of the models have."""
        sets = [set(self.known.get((data, name), {})) for name in names]
        return sorted(set.intersection(*sets)) if sets else []

    def values(self, data, name, metric, part=("all",), seeds=None):
        results = self.known[data, name]
        found = []
        for seed in seeds or sorted(results):
            at = results[seed]["predictions"]
            for step in part:
                at = at[step]
            found.append(at[metric])
        return found

    def mean(self, data, name, metric, part=("all",), seeds=None):
        return mean(self.values(data, name, metric, part, seeds))

    def rela_impr(self, data, name, part=("all",)):
        """Over the seeds that the model and BaseModel have."""
        base = grid.BASE.name
        seeds = self.seeds(data, name, base)
        if not seeds:
            return float("nan")
        return metrics.rela_impr(self.mean(data, name, "auc", part, seeds),
                                 self.mean(data, base, "auc", part, seeds))

    def any(self, data, name):
        return next(iter(self.known[data, name].values()))


def model_rows(results, data, names):
    rows = []
    for name in results.of(data, names):
        one = results.any(data, name)
        auc = results.values(data, name, "auc")
        rows.append([
            results.models[name].title,
            f"{results.mean(data, name, 'log_loss'):.4f}",
            f"{mean(auc):.4f} ± {spread(auc):.4f}",
            f"{results.mean(data, name, 'user_auc'):.4f}",
            percent(results.rela_impr(data, name)),
            str(len(auc)),
            f"{one['samples'] / max(one['seconds'], 1e-9):,.0f}",
            f"{sum(r['rejected'] for r in results.known[data, name].values())}"
        ])
    return rows


MODEL_HEAD = ["model", "log loss", "AUC", "GAUC", "RelaImpr %", "seeds",
              "samples/s", "rejected"]


def by_day(results, data, names, metric):
    """(day numbers, rows of means)."""
    first = results.any(data, names[0])["predictions"]["days"]
    days = sorted(first, key=int)
    if metric == "rela_impr":
        return days, [[results.rela_impr(data, name, part=("days", day))
                       for day in days] for name in names]
    return days, [[results.mean(data, name, metric, ("days", day))
                   for day in days] for name in names]


def day_section(results, dataset, names, output):
    data, text = dataset.key, []
    period = "day" if dataset.source.period_days == 1 else \
        f"{dataset.source.period_days} days"
    for metric, title, form in (
            ("auc", "AUC", "{:.4f}"), ("user_auc", "GAUC", "{:.4f}"),
            ("log_loss", "Log loss", "{:.4f}"),
            ("rela_impr", "RelaImpr against BaseModel, %", "{:+.1f}")):
        if metric == "rela_impr" and not results.has(data, "base"):
            continue
        days, rows = by_day(results, data, names, metric)
        plot = f"{data}_days_{metric}.png"
        dates = [date_of(day) for day in days]
        # The first one, before anything is learnt, would flatten the rest.
        plots.lines(os.path.join(output, plot), f"{title} by {period}, from "
                    f"the second on, {data}", dates[1:],
                    [(name, results.models[name].title, row[1:])
                     for name, row in zip(names, rows)],
                    title, metric == "rela_impr")
        text.append(f"\n![{title} by {period}]({plot})\n\n{title} by "
                    f"{period} (UTC):\n\n" + table(
                        ["from"] + names,
                        [[date] + [form.format(row[i]) for row in rows]
                         for i, date in enumerate(dates)]))
    return "".join(text)


def ladder_section(results, dataset, output):
    data = dataset.key
    names = results.of(data, grid.ORDER)
    if not names:
        return "Nothing trained.\n"
    plot = f"{data}_ladder.png"
    plots.dots(os.path.join(output, plot),
               f"AUC of each sample's prediction before training, {data}",
               [(name, results.models[name].title,
                 results.values(data, name, "auc")) for name in names], "AUC")
    return (table(MODEL_HEAD, model_rows(results, data, names)) +
            f"\n![AUC of the models]({plot})\n" +
            day_section(results, dataset, names, output))


def length_section(results, data):
    names = results.of(data, grid.ORDER)
    if not names:
        return ""
    rows = []
    first = results.any(data, names[0])["predictions"]["lengths"]
    for length, one in first.items():
        if one["samples"]:
            rows.append([length, f"{one['samples']:,}"] + [
                f"{results.mean(data, name, 'auc', ('lengths', length)):.4f}"
                for name in names])
    return ("AUC by behaviors in the history:\n\n" +
            table(["behaviors", "samples"] + names, rows))


# ---- the papers' order -------------------------------------------------------

CLAIMS = (
    ("BaseModel < DIN", "base", "din"),
    ("DIN < DIEN", "din", "dien"),
    ("DIN < DIEN without auxiliary loss", "din", "dien_plain"),
    ("the auxiliary loss helps", "dien_plain", "dien"),
    ("the auxiliary loss at weight 0.5 helps", "dien_plain", "dien_half"),
    ("the auxiliary loss at weight 0.1 helps", "dien_plain", "dien_light"),
    ("AUGRU is better than AGRU", "dien_agru", "dien_plain"),
    ("AUGRU is better than AIGRU", "dien_aigru", "dien_plain"),
    ("with the auxiliary loss AUGRU is better than AGRU", "dien_agru_aux",
     "dien"),
    ("with the auxiliary loss AUGRU is better than AIGRU", "dien_aigru_aux",
     "dien"),
    ("the auxiliary loss helps the two-layer GRU", "gru_att", "gru_att_aux"),
)


def claims(results, data):
    """[(claim, differences of AUC by seed, verdict)]"""
    found = []
    for claim, low, high in CLAIMS:
        seeds = results.seeds(data, low, high)
        if not seeds:
            continue
        differences = [
            results.known[data, high][s]["predictions"]["all"]["auc"] -
            results.known[data, low][s]["predictions"]["all"]["auc"]
            for s in seeds]
        if all(d > 0 for d in differences):
            verdict = "shows" + (" in every seed" if len(seeds) > 1 else "")
        elif mean(differences) > 0:
            verdict = "in the mean only"
        else:
            verdict = "does NOT show"
        found.append((claim, differences, verdict))
    return found


def claim_section(results, data):
    return table(["claim", "verdict", "AUC difference by seed"], [
        [claim, verdict, ", ".join(f"{d:+.4f}" for d in differences)]
        for claim, differences, verdict in claims(results, data)])


# ---- twins and freshness ------------------------------------------------------

def twins(results, data):
    """[(kind, AUC of ours, of the twin, difference, seeds)]"""
    found = []
    for model in grid.TWINS:
        seeds = results.seeds(data, model.kind, model.name)
        if seeds:
            ours = results.mean(data, model.kind, "auc", seeds=seeds)
            theirs = results.mean(data, model.name, "auc", seeds=seeds)
            found.append((model.kind, ours, theirs, theirs - ours, seeds))
    return found


def twin_section(results, data):
    rows = [[kind, f"{ours:.4f}", f"{theirs:.4f}", f"{difference:+.4f}",
             ", ".join(map(str, seeds)),
             "yes" if difference <= TOLERANCE else "NO"]
            for kind, ours, theirs, difference, seeds in twins(results, data)]
    return table(["model", "AUC here", "AUC in PyTorch", "PyTorch - here",
                  "seeds", f"at most {TOLERANCE} better"], rows) \
        if rows else "Not run.\n"


def freshness(results, data):
    """{model: [(day, AUC continuous, AUC frozen)]}, the same samples."""
    found = {}
    for model in grid.PAPERS_ORDER:
        for result in results.known.get((data, model.name), {}).values():
            if "frozen" not in result:
                continue
            went_on, frozen = result["compared"], result["frozen"]
            # Late samples of the day before the first copy are no day.
            days = [d for d in sorted(frozen["days"], key=int)
                    if 2 * frozen["days"][d]["samples"] >
                    result["predictions"]["days"][d]["samples"]]
            found[model.name] = [
                (d, went_on["days"][d], frozen["days"][d]) for d in days]
    return found


def freshness_mean(days):
    """Over days, each with the same weight."""
    return {metric: mean([went_on[metric] - frozen[metric]
                          for _, went_on, frozen in days])
            for metric in ("auc", "log_loss")}


def freshness_section(results, data, output):
    found = freshness(results, data)
    if not found:
        return "Not run.\n"
    names = list(found)
    days = [d for d, _, _ in found[names[0]]]
    plot = f"{data}_freshness.png"
    plots.lines(os.path.join(output, plot),
                "AUC lost by freezing the model at the day's beginning",
                [date_of(d) for d in days],
                [(n, results.models[n].title,
                  [c["auc"] - f["auc"] for _, c, f in found[n]])
                 for n in names], "AUC continuous - frozen", True)
    rows = []
    for name in names:
        value = freshness_mean(found[name])
        rows.append([results.models[name].title,
                     f"{mean([c['auc'] for _, c, _ in found[name]]):.4f}",
                     f"{mean([f['auc'] for _, _, f in found[name]]):.4f}",
                     f"{value['auc']:+.4f}", f"{value['log_loss']:+.4f}"])
    text = table(["model", "AUC, trained continuously", "AUC, frozen for the "
                  "day", "difference", "difference in log loss"], rows)
    text += "\n" + table(
        ["AUC of the day"] + [f"{n}, {how}" for n in names
                              for how in ("continuous", "frozen")],
        [[date_of(d)] + [f"{found[n][i][k]['auc']:.4f}"
                         for n in names for k in (1, 2)]
         for i, d in enumerate(days)])
    return text + f"\n![the value of freshness]({plot})\n"


# ---- whole -------------------------------------------------------------------

def dataset_section(results, dataset, output):
    data, made = dataset.key, dataset.columns.made
    item = dataset.source.item
    parts = [
        f"\n## {dataset.source.title}, {dataset.share} % of the users\n\n",
        f"{made['words'].split(': ')[-1]}; {made['samples']:,} samples in "
        f"{made['batches']:,} batches, "
        f"{100 * float(dataset.columns.label.mean()):.1f} % clicked, "
        f"{float(dataset.columns.lengths().mean()):.1f} behaviors in a "
        "history on average. Each sample is predicted before it is "
        "trained.\n\n",
        ladder_section(results, dataset, output), "\n",
        length_section(results, data)]
    if claims(results, data):
        parts += ["\n### The papers' order\n\n",
                  claim_section(results, data)]
    extra = results.of(data, [m.name for m in grid.EXTRA])
    if extra:
        parts += ["\n### Further variants\n\n",
                  table(MODEL_HEAD, model_rows(results, data, extra))]
    regularizers = results.of(data, [m.name for m in grid.regularizers(item)])
    if regularizers:
        parts += ["\n### BaseModel and its regularizers\n\n",
                  table(MODEL_HEAD,
                        model_rows(results, data, ["base"] + regularizers))]
    dins = results.of(data, [m.name for m in grid.DIN_GRID])
    if dins:
        parts += ["\n### DIN: activation and regularizer\n\n",
                  table(MODEL_HEAD, model_rows(results, data, dins))]
    if twins(results, data):
        parts += ["\n### The same models in PyTorch\n\n",
                  twin_section(results, data)]
    if freshness(results, data):
        parts += ["\n### The value of freshness\n\n",
                  "Trained continuously, against a copy frozen at the "
                  "beginning of each day; the same samples.\n\n",
                  freshness_section(results, data, output)]
    return "".join(parts)


def figures(results, dataset):
    data = dataset.key
    models = {}
    for (of, name), runs in results.known.items():
        if of == data:
            models[name] = {
                metric: round(results.mean(data, name, metric), 5)
                for metric in ("auc", "user_auc", "log_loss")}
            models[name]["auc_by_seed"] = {
                str(s): round(r["predictions"]["all"]["auc"], 5)
                for s, r in sorted(runs.items())}
            if results.has(data, grid.BASE.name):
                models[name]["rela_impr"] = round(
                    results.rela_impr(data, name), 2)
    return {"share": dataset.share, "samples": dataset.columns.samples,
            "models": models,
            "claims": {claim: verdict
                       for claim, _, verdict in claims(results, data)},
            "twins": {kind: round(difference, 5) for kind, _, _, difference, _
                      in twins(results, data)},
            "freshness": {name: {metric: round(value, 5) for metric, value
                                 in freshness_mean(days).items()}
                          for name, days in freshness(results, data).items()}}


def people(results, datasets):
    """The short table for the terminal."""
    lines = []
    for dataset in datasets:
        lines.append(f"{dataset.key}: {dataset.columns.samples:,} samples of "
                     f"{dataset.share} % of the users")
        lines.append(f"  {'model':44} {'log loss':>8} {'AUC':>7} {'GAUC':>7} "
                     f"{'RelaImpr %':>10} seeds")
        item = dataset.source.item
        names = list(grid.ORDER) + [m.name for m in (
            *grid.EXTRA, *grid.regularizers(item), *grid.DIN_GRID,
            *grid.TWINS)]
        for name in results.of(dataset.key, names):
            lines.append(
                f"  {results.models[name].title:44} "
                f"{results.mean(dataset.key, name, 'log_loss'):8.4f} "
                f"{results.mean(dataset.key, name, 'auc'):7.4f} "
                f"{results.mean(dataset.key, name, 'user_auc'):7.4f} "
                f"{percent(results.rela_impr(dataset.key, name)):>10} "
                f"{len(results.known[dataset.key, name])}")
        for claim, _, verdict in claims(results, dataset.key):
            lines.append(f"  {claim}: {verdict}")
    return "\n".join(lines)
