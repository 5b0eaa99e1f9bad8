"""Where sentences begin and end."""

import pytest

from recto.text.sentences import sentences


@pytest.mark.parametrize(
    "parts",
    [
        ["Am 3. Dezember 1967 schlug es.", "Es war das 19. Jahrhundert.", "Er wog 12.", "Das war viel."],
        ["Nach Art. 1 Abs. 1 GG gilt z. B. die Würde.", "Sie gilt immer."],
        ["Es hält bei 35 °C.", "Das gilt sog. Puffern.", "Rom wurde 753 v. Chr. Hauptstadt.", "Siehe Kap. 4 dazu."],
        ["El maíz, p. ej. el de México, crece.", "La regla α = n / m.", "Vale siempre."],
        ["Ks. Jan Dzierżon hodował pszczoły.", "Patrz rozdz. 5 książki."],
        ["W 1652 r. Siciński zerwał sejm.", "Miał 12 tys. żołnierzy."],
        ["Менделеев родился в 1834 г. в Тобольске.", "А. С. Пушкин был старше."],
        ["Dr. Snow drew a map.", "Who was he?", "“A doctor!”", "So it was…", "It ended."],
        ["水的化学式是什么？", "是H₂O。", "很好！”", "完。"],
    ],
)
def test_a_point_ends_a_sentence_unless_it_ends_an_abbreviation_or_a_date(parts: list[str]) -> None:
    gap = "" if parts[0].startswith("水") else " "
    text = gap.join(parts)
    found = list(sentences(text))
    assert [sentence.text for sentence in found] == parts
    assert all(text[sentence.start :].startswith(sentence.text) for sentence in found)


def test_a_long_run_of_points_is_one_end() -> None:
    assert [sentence.text for sentence in sentences("So" + "." * 300 + " Then it ended.")] == [
        "So" + "." * 300,
        "Then it ended.",
    ]
