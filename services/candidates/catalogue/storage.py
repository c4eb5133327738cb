"""Items in a version's folder: what filters and availability need of them, one JSON object a line."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from services.candidates.catalogue.table import ItemTable
from shared.data.nouns import Item

if TYPE_CHECKING:
    from pathlib import Path

    from shared.data.nouns import AttributeValue

FILE = "items.jsonl"


def save_table(table: ItemTable, folder: Path) -> None:
    """Writes ids, items and fingerprints. Texts and vectors stay behind: they are in the models already."""
    with (folder / FILE).open("w", encoding="utf-8") as file:
        for row, item_id in enumerate(table.ids):
            item = table.item(row)
            line: dict[str, Any] = {"id": item_id}
            if item is not None:
                line |= {"mark": table.mark(row), "item": _to_json(item)}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def load_table(folder: Path) -> ItemTable:
    """Reads what `save_table` wrote.

    Raises:
        OSError, ValueError, KeyError: the file is missing or is not one of ours.

    """
    table = ItemTable()
    with (folder / FILE).open(encoding="utf-8") as file:
        for line in file:
            values = json.loads(line)
            if "item" in values:
                table.put(_from_json(values["id"], values["item"]), values["mark"])
            else:
                table.row_of(values["id"])
    return table


def _to_json(item: Item) -> dict[str, Any]:
    values: dict[str, Any] = {"title": item.title, "categories": item.categories}
    values["attributes"] = {name: _attribute_to_json(value) for name, value in item.attributes.items()}
    for name in ("available_from", "available_until"):
        time: datetime | None = getattr(item, name)
        if time is not None:
            values[name] = time.isoformat()
    return values


def _from_json(item_id: str, values: dict[str, Any]) -> Item:
    attributes = {name: _attribute_from_json(value) for name, value in values["attributes"].items()}
    return Item(
        item_id,
        values["title"],
        categories=tuple(values["categories"]),
        attributes=attributes,
        available_from=_time(values, "available_from"),
        available_until=_time(values, "available_until"),
    )


def _time(values: dict[str, Any], name: str) -> datetime | None:
    return datetime.fromisoformat(values[name]) if name in values else None


def _attribute_to_json(value: AttributeValue) -> object:
    return {"time": value.isoformat()} if isinstance(value, datetime) else value


def _attribute_from_json(value: Any) -> AttributeValue:
    if isinstance(value, dict):
        return datetime.fromisoformat(value["time"])
    if isinstance(value, list):
        return tuple(value)
    converted: str | float | bool = value
    return converted
