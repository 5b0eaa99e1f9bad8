"""Dates in running text, in English, German, French, Spanish and Polish."""

import re

_MONTHS = (
    "january|february|march|april|may|june|july|august|september|october|november|december"
    "|januar|jänner|februar|märz|mai|juni|juli|oktober|dezember"
    "|janvier|février|mars|avril|juin|juillet|août|septembre|octobre|novembre|décembre"
    "|enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre"
    "|stycznia|lutego|marca|kwietnia|maja|czerwca|lipca|sierpnia|września|października|listopada|grudnia"
)
_DAYS = (
    "monday|tuesday|wednesday|thursday|friday|saturday|sunday"
    "|montag|dienstag|mittwoch|donnerstag|freitag|samstag|sonnabend|sonntag"
    "|lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche"
    "|lunes|martes|miércoles|jueves|viernes|sábado|domingo"
    "|poniedziałek|wtorek|środa|środę|czwartek|piątek|sobota|sobotę|niedziela|niedzielę"
)
NAMES = frozenset(f"{_MONTHS}|{_DAYS}".split("|"))
"""What months and days of the week are called, in lower case."""

WEEKDAY = re.compile(rf"\b(?:{_DAYS})s?\b", re.I)
DAY = re.compile(
    rf"\b(?:\d{{1,2}}(?:\.|er|st|nd|rd|th)?\s(?:de\s|of\s)?(?:{_MONTHS})\b|(?:{_MONTHS})\s\d{{1,2}}\b)", re.I
)
"""A day of the year: ``2. Mai``, ``1 de mayo``, ``May 2``."""
DATE = re.compile(rf"{DAY.pattern},?\s(?:de\s)?\d{{3,4}}\b", re.I)
"""A day of the year with its year."""
