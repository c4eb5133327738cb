from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest

from services.ingestion.adapters import sqlite_schema as schema
from services.ingestion.adapters.sqlite_store import SqliteStore
from services.ingestion.ports import StoreUnusable
from shared.testing.ingestion_samples import FULL_EVENT


def test_commits_are_synced_and_the_version_is_written(tmp_path):
    connection = schema.open_writer(tmp_path / "deep" / "events.db")
    pragma = {
        name: connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "user_version", "application_id", "secure_delete")
    }
    connection.close()
    assert pragma == {
        "journal_mode": "wal",
        "synchronous": 2,
        "user_version": schema.SCHEMA_VERSION,
        "application_id": schema.APPLICATION_ID,
        "secure_delete": 1,
    }


async def test_a_file_of_the_first_version_is_brought_up_to_date(tmp_path):
    path = tmp_path / "events.db"
    store = SqliteStore(path)
    await store.open()
    await store.append_events([replace(FULL_EVENT, propensity=None)])
    await store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE log DROP COLUMN propensity")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    again = SqliteStore(path)
    await again.open()
    await again.append_events([replace(FULL_EVENT, event_id="later")])
    stretch = await again.read(0, 10, frozenset())
    await again.close()
    assert [record.body for record in stretch.records] == [
        replace(FULL_EVENT, propensity=None),
        replace(FULL_EVENT, event_id="later"),
    ]
    reader = schema.open_reader(path)
    schema.check_readable(reader, path)
    reader.close()


def test_a_newer_schema_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "events.db"
    schema.open_writer(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreUnusable, match="newer Fusionrec"):
        schema.open_writer(path)
    assert path.read_bytes() == before


def test_another_programs_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "events.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreUnusable, match="another program"):
        schema.open_writer(path)
    assert path.read_bytes() == before


def test_what_another_program_locks_is_opened_unless_it_must_be_migrated(tmp_path, monkeypatch):
    monkeypatch.setattr(schema, "BUSY_TIMEOUT_S", 0.01)
    path = tmp_path / "events.db"
    schema.open_writer(path).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    schema.open_writer(path).close()
    other.execute("PRAGMA user_version = 1")
    other.execute("COMMIT")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnusable, match="locked by another program"):
        schema.open_writer(path)
    other.close()


def test_what_is_no_database_is_refused(tmp_path):
    path = tmp_path / "events.db"
    path.write_text("user,item\n" * 1000)
    with pytest.raises(StoreUnusable, match="not a database"):
        schema.open_writer(path)


def test_a_folder_in_the_place_is_refused(tmp_path):
    with pytest.raises(StoreUnusable, match="unable to open"):
        schema.open_writer(tmp_path)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnusable, match="cannot open"):
        schema.open_writer(tmp_path / "file" / "events.db")


def test_a_reader_cannot_write(tmp_path):
    path = tmp_path / "with space # and ?" / "events.db"
    writer = schema.open_writer(path)
    reader = schema.open_reader(path)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("DELETE FROM log")
    reader.close()
    writer.close()


async def test_two_servers_cannot_share_a_file(tmp_path):
    path = tmp_path / "events.db"
    first, second = SqliteStore(path), SqliteStore(path)
    await first.open()
    with pytest.raises(StoreUnusable, match="another server"):
        await second.open()
    await first.close()
    await second.open()
    await second.close()


def test_a_history_reads_the_index_only_as_far_as_it_must(tmp_path):
    connection = schema.open_writer(tmp_path / "events.db")
    where = "user_id = 'u' AND (type = 1) IN (0) AND happened_at < 9 AND type IN (SELECT value FROM json_each('[4]'))"
    order = "ORDER BY happened_at DESC, item_id DESC, sequence DESC LIMIT 5"
    plans = [
        " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN SELECT {what}"))
        for what in (f"COUNT(*) FROM log WHERE {where}", f"* FROM log WHERE {where} {order}")
    ]
    connection.close()
    assert "COVERING INDEX log_history" in plans[0]
    assert "INDEX log_history" in plans[1]
    assert "TEMP B-TREE" not in plans[1]


async def test_a_forgotten_user_is_in_no_file(tmp_path):
    def text_is_on_disk():
        return any(b"and 'quoted'" in path.read_bytes() for path in tmp_path.iterdir())

    store = SqliteStore(tmp_path / "events.db")
    await store.open()
    await store.append_events([FULL_EVENT])
    assert text_is_on_disk()
    await store.forget_user(FULL_EVENT.user_id)
    assert not text_is_on_disk()
    await store.close()
    assert not text_is_on_disk()
