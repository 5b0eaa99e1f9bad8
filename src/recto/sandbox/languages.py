"""Which language a text is in, and the words of each language that point back to the sentence before."""

import re
from typing import NamedTuple


class _Words(NamedTuple):
    """``frequent`` tells the language. The others are alternatives of a pattern that point back: ``first`` where they
    begin a sentence, ``second`` there and after one short word, ``early`` before its first comma or its eighth word.
    """

    frequent: str
    first: str
    second: str
    early: str


_WORDS = {
    "en": _Words(
        "the of and to that with were is",
        r"i|but|and|or|yet|so|then|there|here|also|that|another|others|both|either|neither",
        r"such|its|his|her|their|our|my|your",
        r"it|he|she|they|him|them|we|this|these|those|thus|therefore|hence|however|instead",
    ),
    "de": _Words(
        "der die das und ist nicht ein eine von dem den",
        r"aber|und|oder|denn|doch|so|auch|dann|danach|daher|damals|dort|hier|deshalb|deswegen|seither|seitdem|erst",
        r"jene[mnrs]?|solche[mnrs]?|sein(?:e[mnrs]?)?|ihr(?:e[mnrs]?)?|unser(?:e[mnrs]?)?",
        r"er|sie|es|ihn|ihm|ihr|ihnen|wir|ich|dies(?:e[mnrs]?)?|da(?:bei|durch|für|mit|nach|raus|rin|rum|von|zu|gegen|hin)"
        r"|also|jedoch|hingegen",
    ),
    "fr": _Words(
        "le la les et est des une dans du que qui",
        r"mais|et|ou|or|car|ainsi|puis|là|ici|cela|ça|ceci|ce|c|l['’](?:une?|autre)|son",
        r"celui|celles?|ceux|sa|ses|leurs?",
        r"il|ils|elles?|lui|y|on|nous|je|cet(?:te)?|ces|donc|alors|pourtant|cependant|en revanche|au contraire",
    ),
    "es": _Words(
        "el la los las y es que una en del con",
        r"pero|y|e|o|porque|así|entonces|luego|allí|ahí|aquí|también|se|lo|fue|era|es|son|\w+ó"
        r"|\w+(?=\s(?:en|a|por|con|para)\b)",  # a verb whose subject is in the sentence before
        r"sus?|nuestr[ao]s?",
        r"él|ell[ao]s?|ellos|le|les|nosotros|yo|est[aeo]s?|es[aeo]s?|aquel(?:l[ao]s?)?|por tanto|en cambio",
    ),
    "pl": _Words(
        "i w się na jest z do był nie",
        r"ale|lecz|a|i|tam|tu|tak|wtedy|także|też|dlatego|ponadto|jest|są|to|mimo to"
        r"|\w*[aiyęąe](?:ł|ła|ło|li|ły)",  # a verb whose subject is in the sentence before
        r"tak[aie]|jego|jej|ich|nasz[aey]?",
        r"on|ona|ono|oni|one|je|mu|go|im|nim|nią|nich|niego|niej|ten|ta|te|ci|tego|tej|tym|tych|temu|tę|tą"
        r"|(?:o|na|za|po|przez) to|więc|zatem|jednak|natomiast|zaś",
    ),
}
# Behind one of these, a person is of the same sentence.
_INSIDE = "".join(
    rf"(?<!\b{word}\s)"
    for word in ("while", "when", "that", "because", "as", "if", "weil", "dass", "als", "wenn", "porque", "cuando")
)
_UNSPACED_BACK = re.compile(
    r"\W*(?:[他她它这那但而其该此因所前后]|これ|それ|あれ|この|その|あの|ここ|そこ|こう|そう|彼|しかし|また|そして|だが|前者|後者)"
)
_BACK = {
    language: re.compile(
        rf"\W*(?:(?:{words.first})\b|(?:\w{{1,6}}\s+)?(?:{words.second})\b"
        rf"|(?:(?:\S+\s+){{0,6}}?|(?:[^\s,;:]+\s+)*?){_INSIDE}(?:{words.early})\b)",
        re.I,
    )
    for language, words in _WORDS.items()
} | {"zh": _UNSPACED_BACK, "ja": _UNSPACED_BACK}
_FREQUENT = {language: frozenset(words.frequent.split()) for language, words in _WORDS.items()}


def language_of(text: str) -> str:
    """``en``, ``de``, ``fr``, ``es``, ``pl``, ``zh``, ``ja``, or ``""`` for any other."""
    letters = sum(map(str.isalpha, text)) or 1
    if len(re.findall(r"[\u3040-\u30ff\u4e00-\u9fff]", text)) > 0.3 * letters:
        return "ja" if re.search(r"[\u3040-\u30ff]", text) else "zh"
    words = re.findall(r"[^\W\d_]+", text.lower())
    shares = {
        language: sum(word in frequent for word in words) / (len(words) or 1)
        for language, frequent in _FREQUENT.items()
    }
    best = max(shares, key=lambda language: shares[language])
    if shares[best] < 0.05 or (best == "pl" and not re.search("[ąęłśżźćń]", text)):
        return ""
    return best


def points_back(sentence: str, language: str) -> bool:
    """Whether a sentence's beginning refers to what stands before it, such as ``It`` or ``In this case``."""
    pattern = _BACK.get(language)
    return bool(pattern and pattern.match(sentence))
