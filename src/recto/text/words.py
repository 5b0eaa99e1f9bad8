"""What texts are compared by: words, and numbers however they are written. In any language, with or without spaces.

A term is one of:

- a word, in lower case
- a number: ``#`` and its digits, ``#657`` for 657 and 六百五十七, ``#23000`` for 23,000 and 23 000, ``#2.4`` for 2,4,
  ``#5`` for fünf and пятью, ``#10^23`` for 10²³, ``#m10`` for October. ``numbers.txt`` has those that are words.
- two neighbouring characters of a script without spaces, Chinese, Japanese, Thai …; of Korean too, whose words are as
  short, with endings
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from itertools import pairwise
from operator import itemgetter
from unicodedata import digit, normalize

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\U00020000-\U0003ffff"
)
_FIRST_UNSPACED = "\u0e00"
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]").match
# What is neither word nor number. Marks count as letters: the vowels of many scripts are marks.
_BETWEEN = (
    "\\s!-/:-@\\[-`{-~\u00a1-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf\u00d7\u00f7\u060c\u061b\u061f\u06d4\u0964\u0965"
    "\u2000-\u206f\u3000-\u3004\u3008-\u303f"
)
_RUN = re.compile(
    rf"[^{_BETWEEN}\d{_UNSPACED}]+"
    rf"|[{_UNSPACED}]+"
    r"|(?:\d{1,3}(?:[.,' ]\d{3}(?!\d))+|\d+)(?:[.,]\d+)?(?:\^\{?-?\d+)?"
)

_SUPERSCRIPTS = re.compile("[⁻⁰¹²³⁴-⁹]+")
_APOSTROPHE = re.compile("(?<=[\u0400-\u04ff])['’](?=[\u0400-\u04ff])")  # п'ять is one word
_EXPONENT = re.compile(r"(?<!\d)\^\{?-?\d+")  # of a unit or a variable: no number of its own


def plain(text: str) -> str:
    """Return the form in which texts are compared. Its characters are not where those of the text are."""
    if text.isascii():
        text = text.lower()
    else:
        text = _SUPERSCRIPTS.sub(lambda power: "^" + normalize("NFKC", power[0]).replace("−", "-"), text)
        text = normalize("NFKC", text).casefold()
        if "’" in text or "'" in text:
            text = _APOSTROPHE.sub("", text)
    return _EXPONENT.sub(" ", text) if "^" in text else text


def runs(text: str) -> list[str]:
    """The words, numbers and stretches without spaces of a plain text, in its order."""
    return _RUN.findall(text)


def is_unspaced(run: str) -> bool:
    """Whether a run or term is of a script without spaces."""
    return run[0] >= _FIRST_UNSPACED and _IS_UNSPACED(run) is not None


def terms(text: str) -> list[str]:
    """The terms of a plain text, each once."""
    found: dict[str, None] = {}
    for run in runs(text):
        of_run = numbers(run)
        if is_unspaced(run):
            of_run += [run[at : at + 2] for at in range(max(1, len(run) - 1))]
        found.update(dict.fromkeys(of_run or [run]))
    return list(found)


def numbers(run: str) -> list[str]:
    """The numbers of a run: all that a stretch without spaces holds, one or none of any other."""
    if run[:3] in _BEGINNINGS and (number := _number_word(run)):
        return [number]
    if run[0].isdecimal():
        return [_digits(run)]
    if is_unspaced(run):
        return [_numeral(found) for found in _NUMERAL.findall(run)]
    return []


def parts(run: str) -> Sequence[str]:
    """What a run is indexed by: its numbers, else its n-grams, by which a word resembles its other forms.

    Nothing for a stretch without spaces: what one may ask for is any two characters of it.
    """
    if run[:3] not in _BEGINNINGS and "9" < run[0] < _FIRST_UNSPACED:
        return _grams(run)
    return numbers(run) or (() if is_unspaced(run) else _grams(run))


def counts(text: str) -> list[tuple[str, str]]:
    """Each number of a plain text with the word behind it, or the character in a script without spaces.

    A word between two numbers (53 to 12) belongs to neither, and one behind a price ($12 a barrel) is not its unit.
    """
    found = []
    matches = list(_RUN.finditer(text))
    for at, (one, two) in enumerate(pairwise(matches)):
        if text[one.end() : two.start()].strip(" -°") or not (those := numbers(one[0])):
            continue
        if one.start() and text[one.start() - 1] in "$£€¥":
            continue
        if is_unspaced(two[0]):
            found += [(number, two[0][0]) for number in those]
        elif at + 2 == len(matches) or not numbers(matches[at + 2][0]):
            found += [(number, two[0]) for number in those]
    for numeral in _NUMERAL.finditer(text):
        if is_unspaced(following := text[numeral.end() : numeral.end() + 1] or " "):
            found.append((_numeral(numeral[0]), following))
    return found


_LETTERS = 4
_LONGEST_WORD = 40  # the rest of a longer one is passed over


def _grams(word: str) -> Sequence[str]:
    word = f" {word[:_LONGEST_WORD]}"
    return _slices(len(word))(word) if len(word) > _LETTERS else (word,)


@cache
def _slices(length: int) -> Callable[[str], Sequence[str]]:
    return itemgetter(*(slice(at, at + _LETTERS) for at in range(length - _LETTERS + 1)))


_GROUP = 3  # digits behind a point that marks thousands; behind a decimal point there may be so many too


def _digits(run: str) -> str:
    base, power, exponent = run.partition("^")
    whole, point, decimals = base.replace(",", ".").rpartition(".")
    if not point or len(decimals) == _GROUP:
        whole, point, decimals = base, "", ""
    digits = re.sub(r"\D", "", whole) + point + decimals
    if not digits.isascii():
        digits = "".join(point if character == point else str(digit(character)) for character in digits)
    return f"#{digits}{power}{exponent.removeprefix('{')}"


# A lone 一 is mostly part of a word.
_NUMERAL = re.compile(
    "(?!一(?![十百千万亿億]))[〇零一二三四五六七八九十百千两][〇零一二三四五六七八九十百千万亿億两]{0,15}"
)
_CIPHERS = {character: value for value, character in enumerate("〇一二三四五六七八九")} | {"零": 0, "两": 2}
_TENS = {"十": 10, "百": 100, "千": 1000}
_MYRIADS = {"万": 10**4, "亿": 10**8, "億": 10**8}


def _numeral(numeral: str) -> str:
    """The number that a Chinese or Japanese numeral stands for."""
    if all(character in _CIPHERS for character in numeral):
        return "#" + "".join(str(_CIPHERS[character]) for character in numeral)
    total = section = cipher = 0
    for character in numeral:
        if character in _CIPHERS:
            cipher = _CIPHERS[character]
        elif character in _TENS:
            section += (cipher or 1) * _TENS[character]
            cipher = 0
        else:
            total = (total + section + cipher) * _MYRIADS[character]
            section = cipher = 0
    return f"#{total + section + cipher}"


_LONGEST_ENDING = 3


def _number_words() -> tuple[dict[str, str], dict[str, str]]:
    """Words, and beginnings of words (``*`` in the file), which may go on for three letters."""
    exact: dict[str, str] = {}
    stems: dict[str, str] = {}
    for line in plain((files("recto.text") / "numbers.txt").read_text("utf-8")).splitlines():
        number, *words = line.split()
        for word in words:
            (stems if word.endswith("*") else exact).setdefault(word.removesuffix("*"), f"#{number}")
    return exact, stems


_EXACT, _STEMS = _number_words()
_BEGINNINGS = frozenset(word[:3] for word in [*_EXACT, *_STEMS])


def _number_word(word: str) -> str | None:
    ends = range(len(word), max(0, len(word) - _LONGEST_ENDING - 1), -1)
    return _EXACT.get(word) or next((_STEMS[word[:end]] for end in ends if word[:end] in _STEMS), None)
