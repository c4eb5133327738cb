"""The model of the settings: which kind it is, and what its version says."""

from __future__ import annotations

import json

import pytest

from services.embedding.adapters.base_model import BaseModel
from services.embedding.encoders import bow
from services.embedding.encoders.artifact import EncoderDescription
from services.embedding.encoders.model import ModelUnusable
from services.embedding.encoders.registry import Encoders
from shared.testing.tiny_decoder import POSITIONS, write_tiny_decoder
from shared.testing.tiny_encoder import write_tiny_encoder


class Told:
    """Notes what it is asked to load."""

    def load(self, folder, description, version, go_on):
        go_on()
        self.folder, self.description, self.version = folder, description, version
        return self


@pytest.fixture
def kind():
    return Told()


def base(folder, kind, *, pooling="last", max_tokens=256):
    encoders = Encoders(dict.fromkeys(("bert", "gpt", "bow"), kind))
    return BaseModel(str(folder), encoders, pooling=pooling, max_tokens=max_tokens)


def test_a_decoder_is_pooled_as_the_settings_say(tmp_path, kind):
    model = base(write_tiny_decoder(tmp_path / "gpt2"), kind)
    assert model.load(lambda: None) is kind
    assert kind.description == EncoderDescription("gpt", "last", POSITIONS)
    assert kind.version == model.version()


def test_a_bert_is_pooled_by_the_mean(tmp_path, kind):
    base(write_tiny_encoder(tmp_path / "bert", "xlm-roberta"), kind, max_tokens=20).load(lambda: None)
    assert kind.description == EncoderDescription("bert", "mean", 20)


def test_the_folder_of_an_artifact_says_itself_what_it_is(tmp_path, kind):
    bow.fit(["space war"], max_tokens=77).save(tmp_path / "bow")
    base(tmp_path / "bow", kind, max_tokens=20).load(lambda: None)
    assert kind.description == EncoderDescription("bow", "mean", 77)


def test_versions_change_with_all_that_changes_vectors_and_only_then(tmp_path, kind):
    folder = write_tiny_decoder(tmp_path / "gpt2")
    version = base(folder, kind).version()
    assert len(version) == 12
    # The positions are fewer than both limits.
    assert base(folder, kind, max_tokens=4_000).version() == version
    assert base(folder, kind, pooling="mean").version() != version
    assert base(folder, kind, max_tokens=20).version() != version
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "n_head": 2}))
    assert base(folder, kind).version() != version


def test_a_folder_of_no_served_family_is_refused(tmp_path, kind):
    folder = write_tiny_decoder(tmp_path / "gpt2")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "t5"}))
    with pytest.raises(ModelUnusable, match=r"'t5' .* served are bert, .*, gpt2, llama"):
        base(folder, kind).version()


def test_a_decoder_of_another_activation_is_refused(tmp_path, kind):
    folder = write_tiny_decoder(tmp_path / "llama", "llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_act": "relu"}))
    with pytest.raises(ModelUnusable, match=r"activation 'relu' .* llama"):
        base(folder, kind).load(lambda: None)


def test_files_that_changed_after_the_version_was_named_are_not_served_under_it(tmp_path, kind):
    folders = [write_tiny_encoder(tmp_path / "bert"), tmp_path / "bow"]
    bow.fit(["space war"]).save(folders[1])
    for folder, file in zip(folders, ("config.json", "encoder.json"), strict=True):
        model = base(folder, kind)
        version = model.version()
        model.load(lambda: None)
        content = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(content, indent=7))
        with pytest.raises(ModelUnusable, match="changed since"):
            model.load(lambda: None)
        # Another start names another version.
        assert base(folder, kind).version() != version
        base(folder, kind).load(lambda: None)
