"""What texts are compared by."""

import pytest

from recto.text.words import counts, parts, plain, terms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Die Zellen, Straße", ["die", "zellen", "strasse"]),
        ("23,000 and 23.000 and 23 000", ["#23000", "and"]),
        ("2.4 or 2,4", ["#2.4", "or"]),
        ("1.234.567,89", ["#1234567.89"]),
        ("1848 300", ["#1848", "#300"]),
        ("١٩٦٧", ["#1967"]),
        ("10²³ 10^{23} 10^-3", ["#10^23", "#10^-3"]),
        ("cm³ m^2", ["cm", "m"]),
        ("H₂O", ["h", "#2", "o"]),
        ("Five fünf pięciu пятью п’ять 5", ["#5"]),
        ("October октября październiku", ["#m10"]),
        ("六百五十七", ["#657", "六百", "百五", "五十", "十七"]),
        ("二〇〇三", ["#2003", "二〇", "〇〇", "〇三"]),
        ("一些", ["一些"]),
        ("三", ["#3", "三"]),
        ("____ — “x_1”…", ["x", "#1"]),
        ("เชียง", ["เช", "ชี", "ีย", "ยง"]),
        ("서울은", ["서울", "울은"]),
        ("हिन्दी।", ["हिन्दी"]),
        ("", []),
    ],
)
def test_a_text_is_compared_by_words_numbers_and_pairs_of_characters(text: str, expected: list[str]) -> None:
    assert terms(plain(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("18 weeks", [("#18", "weeks")]),
        ("knapp fünf Liter", [("#5", "liter")]),
        ("1.200 °C", [("#1200", "c")]),
        ("18. Weeks", []),
        ("53 zu 12", []),
        ("$12 a barrel", []),
        ("第57克", [("#57", "克")]),
        ("七千公里", [("#7000", "公")]),
        ("1963", []),
    ],
)
def test_a_number_counts_what_stands_behind_it(text: str, expected: list[tuple[str, str]]) -> None:
    assert counts(plain(text)) == expected


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("zelle", (" zel", "zell", "elle")),
        ("of", (" of",)),
        ("fünf", ["#5"]),
        ("1963", ["#1963"]),
        ("三十年", ["#30"]),
        ("水", []),
    ],
)
def test_a_run_is_indexed_by_numbers_or_by_n_grams(run: str, expected: object) -> None:
    assert list(parts(run)) == list(expected)  # type: ignore[call-overload]


def test_the_n_grams_of_a_very_long_word_are_those_of_its_beginning() -> None:
    assert len(parts("x" * 10_000)) == len(parts("x" * 40))
