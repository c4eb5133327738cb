"""Trains the two towers in TensorFlow: in-batch sampled softmax, corrected for how often an item is sampled.

Yi et al.: Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations, 2019. An example is a like
and the likes before it. They are read as stretches of users' sequences: all examples of a stretch share its gathered
embeddings, so that an epoch gathers each like about twice, however long the histories are. The tables are updated in
the rows that a batch touches only.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from services.candidates.sources.two_tower import TwoTowerModel
from services.candidates.sources.two_tower_layers import ItemFeatures, Linear, Tower, TowerWeights, like_weights
from services.candidates.training.two_tower_examples import Judged, Sequences, hold_out

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import tensorflow as tf

if TYPE_CHECKING:
    from services.candidates.arrays import F32, I64
    from services.candidates.sources.hyperparameters import TwoTowerParameters
    from services.candidates.sources.kind import TrainingData

log = structlog.get_logger(__name__)

_NEVER = -1e9
"""Logit of what must not be chosen."""
_ADAGRAD_START = 1e-3
_EPSILON = 1e-8


def fit_two_tower(data: TrainingData) -> TwoTowerModel:
    """Trains on `data`; the same data and seed give the same model on one machine."""
    parameters, seed = data.parameters.two_tower, data.parameters.seed
    _prepare(data.parameters.threads, seed)
    features = ItemFeatures.fit(data.items, data.texts.full, parameters.text_components, data.parameters.text, seed)
    encoded = features.encode(data.items, data.texts.full)
    rng = np.random.default_rng(seed)
    sequences, judged = hold_out(Sequences.of(data.likes), parameters.judged_share, rng)
    trainer = Trainer(sequences, encoded[0], parameters, seed)
    trainer.run(judged, rng)
    weights, tables = trainer.towers.export()
    return TwoTowerModel.of(features, encoded, weights, tables, parameters.history, parameters.half_life)


def _prepare(threads: int, seed: int) -> None:
    if tf.config.threading.get_intra_op_parallelism_threads() != threads:
        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
        except RuntimeError:
            log.warning("TensorFlow runs already; its thread count stays", wanted=threads)
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)


class Towers:
    """Both towers as Keras layers, and the tables of id embeddings.

    Args:
        likes: number of likes of each item, (items,): without any, an item has no id embedding.
        features: what else is known of the items, (items, width).
        parameters: hyperparameters.
        seed: of the first weights.

    """

    def __init__(self, likes: I64, features: F32, parameters: TwoTowerParameters, seed: int) -> None:
        self.features = tf.constant(features)
        liked = tf.constant((likes > 0)[:, None].astype(np.float32))
        shape = (len(likes), parameters.dim)

        def start(number: int) -> Any:
            return tf.random.stateless_normal(shape, (seed, number), stddev=parameters.first_spread) * liked

        def dense(units: int, number: int, **options: Any) -> Any:
            first = keras.initializers.GlorotUniform(seed=seed + number)
            return keras.layers.Dense(units, **{"kernel_initializer": first, **options})

        def tower(number: int) -> Any:
            # It begins as the identity: the hidden layer has to earn its place.
            layers = [
                dense(parameters.hidden, number, activation="relu"),
                keras.layers.Dropout(parameters.dropout, seed=seed + number),
                dense(parameters.dim, number, kernel_initializer="zeros"),
            ]
            return keras.Sequential(layers)

        self.ids, self.context_ids = tf.Variable(start(0)), tf.Variable(start(1))
        self.item_projection, self.context_projection = dense(parameters.dim, 2), dense(parameters.dim, 3)
        self.item, self.user = tower(4), tower(5)
        for layer in (self.item_projection, self.context_projection):
            layer.build((None, features.shape[1]))
        for layer in (self.item, self.user):
            layer.build((None, parameters.dim))

    @property
    def layers(self) -> tuple[Any, ...]:
        """What is learned besides the tables."""
        return self.item_projection, self.context_projection, self.item, self.user

    @property
    def tables(self) -> tuple[Any, Any]:
        """The id embeddings of the item tower and of the user tower."""
        return self.ids, self.context_ids

    def item_vectors(self, ids: Any, rows: Any, *, training: bool = False) -> Any:
        """Returns vectors of length 1, (rows, dim), of items' rows and their id embeddings."""
        inputs = ids + self.item_projection(tf.gather(self.features, rows))
        return tf.math.l2_normalize(inputs + self.item(inputs, training=training), -1)

    def contexts(self, ids: Any, rows: Any) -> Any:
        """Returns what liked items say of the user, (..., dim), of their rows (...,) and id embeddings."""
        return ids + self.context_projection(tf.gather(self.features, rows))

    def user_vectors(self, pooled: Any, *, training: bool = False) -> Any:
        """Returns vectors of length 1, (users, dim), of the weighted means of the contexts."""
        return tf.math.l2_normalize(pooled + self.user(pooled, training=training), -1)

    def export(self) -> tuple[TowerWeights, tuple[F32, F32]]:
        """Returns the weights, and the two tables, in numpy."""

        def linear(layer: Any) -> Linear:
            return Linear(layer.kernel.numpy(), layer.bias.numpy())

        def tower(layers: Any) -> Tower:
            return Tower(linear(layers.layers[0]), linear(layers.layers[-1]))

        weights = TowerWeights(
            linear(self.item_projection), linear(self.context_projection), tower(self.item), tower(self.user)
        )
        return weights, (self.ids.numpy(), self.context_ids.numpy())


