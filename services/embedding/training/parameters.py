"""What a training is told: the method, the objective, the schedule. Every value is part of the published artifact."""

from __future__ import annotations

from enum import StrEnum

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Method(StrEnum):
    """How much of the encoder learns."""

    FULL = "full"
    """Every weight."""
    LORA = "lora"
    """Low-rank additions to the attention's query and value projections; merged into the weights when published."""
    HEAD = "head"
    """A linear map on top of the frozen encoder."""


class Objective(StrEnum):
    """What is brought near to what."""

    HISTORY = "history"
    """The mean of what a user liked, near another item that the user liked."""
    PAIRS = "pairs"
    """Two items that the same user liked."""


@dataclass(frozen=True, config=STRICT)
class FinetuneParameters:
    """Of the fine-tuning. A rate or number of epochs that is None is the method's own."""

    objective: Objective = Objective.HISTORY
    """What is brought near to what: `history` or `pairs`."""
    epochs: float | None = Field(default=None, gt=0)
    """Passes over the liked items, at most; None: the method's own."""
    batch: int = Field(default=128, ge=4, le=4_096)
    """Items of a step; each is the others' negative."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Largest learning rate, reached after the warm-up; None: the method's own."""
    warm_up: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps in which the rate rises from zero; then it falls to zero along a cosine."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Of AdamW (Loshchilov and Hutter 2019)."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Longest gradient of a step; a longer one is scaled down."""
    temperature: float = Field(default=0.07, gt=0)
    """Divides the cosines: a small one looks at the hardest negatives only."""
    debias: float = Field(default=0.5, ge=0, le=1)
    """An item is drawn with the number of its likes to the power of 1 - this: 0 as often as it is liked, 1 as all."""
    user_debias: float = Field(default=0.5, ge=0, le=1)
    """The same for users and the number of their likes."""
    log_q: float = Field(default=1.0, ge=0, le=1)
    """How far negatives are corrected for how often they are drawn: 0 not at all, 1 fully."""
    history: int = Field(default=20, ge=1, le=500)
    """Liked items of a history at most, drawn at random of a longer one."""
    distill: float = Field(default=1.0, ge=0)
    """Weight of keeping the texts' cosines as they were before: items without events do not drift."""
    rank: int = Field(default=8, ge=1, le=256)
    """Of LoRA's additions."""
    keep_frozen: float = Field(default=0.0, ge=0, lt=1)
    """With `head`: share of the published vector's square that is the frozen vector, the rest is projected; 0: none."""
    head_dim: int = Field(default=0, ge=0, le=4_096)
    """Length of the head's output; 0: as long as its input."""
    max_tokens: int = Field(default=64, ge=8, le=512)
    """Tokens read of a text while training."""
    validation_share: float = Field(default=0.15, gt=0, lt=0.5)
    """Share of the items with at least 3 likes that are hidden to judge the training."""
    evaluate_epochs: float = Field(default=1.0, gt=0)
    """Passes between two judgements."""
    patience: int = Field(default=3, ge=1)
    """Judgements without improvement after which the training ends."""
    checkpoint_steps: int = Field(default=50, ge=1)
    """Steps between two checkpoints."""
    domain_epochs: float = Field(default=3.0, gt=0)
    """Passes over all texts of the masked-language pretraining, when it is asked for."""
    domain_learning_rate: float = Field(default=5e-5, gt=0)
    """Largest learning rate of that pretraining."""
    mask_share: float = Field(default=0.15, gt=0, lt=1)
    """Share of the tokens that it hides."""
    max_items: int = Field(default=100_000, ge=10)
    """Items that are trained on at most, the most liked: bounds memory."""
    max_likes: int = Field(default=5_000_000, ge=10)
    """Likes that are trained on at most, the newest: bounds memory."""
    max_minutes: float | None = Field(default=None, gt=0)
    """The training ends after this time with the best there is; None: it takes what it takes."""
    seed: int = 7
    """Of everything random. The same seed on the same machine gives the same batches and the same dropout."""


RATES: dict[Method, float] = {Method.FULL: 3e-5, Method.LORA: 1e-3, Method.HEAD: 1e-4}
"""Largest learning rate of each method, unless told otherwise."""
EPOCHS: dict[Method, float] = {Method.FULL: 2.0, Method.LORA: 2.0, Method.HEAD: 5.0}
"""Passes over the liked items at most, unless told otherwise."""
