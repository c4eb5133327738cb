"""Puts an explanation together: contributions, groups, history items, a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.ranker.explain.reasons import asked_items, attended, strongest, text_similarity
from services.ranker.explain.sentence import sentence_of
from services.ranker.features.language import JudgedVectors
from services.ranker.features.registry import FEATURES
from services.ranker.nouns import Explanation, FeatureContribution, HistoryReason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.ranker.items.arrays import F32
    from services.ranker.pipeline.call import Call
    from services.ranker.pipeline.score.score import Parts


def explanations(
    call: Call,
    item_ids: Sequence[str],
    is_new: Sequence[bool],
    parts: Parts,
    behaviour: F32 | None,
    title: Callable[[str], str],
    rules: Sequence[tuple[FeatureContribution, ...]] = (),
) -> list[Explanation]:
    """Returns one explanation per result; `parts` has one row per result, `behaviour` one column.

    `rules`: what rules add to each result's score, beside the fusion.
    """
    liked = asked_items(call, len(item_ids))
    if parts.attention is None:
        texts = text_similarity(call.table, liked, item_ids)
    else:
        texts = attended(JudgedVectors.of(call.table, call.user()), parts.attention, call.table.find(liked))
    cf, language = parts.cf, parts.text
    out = []
    for place in range(len(item_ids)):
        own = None if behaviour is None else behaviour[:, place]
        found = strongest(liked, own, texts[:, place], float(cf[place]), float(language[place]))
        history = tuple(HistoryReason(item, title(item), weight, kind) for item, weight, kind in found)
        learned = _features(parts, place)
        added = rules[place] if rules else ()
        features = tuple(sorted((*learned, *added), key=lambda one: -abs(one.contribution))) if added else learned
        groups = _groups(features)
        # What speaks for it is what was learned: that a rule lifts it as well is no reason to like it.
        sentence = sentence_of(history, _groups(learned), is_new=bool(is_new[place]), has_scores=bool(learned))
        out.append(Explanation(parts.bias, features, groups, history, sentence))
    return out


def _features(parts: Parts, place: int) -> tuple[FeatureContribution, ...]:
    values = parts.values[place]
    order = np.argsort(-np.abs(values), kind="stable")
    return tuple(
        FeatureContribution(
            FEATURES[column].name, FEATURES[column].group, float(parts.features[place, column]), float(values[column])
        )
        for column in order
    )


def _groups(features: Sequence[FeatureContribution]) -> dict[str, float]:
    groups: dict[str, float] = {}
    for one in features:
        groups[one.group] = groups.get(one.group, 0.0) + one.contribution
    return groups
