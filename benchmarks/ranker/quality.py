"""Every fusion function on MovieLens: full ranking of the real candidates, no sampled metrics.

Lists are asked of the candidates service and turned into features by the code that serves. The fusions are fitted on
four fifths of the users, chosen on the lists of the rest, and refitted on all; the test lists come last, once.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from services.ranker.features.registry import CF, FEATURES, INDEX, LANGUAGE_MODEL, NAMES, TEXT
from services.ranker.fusion.base import FitContext
from services.ranker.fusion.gated import USER_FEATURES
from services.ranker.fusion.registry import new_fusions
from services.ranker.training.fitting import measure
from services.ranker.training.learned import stacked, thinned

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from benchmarks.ranker.prepare import Judged, Material
    from services.ranker.fusion.base import FusionFunction
    from services.ranker.items.table import ItemTable
    from services.ranker.training.learned import LearnedList

CUT, RESULTS, TIMED, EXPLAINED = 10, 1_000, 100, 20
CANDIDATES = 300
_DISCOUNT = 1 / np.log2(np.arange(2, CUT + 2))
_SEQUENCE = ("sequential", "als_recent", "item_item_recent", "item_item_decayed", "aligned_text_recent")
ABLATIONS: dict[str, tuple[str, ...]] = {
    "everything": (),
    "without text": tuple({*LANGUAGE_MODEL, *(one.name for one in FEATURES if one.group == TEXT)}),
    "without CF": tuple(
        one.name for one in FEATURES if one.group == CF and one.name not in ("has_cf", "merged_places")
    ),
    "without sequence": tuple(
        name for name in NAMES if name.startswith(_SEQUENCE) or "session" in name or name in ("lm_last", "lm_recent")
    ),
    "without gate": USER_FEATURES,
}
"""Features that are missing, in learning and measuring alike; the candidates stay the same."""


def fit(made: Material, names: Sequence[str]) -> tuple[dict[str, FusionFunction], dict[str, Any]]:
    """Returns the fusions, refitted on all lists, and what each took and reached on validation lists."""
    lists, table = made.prepared.lists, made.prepared.base
    kept, thin = [one for one in lists if one.held], [thinned(one) for one in lists]
    train, held = (stacked([one for one in thin if one.held is held], table) for held in (False, True))
    everything = stacked(thin, table)
    fusions = new_fusions(names, FitContext())
    figures: dict[str, Any] = {}
    for name, fusion in fusions.items():
        started = time.perf_counter()
        fusion.fit(train, held, NAMES)
        seconds = time.perf_counter() - started
        validation = {metric: round(value, 4) for metric, value in measure(fusion, kept, table).items()}
        figures[name] = {"fit_s": round(seconds, 1), "validation": validation}
    for fusion in fusions.values():
        fusion.refit(everything, NAMES)
    return fusions, figures


def quality(fusion: FusionFunction, test: Sequence[Judged], table: ItemTable) -> dict[str, float]:
    """Returns NDCG@10 over the test lists; by length of history where there are four of them at most."""
    values = np.array([_ndcg(fusion, one, table) for one in test])
    out = {f"ndcg@{CUT}": round(float(values.mean()), 4)}
    lengths = np.array([one.history for one in test])
    if len(set(lengths.tolist())) <= 4:
        out |= {f"after {length}": round(float(values[lengths == length].mean()), 4) for length in np.unique(lengths)}
    return out


def explained(fusion: FusionFunction, test: Sequence[Judged], table: ItemTable) -> dict[str, float]:
    """Returns the largest relative error of bias + contributions over 1,000 results, and milliseconds for 20."""
    worst, seen, times = 0.0, 0, []
    for one in test:
        inputs = one.list.input(table)
        scores = fusion.predict(inputs)
        chosen = inputs.take(np.argsort(-scores)[:EXPLAINED])
        started = time.perf_counter()
        bias, parts = fusion.contributions(chosen)
        times.append(1e3 * (time.perf_counter() - started))
        exact = fusion.predict(chosen).astype(np.float64)
        error = np.abs(bias + parts.astype(np.float64).sum(axis=1) - exact) / np.maximum(np.abs(exact), 1e-2)
        worst, seen = max(worst, float(error.max())), seen + len(exact)
        if seen >= RESULTS:
            break
    return {"results": seen, "worst": worst, "contributions_p50_ms": round(float(np.median(times)), 2)}


def score_ms(fusion: FusionFunction, test: Sequence[Judged], table: ItemTable) -> float:
    """Returns the median milliseconds of scoring 300 candidates."""
    times = []
    for one in test[:TIMED]:
        inputs = one.list.input(table).take(slice(0, CANDIDATES))
        fusion.predict(inputs)
        started = time.perf_counter()
        fusion.predict(inputs)
        times.append(1e3 * (time.perf_counter() - started))
    return round(float(np.median(times)), 2)


def ablations(made: Material, name: str) -> dict[str, Any]:
    """Returns what the fusion is worth without some of its features, fitted anew each time."""
    table, out = made.prepared.base, {}
    for what, missing in ABLATIONS.items():
        lists = [_without(one, missing) for one in made.prepared.lists]
        test = [replace(one, list=_without(one.list, missing)) for one in made.test]
        part = replace(made, prepared=replace(made.prepared, lists=lists), test=test)
        fusions, figures = fit(part, [name])
        out[what] = {**figures[name]["validation"], **quality(fusions[name], test, table)}
    return out


def _without(one: LearnedList, missing: Collection[str]) -> LearnedList:
    if not missing:
        return one
    features = one.features.copy()
    features[:, [INDEX[name] for name in missing]] = np.nan
    return replace(one, features=features)


def _ndcg(fusion: FusionFunction, one: Judged, table: ItemTable) -> float:
    order = np.argsort(-fusion.predict(one.list.input(table)), kind="stable")[:CUT]
    gains = one.list.labels[order]
    return float((_DISCOUNT[: len(gains)] * gains).sum() / _DISCOUNT[: min(CUT, one.relevant)].sum())
