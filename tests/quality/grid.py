# SPDX-License-Identifier: Apache-2.0
"""What the report trains: each run is a model (settings over the stream's
configuration), a data set and a seed. The order is that of importance: what
comes later is left out first where the time does not suffice."""

import dataclasses

SEEDS = (1, 2)


@dataclasses.dataclass(frozen=True)
class Model:
    name: str
    title: str
    settings: tuple  # of (key below learner, value)
    twin: bool = False  # in PyTorch, twin.py
    # Samples a second of one process on one core, before anything is known.
    speed: float = 100_000

    @property
    def kind(self):
        return dict(self.settings)["kind"]


# As in the authors' code; a data set's configuration may name another one.
ACTIVATIONS = {"din": "dice", "gru_att": "dice", "dien": "dice"}


def _model(name, title, speed, twin=False, **settings):
    settings = {"activation": ACTIVATIONS.get(settings["kind"], "prelu"),
                **settings}
    return Model(name, title, tuple(settings.items()), twin, speed)


def _dien(name, title, evolution, auxiliary):
    return _model(name, title, 25_000, kind="dien", evolution=evolution,
                  auxiliary=auxiliary)


# Item 1 of what must be compared; RelaImpr is against BASE.
BASE = _model("base", "BaseModel, sum", 250_000, kind="base")
LADDER = (
    BASE,
    _model("din", "DIN", 120_000, kind="din"),
    _dien("dien", "DIEN (AUGRU, auxiliary loss)", "augru", "network"),
    _dien("dien_plain", "DIEN without auxiliary loss", "augru", "none"),
    _model("lr", "LR", 400_000, kind="lr"),
    _model("base_mean", "BaseModel, mean", 250_000, kind="base",
           pooling="mean"),
    _model("wide_deep", "Wide&Deep", 200_000, kind="wide_deep"),
    _model("pnn", "PNN", 250_000, kind="pnn"),
    _model("deepfm", "DeepFM", 200_000, kind="deepfm", dimension=18),
    _model("gru_att", "two-layer GRU, attention", 25_000, kind="gru_att"),
    _dien("dien_aigru", "DIEN, AIGRU, no auxiliary loss", "aigru", "none"),
    _dien("dien_agru", "DIEN, AGRU, no auxiliary loss", "agru", "none"),
)
# In the order in which a reader expects them.
ORDER = ("lr", "base", "base_mean", "wide_deep", "pnn", "deepfm", "din",
         "gru_att", "dien_aigru", "dien_agru", "dien_plain", "dien")
EXTRA = (
    _model("dien_half", "DIEN (AUGRU, auxiliary loss x 0.5)", 25_000,
           kind="dien", evolution="augru", auxiliary="network",
           auxiliary_weight="0.5"),
    _model("dien_light", "DIEN (AUGRU, auxiliary loss x 0.1)", 25_000,
           kind="dien", evolution="augru", auxiliary="network",
           auxiliary_weight="0.1"),
    _dien("dien_aigru_aux", "DIEN, AIGRU, auxiliary loss", "aigru",
          "network"),
    _dien("dien_agru_aux", "DIEN, AGRU, auxiliary loss", "agru", "network"),
    _dien("dien_code", "DIEN, AUGRU as in the code, auxiliary loss",
          "augru_code", "network"),
    _model("gru_att_aux", "two-layer GRU, attention, auxiliary loss", 25_000,
           kind="gru_att", auxiliary="network"),
    _model("din_softmax", "DIN, softmax", 120_000, kind="din",
           attention_softmax="true"),
    _model("din_dice_batch", "DIN, Dice's statistics of the batch", 120_000,
           kind="din", dice_statistics="batch"),
    _model("din_mean", "DIN, s by mean", 120_000, kind="din", pooling="mean"),
    _model("din_softmax_mean", "DIN, softmax, s by mean", 120_000, kind="din",
           attention_softmax="true", pooling="mean"),
    _model("dien_mean", "DIEN, auxiliary loss, s by mean", 25_000,
           kind="dien", evolution="augru", auxiliary="network",
           pooling="mean"),
    _model("lr_adam", "LR by Adam", 400_000, kind="lr", optimizer="adam"),
    _model("pnn_dice", "PNN, Dice", 250_000, kind="pnn", activation="dice"),
)


def regularizers(item):
    """BaseModel with each; `item`: the feature that names goods."""
    def base(name, title, **settings):
        return _model("base_" + name, title, 250_000, kind="base", **settings)
    return (
        base("no_goods", "without goods ids", fields_off=item),
        base("l2", "L2", regularizer="l2"),
        base("dropout", "dropout of ids", regularizer="dropout"),
        base("filter", "filter", regularizer="filter"),
        base("difacto", "DiFacto", regularizer="difacto"),
        base("mba", "mini-batch aware", regularizer="mba"),
    )


DIN_GRID = tuple(
    _model(f"din_{activation}_{regularizer}",
           f"DIN, {activation}, {regularizer}", 120_000, kind="din",
           activation=activation, regularizer=regularizer)
    for activation in ("prelu", "dice") for regularizer in ("none", "mba"))

TWINS = (
    _model("din_torch", "DIN in PyTorch", 9_000, True, kind="din"),
    _model("dien_torch", "DIEN in PyTorch", 1_500, True, kind="dien"),
)


PAPERS_ORDER = tuple(model for model in LADDER
                     if model.name in ("base", "din", "dien"))


@dataclasses.dataclass(frozen=True)
class Run:
    data: str  # key of the data set in the report: "globo", "globo_all"
    model: Model
    seed: int
    borders: bool = False  # a frozen copy predicts each day too


def runs(data, models, seeds=SEEDS):
    return [Run(data, model, seed) for seed in seeds for model in models]


def ladder(data, seeds=SEEDS, fresh=False):
    """With `fresh` the models of the papers' order are also compared with
    frozen copies, in the first seed: their own predictions do not change."""
    return [Run(data, model, seed, fresh and seed == seeds[0] and
                model in PAPERS_ORDER)
            for seed in seeds for model in LADDER]
