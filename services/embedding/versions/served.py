"""One version that is loaded, warm and answers calls."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.embedding.attribution.explainer import Explainer
    from services.embedding.batching.batcher import Batcher
    from services.embedding.ports import LoadedModel
    from services.embedding.serving.embedder import Embedder


class Served:
    """A model with the queue and the thread of its own. Used from the event loop.

    A version that is dropped is `retired`: calls that hold it finish, new ones do not get it.
    """

    def __init__(self, model: LoadedModel, batcher: Batcher, embedder: Embedder, explainer: Explainer) -> None:
        self.model = model
        self.embedder = embedder
        self.explainer = explainer
        self._batcher = batcher
        self.users = 0
        """Calls that hold it now."""
        self.retired = False
        """It is no longer handed out."""

    @property
    def version(self) -> str:
        """The version."""
        return self.embedder.facts.version

    def close(self) -> None:
        """Ends its thread and lets go of its memory. Blocks; to be called when no call holds it."""
        self._batcher.close()
        del self.model, self.embedder, self.explainer, self._batcher
        # The engines' graphs are cycles, and a server collects them rarely.
        gc.collect()
