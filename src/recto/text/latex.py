r"""LaTeX that a model wrote with a single backslash inside JSON, where most of it would read as an escape.

\b, \f and \r before a letter, \u without four hexadecimal digits, and whatever JSON knows no escape for can only
be LaTeX. \n and \t are, if the letters from there spell a whole command: \nabla, \times. Commands that are also
a line break or a tab before a word (Polish "u", Italian "e", English "an") must stand in $…$ or \(…\), or before a
digit, an operator, a brace or the string's end.
"""

import re

_COMMANDS = (
    "n(?:abla|atural|cong|earrow|eq|ewline|exists|geq|gtr|leq|less|[Ll]eft(?:right)?arrow|[Rr]ightarrow|mid|olimits"
    "|onumber|otin|ot|parallel|prec|sim|su[bp]seteq|su[bp]set|succ|warrow)"
    "|t(?:ag|anh|binom|ext(?:bf|color|degree|it|normal|rm|sc|sf|style|subscript|superscript|tt|up)?|frac|herefore|heta"
    "|hickspace|hinspace|ilde|imes|riangle(?:left|right)?(?:eq|q)?|woheadrightarrow)"
)
_COMMANDS_OR_WORDS = "n(?:e|eg|i|u)|t(?:an|au|o|op|t)"
_BACKSLASH = re.compile(
    rf"""\\(?:
        (?:{_COMMANDS})(?![A-Za-z])
        |(?:{_COMMANDS_OR_WORDS})(?=\s*[\d\\_^{{(=+\-*/<>|$"])
        |(?P<word>(?:{_COMMANDS_OR_WORDS})(?![A-Za-z]))
        |(?P<json>[\\"'/nt]|[bfr](?![A-Za-z])|u(?:[0-9a-fA-F]{{4}}|[0-9a-fA-F]{{0,3}}\Z)|\Z)
    )?""",
    re.VERBOSE,
)

# How far back the beginning of a string is looked for: as long as a side is.
_LONGEST_STRING = 500


def escape(json: str) -> str:
    """Return a model's JSON with the backslashes of LaTeX commands doubled."""
    return _BACKSLASH.sub(_escaped, json)


def _escaped(found: re.Match[str]) -> str:
    latex = found["json"] is None
    if found["word"]:
        before = found.string[max(0, found.start() - _LONGEST_STRING) : found.start()]
        before = before[before.rfind('"') + 1 :]
        latex = before.count("$") % 2 == 1 or before.count(r"\(") > before.count(r"\)")
    return "\\" + found[0] if latex else found[0]
