"""Plans: who may have how many pictures a month."""

import pytest

from recto.images.plans import Plans, PlansError


def plans(folder, text):
    path = folder / "plans.toml"
    path.write_text(text)
    return Plans.load(path)


def test_without_a_file_everybody_has_twenty_a_month():
    assert Plans.load(None).of(None).monthly_generations == Plans.load(None).of("any").monthly_generations == 20


def test_a_users_price_decides_and_an_unknown_one_means_free(tmp_path):
    loaded = plans(
        tmp_path,
        "[plans.free]\nmonthly_generations = 3\n"
        "[plans.pro]\nmonthly_generations = 500\nprice_ids = ['price_1', 'price_2']\n",
    )
    assert [loaded.of(price).monthly_generations for price in ("price_1", "price_2", "price_3", "", None)] == [
        *(500, 500, 3, 3, 3)
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "plans: Field required"),
        ("[plans.pro]\nmonthly_generations = 1", "a plan named free"),
        ("[plans.free]\nmonthly_generations = -1", "plans.free.monthly_generations"),
        ("[plans.free]\nmonthly_generations = true", "plans.free.monthly_generations"),
        ("[plans.free]\nmonthly_generation = 1", "plans.free.monthly_generation"),
        ("[plans.free]\nmonthly_generations = 1\nprice_ids = ['a', 'a']", "more than one plan lists a"),
        ("plans", "is not TOML"),
    ],
)
def test_a_file_that_could_be_misread_is_refused_with_its_reason(tmp_path, text, reason):
    with pytest.raises(PlansError, match=reason):
        plans(tmp_path, text)


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(PlansError, match="cannot be read"):
        Plans.load(tmp_path / "none.toml")