class Trainer:
    """Gradient steps over the likes of `sequences`.

    Args:
        sequences: the likes.
        features: of the items, (items, width).
        parameters: hyperparameters.
        seed: of weights, dropout and batches.

    """

    def __init__(self, sequences: Sequences, features: F32, parameters: TwoTowerParameters, seed: int) -> None:
        self._sequences = sequences
        self._features = features
        self._parameters = parameters
        self._seed = seed
        likes = sequences.counts(len(features))
        self.towers = Towers(likes, features, parameters, seed)
        self._rows, self._strengths = tf.constant(sequences.rows), tf.constant(sequences.strengths)
        # Of how often an item stands in a batch: the correction that gives the name to the paper.
        chance = np.log(np.maximum(likes, 1) / max(likes.sum(), 1))
        self._log_chance = tf.constant(chance.astype(np.float32))
        self._reach = tf.constant(_reach(parameters))
        self._variables = [one for layer in self.towers.layers for one in layer.trainable_variables]
        self._adam = keras.optimizers.Adam(parameters.learning_rate)
        self._adam.build(self._variables)
        self._squares = [tf.Variable(tf.fill(table.shape, _ADAGRAD_START)) for table in self.towers.tables]
        bounds = [tf.TensorSpec((None,), tf.int32)] * 3
        signature = [*bounds, tf.TensorSpec((), tf.int32), tf.TensorSpec((), tf.float32)]
        self._step = tf.function(self._update, input_signature=signature)

    def run(self, judged: Judged | None, rng: np.random.Generator) -> None:
        """Trains until the kept likes are ranked no better, or the epochs are over; keeps the best weights."""
        likes = int(self._sequences.lengths.sum())
        epochs = int(np.clip(self._parameters.max_examples // max(likes, 1), 1, self._parameters.epochs))
        best, best_epoch, kept = -1.0, 0, self._weights()
        step = 0
        for epoch in range(epochs):
            rate = 0.5 * (1 + np.cos(np.pi * epoch / epochs))
            self._adam.learning_rate = self._parameters.learning_rate * rate
            for first, low, high in self._sequences.batches(self._parameters.window, self._parameters.batch, rng):
                self._step(first, low, high, step, rate)
                step += 1
            quality = self._quality(judged) if judged else float(epoch)
            if quality > best:
                best, best_epoch, kept = quality, epoch, self._weights()
            if epoch - best_epoch >= self._parameters.patience:
                break
        for variable, value in zip(self._all, kept, strict=True):
            variable.assign(value)
        log.info("two towers trained", epochs=best_epoch + 1, steps=step, quality=round(best, 4) if judged else None)

    @property
    def _all(self) -> list[Any]:
        return [*self._variables, *self.towers.tables]

    def _weights(self) -> list[F32]:
        return [variable.numpy() for variable in self._all]

    def _update(self, first: Any, low: Any, high: Any, step: Any, rate: Any) -> None:
        """One step on a batch of stretches; everything random in it is that of the seed and the number of the step."""
        with tf.GradientTape() as tape:
            loss = self._loss(first, low, high, step)
        gradients = tape.gradient(loss, self._all)
        count = len(self._variables)
        self._adam.apply_gradients(zip(gradients[:count], self._variables, strict=True))
        for table, squares, gradient in zip(self.towers.tables, self._squares, gradients[count:], strict=True):
            rows, places = tf.unique(gradient.indices)
            tf.raw_ops.ResourceSparseApplyAdagradV2(
                var=table.handle,
                accum=squares.handle,
                lr=self._parameters.table_learning_rate * rate,
                epsilon=_EPSILON,
                grad=tf.math.unsorted_segment_sum(gradient.values, places, tf.size(rows)),
                indices=rows,
            )

    def _loss(self, first: Any, low: Any, high: Any, step: Any) -> Any:
        parameters = self._parameters
        places = first[:, None] + tf.range(-parameters.history, parameters.window)
        inside = (places >= low[:, None]) & (places < high[:, None])
        places = tf.clip_by_value(places, 0, len(self._sequences.rows) - 1)
        rows = tf.gather(self._rows, places)
        # A user's first like has nothing before it.
        is_target = inside[:, parameters.history :] & (places[:, parameters.history :] > low[:, None])
        strengths = tf.where(inside, tf.gather(self._strengths, places), 0.0)
        pooled, penalty = self._pooled(rows, strengths, step)
        users = self.towers.user_vectors(tf.boolean_mask(pooled, is_target), training=True)
        targets = tf.boolean_mask(rows[:, parameters.history :], is_target)
        owners = tf.cast(tf.where(is_target)[:, 0], tf.int32)
        ids, item_penalty = self._shown(self.towers.ids, targets, step, 1)
        items = self.towers.item_vectors(ids, targets, training=True)
        logits = tf.matmul(users, items, transpose_b=True) / parameters.temperature
        logits -= tf.gather(self._log_chance, targets)[None]
        # The same item again is no negative, and neither is what the same user likes before or after.
        number = tf.range(tf.size(targets))
        same = (targets[:, None] == targets[None]) | (owners[:, None] == owners[None])
        logits = tf.where(same & (number[:, None] != number[None]), _NEVER, logits)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=number, logits=logits)
        kernels = [tf.reduce_sum(tf.square(one)) for one in self._variables if len(one.shape) > 1]
        return (
            tf.math.divide_no_nan(tf.reduce_sum(losses), tf.cast(tf.size(targets), tf.float32))
            + parameters.table_penalty * (penalty + item_penalty)
            + parameters.weight_penalty * tf.add_n(kernels)
        )

    def _pooled(self, rows: Any, strengths: Any, step: Any) -> tuple[Any, Any]:
        """Returns the pooled history before each like of the stretches, (stretches, window, dim), and the penalty."""
        ids, penalty = self._shown(self.towers.context_ids, rows, step, 0)
        weights = self._reach[None] * strengths[:, None, :]
        shares = tf.math.divide_no_nan(weights, tf.reduce_sum(weights, 2, keepdims=True))
        return tf.matmul(shares, self.towers.contexts(ids, rows)), penalty

    def _shown(self, table: Any, rows: Any, step: Any, number: int) -> tuple[Any, Any]:
        """Returns id embeddings, some of them left out: what is written must be able to stand alone."""
        ids = tf.gather(table, rows)
        chance = tf.random.stateless_uniform(tf.shape(rows), tf.stack([self._seed, step * 2 + number]))
        kept = tf.cast(chance >= self._parameters.id_dropout, tf.float32)
        return ids * kept[..., None], tf.reduce_mean(tf.reduce_sum(tf.square(ids), -1))

    def _quality(self, judged: Judged) -> float:
        """Returns how well the kept likes are ranked, as serving would."""
        weights, (ids, context_ids) = self.towers.export()
        users = np.stack([self._user(weights, context_ids, judged, place) for place in range(len(judged.users))])
        items = weights.item_vectors(ids[judged.items], self._features[judged.items])
        targets = weights.item_vectors(ids[judged.targets], self._features[judged.targets])
        return judged.quality(users @ items.T, np.einsum("ij,ij->i", users[judged.target_users], targets))

    def _user(self, weights: TowerWeights, context_ids: F32, judged: Judged, place: int) -> F32:
        low, cut = self._sequences.low[judged.users[place]], judged.cut[place]
        newest = slice(max(low, cut - self._parameters.history), cut)
        rows = self._sequences.rows[newest]
        shares = like_weights(self._sequences.strengths[newest], self._parameters.half_life)
        vector: F32 = weights.user((shares @ weights.contexts(context_ids[rows], self._features[rows]))[None])[0]
        return vector


def _reach(parameters: TwoTowerParameters) -> F32:
    """Returns the weight of each place of a stretch in the history of each of its likes, (window, history + window)."""
    own = np.arange(parameters.window)[:, None] + parameters.history
    other = np.arange(parameters.history + parameters.window)[None]
    before = (other < own) & (other >= own - parameters.history)
    weights = 0.5 ** ((own - other - 1) / parameters.half_life)
    return np.where(before, weights, 0.0).astype(np.float32)
