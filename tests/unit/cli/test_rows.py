"""Columns as fields: names, mapping, and what an event without a time is called."""

from __future__ import annotations

import pytest

from shared.cli.console import Refusal
from shared.cli.importing.columns import parse_map
from shared.cli.importing.events import EventRows
from shared.cli.importing.items import ItemRows
from shared.cli.importing.values import BadValue
from shared.cli.readers import open_source
from shared.data.nouns import EventType


def events(path, content, mapping=None, default=None):
    path.write_text(content)
    source = open_source(path)
    converter = EventRows(path, source, mapping or {}, default)
    return [converter.convert(row) for row in source.rows()], converter


def items(path, content, mapping=None):
    path.write_text(content)
    source = open_source(path)
    converter = ItemRows(path, source, mapping or {})
    return [converter.convert(row) for row in source.rows()]


def test_other_names_are_mapped_and_unused_columns_named(tmp_path):
    content = "userId,movieId,rating,when,mood\n7,9,4.5,1577836800,good\n"
    mapping = parse_map(["user_id=userId", "item_id=movieId", "value=rating", "timestamp=when"])
    (event,), converter = events(tmp_path / "e.csv", content, mapping, EventType.RATING)
    assert (event.user_id, event.item_id, event.value, event.timestamp.seconds) == ("7", "9", 4.5, 1577836800)
    assert converter.ignored == ("mood",)


def test_an_impressions_propensity_is_brought_in_and_none_is_made_up(tmp_path):
    content = "user_id,item_id,type,position,propensity\nu,i,impression,2,0.25\nu,i,impression,2,\n"
    (told, untold), converter = events(tmp_path / "e.csv", content)
    assert (told.propensity, told.position, converter.ignored) == (0.25, 2, ())
    assert not untold.HasField("propensity")


def test_a_type_in_the_row_goes_before_the_default(tmp_path):
    rows = "user_id,item_id,type\nu,i,like\nu,i,\n"
    found, _ = events(tmp_path / "e.csv", rows, default=EventType.VIEW)
    assert [event.type for event in found] == [EventType.LIKE, EventType.VIEW]


def test_a_row_without_type_and_default_is_rejected(tmp_path):
    with pytest.raises(BadValue, match="type is empty"):
        events(tmp_path / "e.csv", "user_id,item_id,type\nu,i,\n")


def test_events_without_a_time_are_told_apart_by_file_and_row(tmp_path):
    content = "user_id,item_id,type,timestamp\nu,i,click,\nu,i,click,\nu,i,click,2020-01-01\n"
    first, _ = events(tmp_path / "a.csv", content)
    again, _ = events(tmp_path / "b.csv", content)
    other, _ = events(tmp_path / "c.csv", content + "u,i,click,\n")
    ids = [event.event_id for event in first]
    assert ids[0] != ids[1]
    assert ids[2] == ""
    assert [event.event_id for event in again] == ids
    assert not set(ids[:2]) & {event.event_id for event in other}


@pytest.mark.parametrize("position", ["1.5", "99999999999"])
def test_a_position_that_the_contract_cannot_carry_is_rejected(tmp_path, position):
    with pytest.raises(BadValue, match="position"):
        events(tmp_path / "e.csv", f"user_id,item_id,type,position\nu,i,view,{position}\n")


@pytest.mark.parametrize(
    ("header", "mapping", "says"),
    [
        ("user_id,type", {}, "no column item_id. It has: user_id, type"),
        ("user_id,item_id", {}, "no column type"),
        ("user_id,item_id,type", {"value": "stars"}, "no column stars"),
    ],
)
def test_missing_columns_are_named_with_those_there_are(tmp_path, header, mapping, says):
    with pytest.raises(Refusal, match=says):
        events(tmp_path / "e.csv", header + "\n", mapping)


@pytest.mark.parametrize("pairs", [["user_id"], ["=x"], ["user_id="], ["a=x", "a=y"], ["a=x", "b=x"]])
def test_a_map_that_is_none_is_refused(pairs):
    with pytest.raises(Refusal, match="--map"):
        parse_map(pairs)


def test_every_other_column_of_an_item_is_an_attribute(tmp_path):
    content = "id,title,categories,year,released\n1,One,A|B,1995,1995-05-01\n"
    (item,) = items(tmp_path / "i.csv", content, {"item_id": "id", "available_from": "released"})
    assert (item.item_id, item.title, list(item.categories)) == ("1", "One", ["A", "B"])
    assert list(item.attributes) == ["year"]
    assert item.available_from.seconds == 799286400


def test_attributes_can_come_as_an_object(tmp_path):
    line = '{"item_id": "1", "attributes": {"year": 1995, "tags": ["a", "b"]}, "brand": "x"}\n'
    (item,) = items(tmp_path / "i.jsonl", line)
    assert item.attributes["year"].number_value == 1995
    assert list(item.attributes["tags"].string_list.values) == ["a", "b"]
    assert item.attributes["brand"].string_value == "x"


def test_a_mapped_column_can_rename_an_attribute(tmp_path):
    (item,) = items(tmp_path / "i.csv", "item_id,jahr\n1,1995\n", {"year": "jahr"})
    assert list(item.attributes) == ["year"]
