"""How an evaluation was made, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.evaluator.metrics.evaluate import Evaluation


def in_words(evaluation: Evaluation) -> str:
    """Returns what was averaged, and how."""
    text = (
        f"Mean over the {evaluation.queries} queries with at least one relevant item (gain above 0); "
        f"{evaluation.without_ranking} of them have no ranking and count as 0; "
        f"{evaluation.without_relevant} rankings without a relevant item are left out. "
        "Precision divides by k, also where a ranking is shorter. NDCG takes gains as they are, with the ideal DCG of "
        "the min(k, relevant) largest gains. MAP divides by min(k, relevant). F1 is computed per query."
    )
    coverages = [name for name in evaluation.means if name.startswith("coverage@")]
    return f"{text} Coverage is over all rankings, left out of the mean or not." if coverages else text
