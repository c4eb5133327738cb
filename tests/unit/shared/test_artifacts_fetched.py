"""Artifacts behind an fsspec URL: fetched, kept, and seen as they are now."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from shared.artifacts import ArtifactStore
from shared.errors import CorruptData
from shared.testing.processes import ROOT

KIND = "candidates"


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
from shared.errors import CorruptData

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
