"""`fusionrec finetune`: what it hands to the job."""

from __future__ import annotations

from click.testing import CliRunner
from fusionrec.common.v1 import serving_pb2 as common_pb
from fusionrec.embedding.v1 import embedding_service_pb2 as pb

from services.embedding.__main__ import _parser
from shared.cli.finetune import as_arguments, finetune, is_taken_up


def test_options_that_were_given_are_handed_on_by_the_same_names():
    options = {"method": "full", "learning_rate": 1e-5, "epochs": None, "domain_pretrain": True, "always": False}
    assert as_arguments(options) == ["--method", "full", "--learning-rate", "1e-05", "--domain-pretrain"]


def test_every_option_of_the_command_is_one_of_the_job():
    given = {
        parameter.name: parameter.type.choices[0] if hasattr(parameter.type, "choices") else "1"
        for parameter in finetune.params
        if parameter.name not in {"where", "port_base", "data_dir", "host"}
    }
    flags = {parameter.name for parameter in finetune.params if getattr(parameter, "is_flag", False)}
    options = {name: True if name in flags else value for name, value in given.items()}
    parsed = _parser().parse_args(["train", *as_arguments(options)])
    assert parsed.domain_pretrain
    assert parsed.max_minutes == 1.0


def test_a_newer_version_than_the_published_one_is_as_good():
    names = ("newer", "published", "older", "base")
    versions = [common_pb.VersionInfo(version=name) for name in names]
    taken = [
        name for name in names if is_taken_up(pb.GetModelInfoResponse(version=name, versions=versions), "published")
    ]
    assert taken == ["newer", "published"]
    assert is_taken_up(pb.GetModelInfoResponse(version="published"), "published")
    assert not is_taken_up(pb.GetModelInfoResponse(version="base"), "published")


def test_help_says_what_it_does():
    said = CliRunner().invoke(finetune, ["--help"]).output
    assert "candidates" in said
    assert "full|lora|head" in said
    assert "fusionrec train" in said
