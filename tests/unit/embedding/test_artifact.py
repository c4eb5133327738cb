"""Artifacts that were written by something else, or damaged: each a clear refusal."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from services.embedding.encoders import bow
from services.embedding.encoders.artifact import (
    ENCODER_FILE,
    HEAD_FILE,
    EncoderDescription,
    Head,
    load_head,
    read_description,
    write_description,
)
from services.embedding.encoders.model import ModelUnusable
from services.embedding.encoders.registry import Encoders
from services.embedding.encoders.term_kind import TermKind
from services.embedding.encoders.terms import TENSORS_FILE, TERMS_FILE

KINDS = Encoders({"bow": TermKind()})


@pytest.fixture
def folder(tmp_path):
    bow.fit(["space war", "quiet drama"]).save(tmp_path)
    return tmp_path


def load(folder):
    return KINDS.load(folder, "v", lambda: None)


def test_what_is_written_is_read(tmp_path):
    description = EncoderDescription("gpt", "last", 77)
    write_description(tmp_path / "new", description)
    assert read_description(tmp_path / "new") == description


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not valid JSON"),
        ("[]", "names no kind"),
        ('{"pooling": "mean"}', "names no kind"),
        ('{"kind": "elmo"}', "kind 'elmo' .* served are bert, gpt, bow, tfidf, word2vec"),
        ('{"kind": "bert", "pooling": "last"}', "pooling 'last' .* not served for bert"),
        ('{"kind": "gpt", "pooling": "max"}', "pooling 'max'"),
        ('{"kind": "gpt", "max_tokens": 0}', "max_tokens 0"),
        ('{"kind": "gpt", "max_tokens": "many"}', "max_tokens 'many'"),
        ('{"kind": "bert"}', "no engine for encoders of kind 'bert'"),
    ],
)
def test_descriptions_that_cannot_be_served(tmp_path, content, says):
    (tmp_path / ENCODER_FILE).write_text(content)
    with pytest.raises(ModelUnusable, match=says):
        load(tmp_path)


def change(**tensors):
    def damage(folder):
        save_file({**load_file(folder / TENSORS_FILE), **tensors}, folder / TENSORS_FILE)

    return damage


def without(name):
    def damage(folder):
        tensors = load_file(folder / TENSORS_FILE)
        del tensors[name]
        save_file(tensors, folder / TENSORS_FILE)

    return damage


def terms(content):
    return lambda folder: (folder / TERMS_FILE).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / ENCODER_FILE).unlink(), "no readable encoder.json"),
        (lambda folder: (folder / TERMS_FILE).unlink(), "no readable terms.json"),
        (terms({"terms": []}), "no vocabulary"),
        (terms({"words": ["a"]}), "no vocabulary"),
        (terms({"terms": [1, 2, 3, 4]}), "no vocabulary"),
        (terms({"terms": ["a", "a", "b", "c"]}), "a term twice"),
        (terms({"terms": ["a", "b"]}), r"`table` .* has shape \(4, 4\)"),
        (without("weights"), "`weights` .* is missing"),
        (without("table"), "no tensor `table`"),
        (change(neutral=np.ones(3, np.float32)), r"`neutral` .* has shape \(3,\)"),
        (change(weights=np.full(4, np.nan, np.float32)), "`weights` .* not finite"),
        (lambda folder: (folder / TENSORS_FILE).write_bytes(b"cut"), "damaged or cut short"),
        (lambda folder: (folder / TENSORS_FILE).unlink(), "missing, damaged"),
    ],
)
def test_damaged_tables(folder, damage, says):
    assert load(folder).encoder.facts.dim == 4
    damage(folder)
    with pytest.raises(ModelUnusable, match=says) as unusable:
        load(folder)
    assert str(folder) not in str(unusable.value)


def test_tables_that_make_no_unit_vectors_are_found_when_warming(folder):
    change(neutral=np.zeros(4, np.float32))(folder)
    with pytest.raises(ModelUnusable, match="no unit vectors"):
        load(folder).encoder.warm(lambda: None)


def test_head_is_read_as_it_was_written(tmp_path):
    assert load_head(tmp_path, 3) is None
    Head(np.ones((3, 2), np.float32), np.zeros(2, np.float32)).save(tmp_path)
    head = load_head(tmp_path, 3)
    assert (head.dim, head.parameters) == (2, 8)


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"weight": np.ones((4, 2), np.float32)}, "no tensor `weight` of 3 rows"),
        ({"weight": np.ones(3, np.float32)}, "no tensor `weight` of 3 rows"),
        ({"bias": np.ones(2, np.float32)}, "no tensor `weight`"),
        ({"weight": np.ones((3, 2), np.float32), "bias": np.ones(3, np.float32)}, r"`bias` .* shape \(3,\)"),
        ({"weight": np.full((3, 2), np.inf, np.float32)}, "not finite"),
    ],
)
def test_heads_that_do_not_fit(tmp_path, tensors, says):
    save_file(tensors, tmp_path / HEAD_FILE)
    with pytest.raises(ModelUnusable, match=says):
        load_head(tmp_path, 3)
