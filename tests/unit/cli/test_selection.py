"""Options of `fusionrec recommend`: what is asked of the server."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner
from fusionrec.ranker.v1 import ranker_service_pb2 as pb

from shared.cli.recommend import recommend
from shared.cli.selection import select, selection_options


def asked(*arguments):
    request = pb.RecommendRequest(k=10)

    @click.command()
    @selection_options
    def command(**chosen):
        select(request, **chosen)

    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    return request


def test_without_options_nothing_is_asked():
    assert asked() == pb.RecommendRequest(k=10)


def test_every_option_reaches_its_field():
    request = asked(
        "--diversity", "0.3", "--method", "dpp", "--calibration", "0.2", "--long-tail", "0.1", "--cap", "Horror=1",
        "--cap", "a=b=2", "--pin", "260@1", "--block", "13", "--block", "14",
    )  # fmt: skip
    own = request.selection
    assert request.diversity == pytest.approx(0.3)
    assert own.diversity_method == pb.DIVERSITY_METHOD_DPP
    assert (own.calibration, own.long_tail) == pytest.approx((0.2, 0.1))
    assert [(one.category, one.max_items) for one in own.category_caps] == [("Horror", 1), ("a=b", 2)]
    assert [(one.item_id, one.position) for one in own.pins] == [("260", 1)]
    assert list(own.block_item_ids) == ["13", "14"]
    assert not request.explore


def test_explore_with_and_without_a_method():
    assert asked("--explore").explore
    assert asked("--explore").selection.exploration_method == pb.EXPLORATION_METHOD_UNSPECIFIED
    request = asked("--explore", "thompson")
    assert (request.explore, request.selection.exploration_method) == (True, pb.EXPLORATION_METHOD_THOMPSON)


@pytest.mark.parametrize("wrong", [("--cap", "Horror"), ("--pin", "a@b"), ("--pin", "@1"), ("--method", "none")])
def test_what_makes_no_sense_is_said_before_any_call(wrong):
    result = CliRunner().invoke(recommend, ["somebody", *wrong])
    assert result.exit_code == 2
    assert wrong[1] in result.output
