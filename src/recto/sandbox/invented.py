"""Question/answer proposals about a topic, made up by rule: the sandbox knows no facts, and its answers say so."""

from collections.abc import Collection

from recto.sandbox.extractive import key
from recto.text.sentences import cut

FACTS = 150  # about any topic

_TOPIC_MAX = 160  # leaves room for the question around it


def propose(topic: str, limit: int, known: Collection[str] = (), *, cloze: bool = False) -> list[dict[str, str]]:
    """At most ``limit`` cards ``{"front", "back"}``, the first of ``FACTS`` without a front like one of ``known``.

    With ``cloze`` every front has a gap.
    """
    asked = set(map(key, known))
    form = "Fact {} about {} is: ____" if cloze else "What is fact {} about {}?"
    fronts = {number: form.format(number, cut(topic, _TOPIC_MAX)) for number in range(1, FACTS + 1)}
    cards = [
        {"front": front, "back": f"The sandbox made this up as answer {number}."}
        for number, front in fronts.items()
        if key(front) not in asked
    ]
    return cards[:limit]
