"""MovieLens as the files that `fusionrec import` reads."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from shared.testing.movielens import movielens_events, movielens_items

if TYPE_CHECKING:
    from pathlib import Path


def write_csv(folder: Path) -> tuple[Path, Path]:
    """Writes items.csv and events.csv into `folder`; returns their paths."""
    items, events = folder / "items.csv", folder / "events.csv"
    with items.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["item_id", "title", "categories", "year"])
        for item in movielens_items():
            year = item.attributes.get("year")
            known = int(year) if isinstance(year, float) else ""
            rows.writerow([item.item_id, item.title, "|".join(item.categories), known])
    with events.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["user_id", "item_id", "type", "value", "timestamp"])
        for event in movielens_events():
            second = int(event.timestamp.timestamp())
            rows.writerow([event.user_id, event.item_id, "rating", event.value, second])
    return items, events
