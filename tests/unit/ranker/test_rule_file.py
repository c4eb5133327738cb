"""The rules file: what it can say, what it is refused for, and how a change is taken."""

from __future__ import annotations

import pytest
from fusionrec.ranker.v1 import ranker_service_pb2 as pb

from services.ranker.adapters.rule_file import RuleFile
from services.ranker.convert_selection import decode_selection
from services.ranker.pipeline.select.options import NO_OPTIONS, DiversityMethod, ExplorationMethod, Pin
from services.ranker.pipeline.select.rule_book import RuleBook
from shared.data.nouns import AttributeRule
from shared.errors import CorruptData, InvalidField, LimitExceeded

from .ruling import written

FULL = """
diversity: 0.2
selection:
  diversity_method: dpp
  calibration: 0.1
  max_per_category: 5
  category_caps:
    - {category: Horror, max_items: 1}
  pins:
    - {item_id: 260, position: 1}
  block_item_ids: [13, "14"]
  min_new_share: 0.1
  rules:
    - name: cheap first
      when:
        attributes: [{name: price, range: {max: 10}}]
        categories_any: [Drama]
      boost: 0.5
    - name: in stock
      when: {attributes: [{name: in_stock, equals: true}, {name: brand, any_of: [x, y]}]}
      require: true
"""


def test_a_file_says_what_a_request_can_say(tmp_path):
    _, defaults = written(tmp_path, FULL).read()
    assert defaults.diversity == pytest.approx(0.2)
    own = defaults.selection
    assert own.diversity_method is DiversityMethod.DPP
    assert own.category_caps == (("Horror", 1),)
    assert own.pins == (Pin("260", 1),)
    assert own.block_item_ids == {"13", "14"}
    assert own.rules[0].when.attributes == (AttributeRule("price", range=(None, 10.0)),)
    assert own.rules[1].when.attributes[1] == AttributeRule("brand", any_of=("x", "y"))
    assert written(tmp_path, "# nothing\n").read()[1].selection is NO_OPTIONS


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("selection:\n  pins:\n    - {item_id: a, position: 1}\n    - {item_id: b, position: 1}\n", 4, "none twice"),
        ("selection:\n  pins:\n    - {item_id: a, position: 1}\n  block_item_ids: [b, a]\n", 3, "blocked item"),
        ("selection:\n  pins:\n    - item_id: a\n      position: 0\n", 4, "1..1000"),
        ("diversity: 1.5\n", 1, "0..1"),
        ("diversity: much\n", 1, "a number"),
        ("selection:\n  boosts: []\n", 2, "one of diversity_method"),
        ("explore: true\n", 1, "one of diversity, selection"),
        ("selection:\n  calibration: .1\n  calibration: .2\n", 3, "none twice"),
        ("selection:\n  diversity_method: random\n", 2, "mmr, dpp"),
        ("selection: [\n", 2, "YAML"),
        ("- a\n", 1, "fields"),
        ("diversity: 2024-99-99\n", 1, "a number"),
        ("diversity: 0b_\n", 1, "a number"),
        ("\ndiversity: !foo 3\n", 2, "a number"),
        ("diversity: !!timestamp abc\n", 1, "a number"),
        (f"diversity: {'9' * 400}\n", 1, "a value of this field"),
        ('selection:\n  block_item_ids: ["\\ud800"]\n', 2, "a value of this field"),
        ('selection:\n  rules:\n    - name: "\\ud800"\n', 3, "a value of this field"),
        ('"\\ud800": 1\n', 1, "one of diversity, selection"),
        (f"selection: {'[' * 5000}", "the file", "nested too deeply"),
        ("selection:\n  exploration_method: thompson\n", 2, "RANKER_EXPLORATION_LEARNS"),
        ("selection:\n  rules:\n    - name: r\n      when: {categories_any: [X]}\n", 3, "one action"),
        ("selection:\n  rules:\n    - {name: r, when: {categories_any: [X]}, boost: 1, bury: 1}\n", 3, "one of boost"),
        ("selection:\n  rules:\n    - {name: r, when: {}, boost: 1}\n", 3, "a condition"),
        (
            (
                "selection:\n  rules:\n    - {name: up, when: {categories_any: [X]}, boost: 1}\n"
                "    - {name: down, when: {categories_any: [X]}, bury: 1}\n"
            ),
            4,
            "contradicts rule 'up'",
        ),
        (
            (
                "selection:\n  rules:\n    - name: cheap\n      when: {attributes: [{name: p, range: {max: 5}}]}\n"
                "      require: true\n"
                "    - {name: b, when: {categories_any: [X]}, boost: 1}\n"
                "    - name: dear\n      when: {attributes: [{name: p, range: {min: 6}}]}\n      require: true\n"
            ),
            7,
            "contradicts rule 'cheap'",
        ),
        (
            (
                "selection:\n  rules:\n    - {name: only, when: {categories_any: [X]}, require: true}\n"
                "    - {name: none, when: {categories_any: [X, Y]}, exclude: true}\n"
            ),
            4,
            "requires what the other excludes",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(tmp_path, text, line, what):
    with pytest.raises((InvalidField, LimitExceeded)) as caught:
        written(tmp_path, text).read()
    assert caught.value.violation.field.partition(":")[0] == (line if isinstance(line, str) else f"line {line}")
    assert what in caught.value.message
    assert caught.value.message.encode()


def test_a_file_may_name_thompson_where_the_server_learns(tmp_path):
    text = "selection:\n  exploration_method: thompson\n"
    defaults = written(tmp_path, text, learns=True).read()[1]
    assert defaults.selection.exploration_method is ExplorationMethod.THOMPSON


async def test_a_changed_file_is_read_and_a_broken_one_leaves_the_last_good(tmp_path):
    source = written(tmp_path, "diversity: 0.5\n")
    book = RuleBook(source)
    written(tmp_path, "diversity: 0.7\n")
    await book.check()
    assert (book.current.diversity, book.version, book.reason) == (pytest.approx(0.7), 1, "")
    written(tmp_path, "diversity: 7\n")
    await book.check()
    assert book.current.diversity == pytest.approx(0.7)
    assert "line 1" in book.reason
    (tmp_path / "rules.yaml").unlink()
    await book.check()
    assert book.current.diversity == pytest.approx(0.7)
    assert "cannot be read" in book.reason
    written(tmp_path, "diversity: 0.7\n")
    await book.check()
    assert (book.version, book.reason) == (1, "")
    written(tmp_path, "diversity: 0.1\n")
    await book.check()
    assert (book.current.diversity, book.reason) == (pytest.approx(0.1), "")
    with pytest.raises(CorruptData):
        RuleBook(RuleFile(str(tmp_path / "none.yaml")))


def test_a_selection_that_says_nothing_is_nothing():
    assert decode_selection(pb.SelectionOptions(), "selection") is NO_OPTIONS
