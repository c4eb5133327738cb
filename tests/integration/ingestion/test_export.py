"""`python -m services.ingestion export`: the log as Parquet, beside a server that goes on writing."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from dataclasses import replace

import fsspec
import pyarrow.parquet as pq
import pytest

from services.ingestion.adapters.sqlite_export import SqliteExport
from services.ingestion.adapters.sqlite_store import SqliteStore
from services.ingestion.exporting import exporter
from services.ingestion.exporting.exporter import Exporter
from services.ingestion.reading.cursors import decode_cursor
from shared.data.nouns import EventType, Item
from shared.errors import CorruptData, NotFound
from shared.exports import ExportFolder
from shared.exports.events import EVENT_SCHEMA, read_events
from shared.exports.items import read_items
from shared.testing.ingestion_samples import FULL_EVENT, FULL_ITEM, event
from shared.testing.processes import ROOT


class Silent:
    def update(self, *_):
        pass


@pytest.fixture
async def store(tmp_path):
    store = SqliteStore(tmp_path / "events.db")
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def export(tmp_path):
    """Exports what the open store has, as the command does."""

    async def export(out=tmp_path / "out", progress=None):
        def run():
            log = SqliteExport(tmp_path / "events.db")
            try:
                return Exporter(log, ExportFolder(str(out)), progress or Silent()).run()
            finally:
                log.close()

        return await asyncio.to_thread(run)

    return export


def events_in(out, **options):
    return [one for batch in read_events(ExportFolder(str(out)), **options) for one in batch]


def items_in(out):
    return [one for batch in read_items(ExportFolder(str(out))) for one in batch]


def files_in(out):
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


async def test_what_was_written_is_read_back_without_loss(store, export, tmp_path):
    played = replace(event(2, kind=EventType.PLAY), value=0.25)
    await store.append_events([FULL_EVENT, event(1, kind=EventType.IMPRESSION), played])
    bare, plain = Item("bare"), replace(FULL_ITEM, item_id="a", attributes={"no": False, "zero": 0.0}, vectors={})
    await store.upsert_items([FULL_ITEM, bare, plain])
    manifest = await export()
    out = tmp_path / "out"
    read = events_in(out)
    assert [(e.user_id, e.item_id, e.type, e.timestamp, e.value) for e in read] == [
        (e.user_id, e.item_id, e.type, e.timestamp, e.value)
        for e in (FULL_EVENT, event(1, kind=EventType.IMPRESSION), played)
    ]
    items = {item.item_id: item for item in items_in(out)}
    stored = await store.get_items(["物1", "bare", "a"])
    assert list(items) == ["a", "bare", "物1"]
    for item_id, item in stored.items():
        assert replace(items[item_id], vectors={}) == replace(item, vectors={})
        assert {k: v.tolist() for k, v in items[item_id].vectors.items()} == {
            k: v.tolist() for k, v in item.vectors.items()
        }
    assert (manifest.events, manifest.items, manifest.sequence) == (3, 3, store.end)
    assert decode_cursor(manifest.cursor, store.log_id, store.end) == store.end
    table = pq.read_table(out / manifest.parts[0].name)
    assert table.schema.equals(EVENT_SCHEMA)
    assert table["text"].to_pylist() == [FULL_EVENT.text, None, None]
    assert table["session_id"].to_pylist() == ["s", None, None]
    assert table["type"].to_pylist() == ["REVIEW", "IMPRESSION", "PLAY"]


async def test_impressions_can_be_left_out_when_reading(store, export, tmp_path):
    await store.append_events([event(1, kind=EventType.IMPRESSION), event(2), event(3, kind=EventType.IMPRESSION)])
    await export()
    assert [e.item_id for e in events_in(tmp_path / "out", exclude=[EventType.IMPRESSION])] == ["i2"]


async def test_what_was_shown_where_how_likely_and_what_came_of_it_is_exported(store, export, tmp_path):
    shown = replace(event(1, kind=EventType.IMPRESSION), attribution_token="r.3", position=3, propensity=0.125)  # noqa: S106 (not a password)
    taken = replace(event(1, kind=EventType.CLICK), event_id="click", attribution_token="r.3")  # noqa: S106
    certain = replace(event(2, kind=EventType.IMPRESSION), attribution_token="r.1", position=1, propensity=1.0)  # noqa: S106
    plain = event(3)
    await store.append_events([shown, taken, certain, plain])
    manifest = await export()
    out = tmp_path / "out"

    def told(events):
        return [(e.attribution_token, e.position, e.propensity) for e in events]

    assert told(events_in(out, attribution=True)) == told([shown, taken, certain, plain])
    assert told(events_in(out)) == [("", 0, None)] * 4
    table = pq.read_table(out / manifest.parts[0].name)
    assert table["attribution_token"].to_pylist() == ["r.3", "r.3", "r.1", None]
    assert table["position"].to_pylist() == [3, None, 1, None]
    assert table["propensity"].to_pylist() == [0.125, None, 1.0, None]


async def test_an_export_of_an_older_format_is_refused_and_written_anew(store, export, tmp_path):
    await store.append_events([event(1)])
    first = await export()
    out = tmp_path / "out"
    ExportFolder(str(out)).publish(first.model_copy(update={"format": first.format - 1}))
    with pytest.raises(CorruptData, match="export again"):
        events_in(out)
    await store.append_events([event(2)])
    second = await export()
    assert [part.events for part in second.parts] == [2]
    assert not set(files_in(out)) & {part.name for part in first.parts}
    newer = first.model_copy(update={"format": first.format + 1})
    ExportFolder(str(out)).publish(newer)
    with pytest.raises(CorruptData, match=f"format {newer.format}"):
        await export()


async def test_the_second_export_adds_what_is_new(store, export, tmp_path):
    await store.append_events([event(n) for n in range(5)])
    first = await export()
    out = tmp_path / "out"
    before = (out / first.parts[0].name).stat().st_ino
    await store.append_events([event(n) for n in range(5, 8)])
    await store.upsert_items([Item("late")])
    second = await export()
    assert second.parts[0] == first.parts[0]
    assert (out / first.parts[0].name).stat().st_ino == before
    assert [part.events for part in second.parts] == [5, 3]
    assert [e.item_id for e in events_in(out)] == [f"i{n}" for n in range(8)]
    assert [item.item_id for item in items_in(out)] == ["late"]
    assert files_in(out) == sorted(["_manifest.json", second.items_file, *(part.name for part in second.parts)])


async def test_nothing_new_changes_nothing(store, export):
    await store.append_events([event(1)])
    assert await export() == await export()


async def test_the_forgotten_and_the_deleted_are_not_exported(store, export, tmp_path):
    await store.append_events([event(n, user=f"u{n % 2}") for n in range(6)])
    await store.upsert_items([Item("i0"), Item("i1")])
    await store.forget_user("u1")
    await store.delete_item("i1")
    await export()
    assert {e.user_id for e in events_in(tmp_path / "out")} == {"u0"}
    assert [item.item_id for item in items_in(tmp_path / "out")] == ["i0"]


async def test_a_user_forgotten_since_the_last_export_leaves_no_trace_in_the_next(store, export, tmp_path):
    user = uuid.uuid4().hex
    await store.append_events([event(1, user=user), event(2, user="u2")])
    first = await export()
    await store.forget_user(user)
    await store.append_events([event(3, user="u3")])
    second = await export()
    out = tmp_path / "out"
    assert [e.user_id for e in events_in(out)] == ["u2", "u3"]
    assert not set(files_in(out)) & {part.name for part in first.parts}
    for part in second.parts:
        assert user not in pq.read_table(out / part.name)["user_id"].to_pylist()


async def test_who_comes_back_after_being_forgotten_is_exported_from_then_on(store, export, tmp_path):
    await store.append_events([event(1)])
    await store.forget_user("u1")
    await store.append_events([event(2)])
    await export()
    assert [e.item_id for e in events_in(tmp_path / "out")] == ["i2"]


async def test_files_and_row_groups_are_bounded(store, export, tmp_path, monkeypatch):
    monkeypatch.setattr(exporter, "ROWS_PER_GROUP", 3)
    monkeypatch.setattr(exporter, "ROWS_PER_PART", 6)
    monkeypatch.setattr(exporter, "ITEMS_PER_GROUP", 2)
    await store.append_events([event(n) for n in range(14)])
    await store.upsert_items([Item(f"i{n}") for n in range(5)])
    manifest = await export()
    out = tmp_path / "out"
    assert [part.events for part in manifest.parts] == [6, 6, 2]
    assert [(part.first, part.last) for part in manifest.parts] == [(1, 6), (7, 12), (13, 14)]
    assert pq.ParquetFile(out / manifest.parts[0].name).num_row_groups == 2
    assert [e.item_id for e in events_in(out)] == [f"i{n}" for n in range(14)]
    assert len(items_in(out)) == 5


async def test_a_large_text_ends_a_row_group(store, export, tmp_path, monkeypatch):
    monkeypatch.setattr("services.ingestion.adapters.sqlite_export.MAX_TEXT_BYTES", 100)
    await store.append_events([replace(event(n, kind=EventType.REVIEW), text="x" * 60) for n in range(5)])
    manifest = await export()
    assert pq.ParquetFile(tmp_path / "out" / manifest.parts[0].name).num_row_groups == 3
    assert manifest.events == 5


async def test_an_interrupted_export_leaves_the_last_one(store, export, tmp_path, monkeypatch):
    await store.append_events([event(1)])
    first = await export()
    monkeypatch.setattr(exporter, "ROWS_PER_GROUP", 1)
    await store.append_events([event(n) for n in range(2, 6)])

    class Broken(Silent):
        calls = 0

        def update(self, *_):
            self.calls += 1
            if self.calls == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await export(progress=Broken())
    out = tmp_path / "out"
    assert ExportFolder(str(out)).manifest() == first
    assert [e.item_id for e in events_in(out)] == ["i1"]
    await export()
    assert [e.item_id for e in events_in(out)] == [f"i{n}" for n in range(1, 6)]
    assert not [name for name in files_in(out) if "/." in name]


@pytest.mark.usefixtures("store")
async def test_an_empty_log(export, tmp_path):
    manifest = await export()
    assert (manifest.events, manifest.items, manifest.parts) == (0, 0, ())
    assert events_in(tmp_path / "out") == items_in(tmp_path / "out") == []


async def test_any_fsspec_url(store, export):
    url = f"memory://{uuid.uuid4().hex}"
    await store.append_events([event(1)])
    await store.upsert_items([FULL_ITEM])
    manifest = await export(url)
    assert [e.item_id for e in events_in(url)] == ["i1"]
    assert items_in(url)[0].title == "Ein Titel"
    assert ExportFolder(url).url("events/x") == f"{url}/events/x"
    await store.forget_user("u1")
    await export(url)
    assert events_in(url) == []
    assert not fsspec.filesystem("memory").exists(f"{url}/{manifest.parts[0].name}")


async def test_a_missing_file_is_named(store, export, tmp_path):
    await store.append_events([event(1)])
    manifest = await export()
    (tmp_path / "out" / manifest.parts[0].name).unlink()
    with pytest.raises(CorruptData, match=manifest.parts[0].name):
        events_in(tmp_path / "out")


def test_reading_where_nothing_was_exported(tmp_path):
    with pytest.raises(NotFound, match=r"services\.ingestion export"):
        events_in(tmp_path)


def exported_by_command(store, out):
    """Runs the command as a process: it sets up the logs of the process it runs in."""
    environment = {**os.environ, "INGESTION_STORE": f"sqlite:///{store}"}
    command = [sys.executable, "-m", "services.ingestion", "export", "--out", str(out), "--progress", "json"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


async def test_the_command_runs_beside_the_server(serving, tmp_path):
    out = tmp_path / "out"
    async with serving():
        done = await asyncio.to_thread(exported_by_command, tmp_path / "events.db", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out} events=0 items=0 files=0 sequence=0\n"
    assert '{"stage": "events", "done": 0, "total": 0}' in done.stderr


async def test_another_log_is_refused(store, export, tmp_path):
    await store.append_events([event(1)])
    await export()
    other = SqliteStore(tmp_path / "other.db")
    await other.open()
    await other.close()
    done = exported_by_command(tmp_path / "other.db", tmp_path / "out")
    assert done.returncode == 2
    assert "another folder" in done.stderr


def test_a_store_that_is_not_there_is_named(tmp_path):
    done = exported_by_command(tmp_path / "nowhere.db", tmp_path / "out")
    assert done.returncode == 2
    assert "INGESTION_STORE" in done.stderr
    (tmp_path / "nowhere.db").write_bytes(b"not a database, but long enough to be one: " * 100)
    done = exported_by_command(tmp_path / "nowhere.db", tmp_path / "out")
    assert done.returncode == 2
    assert "cannot read" in done.stderr


@pytest.mark.usefixtures("store")
async def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "out").write_text("a file")
    done = await asyncio.to_thread(exported_by_command, tmp_path / "events.db", tmp_path / "out")
    assert done.returncode == 1
    assert "cannot write to" in done.stderr
