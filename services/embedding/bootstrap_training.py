"""The composition root of the training job: which adapters it runs on. Serving needs none of this."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from shared.rpc.client import open_channel

if TYPE_CHECKING:
    from services.embedding.settings import EmbeddingSettings
    from services.embedding.training.fits import BaseVectors
    from services.embedding.training.job import TrainingJob
    from services.embedding.training.parameters import FinetuneParameters, Method
    from services.embedding.training.ports import Trainer, Workshop
    from services.embedding.training.runs import Run
    from shared.artifacts import Manifest
    from shared.data.log import LogSnapshot
    from shared.data.splits import Protocol, Stage
    from shared.telemetry.progress import JobProgress

PRETRAINED = "bert"
"""The kind of encoder that is fine-tuned."""
FITTED = ("bow", "tfidf", "word2vec")
"""Kinds that are fitted in one go."""


@dataclass(frozen=True)
class Wanted:
    """What the command line says."""

    encoder: str
    method: Method
    protocol: Protocol
    stage: Stage
    parameters: FinetuneParameters
    domain_pretrain: bool = False
    sessions: bool = False
    always: bool = False
    tensorboard: str = ""


def train(settings: EmbeddingSettings, wanted: Wanted, progress: JobProgress) -> Manifest:
    """Reads the log, trains and publishes; returns the manifest.

    Only the reading runs in an event loop, which would keep an interrupt back until the training ends.

    Raises:
        NothingToLearn: the log holds nothing to train on.
        NotBetter: the trained encoder does not beat its base; nothing was published.
        ModelUnusable: the base cannot be trained.
        DependencyUnavailable: ingestion does not answer, or a library is missing.

    """
    from services.embedding.training.job import TrainingJob
    from shared.artifacts import ArtifactStore

    run = _run(settings, wanted)
    name = f"{wanted.protocol}-{wanted.stage}-{wanted.method}-{run.name}"
    trainer: Trainer
    if wanted.encoder in FITTED:
        base = None if wanted.always else _base_vectors(settings)
        trainer = fit_trainer(wanted.encoder, wanted.parameters.seed, progress, sessions=wanted.sessions, base=base)
    else:
        trainer = encoder_trainer(
            settings,
            method=wanted.method,
            parameters=wanted.parameters,
            domain_pretrain=wanted.domain_pretrain,
            run_folder=run.folder,
            curves=Path(wanted.tensorboard or Path(settings.training_folder) / "tensorboard") / name,
            progress=progress,
        )
    job = TrainingJob(
        store=ArtifactStore(settings.artifacts),
        rules=settings.preferences,
        parameters=wanted.parameters,
        run_of=run,
        keep_versions=settings.keep_versions,
        keep_days=settings.keep_days,
        progress=progress,
        always=wanted.always,
    )
    snapshot = asyncio.run(_read(settings.ingestion_address, job))
    return job.run(snapshot, trainer, wanted.protocol, wanted.stage)


async def _read(address: str, job: TrainingJob) -> LogSnapshot:
    from services.embedding.adapters.grpc_log import GrpcLog

    async with open_channel(address) as ingestion:
        return await job.read(GrpcLog(ingestion))


def _run(settings: EmbeddingSettings, wanted: Wanted) -> Run:
    from services.embedding.adapters.hf_folder import open_folder
    from services.embedding.training.runs import Run

    base = open_folder(settings.model).fingerprint if wanted.encoder == PRETRAINED else ""
    told = {
        "base": base,
        "max_tokens": settings.max_tokens,
        "rules": asdict(settings.preferences),
        **asdict(wanted),
        # Where curves go and when a run has to end are no part of what it computes.
        "tensorboard": "",
        "parameters": {**asdict(wanted.parameters), "max_minutes": None},
    }
    return Run(Path(settings.training_folder) / "runs", told)


def _base_vectors(settings: EmbeddingSettings) -> BaseVectors:
    """Returns what turns texts into the vectors of EMBEDDING_MODEL."""
    from services.embedding.adapters.base_model import BaseModel
    from services.embedding.adapters.base_vectors import base_vectors
    from services.embedding.bootstrap import make_encoders

    base = BaseModel(settings.model, make_encoders(settings), pooling=settings.pooling, max_tokens=settings.max_tokens)
    return partial(base_vectors, base)


def fit_trainer(
    kind: str, seed: int, progress: JobProgress, *, sessions: bool = False, base: BaseVectors | None = None
) -> Trainer:
    """Returns what fits one of `FITTED`; `sessions`: word2vec from what users liked; `base`: what it has to beat."""
    from services.embedding.training.fits import FitTrainer

    return FitTrainer(kind, seed, progress, sessions=sessions, base=base)


def encoder_trainer(
    settings: EmbeddingSettings,
    *,
    method: Method,
    parameters: FinetuneParameters,
    domain_pretrain: bool,
    run_folder: Path,
    curves: Path,
    progress: JobProgress,
) -> Trainer:
    """Returns what fine-tunes EMBEDDING_MODEL, with its checkpoints in `run_folder` and its curves in `curves`."""
    from services.embedding.adapters.base_model import BaseModel
    from services.embedding.adapters.checkpoint_file import CheckpointFile
    from services.embedding.adapters.tensorboard import TensorBoardFiles
    from services.embedding.bootstrap import make_encoders
    from services.embedding.training.encoder_trainer import EncoderTrainer

    base = BaseModel(settings.model, make_encoders(settings), pooling=settings.pooling, max_tokens=settings.max_tokens)

    def open_workshop() -> Workshop:
        from services.embedding.adapters.keras_workshop import KerasWorkshop

        return KerasWorkshop(
            settings.model,
            base.version(),
            parameters,
            max_tokens=settings.max_tokens,
            threads=settings.intra_op_threads,
        )

    return EncoderTrainer(
        kind=PRETRAINED,
        tuning=method,
        parameters=parameters,
        domain_pretrain=domain_pretrain,
        open_workshop=open_workshop,
        domain_checkpoints=CheckpointFile(run_folder / "domain.safetensors"),
        checkpoints=CheckpointFile(run_folder / "finetune.safetensors"),
        board=TensorBoardFiles(curves),
        progress=progress,
    )
