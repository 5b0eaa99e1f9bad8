"""Maths and code on the page's cards."""

import json
from pathlib import Path

from playwright.sync_api import Page, expect

from .conftest import SOURCE, stream


def test_maths_and_code_are_shown_and_what_is_no_latex_stays_as_typed(page: Page):
    cases = json.loads((Path(__file__).parents[1] / "markup.json").read_text())
    found = page.evaluate(
        """async (texts) => {
            const { parts } = await import("/playground/markup.js");
            return texts.map((text) => parts(text).map(({ kind, body }) => [kind, body]));
        }""",
        [text for text, _ in cases],
    )
    assert found == [expected for _, expected in cases]

    proposals = [
        {"front": r"Why is $\frac{1}{2}$ worth $5?", "back": r"\[\href{javascript:x}{y} \tag{1} \label{status}\]"},
        {"front": r"$\frac{1$ or $\nope$", "back": "`<b>`\n```py\nif a:\n    b\n```"},
        {"front": r"$a = ____$", "back": "$$x < 1$$"},
    ]
    page.route("**/generations", lambda route: route.fulfill(**stream(*proposals)))
    page.get_by_label("Your text").fill(SOURCE)
    page.get_by_role("button", name="Make flashcards").click()
    fronts, backs = page.locator("[data-part=front]"), page.locator("[data-part=back]")
    expect(fronts.first.locator("mfrac > *")).to_have_text(["1", "2"])
    expect(fronts.first).to_contain_text("worth $5?")
    expect(fronts.nth(1)).to_have_text(r"$\frac{1$ or $\nope$")
    expect(fronts.nth(2).locator("math")).to_contain_text("____")
    expect(backs.nth(1).locator("code")).to_have_text(["<b>", "if a:\n    b"], use_inner_text=True)
    assert "mono" in backs.nth(1).locator("code").first.evaluate("code => getComputedStyle(code).fontFamily")
    expect(backs.nth(2).locator("math[display=block]")).to_have_text("x<1")
    expect(page.locator(".card [id=status], .card [href]")).to_have_count(0)
