"""The linear model, and a network that corrects it: cross layers, target attention, gates by group (`deep_network.py`).

Wide and deep (Cheng et al. 2016): the linear part orders what the lists are thin on, the network adds what is not
linear. Trained in TensorFlow with listwise softmax loss and further tasks (`training/deep_fit.py`), served in numpy.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from services.ranker.features.registry import FEATURES
from services.ranker.fusion.base import LIKE, FitContext, RankingInput
from services.ranker.fusion.deep_network import Columns, DeepNetwork
from services.ranker.fusion.gated import GATE, load_arrays
from services.ranker.fusion.linear import LinearFusion
from services.ranker.fusion.standard import Standard
from shared.errors import CorruptData, FusionrecError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from services.ranker.fusion.base import RankingLists
    from services.ranker.items.arrays import F32

FILE = "deep.npz"
META = "deep.json"
EXTRA = "ranker-deep"
"""Extra, and lock, of the packages that training needs."""
POPULARITY, ATTENTION = "popularity", "lm_attention"


class TrainingPackageMissing(FusionrecError):
    """A fusion cannot be trained here: the packages that only its training needs are not installed."""


def require_tensorflow() -> None:
    """Checks that the deep fusion can be trained here.

    Raises:
        TrainingPackageMissing: TensorFlow or Keras is not installed.

    """
    missing = [name for name in ("tensorflow", "keras") if find_spec(name) is None]
    if missing:
        raise TrainingPackageMissing(
            f"the fusion deep is trained with TensorFlow, and {missing[0]} is not installed: install the extra "
            f"`{EXTRA}` (requirements/{EXTRA}.lock; images: --build-arg LOCK={EXTRA}), or leave the fusion out",
            metadata={"fusion": "deep", "extra": EXTRA},
        )


@dataclass(frozen=True)
class DeepParameters:
    """Hyperparameters, chosen on validation lists."""

    attention: int = 16
    crosses: int = 2
    rank: int = 24
    hidden: tuple[int, int] = (64, 32)
    dropout: float = 0.3
    l2: float = 1e-4
    rate: float = 1e-3
    batch: int = 32
    epochs: int = 8
    patience: int = 2
    head_weight: float = 0.1
    seed: int = 0
    update_epochs: int = 2


class DeepFusion:
    """See the module's text."""

    name: ClassVar[str] = "deep"
    description: ClassVar[str] = (
        "Cross network, target attention over the history's vectors and gates by group, on top of the linear model "
        "(TensorFlow; served in numpy)"
    )

    def __init__(
        self,
        *,
        linear: LinearFusion | None = None,
        parameters: DeepParameters | None = None,
        context: FitContext | None = None,
    ) -> None:
        """`linear` may be shared with the variant of that name."""
        self.parameters = parameters or DeepParameters()
        self._linear = linear or LinearFusion()
        self._context = context or FitContext()
        self._network: DeepNetwork | None = None
        self._epochs = self.parameters.epochs

    @property
    def network(self) -> DeepNetwork:
        """What was learned.

        Raises:
            CorruptData: nothing was.

        """
        if self._network is None:
            raise CorruptData("the deep fusion has not been fitted")
        return self._network

    def fit(self, train: RankingLists, validation: RankingLists, names: Sequence[str]) -> None:
        """Learns the linear part, then the network until the validation NDCG@10 no longer rises."""
        self._linear.fit(train, validation, names)
        self._network = self._first_network(train, names)
        self._epochs = self._run("fit", train, self.parameters.epochs, validation)

    def refit(self, lists: RankingLists, names: Sequence[str]) -> None:
        """Learns both parts from all lists, as many epochs as `fit` found best."""
        self._linear.refit(lists, names)
        self._network = self._first_network(lists, names)
        self._run("refit", lists, self._epochs)

    def update(self, lists: RankingLists, names: Sequence[str]) -> None:
        """Goes on from the present weights for a few epochs of the new lists."""
        self._linear.update(lists, names)
        self._run("update", lists, self.parameters.update_epochs)

    def predict(self, inputs: RankingInput) -> F32:
        """Returns scores; see `FusionFunction`."""
        return np.asarray(self._linear.predict(inputs) + self.network.predict(inputs), dtype=np.float32)

    def contributions(self, inputs: RankingInput) -> tuple[float, F32]:
        """Returns the linear contributions plus the network's integrated gradients."""
        bias, linear = self._linear.contributions(inputs)
        own, parts = self.network.contributions(inputs)
        return bias + own, linear + parts

    def attention(self, inputs: RankingInput) -> F32:
        """Returns the target attention; see `Attending`."""
        network = self.network
        if not len(inputs.history) or not network.reads(inputs):
            return np.zeros((len(inputs), 0), dtype=np.float32)
        return network.attention(inputs)

    def save(self, folder: Path) -> None:
        """Writes the linear model's file, the weights, and where the network finds its columns."""
        self._linear.save(folder)
        network, columns = self.network, self.network.columns
        arrays: dict[str, Any] = {f"weight_{name}": value for name, value in network.weights.items()}
        arrays |= {"mean": network.standard.mean, "scale": network.standard.scale, "groups": columns.groups}
        np.savez(folder / FILE, **arrays)
        places = {"history": columns.history, "popularity": columns.popularity, "attention": columns.attention}
        meta = {"places": places, "parameters": asdict(self.parameters), "epochs": self._epochs}
        (folder / META).write_text(json.dumps(meta))

    @classmethod
    def load(cls, folder: Path) -> DeepFusion:
        """Reads what `save` wrote; see `FusionFunction`."""
        arrays = load_arrays(folder / FILE)
        try:
            meta: dict[str, Any] = json.loads((folder / META).read_text())
            given = {**meta["parameters"], "hidden": tuple(meta["parameters"]["hidden"])}
            own = cls(linear=LinearFusion.load(folder), parameters=DeepParameters(**given))
            columns = Columns(**meta["places"], groups=arrays["groups"].astype(np.int64))
            own._epochs = int(meta["epochs"])
            standard = Standard(arrays["mean"], arrays["scale"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptData(f"{META} cannot be read") from error
        weights = {name[7:]: value for name, value in arrays.items() if name.startswith("weight_")}
        own._network = DeepNetwork(standard, columns, weights)
        return own

    def _first_network(self, lists: RankingLists, names: Sequence[str]) -> DeepNetwork:
        require_tensorflow()
        from services.ranker.training.deep_fit import first_weights

        group_of = {feature.name: feature.group for feature in FEATURES}
        groups = sorted({group_of[name] for name in names})
        columns = Columns(
            history=names.index(GATE),
            popularity=names.index(POPULARITY),
            attention=names.index(ATTENTION),
            groups=np.array([groups.index(group_of[name]) for name in names]),
        )
        # What is the same in a whole list takes part, unlike in the linear model: layers combine it with the rest.
        others = {head for head, known in lists.outcomes.items() if not np.isnan(known).all()} - {LIKE}
        heads = (LIKE, *sorted(others))
        dim = max(lists.vectors.bank.shape[1], 1)
        weights = first_weights(len(names), dim, len(groups), heads, self.parameters)
        return DeepNetwork(Standard.of(lists.features, names), columns, weights)

    def _run(self, phase: str, lists: RankingLists, epochs: int, validation: RankingLists | None = None) -> int:
        """Trains; returns the number of epochs after which the weights that are kept were reached."""
        require_tensorflow()
        from services.ranker.training.deep_run import DeepRun

        run = DeepRun(self.parameters, self._context, phase)
        base = self._linear.model.predict(lists.features)
        held = None if validation is None else (validation, self._linear.model.predict(validation.features))
        self._network, best = run.learn(self.network, lists, base, epochs, held)
        return best
