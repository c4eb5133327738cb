"""What `fusionrec rollback` says of the other service, once it is done."""

from __future__ import annotations

import socket

import pytest
from fusionrec.common.v1.serving_pb2 import VersionInfo

from shared.cli.addresses import Addresses
from shared.cli.calls import Services
from shared.cli.rollback import _say_what_fits, what_fits


def ranker(version, candidates, stage="serving"):
    return VersionInfo(version=version, lineage={"candidates": candidates}, labels={"stage": stage})


KEPT = [VersionInfo(version=name) for name in ("c2", "c1")]
RANKERS = [ranker("r2", "c2"), ranker("r1-test", "c1", "test"), ranker("r1", "c1"), ranker("r0", "c1")]


@pytest.mark.parametrize("service", ["candidates", "ranker"])
@pytest.mark.parametrize(("candidates", "own"), [("c2", "r2"), ("c1", "r1")])
def test_what_was_trained_together_needs_no_word(service, candidates, own):
    assert what_fits(service, candidates, own, KEPT, RANKERS) == ""


def test_candidates_rolled_back_names_the_ranker_to_roll_back_with_it():
    said = what_fits("candidates", "c1", "r2", KEPT, RANKERS)
    assert said.startswith("ranker r2 was trained on candidates c2; c1 is current.")
    assert said.endswith("Roll back both: fusionrec rollback ranker --to r1")


def test_a_ranker_rolled_back_names_the_candidates_to_roll_back_with_it():
    said = what_fits("ranker", "c2", "r1", KEPT, RANKERS)
    assert said.startswith("ranker r1 was trained on candidates c1; c2 is current.")
    assert said.endswith("Roll back both: fusionrec rollback candidates --to c1")


@pytest.mark.parametrize(
    ("service", "candidates", "own", "none"),
    [
        ("candidates", "c1", "r2", "The ranker has no version that was trained on c1;"),
        ("ranker", "c2", "r1", "Candidates has no version c1 any more;"),
    ],
)
def test_where_none_goes_with_it_no_rollback_is_advised(service, candidates, own, none):
    rankers = [ranker("r2", "c2")] if service == "candidates" else RANKERS
    said = what_fits(service, candidates, own, KEPT[:1], rankers)
    assert none in said
    assert "fusionrec train makes both anew" in said
    assert "fusionrec rollback" not in said


@pytest.mark.parametrize("rankers", [[], [VersionInfo(version="r2")]])
def test_a_ranker_that_does_not_say_its_candidates_is_told_of(rankers):
    assert "is not known" in what_fits("candidates", "c1", "r2", KEPT, rankers)


def test_where_nothing_answers_it_is_said_and_nothing_fails(capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with Services(Addresses(free.getsockname()[1] - 2)) as services:
            _say_what_fits(services, "ranker")
    assert "was not checked: candidates does not run, or names no version" in capsys.readouterr().err
