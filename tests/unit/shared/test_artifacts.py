"""Artifacts: whole or not there, verified on load, swapped atomically. In a folder and behind an fsspec URL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from shared.artifacts import ArtifactStore
from shared.artifacts.manifest import hash_config
from shared.errors import CorruptData, ModelNotReady, NotFound
from shared.testing.processes import ROOT

KIND = "candidates"


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path):
    if request.param == "folder":
        return ArtifactStore(str(tmp_path / "store"))
    return ArtifactStore(f"memory://{uuid.uuid4().hex}", cache_dir=tmp_path / "cache")


@pytest.fixture
def local(tmp_path):
    return ArtifactStore(str(tmp_path / "store"))


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    (folder / "als").mkdir(parents=True)
    (folder / "als" / "factors.bin").write_bytes(bytes(range(256)) * 40)
    (folder / "items.json").write_text('["a", "b"]')
    return folder


def version_folder(tmp_path: Path, version: str) -> Path:
    return tmp_path / "store" / KIND / version


def test_what_is_published_is_loaded(store, model):
    manifest = store.publish(
        KIND,
        model,
        config={"factors": 64, "regularization": 0.1},
        data={"sequence": 7},
        lineage={"embedding": "e1"},
        labels={"protocol": "warm", "stage": "serving"},
        metrics={"ndcg@10": 0.12},
    )
    loaded = store.load(KIND)
    assert loaded.manifest == manifest
    assert store.current(KIND) == manifest.version
    assert (loaded.folder / "als" / "factors.bin").read_bytes() == (model / "als" / "factors.bin").read_bytes()
    assert sorted(manifest.files) == ["als/factors.bin", "items.json"]
    assert manifest.config_hash == hash_config({"regularization": 0.1, "factors": 64})
    assert (manifest.kind, manifest.data["sequence"], manifest.lineage["embedding"]) == (KIND, 7, "e1")


def test_nothing_published_says_what_to_do(store):
    assert store.current(KIND) is None
    assert store.versions(KIND) == []
    assert store.find(KIND, stage="test") is None
    with pytest.raises(ModelNotReady, match="fusionrec train"):
        store.load(KIND)


def test_versions_are_newest_first_and_found_by_labels(store, model):
    fit = store.publish(KIND, model, labels={"protocol": "warm", "stage": "fit"}, make_current=False)
    test = store.publish(KIND, model, labels={"protocol": "warm", "stage": "test"}, make_current=False)
    again = store.publish(KIND, model, labels={"protocol": "warm", "stage": "fit"})
    assert store.versions(KIND) == [again.version, test.version, fit.version]
    assert store.find(KIND, protocol="warm", stage="fit") == again
    assert store.find(KIND, stage="test") == test
    assert store.find(KIND, stage="serving") is None
    assert store.current(KIND) == again.version


def test_kinds_do_not_see_each_other(store, model):
    store.publish(KIND, model)
    assert store.versions("ranker") == []
    assert store.current("ranker") is None


def test_publishing_without_making_it_current_leaves_current(store, model):
    first = store.publish(KIND, model)
    second = store.publish(KIND, model, make_current=False)
    assert store.current(KIND) == first.version
    assert store.load(KIND, second.version).manifest == second


def test_rolling_back_is_pointing_current_elsewhere(store, model):
    first = store.publish(KIND, model)
    store.publish(KIND, model)
    store.set_current(KIND, first.version)
    assert store.load(KIND).manifest == first


@pytest.mark.parametrize("version", ["20200101T000000000000-00000000", "", ".", "..", "../other/v1", "CURRENT"])
def test_a_version_that_is_not_there_is_not_found(store, model, version):
    store.publish(KIND, model)
    with pytest.raises(NotFound):
        store.set_current(KIND, version)
    with pytest.raises(NotFound):
        store.manifest(KIND, version)


def test_deleting_spares_the_current_version(store, model):
    old, new = store.publish(KIND, model), store.publish(KIND, model)
    with pytest.raises(NotFound, match="in use"):
        store.delete(KIND, new.version)
    store.delete(KIND, old.version)
    assert store.versions(KIND) == [new.version]
    with pytest.raises(NotFound):
        store.load(KIND, old.version)


def damage_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("harm", [damage_byte, truncate, Path.unlink], ids=["one bit", "truncated", "missing"])
@pytest.mark.parametrize("name", ["als/factors.bin", "items.json"])
def test_a_damaged_file_is_corrupt_and_named(local, model, tmp_path, harm, name):
    manifest = local.publish(KIND, model)
    harm(version_folder(tmp_path, manifest.version) / name)
    with pytest.raises(CorruptData, match=name) as caught:
        local.load(KIND)
    assert str(tmp_path) not in caught.value.message


def memory_path(store: ArtifactStore, *parts: str) -> str:
    return "/".join((store._root, *parts))


def test_a_damaged_remote_file_is_corrupt(tmp_path, model):
    store = ArtifactStore(f"memory://{uuid.uuid4().hex}", cache_dir=tmp_path / "cache")
    files = fsspec.filesystem("memory")
    manifest = store.publish(KIND, model)
    path = memory_path(store, KIND, manifest.version, "items.json")
    good = files.cat_file(path)
    files.pipe_file(path, b"[]")
    with pytest.raises(CorruptData, match=r"items\.json fails its checksum"):
        store.load(KIND)
    files.rm(path)
    with pytest.raises(CorruptData, match="missing"):
        store.load(KIND)
    files.pipe_file(path, good)
    assert store.load(KIND).manifest == manifest
    assert [entry.name for entry in (tmp_path / "cache" / KIND).iterdir()] == [manifest.version]


def test_a_rotten_cached_copy_is_fetched_again(tmp_path, model):
    store = ArtifactStore(f"memory://{uuid.uuid4().hex}", cache_dir=tmp_path / "cache")
    store.publish(KIND, model)
    cached = store.load(KIND).folder / "items.json"
    cached.write_text("rotten")
    assert (store.load(KIND).folder / "items.json").read_text() == '["a", "b"]'


def test_a_version_without_a_manifest_does_not_exist(local, model, tmp_path):
    manifest = local.publish(KIND, model)
    (version_folder(tmp_path, manifest.version) / "manifest.json").unlink()
    assert local.versions(KIND) == []
    with pytest.raises(NotFound):
        local.load(KIND)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"kind": "candidates"}', b"[]"])
def test_an_unreadable_manifest_is_corrupt_and_hides_no_other(local, model, tmp_path, content):
    good = local.publish(KIND, model, labels={"stage": "test"})
    bad = local.publish(KIND, model, labels={"stage": "test"})
    (version_folder(tmp_path, bad.version) / "manifest.json").write_bytes(content)
    with pytest.raises(CorruptData):
        local.load(KIND)
    assert local.find(KIND, stage="test") == good


@pytest.mark.parametrize("content", [b"20200101T000000000000-00000000", b"", b"\xff\xfe\x00", b"../../etc"])
def test_current_pointing_nowhere_is_not_found(local, model, tmp_path, content):
    local.publish(KIND, model)
    (tmp_path / "store" / KIND / "CURRENT").write_bytes(content)
    with pytest.raises((NotFound, ModelNotReady)):
        local.load(KIND)


KILLED = """
import os, signal, sys
from pathlib import Path
from shared.artifacts import ArtifactStore

