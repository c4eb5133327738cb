"""What fine-tuning is worth on MovieLens: NDCG@10 among hidden items, the map from vectors to factors the same for all.

    python -m benchmarks.embedding.finetuning --methods frozen head lora full --out FILE.json

New-items protocol: the events of a fifth of the items are hidden from the training as from everything else. Each
method is trained as `python -m services.embedding train --protocol new-items` does, published into a folder, and loaded
from there by the ordinary loader. Its vectors go through two maps: candidates' `aligned_text` (with genres and
years), and the same without attributes (text alone). A method may be followed by `+domain` (masked-language
pretraining before it).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.candidates import fitting, quality
from benchmarks.candidates.data import Data, movielens
from services.candidates.sources.aligned_text import ItemTexts, TextMap
from services.embedding.adapters.base_model import BaseModel
from services.embedding.bootstrap import make_encoders
from services.embedding.bootstrap_training import encoder_trainer
from services.embedding.settings import EmbeddingSettings
from services.embedding.training.corpus import make_corpus
from services.embedding.training.parameters import FinetuneParameters, Method
from shared.data.log import LogSnapshot
from shared.data.preferences import PreferenceRules
from shared.data.splits import Protocol, Stage, hidden_items
from shared.data.texts import item_text, item_title
from shared.telemetry.progress import open_progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from shared.data.nouns import Item

CUT = 10
_DISCOUNT = 1 / np.log2(np.arange(2, CUT + 2))
FROZEN = "frozen"
DOMAIN = "+domain"


@dataclass(frozen=True, eq=False)
class NewItems:
    """The protocol's questions, and the factors that all vectors are mapped to."""

    data: Data
    als: Any
    likes: Any
    users: NDArray[np.float32]
    pool: NDArray[np.int64]
    relevant: list[NDArray[np.bool_]]

    @classmethod
    def make(cls, data: Data) -> NewItems:
        """Fits the factors on what is visible."""
        hidden = hidden_items(event for event in data.events if fitting.is_positive(event))
        likes = fitting.judged([event for event in data.events if event.item_id not in hidden], data.items)
        nothing = np.zeros((len(data.items), 1), np.float32)
        fitted = fitting.fit(data.items, ItemTexts(nothing, nothing), likes, ("als", "aligned_text"))
        als, version = fitted.models.by_kind["als"], fitted.version()
        cases = quality.new_item_cases(data, hidden)
        users = np.stack([als.fold_in(quality.profile_of(version, case)) for case in cases])
        pool = np.array([version.table.rows[item_id] for item_id in sorted(hidden)])
        relevant = [np.isin(pool, [version.table.rows[one] for one in case.relevant]) for case in cases]
        return cls(data, als, likes, users, pool, relevant)

    def ndcg(self, items: Sequence[Item], full: NDArray[np.float32], title: NDArray[np.float32]) -> float:
        """Returns NDCG@10 of the map from these vectors and the attributes of `items`."""
        # Half precision, as candidates keeps vectors.
        texts = ItemTexts(*(one.astype(np.float16).astype(np.float32) for one in (full, title)))
        parameters = fitting.SETTINGS.hyperparameters
        fitted = TextMap.fit(items, texts, self.als.factors, self.likes.per_item, parameters.text)
        fitted = fitted.fit_to_likes(items, texts, self.likes.matrix, self.als, parameters.seed)
        scores = self.users @ fitted.map(items, texts)[self.pool].T
        best = np.argsort(-scores, axis=1, kind="stable")[:, :CUT]
        found = [
            (_DISCOUNT * own[order]).sum() / _DISCOUNT[: min(CUT, own.sum())].sum()
            for own, order in zip(self.relevant, best, strict=True)
        ]
        return round(float(np.mean(found)), 4)

    def figures(self, encode: Any) -> dict[str, float]:
        """Returns NDCG@10 by both maps of the encoder that `encode(texts)` stands for."""
        full, title = (encode([read(item) for item in self.data.items]) for read in (item_text, item_title))
        bare = tuple(replace(item, categories=(), attributes={}) for item in self.data.items)
        return {
            "ndcg@10 aligned_text": self.ndcg(self.data.items, full, title),
            "ndcg@10 text alone": self.ndcg(bare, full, title),
        }


