from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pytest

from services.embedding.cache.file import VectorFile
from services.embedding.cache.lru import TextVector, VectorCache

DIM = 384


def key(number):
    return number.to_bytes(32, "big")


def entry(number, dim=DIM):
    vector = np.random.default_rng(number).normal(size=dim).astype(np.float32)
    return TextVector(vector, number % 200, truncated=number % 2 == 0, unknown_share=0.25)


def same(found, number):
    wanted = entry(number)
    facts = (found.tokens, found.truncated, found.unknown_share)
    return np.array_equal(found.vector, wanted.vector) and facts == (wanted.tokens, wanted.truncated, 0.25)


def filled(path, numbers=range(100)):
    store = VectorFile(str(path), 64)
    store.put_many({key(number): entry(number) for number in numbers})
    store.close()


def reopened(path, numbers=range(100)):
    store = VectorFile(str(path), 64)
    found = store.get_many([key(number) for number in numbers])
    store.close()
    return found


def test_entries_are_there_after_a_restart(tmp_path):
    path = tmp_path / "folder" / "vectors.db"
    filled(path)
    found = reopened(path, range(120))
    assert len(found) == 100
    assert all(same(found[key(number)], number) for number in range(100))


def test_cache_finds_in_the_file_what_is_no_longer_in_memory(tmp_path):
    path = tmp_path / "vectors.db"
    store = VectorFile(str(path), 64)
    VectorCache(10, store).put_many({key(number): entry(number) for number in range(50)})
    store.close()
    store = VectorFile(str(path), 64)
    cache = VectorCache(10, store)
    assert cache.may_block
    found = cache.get_many([key(number) for number in range(60)])
    assert set(found) == {key(number) for number in range(50)}
    assert len(cache) == 10
    store.close()


def test_a_kill_leaves_whole_entries_only(tmp_path):
    path = tmp_path / "vectors.db"
    program = f"""
        import sys; sys.path[:0] = {[str(Path.cwd()), str(Path(__file__).parent)]!r}
        from test_cache_file import VectorFile, entry, key
        store = VectorFile({str(path)!r}, 64)
        for start in range(0, 10**6, 50):
            while store.waiting > 200:
                pass
            store.put_many({{key(n): entry(n) for n in range(start, start + 50)}})
            print(start, flush=True)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)
    while int(process.stdout.readline()) < 1000:
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    store = VectorFile(str(path), 64)
    found = store.get_many([key(number) for number in range(5000)])
    # All but what the queue and one commit held.
    assert len(found) >= 500
    assert all(same(vector, int.from_bytes(name, "big")) for name, vector in found.items())
    store.put_many({key(7_000_000): entry(7)})
    store.close()
    assert same(reopened(path, [7_000_000])[key(7_000_000)], 7)


def overwrite_everything(path):
    path.write_bytes(b"no database at all " * 500)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def flip_vectors(path):
    data = bytearray(path.read_bytes())
    for place in range(len(data) // 2, len(data), 997):
        data[place] ^= 0x55
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [overwrite_everything, cut, flip_vectors])
def test_a_damaged_file_is_set_aside_and_never_gives_a_wrong_vector(tmp_path, damage, capsys):
    path = tmp_path / "vectors.db"
    filled(path)
    damage(path)
    found = reopened(path)
    assert all(same(vector, int.from_bytes(name, "big")) for name, vector in found.items())
    assert len(found) < 100
    assert (tmp_path / "vectors.db.damaged").exists()
    assert "damaged" in capsys.readouterr().out
    filled(path)
    assert len(reopened(path)) == 100


def test_one_changed_bit_of_an_entry_is_found(tmp_path):
    path = tmp_path / "vectors.db"
    filled(path)
    database = sqlite3.connect(path)
    database.execute("UPDATE vectors SET entry = zeroblob(length(entry)) WHERE key = ?", (key(3),))
    database.commit()
    database.close()
    assert key(3) not in reopened(path)


def test_another_application_s_file_is_left_alone(tmp_path):
    path = tmp_path / "events.db"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE events (id TEXT)")
    database.execute("INSERT INTO events VALUES ('precious')")
    database.commit()
    database.close()
    before = path.read_bytes()
    filled(path)
    assert reopened(path) == {}
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_written_leaves_the_memory(tmp_path):
    (tmp_path / "file").write_text("")
    store = VectorFile(str(tmp_path / "file" / "vectors.db"), 64)
    cache = VectorCache(10, store)
    cache.put_many({key(1): entry(1)})
    assert key(1) in cache.get_many([key(1)])
    store.close()


def test_size_is_bounded_and_the_oldest_go_first(tmp_path):
    path = tmp_path / "vectors.db"
    store = VectorFile(str(path), 1)
    for start in range(0, 2000, 100):
        store.put_many({key(number): entry(number) for number in range(start, start + 100)})
    store.close()
    assert path.stat().st_size <= 1 << 20
    found = reopened(path, range(2000))
    assert 300 < len(found) < 650
    assert key(1999) in found
    assert key(0) not in found


def test_look_ups_do_not_wait_for_the_writer(tmp_path):
    path = tmp_path / "vectors.db"
    filled(path, range(10))
    store = VectorFile(str(path), 64)
    other = sqlite3.connect(path, isolation_level=None)
    # The writer cannot commit as long as somebody else writes.
    other.execute("BEGIN IMMEDIATE")
    store.put_many({key(20): entry(20)})
    while store.waiting:
        pass
    with ThreadPoolExecutor(1) as pool:
        looked_up = [pool.submit(store.get_many, [key(3), key(20)]) for _ in range(50)]
        # Far less than the writer goes on trying for.
        done, _ = wait(looked_up, 3)
        other.execute("ROLLBACK")
        assert len(done) == 50
        assert all(list(one.result()) == [key(3)] for one in looked_up)
    other.close()
    store.close()
    assert set(reopened(path, [3, 20])) == {key(3), key(20)}


def test_what_waits_for_the_disk_is_bounded_by_entries(tmp_path):
    path = tmp_path / "vectors.db"
    filled(path, range(1))
    store = VectorFile(str(path), 64)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    vector = entry(1)
    for start in range(0, 20_000, 1_000):
        store.put_many({key(number): vector for number in range(start, start + 1_000)})
    waiting = store.waiting
    other.execute("ROLLBACK")
    other.close()
    store.close()
    assert 1_000 < waiting <= 8_192


def test_a_complaint_without_a_code_of_sqlite_is_no_crash(tmp_path):
    store = VectorFile(str(tmp_path / "vectors.db"), 64)
    assert store.get_many([object()]) == {}
    assert store.get_many([key(1)]) == {}
    store.close()
