r"""Maths and code in a card's text, which is plain text otherwise.

Maths: ``\(…\)`` and ``$…$`` in a line, ``\[…\]`` and ``$$…$$`` as a block. Code: `` `…` `` and `` ```…``` ``. A dollar
begins maths where no letter, digit or white space touches it on the wrong side, as in Pandoc, and what begins like an
amount and goes on in words is none. ``playground/markup.js`` has the same rules.
"""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

_PART = re.compile(
    r"""
    \n?```(?:[A-Za-z0-9+#.-]*\n)?(?P<pre>(?:(?!```).)+)```\n?
    |(?<!`)`(?P<code>[^`\n]+)`(?!`)
    |\n?(?<![\\$])\$\$(?!\$)(?P<display>(?:\\.|(?!\$\$)[^\\])+)\$\$(?!\$)\n?
    |\n?(?<!\\)\\\[(?P<bracketed>(?:[^\\]|\\[^\[\]])+)\\\]\n?
    |(?<!\\)\\\((?P<parenthesised>(?:[^\\]|\\[^()])+)\\\)
    |(?<![A-Za-z0-9$\\])\$(?=[^\s$])(?![0-9][^\\{$\n]*\s\(?[A-Za-z\u00c0-\uffff]{2})
     (?P<maths>(?:\\.|[^\\$\n])+)(?<!\s)\$(?![0-9$]|[A-Za-z]{3})
    """,
    re.VERBOSE | re.DOTALL,
)

Kind = Literal["text", "maths", "display", "code", "pre"]
_KINDS: dict[str, Kind] = {
    "maths": "maths",
    "parenthesised": "maths",
    "display": "display",
    "bracketed": "display",
    "code": "code",
    "pre": "pre",
}


class Part(NamedTuple):
    """A stretch of text: as it is, LaTeX without its delimiters, or code. ``display`` and ``pre`` are blocks."""

    kind: Kind
    body: str


def parts(text: str) -> Iterator[Part]:
    """Yield the parts of a card's text in order, in time that is linear in its length."""
    end = 0
    for found in _PART.finditer(text):
        name = found.lastgroup or ""
        body = found[name]
        if not body.strip():
            continue
        if before := text[end : found.start()]:
            yield Part("text", before)
        yield Part(_KINDS[name], body.rstrip("\n") if name == "pre" else body)
        end = found.end()
    if rest := text[end:]:
        yield Part("text", rest)