def encoder_of(folder: str) -> Any:
    """Returns what turns texts into vectors with the artifact or model in `folder`, by the service's own loader."""
    settings = EmbeddingSettings(xla_shapes=())
    base = BaseModel(folder, make_encoders(settings), pooling=settings.pooling, max_tokens=settings.max_tokens)
    model = base.load(lambda: None)

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        rows = [text.ids for text in model.tokenizer.tokenize(texts)]
        order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
        vectors: NDArray[np.float32] | None = None
        for start in range(0, len(order), 64):
            chosen = order[start : start + 64]
            made = model.encoder.encode([rows[place] for place in chosen])
            vectors = np.zeros((len(rows), made.shape[1]), np.float32) if vectors is None else vectors
            vectors[chosen] = made
        assert vectors is not None  # noqa: S101 (a catalogue has items)
        return vectors

    return encode


def train(name: str, data: Data, parameters: FinetuneParameters, folder: Path, kept: Path) -> dict[str, float]:
    """Trains one method on the protocol's visible events; writes the artifact's files into `folder`."""
    settings = EmbeddingSettings(training_folder=str(kept))
    snapshot = LogSnapshot(list(data.events), {item.item_id: item for item in data.items})
    corpus = make_corpus(snapshot, PreferenceRules(), Protocol.NEW_ITEMS, Stage.TEST, parameters)
    with open_progress("auto", sys.stderr) as progress:
        trainer = encoder_trainer(
            settings,
            method=Method(name.removesuffix(DOMAIN)),
            parameters=parameters,
            domain_pretrain=name.endswith(DOMAIN),
            run_folder=kept / name,
            curves=kept / "tensorboard" / name,
            progress=progress,
        )
        return trainer.train(corpus, folder).metrics


def main() -> None:
    """Trains, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=[FROZEN, "head", "lora", "full", "lora+domain"])
    parser.add_argument("--parameters", default="{}", help="JSON: fields of FinetuneParameters")
    parser.add_argument("--texts", help="Parquet file with item_id and text, added to the items")
    parser.add_argument("--out", type=Path, help="JSON file that the results are added to")
    parser.add_argument("--keep", type=Path, help="folder for checkpoints and artifacts; else a temporary one")
    options = parser.parse_args()
    data = _with_texts(movielens(small=False), options.texts)
    measured = NewItems.make(data)
    parameters = FinetuneParameters(**json.loads(options.parameters))
    with tempfile.TemporaryDirectory() as made:
        kept = options.keep or Path(made)
        for name in options.methods:
            started = time.perf_counter()
            folder = kept / "artifacts" / name
            folder.mkdir(parents=True, exist_ok=True)
            metrics = {} if name == FROZEN else train(name, data, parameters, folder, kept)
            minutes = (time.perf_counter() - started) / 60
            source = EmbeddingSettings().model if name == FROZEN else str(folder)
            row = {"method": name, **measured.figures(encoder_of(source)), **metrics, "wall_minutes": round(minutes, 1)}
            row["parameters"] = json.loads(options.parameters)
            print(json.dumps(row), flush=True)
            if options.out:
                before = json.loads(options.out.read_text()) if options.out.is_file() else []
                options.out.write_text(json.dumps([*before, row], indent=2) + "\n")


def _with_texts(data: Data, path: str | None) -> Data:
    if path is None:
        return data
    import pandas as pd

    frame = pd.read_parquet(path)
    texts = dict(zip(frame["item_id"].astype(str), frame["text"], strict=True))
    return Data(tuple(replace(item, text=texts.get(item.item_id, "")) for item in data.items), data.events)


if __name__ == "__main__":
    main()
