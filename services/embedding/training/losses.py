"""The losses, on tensors of any Keras backend."""

from __future__ import annotations

from typing import Any

_MASKED = -1e9


def info_nce(anchors: Any, targets: Any, negatives: Any, log_q: Any, *, temperature: float, correction: float) -> Any:
    """Returns the mean contrastive loss with in-batch negatives, a scalar tensor.

        L = -1/B Σ_r log( exp(s_rr) / (exp(s_rr) + Σ_(c negative of r) exp(s_rc)) )
        s_rc = cos(anchor_r, target_c) / temperature - correction · log q_c

    InfoNCE (van den Oord et al. 2018), multiple negatives ranking (Henderson et al. 2017); the correction for negatives
    that are drawn with probability q_c is that of sampled softmax (Bengio and Senécal 2008; Yi et al. 2019).

    Args:
        anchors: unit vectors, (batch, dim).
        targets: unit vectors, (batch, dim).
        negatives: bool (batch, batch); false on the diagonal.
        log_q: (batch,).
        temperature: see above.
        correction: 0 to 1.

    """
    from keras import ops

    shift = correction * log_q
    own = ops.sum(anchors * targets, axis=1) / temperature - shift
    scores = ops.matmul(anchors, ops.transpose(targets)) / temperature - shift[None, :]
    others = ops.logsumexp(ops.where(negatives, scores, _MASKED), axis=1)
    return ops.mean(ops.logaddexp(own, others) - own)


def relational(vectors: Any, before: Any) -> Any:
    """Returns how far the texts' cosines moved, a scalar tensor: the mean of (vᵢ·vⱼ - wᵢ·wⱼ)².

    Distillation of similarities (Park et al. 2019, "Relational knowledge distillation"): it holds what the words say of
    items that no event speaks for, and leaves the space free to turn.

    Args:
        vectors: unit vectors now, (batch, dim).
        before: those of the same texts before the training, (batch, any dim).

    """
    from keras import ops

    moved = ops.matmul(vectors, ops.transpose(vectors)) - ops.matmul(before, ops.transpose(before))
    return ops.mean(ops.square(moved))


def masked_tokens(logits: Any, labels: Any, weights: Any) -> Any:
    """Returns the mean cross-entropy of hidden tokens, a scalar tensor (Devlin et al. 2019, "BERT").

    Args:
        logits: (tokens, vocabulary).
        labels: the ids that were hidden, int (tokens,).
        weights: 1 for hidden tokens, 0 for padding, (tokens,).

    """
    from keras import ops

    picked = ops.squeeze(ops.take_along_axis(logits, labels[:, None], axis=1), 1)
    losses = ops.logsumexp(logits, axis=1) - picked
    return ops.sum(losses * weights) / ops.maximum(ops.sum(weights), 1.0)
