"""Questions that can be read off one sentence by its grammar: a table of patterns, language by language.

A pattern is matched at the start of a sentence without its final stop; a space in it stands for any white
space. Its group ``answer`` becomes the card's back, the other groups fill the question. Patterns would rather
miss a sentence than ask a crooked question: what they miss is left to the cloze.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple


class Rule(NamedTuple):
    """``rank`` orders the candidates of a passage: the lowest makes the best card."""

    rank: int
    pattern: re.Pattern[str]
    question: str


def _rule(rank: int, pattern: str, question: str) -> Rule:
    return Rule(rank, re.compile(pattern.replace(" ", r"\s+")), question)


_WORD = r"[\w’'-]+"
# A subject that points elsewhere, or the start of a side clause, makes a question that nobody can answer.
_ANAPHORA = (
    r"(?!(?i:it|its|he|she|his|her|hers|they|their|this|that|these|those|there|here|we|our|i|my|you|your|one|some"
    r"|many|most|all|each|both|none|nobody|such|another|other|others|what|who|which|how|where|why|when|while|if|as"
    r"|although|though|but|and|or|so|because|since|until|unless|in|on|at|by|for|from|with|after|before|then|now"
    r"|thus|yet|not|no|to|perhaps|like|even|only|also|still|once|nothing|everything|something|today)\b)"
)
# A finite verb or a conjunction inside a subject means that the pattern has read over a clause's edge.
_INNER = (
    r"(?!(?:that|if|when|because|says?|said|thinks?|thought|believed?|knew|knows?|saw|sees|had|has|have|was|were|is"
    r"|are|did|does|could|would|will|can|as|but|so|than|which|who)\b)"
)
_SUBJECT = rf"{_ANAPHORA}(?P<subject>{_WORD}(?: {_INNER}{_WORD}){{0,6}}?)(?<!\band)(?: \([^()]*\))?"
_END = r"(?=[;:—]| – |,\s(?:but|while|although|though|whereas|yet|and (?:it|he|she|they))\s|$)"
_REST = rf"(?:[^;:—,]{{0,240}}?(?=, and )|[^;:—]{{0,240}}?{_END})"  # ", and" ends a clause, unless commas list
_NAME = r"[A-Z][\w’'-]+(?: (?:(?:of|de|van|von|da|di) )?[A-Z][\w’'.-]*){1,3}"
_BE = r"(?P<verb>is|are|was|were)"
_MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_YEAR = r"(?:1\d{3}|20\d{2}|\d{1,4} (?:BCE?|AD|CE))"
_DATE = (
    rf"(?:(?:\d{{1,2}} )?{_MONTH} (?:\d{{1,2}}, )?{_YEAR}|{_YEAR}"
    rf"|the (?:early |late )?(?:\d{{4}}s|(?:\d\d?th|[a-z]+th) century))(?![\w-])"
)
_PERSON = (
    r"(?:m[ae]n|wom[ae]n|child|boy|girl|son|daughter|wife|husband|king|queen|emperor|empress|prince|princess|ruler"
    r"|president|minister|politician|general|soldier|sailor|explorer|poet|writer|author|novelist|painter|artist"
    r"|composer|musician|scientist|physicist|chemist|biologist|botanist|naturalist|astronomer|mathematician"
    r"|philosopher|historian|economist|engineer|inventor|doctor|physician|teacher|merchant|manufacturer|monk|priest"
    r"|bishop|saint|farmer|servant|widow|captain|leader|founder"
    r"|scholar|linguist|lawyer|judge|nurse|surgeon|architect|sculptor|singer|act(?:or|ress)|officer|knight|pope|pharaoh)s?\b"
)
_NO_PREPOSITION = r"(?!(?:of|in|on|for|to|from|by|at|with|that|which)\b)"
_PARTICIPLE = (
    r"(?:first |finally |officially |\w+ly )?(?:[a-z]+ed|born|built|made|won|lost|found|sold|sent|given"
    r"|written|taken|held|laid|begun|broken|chosen|shot|cut|led|fought|brought|caught|torn|drawn|put)\b"
)
_PAST = (
    r"(?:first |later |also )?(?:[a-z]+ed|built|wrote|made|became|won|led|found|began|took|gave|drew|sold"
    r"|bought|taught|fought|saw|held|left|went|came|brought|showed|set|laid|ran|told|sent|met|spent)\b"
    r"(?! (?:it|him|her|them|this|that)\b)"
)
_SAY = r"(?:said|asked|replied|answered|cried|whispered|shouted|exclaimed|added|repeated|returned|murmured)"
_SPEAKER = r"(?P<answer>(?:the [a-z]+|(?:(?:Mrs?|Ms|Dr|Miss|Sir|Lady)\.? )?(?!I\b|[HIST]he?y?\b)[A-Z][\w’'-]+))"
_ABOUT = r"(?:about|over|nearly|almost|more than|around|roughly|some|only|exactly|approximately|at least|up to) "
_NUMBER = (
    r"(?:\d+(?:[.,]\d+)*(?: (?:hundred|thousand|million|billion))?|(?:two|three|four|five|six|seven|eight"
    r"|nine|ten|eleven|twelve|twenty|thirty|forty|fifty)(?: (?:hundred|thousand|million|billion))?)"
)
_NOT_OBJECT = r"(?!(?:to|up|in|by|for|on|upon|out|off|away|into|because|when|back|at|from|with|after|as)\b)"

_ENGLISH = (
    _rule(
        0,
        rf"{_ANAPHORA}(?P<subject>[^,;:—“”\"]{{3,110}}?) {_BE} (?:also |often |sometimes |commonly |now )?"
        rf"(?P<how>called|known as) {_NOT_OBJECT}(?P<answer>[^,;:—]{{2,60}}?)(?=[,;:—]|$)",
        "What {verb} {subject} {how}?",
    ),
    _rule(
        0,
        rf"{_SUBJECT} {_BE} (?P<answer>(?:an?|the|one of) (?:{_NO_PREPOSITION}{_WORD},? ){{0,4}}?{_PERSON}{_REST})",
        "Who {verb} {subject}?",
    ),
    _rule(
        0,
        rf"{_SUBJECT} {_BE} (?P<answer>(?!the (?:first|last|only|next|same|one) (?:to|who|of|as)\b)"
        rf"(?:an?|the|one of|any) (?!(?:few|little|lot|bit|matter) ).{_REST})",
        "What {verb} {subject}?",
    ),
    _rule(
        0,
        rf"{_SUBJECT} (?P<verb>are|were) (?P<answer>(?!(?:made|full|part|afraid|capable|aware|not|of)\b)"
        rf"(?!\w+(?:ed|ing|ly) (?:by|in|on|to|from|with|at|for|as|of|and)\b)"
        rf"(?:[\w-]+ ){{1,3}}?(?:that|which|who|whose|of) {_REST})",
        "What {verb} {subject}?",
    ),
    _rule(0, rf"{_SUBJECT} means (?!of\b)(?P<answer>{_REST})", "What does {subject} mean?"),
    _rule(0, rf"{_SUBJECT} refers to (?P<answer>{_REST})", "What does {subject} refer to?"),
    _rule(
        1,
        rf"{_SUBJECT} {_BE} (?P<deed>{_PARTICIPLE}[^,;:—]{{0,80}}?) (?:in|on) (?P<answer>{_DATE})",
        "When {verb} {subject} {deed}?",
    ),
    *(
        _rule(
            1,
            rf"{preposition.title()} (?P<when>{_DATE}),? {_ANAPHORA}(?P<answer>.{{12,}}?{_END})",
            f"What happened {preposition} {{when}}?",
        )
        for preposition in ("in", "on")
    ),
    _rule(
        1,
        rf"{_SUBJECT} {_BE} (?P<deed>[^,;:—]{{3,80}}?),? because (?!of\b)(?P<answer>{_REST})",
        "Why {verb} {subject} {deed}?",
    ),
    _rule(
        1,
        rf"(?P<answer>{_NAME}) (?P<deed>{_PAST} [^;:—]{{15,150}}?)"
        r"(?=[;:—]|,\s(?:and|but|which|who|where)\s|$)",
        "Who {deed}?",
    ),
    _rule(
        1,
        rf"{_SUBJECT} {_BE} (?:{_ABOUT})?(?P<answer>{_NUMBER} [a-z]+) "
        r"(?P<quality>long|tall|high|wide|deep|old)\b",
        "How {quality} {verb} {subject}?",
    ),
    *(
        _rule(
            1,
            rf"{_SUBJECT} {verb} (?:{_ABOUT})?(?P<answer>{_NUMBER}) (?P<things>[a-z]+s)\b",
            f"How many {{things}} {auxiliary} {{subject}} {infinitive}?",
        )
        for verb, auxiliary, infinitive in (
            ("has", "does", "have"),
            ("have", "do", "have"),
            ("had", "did", "have"),
            ("contains", "does", "contain"),
        )
    ),
    *(
        _rule(2, rf"[“\"](?P<words>[^“”\"]{{8,140}}?),?[”\"] {speaker}\b", "Who said this: “{words}”")
        for speaker in (rf"{_SAY} {_SPEAKER}", rf"{_SPEAKER} {_SAY}")
    ),
)

_PL_SUBJECT = (
    r"(?!(?i:to|on|ona|ono|oni|one|jego|jej|ich|ten|ta|te|ci|tak|nie|czy|jak|gdy|kiedy|gdzie|co|kto|który|która"
    r"|w|we|na|z|ze|do|od|po|pod|przy|przez|dla|bez|za|mimo|o|u|ale|a|i|oraz|bo|więc|był|było|była|jednym|jedną)\b)"
    rf"(?P<subject>{_WORD}(?: (?!(?:że|który|która|które|gdy|bo|jak)\b){_WORD}){{0,5}}?)(?: \([^()]*\))?"
)
_PL_MONTH = r"(?:stycznia|lutego|marca|kwietnia|maja|czerwca|lipca|sierpnia|września|października|listopada|grudnia)"
_PL_YEAR = r"\d{3,4} (?:roku|r\.)(?! (?:przed|p\.))"
_PL_PERSON = (
    r"(?:\w+ ){0,3}?(?:władc|król|książę|księ[cż]|cesarz|papież|poet|pisar|malarz|uczon|chemi[kc]|fizyk|astronom|wodz"
    r"|het|polityk|żołnierz|naukow|kompozytor|lekarz|biskup|syn(?:em\b|ami\b|\b)|cór|żon|ojc|matk|brat|siostr|twórc)\w*"
)
_PL_END = r"(?=[;:—]| – |, (?:a|ale|lecz|choć|chociaż|natomiast) |$)"

_POLISH = (
    _rule(
        0,
        rf"{_PL_SUBJECT} (?:[–—-] )?to (?P<answer>[^\W\d]{{3,}}[^;:—]{{5,240}}?{_PL_END})",
        "Co to jest {subject}?",
    ),
    *(
        _rule(
            0,
            rf"{_PL_SUBJECT} (?P<verb>jest|są|był[aoiy]?) "
            rf"(?P<answer>{noun}[^;:—]{{0,240}}?{_PL_END})",
            f"{question} {{verb}} {{subject}}?",
        )
        for question, noun in (("Kim", _PL_PERSON), ("Czym", r"(?!tym\b)\w+(?:em|ą|[iy]m|ami)\b"))
    ),
    _rule(
        1,
        rf"{_PL_SUBJECT} (?P<verb>został[aoiy]? \w+|(?:u|na)rodził[ao]? się|zmarł[ao]?|wybuchł[aoy]?)"
        rf"[^,;:—\d]{{0,60}}? (?:we? )?(?P<answer>(?:\d{{1,2}} {_PL_MONTH} )?{_PL_YEAR})",
        "Kiedy {verb} {subject}?",
    ),
    _rule(1, rf"We? (?P<when>{_PL_YEAR}),? (?P<answer>.{{12,}}?{_PL_END})", "Co wydarzyło się w {when}?"),
    _rule(
        1,
        rf"(?P<when>\d{{1,2}} {_PL_MONTH} {_PL_YEAR}),? (?P<answer>.{{12,}}?{_PL_END})",
        "Co wydarzyło się {when}?",
    ),
    _rule(
        1,
        rf"(?P<subject>[^,;:—]{{12,120}}), (?:ponieważ|gdyż|bo) (?P<answer>.{{10,}}?{_PL_END})",
        "Dlaczego? {subject}.",
    ),
)

_CHINESE = (
    _rule(
        1,
        r"在?(?P<when>(?:公元前?)?\d{1,4}年(?:\d{1,2}月)?(?:\d{1,2}日)?)，?(?P<answer>[^；]{6,120})",
        "{when}发生了什么？",
    ),
    _rule(
        0,
        r"(?![他她它这那我你其但而])(?P<subject>[^，；：、是]{2,16})(?<!不)是(?P<answer>[^；]{4,120}?)(?=，[他她它]|$)",
        "填空：{subject}是____。",
    ),
    _rule(1, r"(?:因为|由于)(?P<answer>[^，；]{4,80})，(?:所以|因此)?(?P<fact>[^，；]{4,60})", "为什么{fact}？"),
)

RULES: dict[str, tuple[Rule, ...]] = {"en": _ENGLISH, "pl": _POLISH, "zh": _CHINESE}


def questions(sentence: str, language: str, lower: frozenset[str]) -> Iterator[tuple[int, str, str]]:
    """Every ``(rank, question, answer)`` that a rule of the language reads off the sentence.

    ``lower``: the words that the text also writes in lower case; such a word loses the capital that it owes
    to its place at the start of the sentence.
    """
    for rule in RULES.get(language, ()):
        if match := rule.pattern.match(sentence):
            groups = match.groupdict()
            answer = groups.pop("answer")
            subject = groups.get("subject", "")
            first, _, rest = subject.partition(" ")
            is_article = first.lower() in {"a", "an", "the"}
            if is_article or (first.lower() in lower and not rest[:1].isupper()):
                groups["subject"] = subject[0].lower() + subject[1:]
            yield rule.rank, rule.question.format(**groups), answer
