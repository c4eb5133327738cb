"""Experiments: who is in which variant, and what is refused in their file."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.evaluator.adapters.experiment_file import ExperimentFile
from services.evaluator.experiments.experiment import Experiment
from shared.errors import CorruptData, InvalidField, LimitExceeded

USERS = [f"u{n}" for n in range(20_000)]
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def experiment(share=1.0, salt="s", **weights):
    return Experiment("e", weights or {"gbdt": 1, "linear": 1}, share, salt)


def counts(one):
    return Counter(one.variant(user) for user in USERS)


def within(count, expected):
    """Five standard deviations of a binomial draw; the ids are fixed, so this never changes."""
    return abs(count - expected) < 5 * math.sqrt(expected)


def test_users_are_shared_by_weight():
    found = counts(experiment(gbdt=3, linear=1))
    assert set(found) == {"gbdt", "linear"}
    assert within(found["linear"], 5_000)


def test_a_share_of_the_users_takes_part_and_a_larger_one_moves_nobody():
    small, large = experiment(share=0.1), experiment(share=0.5)
    assert within(counts(small)[""], 18_000)
    assert within(counts(large)[""], 10_000)
    inside = [user for user in USERS if small.variant(user)]
    assert [small.variant(user) for user in inside] == [large.variant(user) for user in inside]


def test_experiments_of_different_salts_are_independent():
    pairs = Counter((experiment(salt="a").variant(user), experiment(salt="b").variant(user)) for user in USERS)
    assert len(pairs) == 4
    assert all(within(count, 5_000) for count in pairs.values())


@given(NAMES, st.dictionaries(NAMES, st.floats(1e-300, 1e6), min_size=1, max_size=5))
def test_the_same_user_is_always_in_the_same_variant(user, weights):
    one = Experiment("e", weights, 1.0, "s")
    other = Experiment("e", dict(reversed(weights.items())), 1.0, "s")
    assert one.variant(user) == other.variant(user)
    assert one.variant(user) in weights


def test_an_assignment_is_the_one_of_every_release():
    """Golden: another hash would move all users of all running experiments."""
    assert [experiment(share=0.5).variant(f"u{n}") for n in range(8)] == [
        "gbdt",
        "",
        "linear",
        "gbdt",
        "",
        "gbdt",
        "gbdt",
        "",
    ]


def read(tmp_path, text):
    path = tmp_path / "experiments.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return ExperimentFile(str(path)).read()[1]


def test_a_file_with_defaults(tmp_path):
    text = """
    experiments:
      - name: trees
        variants: {gbdt: 1, linear: 2.5}
        share: 0.2
      - {name: 7, variants: {dot: 1}, salt: other}
    """
    assert read(tmp_path, text) == {
        "trees": Experiment("trees", {"gbdt": 1.0, "linear": 2.5}, 0.2, "trees"),
        "7": Experiment("7", {"dot": 1.0}, 1.0, "other"),
    }
    assert read(tmp_path, "") == read(tmp_path, "experiments: []") == {}


UNPRINTABLE = "experiments.0.variants.\ufffd\ufffd\ufffd.[key]"
ONE = "experiments:\n- name: a\n  variants: {x: 1}\n"


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        (ONE + "  share: 0\n", "line 4: experiments.0.share", "greater than 0"),
        (ONE + "  share: .nan\n", "line 4: experiments.0.share", "finite"),
        (ONE + "  shares: 0.5\n", "line 4: experiments.0.shares", "not permitted"),
        (ONE + "- name: a\n  variants: {x: 1}\n", "line 4: experiments.1.name", "each name once"),
        (ONE + "  name: b\n", "line 4", "twice"),
        ("experiments:\n- name: a\n  variants: {}\n", "line 3: experiments.0.variants", "at least 1"),
        ("experiments:\n- name: a\n  variants: {x: 0}\n", "line 3: experiments.0.variants.x", "greater than 0"),
        ("experiments:\n- name: ''\n  variants: {x: 1}\n", "line 2: experiments.0.name", "non-empty"),
        ("experiments:\n- variants: {x: 1}\n", "line 2: experiments.0.name", "required"),
        ("experiments: 7\n", "line 1: experiments", "list"),
        ("- a\n", "line 1: the file", ""),
        ("experiments: [\n", "line 2", "YAML"),
        (b"\xff\xfe", "the file", "YAML"),
        ("[" * 5_000, "the file", "YAML"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "line 1", "aliases"),
        ("a: 1\n", "line 1: a", "not permitted"),
        (ONE + "  share: !!int ''\n", "the file", "YAML"),
        (ONE + "  share: !!bool maybe\n", "the file", "YAML"),
        (ONE + "  share: 2026-99-99\n", "the file", "YAML"),
        (ONE + "  ? [a]\n  : 1\n", "line 4", "one word"),
        ("experiments:\n- {name: a, variants: {'': 1}}\n", "line 2: experiments.0.variants..[key]", "non-empty"),
        ('experiments:\n- {name: a, variants: {"\\uD800": 1}}\n', f"line 2: {UNPRINTABLE}", "surrogates"),
        ("experiments:\n- {name: a, variants: {x: true}}\n", "line 2: experiments.0.variants.x", "number"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_its_line(tmp_path, text, where, what):
    with pytest.raises(InvalidField) as refused:
        read(tmp_path, text)
    assert refused.value.violation.field == where
    assert what in refused.value.message


def test_a_file_that_is_not_there_or_too_large_is_refused(tmp_path):
    with pytest.raises(CorruptData, match="No such file"):
        ExperimentFile(str(tmp_path / "none.yaml")).stamp()
    with pytest.raises(LimitExceeded):
        read(tmp_path, "#" * (1024 * 1024 + 1))