class Killed(ArtifactStore):
    def _write(self, path, content):
        if path.endswith(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        super()._write(path, content)

Killed(sys.argv[1]).publish("candidates", Path(sys.argv[2]))
"""


@pytest.mark.parametrize(("at", "complete"), [("manifest.json", False), ("CURRENT", True)])
def test_a_job_killed_while_publishing_leaves_the_old_state(local, model, tmp_path, at, complete):
    before = local.publish(KIND, model)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "store"), str(model), at]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    assert code == -signal.SIGKILL
    left = {entry.name for entry in (tmp_path / "store" / KIND).iterdir()}
    assert len(left) == 3  # the old version, CURRENT, what the killed job left
    assert local.load(KIND).manifest == before
    assert len(local.versions(KIND)) == (2 if complete else 1)
    assert local.publish(KIND, model).version == local.current(KIND)


def test_concurrent_jobs_publish_whole_versions(local, model):
    published, errors = [], []

    def job() -> None:
        try:
            published.extend(local.publish(KIND, model).version for _ in range(5))
        except Exception as error:  # noqa: BLE001 (a thread's failure is the test's)
            errors.append(error)

    threads = [threading.Thread(target=job) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(local.versions(KIND)) == sorted(published)
    assert len(set(published)) == 20
    for version in published:
        local.load(KIND, version)
    assert local.current(KIND) in published


def test_readers_of_current_never_see_half_a_pointer(local, model):
    versions = {local.publish(KIND, model).version for _ in range(2)}
    seen, done = set(), threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(local.current(KIND))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(100):
        for version in versions:
            local.set_current(KIND, version)
    done.set()
    reader.join()
    assert seen <= versions


def test_the_manifest_is_plain_json_for_other_tools(local, model, tmp_path):
    manifest = local.publish(KIND, model, labels={"stage": "fit"})
    written = json.loads((version_folder(tmp_path, manifest.version) / "manifest.json").read_text())
    assert written["format"] == 1
    assert written["labels"] == {"stage": "fit"}
    assert len(written["files"]["items.json"]) == 64


def test_of_fetched_versions_the_last_used_stay(tmp_path, model):
    store = ArtifactStore(f"memory://{uuid.uuid4().hex}", cache_dir=tmp_path / "cache", keep_fetched=2)
    first, second, third = (store.publish(KIND, model).version for _ in range(3))
    store.load(KIND, first)
    store.load(KIND, second)
    store.load(KIND, first)
    store.load(KIND, third)
    assert {entry.name for entry in (tmp_path / "cache" / KIND).iterdir()} == {first, third}
    assert (store.load(KIND, second).folder / "items.json").read_text() == '["a", "b"]'


FETCHES = """
import sys
from pathlib import Path
from shared.artifacts import ArtifactStore

store = ArtifactStore("memory://models")
store.publish("candidates", Path(sys.argv[1]))
print(store.load("candidates").folder)
"""


def test_the_temporary_folder_goes_with_the_process(model, tmp_path):
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", FETCHES, str(model)]
    said = subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout
    assert said.startswith(str(tmp_path / "fusionrec-artifacts-"))
    assert list(tmp_path.glob("fusionrec-artifacts-*")) == []


class Remembering(MemoryFileSystem):
    """As object stores in fsspec: what was listed is remembered until it is told to forget."""

    protocol = "remembering"

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("remembering://"))

    def ls(self, path, detail=True, **kwargs):  # noqa: FBT002 (fsspec's signature)
        path = self._strip_protocol(path)
        if path not in self.dircache:
            self.dircache[path] = super().ls(path, detail=True, **kwargs)
        entries = self.dircache[path]
        return entries if detail else [entry["name"] for entry in entries]

    def info(self, path, **kwargs):  # noqa: ARG002 (fsspec's signature)
        path = self._strip_protocol(path)
        for entry in self.ls(self._parent(path)):
            if entry["name"] == path:
                return entry
        raise FileNotFoundError(path)

    def exists(self, path, **kwargs):
        try:
            self.info(path, **kwargs)
        except FileNotFoundError:
            return False
        return True

    def cat_file(self, path, start=None, end=None, **kwargs):
        size = self.info(path)["size"]
        return super().cat_file(path, start, end, **kwargs)[:size]

    def invalidate_cache(self, path=None):
        if path is None:
            self.dircache.clear()
        else:
            self.dircache.pop(self._strip_protocol(path), None)


def test_what_another_process_publishes_is_seen_through_remembered_listings(model, tmp_path):
    fsspec.register_implementation("remembering", Remembering, clobber=True)
    root = uuid.uuid4().hex
    # The same memory, listed past the memory of this process's file system.
    other = ArtifactStore(f"memory://{root}", cache_dir=tmp_path / "other")
    store = ArtifactStore(f"remembering://{root}", cache_dir=tmp_path / "cache")
    assert store.current(KIND) is None
    assert store.versions(KIND) == []
    first = other.publish(KIND, model, labels={"stage": "test"})
    assert store.current(KIND) == first.version
    assert store.versions(KIND) == [first.version]
    assert store.load(KIND).manifest == first
    second = other.publish(KIND, model, labels={"stage": "serving"}, make_current=False)
    assert store.versions(KIND) == [second.version, first.version]
    assert store.find(KIND, stage="serving") == second
    other.set_current(KIND, second.version)
    assert store.load(KIND).manifest == second
    other.delete(KIND, first.version)
    assert store.versions(KIND) == [second.version]


def test_a_version_that_was_seen_half_written_is_seen_when_it_is_whole(model, tmp_path):
    fsspec.register_implementation("remembering", Remembering, clobber=True)
    root = uuid.uuid4().hex
    other = ArtifactStore(f"memory://{root}", cache_dir=tmp_path / "other")
    store = ArtifactStore(f"remembering://{root}", cache_dir=tmp_path / "cache")
    version = other.publish(KIND, model).version
    path = memory_path(other, KIND, version, "manifest.json")
    manifest = fsspec.filesystem("memory").cat_file(path)
    fsspec.filesystem("memory").rm(path)
    assert store.versions(KIND) == []
    fsspec.filesystem("memory").pipe_file(path, manifest)
    assert store.versions(KIND) == [version]
