"""The watcher: swaps to what is new and good, stays on the last good version, says why, once."""

from __future__ import annotations

import asyncio

import pytest

from shared.artifacts import ArtifactStore, ArtifactWatcher
from shared.errors import DependencyUnavailable, ModelMismatch

KIND = "ranker"


class Server:
    """What a service does with a watcher: keeps the last version it could use."""

    def __init__(self, store: ArtifactStore) -> None:
        self.version: str | None = None
        self.reasons: list[str] = []
        self.refusal: Exception | None = None
        self.loads = 0
        self.watcher = ArtifactWatcher(
            store, KIND, service="ranker", on_loaded=self._use, on_failed=self._failed, poll_s=0.01
        )

    async def _use(self, loaded) -> None:
        self.loads += 1
        if self.refusal is not None:
            raise self.refusal
        self.version = loaded.manifest.version

    async def _failed(self, reason: str) -> None:
        self.reasons.append(reason)


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(str(tmp_path / "store"))


@pytest.fixture
def server(store):
    return Server(store)


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"w" * 1_000)
    return folder


def damage(tmp_path, version: str) -> None:
    (tmp_path / "store" / KIND / version / "weights.bin").write_bytes(b"x" * 1_000)


async def test_without_a_model_it_says_once_what_to_do(server):
    for _ in range(3):
        await server.watcher.check()
    (reason,) = server.reasons
    assert "fusionrec train" in reason


async def test_a_new_version_is_used_once(server, store, model):
    for _ in range(2):
        version = store.publish(KIND, model).version
        await server.watcher.check()
        await server.watcher.check()
        assert server.version == version
    assert (server.loads, server.reasons) == (2, [])


async def test_a_corrupt_version_leaves_the_last_good_one(server, store, model, tmp_path):
    good = store.publish(KIND, model).version
    await server.watcher.check()
    bad = store.publish(KIND, model).version
    damage(tmp_path, bad)
    for _ in range(3):
        await server.watcher.check()
    assert server.version == good
    (reason,) = server.reasons
    assert bad in reason
    assert "weights.bin" in reason

    better = store.publish(KIND, model).version
    await server.watcher.check()
    assert server.version == better


async def test_rolling_back_is_followed(server, store, model):
    first, second = store.publish(KIND, model).version, store.publish(KIND, model).version
    await server.watcher.check()
    assert server.version == second
    store.set_current(KIND, first)
    await server.watcher.check()
    assert server.version == first


async def test_current_pointing_nowhere_leaves_the_last_good_one(server, store, model, tmp_path):
    good = store.publish(KIND, model).version
    await server.watcher.check()
    (tmp_path / "store" / KIND / "CURRENT").write_bytes(b"\xff nowhere")
    await server.watcher.check()
    assert server.version == good
    assert len(server.reasons) == 1


@pytest.mark.parametrize("refusal", [ModelMismatch("64 dimensions, not 384"), RuntimeError("a path, a secret")])
async def test_a_version_that_the_server_refuses_is_not_tried_again(server, store, model, refusal):
    good = store.publish(KIND, model).version
    await server.watcher.check()
    server.refusal = refusal
    store.publish(KIND, model)
    for _ in range(3):
        await server.watcher.check()
    assert (server.version, server.loads) == (good, 2)
    (reason,) = server.reasons
    assert "secret" not in reason


@pytest.mark.parametrize("refusal", [DependencyUnavailable("candidates", "not reachable"), OSError(5, "I/O error")])
async def test_what_is_not_the_versions_fault_is_tried_again(server, store, model, refusal):
    version = store.publish(KIND, model).version
    server.refusal = refusal
    await server.watcher.check()
    await server.watcher.check()
    assert server.version is None
    assert len(server.reasons) == 1
    server.refusal = None
    await server.watcher.check()
    assert server.version == version


async def test_running_it_survives_failures(server, store, model, tmp_path):
    running = asyncio.create_task(server.watcher.run())
    try:
        async with asyncio.timeout(10):
            while not server.reasons:
                await asyncio.sleep(0.01)
            damage(tmp_path, store.publish(KIND, model).version)
            while len(server.reasons) < 2:
                await asyncio.sleep(0.01)
            version = store.publish(KIND, model).version
            while server.version != version:
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
