"""What tests of rules share."""

from __future__ import annotations

from dataclasses import replace

from services.ranker.adapters.rule_file import RuleFile
from services.ranker.pipeline.select.options import NO_OPTIONS, Rule
from shared.data.nouns import ItemFilter


def rule(name, action, amount=0.0, **when):
    return Rule(name, ItemFilter(**when), action, amount)


def asked(**options):
    return replace(NO_OPTIONS, **options)


def ids(answer):
    return [one.item_id for one in answer.results]


def written(tmp_path, text, **options):
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    return RuleFile(str(path), **options)
