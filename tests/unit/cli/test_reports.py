"""Reports: one object, and a table that names what was measured."""

from __future__ import annotations

import io

from rich.console import Console

from shared.cli import reports


def report(protocol, ndcg):
    models = {"popular": {"ndcg@10": 0.06, "coverage": 0.1}, "fusion": {"ndcg@10": ndcg, "coverage": 0.4}}
    return {"protocol": protocol, "k": 10, "users": 656, "versions": {"ranker": "v7"}, "models": models}


def test_one_protocol_is_printed_as_it_is():
    assert reports.merged({"new-items": report("new-items", 0.2)}) == report("new-items", 0.2)


def test_several_are_the_warm_one_with_all_beside():
    all_three = {name: report(name, n) for name, n in (("warm", 0.14), ("new-items", 0.2), ("new-users", 0.3))}
    found = reports.merged(all_three)
    assert found["protocol"] == "warm"
    assert found["models"]["fusion"]["ndcg@10"] == 0.14
    assert found["protocols"] == all_three


def test_the_table_names_protocol_users_and_versions_best_model_first():
    console = Console(file=io.StringIO(), width=120)
    reports.show(report("warm", 0.141), console)
    text = console.file.getvalue()
    assert "warm: 656 users, k = 10" in text
    assert "ranker v7" in text
    assert text.index("fusion") < text.index("popular")
    assert "0.1410" in text


def test_figures_by_length_of_history_and_warnings_are_shown():
    console = Console(file=io.StringIO(), width=120)
    content = report("new-users", 0.3)
    content["models"]["fusion"]["by_history"] = {"1": {"ndcg@10": 0.3241}, "10": {"ndcg@10": 0.2861}}
    content["warnings"] = ["fusion: 3 of 10 answers were given without embedding"]
    reports.show(content, console)
    text = console.file.getvalue()
    assert "new-users: ndcg@10 by events of history" in text
    assert "0.3241" in text
    assert "given without embedding" in text
