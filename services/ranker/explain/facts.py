"""What a sentence about a result may say, and whether one that was written keeps to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.ranker.explain.reasons import BEHAVIOUR

if TYPE_CHECKING:
    from services.ranker.nouns import Explanation

MAX_WORDS = 40
MAX_LIKED = 2
MAX_TITLE_CHARACTERS = 120
"""Characters of a title in a prompt."""
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*", re.UNICODE)
_LIKED = re.compile(r"\b(?:you|you['\u2019]ve|your)\b.*\b(?:liked|loved|enjoyed)\b", re.IGNORECASE)
_OTHERS = re.compile(r"\b(?:people|others|fans?)\b", re.IGNORECASE)
_THIS = re.compile(r"\b(?:this|it)\b", re.IGNORECASE)
_TURN = re.compile(r"\b(?:try|enjoy|like|liked|love|loved|recommend|recommended|pick|want|fits?)\b", re.IGNORECASE)
"""What stands between what was liked and what is recommended for it."""
_ALLOWED = frozenset(
    word
    for line in (
        "a about all also an and another are as at be because been both by can close could enjoy enjoyed enjoying",
        "enjoys fan fans fit fits for from good great has have here how if in interest interested into is it it's its",
        "just kind like liked likes look looks love loved loves made many match matches may might more much new of",
        "often on one or other others our people pick picked popular recommend recommendation recommended same share",
        "shares should similar since so something style taste tastes than that that's the their them then there these",
        "they they're this those to too try want well what which who who've why will with worth would you you'll",
        "you're you've your",
    )
    for word in line.split()
)
"""Words that state no fact: a sentence may use these and the words of its facts, and no others."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a result. `liked`: titles of history items that speak for it; `template`: its sentence."""

    title: str
    liked: tuple[str, ...]
    by_behaviour: bool
    is_new: bool
    template: str

    @property
    def lines(self) -> tuple[str, ...]:
        """The facts, one a line, as the model is told."""
        lines = [f"Recommended: {self.title}"]
        if self.liked:
            lines.append(f"The user liked: {' and '.join(self.liked)}")
            how = "People who liked the same also liked it." if self.by_behaviour else "It is about similar things."
            lines.append(f"Reason: {how}")
        else:
            lines.append("Reason: it is popular with many people.")
        if self.is_new:
            lines.append("It is new.")
        return tuple(lines)


def facts_of(explanation: Explanation, title: str, *, is_new: bool) -> Facts:
    """Returns the facts of an explained result; an item without a title has none, and its template stays."""
    liked = list(dict.fromkeys(one.title for one in explanation.history if one.title))[:MAX_LIKED]
    by_behaviour = bool(explanation.history) and explanation.history[0].kind == BEHAVIOUR
    short = tuple(_short(one) for one in liked)
    return Facts(_short(title), short, by_behaviour, is_new, explanation.sentence)


def fault_of(sentence: str, facts: Facts) -> str:
    """Returns why a written sentence cannot be shown; empty when it can.

    It names the items that it is about and no other: every word is one of the facts' or states no fact, a word with a
    capital letter inside the sentence and every number are the facts'. So no other item can be named, except one whose
    title is made of such words alone. What is recommended comes after what was liked, and is not said to have been.
    """
    words = _WORD.findall(sentence)
    if not words or not sentence.endswith((".", "!")):
        return "it is not a whole sentence"
    if len(words) > MAX_WORDS or "\n" in sentence:
        return "it is too long"
    named = facts.liked or (facts.title,)
    if not any(title in sentence for title in named):
        return "it names none of the items that it is about"
    known = {word.casefold() for line in facts.lines for word in _WORD.findall(line)}
    titles = {word for title in (facts.title, *facts.liked) for word in _WORD.findall(title)}
    for place, word in enumerate(words):
        if word.casefold() not in known and word.casefold() not in _ALLOWED:
            return f"it says {word[:40]!r}, which no fact says"
        inside = place > 0 and word != "I"
        if inside and word[0].isupper() and word not in titles and not _begins(sentence, word):
            return f"it names {word[:40]!r}, which is not in the facts"
    return _misplaced(sentence, facts)


def _misplaced(sentence: str, facts: Facts) -> str:
    """Returns why a sentence takes one item for another: what is recommended was not liked, and comes last."""
    if not facts.liked:
        return "it says what the user liked, which no fact says" if _LIKED.search(sentence) else ""
    if not facts.by_behaviour and _OTHERS.search(sentence):
        return "it tells of other people, which no fact does"
    place = sentence.rfind(facts.title)
    if place < 0:
        return "" if _THIS.search(sentence) else "it does not say what is recommended"
    ends = [sentence.rfind(title) + len(title) for title in facts.liked if title in sentence]
    between = sentence[max(ends) : place]
    if max(ends) > place or not _TURN.search(between):
        return "it takes what is recommended for what was liked"
    return ""


def _begins(sentence: str, word: str) -> bool:
    """Returns whether every place of `word` is the beginning of a sentence."""
    return all(re.search(r"[.!?]\s+$", sentence[: found.start()]) for found in re.finditer(rf"\b{word}\b", sentence))


def _short(title: str) -> str:
    return " ".join(title.split())[:MAX_TITLE_CHARACTERS].strip()
