"""Trains the network of the deep fusion in TensorFlow: listwise softmax loss, further tasks, dropout, L2.

An epoch goes through the lists once, in an order that follows from the seed and the epoch's number; dropout follows
from the seed and the step. So a training that was killed and goes on from the last epoch's checkpoint ends with the
same weights as one that was not.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import tensorflow as tf

from services.ranker.fusion.base import LIKE
from services.ranker.fusion.deep_network import GATE_INPUTS, DeepNetwork

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from services.ranker.fusion.base import FitContext, RankingLists
    from services.ranker.fusion.deep import DeepParameters
    from services.ranker.items.arrays import F32

log = structlog.get_logger(__name__)

_NEVER = -1e9
"""Logit of what must not be chosen."""
RATING = "rating"


@dataclass(frozen=True)
class Batch:
    """Some lists, padded to one length: float32 (lists, rows, ...), masks of what is there."""

    features: F32
    gates: F32
    base: F32
    items: F32
    history: F32
    strengths: F32
    judged: F32
    labels: F32
    there: F32
    weights: F32
    outcomes: dict[str, F32]

    def tensors(self) -> dict[str, Any]:
        """Returns it for TensorFlow."""
        own = {name: value for name, value in vars(self).items() if name != "outcomes"}
        return {name: tf.constant(value) for name, value in {**own, **self.outcomes}.items()}


def prepare(threads: int, seed: int) -> None:
    """Makes TensorFlow deterministic, on this many threads."""
    if tf.config.threading.get_intra_op_parallelism_threads() != threads:
        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
        except RuntimeError:
            log.info("TensorFlow runs already; its thread count stays", wanted=threads)
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)


def first_weights(
    width: int, dim: int, groups: int, heads: tuple[str, ...], parameters: DeepParameters
) -> dict[str, F32]:
    """Returns the weights that training begins with, by name: the score of every candidate is 0."""
    random = np.random.default_rng(parameters.seed)
    inner = width + parameters.attention

    def drawn(rows: int, columns: int, scale: float = 1.0) -> F32:
        made: F32 = (scale * random.normal(size=(rows, columns)) / np.sqrt(max(rows, 1))).astype(np.float32)
        return made

    def nothing(*shape: int) -> F32:
        return np.zeros(shape, dtype=np.float32)

    # Centred vectors have length 1: with these scales, logits of the attention spread by about one.
    spread = np.sqrt(max(dim, 1))
    weights = {
        "gate": nothing(GATE_INPUTS, groups),
        "query": drawn(dim, parameters.attention, spread),
        "key": drawn(dim, parameters.attention, spread),
        "value": drawn(dim, parameters.attention, spread),
        "dense_1": drawn(inner, parameters.hidden[0]),
        "dense_1_bias": nothing(parameters.hidden[0]),
        "dense_2": drawn(*parameters.hidden),
        "dense_2_bias": nothing(parameters.hidden[1]),
        "out_dense": nothing(parameters.hidden[1]),
        "out_cross": nothing(inner),
    }
    for turn in range(parameters.crosses):
        weights[f"cross_in_{turn}"] = drawn(inner, parameters.rank)
        weights[f"cross_out_{turn}"] = drawn(parameters.rank, inner, 0.1)
        weights[f"cross_bias_{turn}"] = nothing(inner)
    for head in heads:
        weights[f"head_{head}"], weights[f"head_{head}_bias"] = nothing(parameters.hidden[1]), nothing(1)
    return weights


class DeepTrainer:
    """Learns a network's weights from lists, in epochs. `base`: float32 (rows,), scores that the network adds to."""

    def __init__(
        self, network: DeepNetwork, lists: RankingLists, base: F32, parameters: DeepParameters, context: FitContext
    ) -> None:
        prepare(context.threads, parameters.seed)
        self._network, self._lists, self._base, self._parameters = network, lists, base, parameters
        self._heads = tuple(sorted(name[5:] for name in network.weights if _is_head(name)))
        ratings = lists.outcomes.get(RATING, np.zeros(0, dtype=np.float32))
        known = ratings[~np.isnan(ratings)]
        self._rating = (float(known.mean()), max(float(known.std()), 1e-3)) if len(known) else (0.0, 1.0)
        self._variables = {name: tf.Variable(value, name=name) for name, value in network.weights.items()}
        self._order = list(self._variables)
        self._optimizer = keras.optimizers.Adam(parameters.rate, clipnorm=1.0)
        self._optimizer.build(list(self._variables.values()))
        self.epoch = 0
        self._step = tf.Variable(0, dtype=tf.int32, trainable=False)
        self._train = tf.function(self._one, reduce_retracing=True)

    def run_epoch(self) -> dict[str, float]:
        """Goes through the lists once; returns the mean of each loss."""
        random = np.random.default_rng((self._parameters.seed, self.epoch))
        sums: dict[str, float] = {}
        count = 0
        for batch in self._batches(random.permutation(len(self._lists.sizes))):
            for name, value in self._train(batch.tensors()).items():
                sums[name] = sums.get(name, 0.0) + float(value)
            count += 1
        self.epoch += 1
        return {name: value / max(count, 1) for name, value in sums.items()}

    def weights(self) -> dict[str, F32]:
        """Returns the weights as they are now, by name."""
        return {name: np.asarray(variable.numpy()) for name, variable in self._variables.items()}

    def save(self, path: Path, more: Mapping[str, Any]) -> None:
        """Writes what `restore` needs, at once: a killed writer leaves the file before."""
        state = {f"weight_{name}": value for name, value in self.weights().items()}
        state |= {f"slot_{turn}": np.asarray(one.numpy()) for turn, one in enumerate(self._optimizer.variables)}
        waiting = path.with_suffix(".writing.npz")
        np.savez(waiting, **state, epoch=self.epoch, step=self._step.numpy(), **more)  # type: ignore[arg-type]  # its keywords are arrays
        waiting.replace(path)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `save` wrote."""
        for name, variable in self._variables.items():
            variable.assign(state[f"weight_{name}"])
        for turn, one in enumerate(self._optimizer.variables):
            one.assign(state[f"slot_{turn}"])
        self._step.assign(int(state["step"]))
        self.epoch = int(state["epoch"])

    def _batches(self, order: NDArray[np.int64]) -> Iterator[Batch]:
        # Every batch has one shape, so that the graph is made once.
        longest = int(self._lists.sizes.max(initial=1))
        for start in range(0, len(order), self._parameters.batch):
            yield self._batch(order[start : start + self._parameters.batch], longest)

    def _batch(self, chosen: NDArray[np.int64], longest: int) -> Batch:
        lists, vectors, size = self._lists, self._lists.vectors, self._parameters.batch
        rows = np.full((size, longest), -1, dtype=np.int64)
        for turn, one in enumerate(chosen):
            rows[turn, : lists.sizes[one]] = np.arange(lists.starts[one], lists.starts[one] + lists.sizes[one])
        there = (rows >= 0).astype(np.float32)
        flat = lists.features[rows.ravel()]
        labels = lists.labels[rows] * there
        padded = np.zeros(size, dtype=np.int64)
        padded[: len(chosen)] = chosen
        history, items = vectors.history[padded], vectors.items[rows]
        weights = np.zeros(size, dtype=np.float32)
        weights[: len(chosen)] = lists.weights[chosen] * np.sqrt(np.maximum(labels[: len(chosen)].sum(axis=1), 1))
        # A list without vectors, or a run without any, has one empty place: shapes stay the same.
        if not len(vectors.bank):
            history = np.full((size, 1), -1, dtype=np.int32)
            items = np.full(rows.shape, -1, dtype=np.int32)
        bank = vectors.bank if len(vectors.bank) else np.zeros((1, len(self._network.weights["query"])), np.float32)
        strengths = vectors.weights[padded] if len(vectors.bank) else np.zeros((size, 1), dtype=np.float32)
        return Batch(
            features=self._network.standard(flat).reshape(size, longest, -1),
            gates=self._network.gate_inputs(flat).reshape(size, longest, -1),
            base=self._base[rows],
            items=np.where((items >= 0)[..., None], bank[items], np.float32(0)),
            history=np.where((history >= 0)[..., None], bank[history], np.float32(0)),
            strengths=strengths,
            judged=(history >= 0).astype(np.float32),
            labels=labels,
            there=there,
            weights=weights,
            outcomes={head: self._outcome(head, rows, labels) for head in self._heads},
        )

    def _outcome(self, head: str, rows: NDArray[np.int64], labels: F32) -> F32:
        """Returns what a head learns, NaN where it learns nothing."""
        told = self._lists.outcomes.get(head)
        if told is None:
            # Lists that a training goes on with may lack what the network has a head for.
            known = labels if head == LIKE else np.full(labels.shape, np.nan, dtype=np.float32)
        elif head == RATING:
            known = (told[rows] - self._rating[0]) / self._rating[1]
        else:
            known = told[rows]
        return np.where(rows >= 0, known, np.nan).astype(np.float32)

    def _one(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        with tf.GradientTape() as tape:
            losses = self._losses(batch)
            total = tf.add_n(list(losses.values()))
        variables = [self._variables[name] for name in self._order]
        self._optimizer.apply_gradients(zip(tape.gradient(total, variables), variables, strict=True))
        self._step.assign_add(1)
        return losses

    def _losses(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        w, parameters = self._variables, self._parameters
        crossed, dense = self._layers(batch)
        scores = batch["base"] + tf.linalg.matvec(crossed, w["out_cross"]) + tf.linalg.matvec(dense, w["out_dense"])
        logits = tf.where(batch["there"] > 0, scores, _NEVER)
        wanted = batch["labels"] / tf.maximum(tf.reduce_sum(batch["labels"], 1, keepdims=True), 1)
        each = -tf.reduce_sum(wanted * tf.nn.log_softmax(logits), 1)
        losses = {"rank": tf.reduce_sum(each * batch["weights"]) / tf.maximum(tf.reduce_sum(batch["weights"]), 1e-6)}
        for head in self._heads:
            out = tf.linalg.matvec(dense, w[f"head_{head}"]) + w[f"head_{head}_bias"]
            known = tf.math.is_finite(batch[head])
            target = tf.where(known, batch[head], 0.0)
            by_chance = tf.nn.sigmoid_cross_entropy_with_logits
            error = tf.square(out - target) if head == RATING else by_chance(target, out)
            share = tf.reduce_sum(tf.where(known, error, 0.0)) / tf.maximum(
                tf.reduce_sum(tf.cast(known, tf.float32)), 1
            )
            losses[head] = parameters.head_weight * share
        matrices = [value for name, value in w.items() if not name.endswith("bias") and not _is_head(name)]
        losses["l2"] = parameters.l2 * tf.add_n([tf.nn.l2_loss(value) for value in matrices])
        return losses

    def _layers(self, batch: Mapping[str, Any]) -> tuple[Any, Any]:
        """Returns the last of the cross network and of the dense layers, as `DeepNetwork` computes them."""
        w, parameters = self._variables, self._parameters
        gates = tf.gather(2 * tf.sigmoid(batch["gates"] @ w["gate"]), self._network.columns.groups, axis=-1)
        asked = batch["items"] @ w["query"]
        logits = asked @ tf.transpose(batch["history"] @ w["key"], (0, 2, 1)) / np.sqrt(parameters.attention)
        shares = tf.nn.softmax(logits + (1 - batch["judged"][:, None, :]) * _NEVER)
        values = (batch["history"] @ w["value"]) * (batch["strengths"] * batch["judged"])[..., None]
        x0 = self._dropped(tf.concat([batch["features"] * gates, asked * (shares @ values)], -1), 0)
        x = x0
        for turn in range(parameters.crosses):
            x = x0 * (x @ w[f"cross_in_{turn}"] @ w[f"cross_out_{turn}"] + w[f"cross_bias_{turn}"]) + x
        hidden = self._dropped(tf.nn.silu(x0 @ w["dense_1"] + w["dense_1_bias"]), 1)
        return x, self._dropped(tf.nn.silu(hidden @ w["dense_2"] + w["dense_2_bias"]), 2)

    def _dropped(self, values: Any, place: int) -> Any:
        seed = tf.stack([self._parameters.seed * 8 + place, self._step])
        return tf.nn.experimental.stateless_dropout(values, self._parameters.dropout, seed)


def _is_head(name: str) -> bool:
    return name.startswith("head_") and not name.endswith("_bias")
