"""Files as rows: every format says the same, and a broken row costs itself and nothing else."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pandas as pd
import pytest

from shared.cli.console import Refusal
from shared.cli.importing.events import EventRows
from shared.cli.importing.items import ItemRows
from shared.cli.readers import BadRow, Row, open_source
from shared.cli.readers.lines import MAX_LINE_BYTES

HEADER = "user_id,item_id,type,value\n"


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows_of(path, **options):
    return list(open_source(path, **options).rows())


def lines_of(rows):
    return [(row.line, isinstance(row, Row)) for row in rows]


@pytest.fixture
def event_files(tmp_path):
    frame = pd.DataFrame(
        {
            "user_id": [1, 2, 3],
            "item_id": ["a", "b", 'c "quoted", with comma'],
            "type": ["rating", "VIEW", "Review"],
            "value": [4.5, None, 3.0],
            "timestamp": [1_577_836_800, 1_577_836_801, 1_577_836_802],
            "text": [None, None, "two\nlines of “text”"],
        }
    )
    frame.to_csv(tmp_path / "e.csv", index=False)
    frame.to_csv(tmp_path / "e.tsv", index=False, sep="\t")
    frame.to_parquet(tmp_path / "e.parquet")
    frame.to_json(tmp_path / "e.jsonl", orient="records", lines=True)
    frame.assign(timestamp=pd.to_datetime(frame["timestamp"], unit="s")).to_parquet(tmp_path / "times.parquet")
    frame.assign(timestamp=frame["timestamp"] * 1000).to_csv(tmp_path / "ms.csv", index=False)
    return tmp_path


@pytest.mark.parametrize("name", ["e.tsv", "e.parquet", "e.jsonl", "times.parquet", "ms.csv"])
def test_all_formats_give_the_same_events(event_files, name):
    def events(file):
        source = open_source(file)
        converter = EventRows(file, source, {})
        return [converter.convert(row) for row in source.rows()]

    expected = events(event_files / "e.csv")
    assert [event.user_id for event in expected] == ["1", "2", "3"]
    assert expected[2].text == "two\nlines of “text”"
    assert not expected[1].HasField("value")
    assert events(event_files / name) == expected


@pytest.mark.parametrize("name", ["i.parquet", "i.jsonl"])
def test_all_formats_give_the_same_items(tmp_path, name):
    records = [
        {"item_id": 1, "title": "One", "categories": ["A", "B"], "year": 1995, "adult": False, "brand": "X 7"},
        {"item_id": 2, "title": "Zwei, ü", "categories": [], "year": 2001.5, "adult": True, "brand": None},
    ]
    frame = pd.DataFrame(records)
    frame.to_parquet(tmp_path / "i.parquet")
    write(tmp_path / "i.jsonl", "\n".join(json.dumps(one) for one in records))
    frame.assign(categories=frame["categories"].map("|".join)).to_csv(tmp_path / "i.csv", index=False)

    def items(file):
        source = open_source(file)
        converter = ItemRows(file, source, {})
        return [converter.convert(row) for row in source.rows()]

    expected = items(tmp_path / "i.csv")
    assert expected[0].attributes["year"].number_value == 1995
    assert expected[1].attributes["adult"].bool_value is True
    assert "brand" not in expected[1].attributes
    assert items(tmp_path / name) == expected


def test_csv_line_numbers_count_lines_of_the_file(tmp_path):
    path = write(tmp_path / "e.csv", HEADER + 'u1,"a\nb\nc",view,\n\nu2,i2,view,\r\nu3,i3\nu4,i4,view,')
    assert lines_of(rows_of(path)) == [(2, True), (6, True), (7, False), (8, True)]


def test_an_unclosed_quote_costs_one_row(tmp_path):
    path = write(tmp_path / "e.csv", HEADER + 'u1,"i1,view,\n' + "".join(f"u{n},i{n},view,\n" for n in range(2, 5)))
    rows = rows_of(path)
    assert lines_of(rows) == [(2, False), (3, True), (4, True), (5, True)]
    assert "quote" in rows[0].reason
    assert rows[0].raw == 'u1,"i1,view,'


def test_an_unclosed_quote_that_meets_another_costs_both_rows_only(tmp_path):
    path = write(tmp_path / "e.csv", HEADER + 'u1,"i1,view,\nu2,i2,view,\nu3,i"3,view,\nu4,i4,view,\n')
    # A quote inside an unquoted field is a character like any other.
    assert lines_of(rows_of(path)) == [(2, False), (3, True), (4, True), (5, True)]


def test_an_unclosed_quote_in_a_large_file_does_not_gather_the_file(tmp_path):
    path = write(tmp_path / "e.csv", HEADER + 'u1,"i1,view,\n' + "u2,i2,view,1.0000000000\n" * 60_000)
    rows = rows_of(path)
    assert lines_of(rows[:2]) == [(2, False), (3, True)]
    assert len(rows) == 60_001


def test_bytes_that_are_not_utf8_are_told_by_the_row(tmp_path):
    path = write(tmp_path / "e.csv", HEADER.encode() + b"u1,i1,view,\nu\xff2,i2,view,\nu3,i3,view,\n")
    source = open_source(path)
    converter = EventRows(path, source, {})
    good, bad, last = source.rows()
    assert converter.convert(good).user_id == "u1"
    assert converter.convert(last).user_id == "u3"
    with pytest.raises(ValueError, match=r"user_id = .* is not UTF-8"):
        converter.convert(bad)


def test_a_byte_order_mark_is_not_part_of_the_first_column(tmp_path):
    path = write(tmp_path / "e.csv", b"\xef\xbb\xbf" + HEADER.encode() + b"u1,i1,view,\n")
    assert open_source(path).columns == ("user_id", "item_id", "type", "value")


@pytest.mark.parametrize("name", ["e.csv", "e.jsonl"])
def test_a_line_without_end_is_bounded_and_the_next_is_read(tmp_path, name):
    good = {"e.csv": "u1,i1,view,\n", "e.jsonl": '{"user_id": "u1"}\n'}[name]
    start = HEADER if name == "e.csv" else ""
    path = write(tmp_path / name, start + "x" * (2 * MAX_LINE_BYTES + 5) + "\n" + good)
    bad, last = rows_of(path)
    assert isinstance(bad, BadRow)
    assert "longer than" in bad.reason
    assert isinstance(last, Row)
    assert last.line == bad.line + 1


def test_jsonl_tells_what_is_no_object(tmp_path):
    path = write(tmp_path / "e.jsonl", '{"a": 1}\n\n[1]\n{"a": \n' + "[" * 100_000 + '\n{"a": 2}\n')
    assert lines_of(rows_of(path)) == [(1, True), (3, False), (4, False), (5, False), (6, True)]


def test_parquet_times_with_nanoseconds_and_zones(tmp_path):
    times = pd.to_datetime(["2020-01-01T00:00:00.123456789"])
    pd.DataFrame({"naive": times, "zoned": times.tz_localize("Europe/Paris")}).to_parquet(tmp_path / "t.parquet")
    (row,) = rows_of(tmp_path / "t.parquet")
    values = dict(row.values)
    assert values["naive"] == datetime(2020, 1, 1, 0, 0, 0, 123456)  # noqa: DTZ001 (naive is the case)
    assert values["zoned"].astimezone(UTC) == datetime(2019, 12, 31, 23, 0, 0, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("e.csv", "", "is empty"),
        ("e.csv", "a,b,a\n1,2,3\n", "names a more than once"),
        ("e.parquet", "user_id,item_id\n", "not a Parquet file"),
        ("e.txt", "x", "--format"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, name, content, says):
    with pytest.raises(Refusal, match=says):
        open_source(write(tmp_path / name, content))


def test_format_and_delimiter_can_be_said(tmp_path):
    path = write(tmp_path / "e.txt", "a;b\n1;2\n")
    assert rows_of(path, kind="csv", delimiter=";") == [Row(2, {"a": "1", "b": "2"}, 8)]
