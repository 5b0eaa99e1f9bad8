"""What a model wrote → clean flashcard proposals. The model's text is untrusted: nothing in it can raise."""

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from unicodedata import category, normalize

from recto.text import entries
from recto.text.options import GAP


@dataclass(frozen=True, slots=True)
class Proposal:
    """A flashcard that a model proposes: plain text, trimmed, never markup."""

    front: str
    back: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many proposals are kept, and how many characters (code points) a side may have."""

    proposals: int = 15
    front: int = 200
    back: int = 500


@dataclass(frozen=True, slots=True)
class ParsedProposals:
    """The kept cards in the model's order, and how many were dropped for each reason."""

    proposals: list[Proposal]
    drops: Counter[str]


DEFAULT_BOUNDS = Bounds()


def parse(
    content: str, bounds: Bounds = DEFAULT_BOUNDS, known: Collection[str] = (), *, cloze: bool = False
) -> ParsedProposals:
    r"""Read the flashcards in a model's answer; keep the good ones, count the others by reason. Never raises.

    A card is dropped for the first of these that holds:

    - ``incomplete``: the text ended, or the JSON broke, inside it
    - ``not_text``: it is no object, lacks a side, or a side is no string
    - ``empty``: a side shows nothing
    - ``control_character``: other than line breaks and tabs; NUL and lone surrogates too
    - ``too_long``: a side exceeds its bound
    - ``no_gap``: it should be a ``cloze`` card, and its front leaves nothing out
    - ``front_is_back``: both sides say the same
    - ``leak``: the question holds the whole answer
    - ``known``: its front repeats one of ``known``
    - ``duplicate``: its front repeats a kept card's
    - ``surplus``: a fine card, but ``bounds.proposals`` are kept already

    Texts are compared as ``comparable`` has them. Sides are trimmed, ``\r\n`` becomes ``\n``, and the gap of a cloze
    card has four underscores; otherwise they are returned as written.
    """
    found, incomplete = entries.read(content[: most_read(bounds)])
    selection = Selection(bounds, known, cloze=cloze)
    for entry in found:
        selection.add(entry)
    selection.drops["incomplete"] += incomplete
    return ParsedProposals(selection.proposals, +selection.drops)


class Selection:
    """The good ones of the entries that should be cards, and how many others there were for each reason."""

    def __init__(self, bounds: Bounds, known: Collection[str], *, cloze: bool = False) -> None:
        self.proposals: list[Proposal] = []
        self.drops: Counter[str] = Counter()
        self._bounds = bounds
        self._cloze = cloze
        self._known = set(map(comparable, known))
        self._fronts: set[str] = set()

    def add(self, entry: object) -> Proposal | None:
        """Keep the entry and return it as a proposal, or count why it is dropped."""
        proposal, reason = self._judge(*entries.sides(entry))
        if reason:
            self.drops[reason] += 1
            return None
        self.proposals.append(proposal)
        return proposal

    def _judge(self, front: object, back: object) -> tuple[Proposal, str | None]:
        proposal = Proposal("", "")
        if not isinstance(front, str) or not isinstance(back, str):
            return proposal, "not_text"
        front, back = front.replace("\r\n", "\n"), back.replace("\r\n", "\n")
        if not (_VISIBLE.search(front) and _VISIBLE.search(back)):
            return proposal, "empty"
        # Before trimming: a form feed is white space, and may be what is left of a LaTeX command.
        if _CONTROL.search(front) or _CONTROL.search(back):
            return proposal, "control_character"
        if self._cloze:
            front = _GAP.sub(GAP, front)
            if GAP not in front:
                return proposal, "no_gap"
        proposal = Proposal(front.strip(), back.strip())
        if len(proposal.front) > self._bounds.front or len(proposal.back) > self._bounds.back:
            return proposal, "too_long"
        question, answer = comparable(proposal.front), comparable(proposal.back)
        if question == answer:
            reason = "front_is_back"
        elif _leaks(question, answer):
            reason = "leak"
        elif question in self._known:
            reason = "known"
        elif question in self._fronts:
            reason = "duplicate"
        elif len(self.proposals) >= self._bounds.proposals:
            reason = "surplus"
        else:
            self._fronts.add(question)
            return proposal, None
        return proposal, reason


# A megabyte would take seconds: so many characters are read, or twice what the cards asked for may have.
_LEAST_READ = 200_000


def most_read(bounds: Bounds) -> int:
    """Return how many characters of an answer are read."""
    return max(_LEAST_READ, 2 * bounds.proposals * (bounds.front + bounds.back))


_GAP = re.compile(r"_{2,}")
_VISIBLE = re.compile("[^\\s\u00ad\u200b-\u200f\u2060-\u2064\ufeff]")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

# Signs that distinguish C from C# and 6*2 from 6/2 count as letters. NFKC brings most punctuation into this plane.
_PUNCTUATION = re.compile(
    f"[{re.escape(''.join(c for c in map(chr, range(0x10000)) if category(c)[0] == 'P' and c not in '#%&*-/@'))}]"
)
_HYPHEN = re.compile(r"-(?!\d)|(?<=\w)-")  # the others are the minus of a number


def comparable(text: str) -> str:
    """Return what texts have in common that say the same: NFKC, case folded, white space and punctuation collapsed."""
    folded = text.lower() if text.isascii() else normalize("NFKC", text).casefold()
    if "-" in folded:
        folded = _HYPHEN.sub(" ", folded)
    return " ".join(_PUNCTUATION.sub(" ", folded).split()) or text


_OR = re.compile(
    " (?:or|oder|ou|o|oppure|lub|albo|czy|nebo|vagy|veya|eller|sau|или|або|أم|أو|या) "
    "|或|还是|還是|または|それとも|아니면|또는"
)
_CHINESE_OR_JAPANESE = re.compile("[\u3040-\u30ff\u3400-\u9fff]")


def _leaks(question: str, answer: str) -> bool:
    """Whether the question holds the whole answer, both comparable, and does not offer it as one of several.

    Exact leaks alone are worth a rejection: 71 % of them were bad questions by human judgement (QGEval, arXiv
    2406.05707). Answers below three characters, or two where no gaps part the words, stand in questions by chance.
    """
    if answer not in question or _OR.search(question):
        return False
    if _CHINESE_OR_JAPANESE.search(answer):
        return len(answer) >= 2
    return len(answer) >= 3 and f" {answer} " in f" {question} "
