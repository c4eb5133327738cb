"""Stores, and a model to be published."""

from __future__ import annotations

import uuid

import pytest

from shared.artifacts import ArtifactStore


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
