"""What models write in place of the JSON that was asked for: each function answers a call in one such way."""

from recto.sandbox.chat import Call, Reply, content_of, to_json
from recto.sandbox.forms import CUT, WHOLE


def _some(call: Call) -> list[dict[str, str]]:
    """At least three cards, also of a text that yields fewer: some faults need cards to spoil."""
    spare = [{"front": f"What is the sandbox's spare question {n}?", "back": f"Answer {n}."} for n in (1, 2, 3)]
    cards = call.cards()
    return cards + spare[: max(0, 3 - len(cards))]


def invalid_json(call: Call) -> Reply:
    """Answers in prose, without any JSON."""
    return call.completion("Certainly! Here are some thoughts on your text, but no cards, I am afraid.")


def empty(call: Call) -> Reply:
    """Answers with an empty list of flashcards."""
    return call.completion(content_of([]))


def null_content(call: Call) -> Reply:
    """Answers with content null."""
    return call.completion(None)


def list_content(call: Call) -> Reply:
    """Answers well, with content as a list of text parts."""
    content = content_of(call.cards())
    parts = [content[:20], content[20:]]
    return call.completion([{"type": "text", "text": part} for part in parts])


def refusal(call: Call) -> Reply:
    """Answers with a refusal and no content."""
    return call.completion(None, "content_filter", message={"refusal": "I can't help with that."})


def truncated(call: Call) -> Reply:
    """Answers well, cut at the token limit inside the last card."""
    return call.completion(CUT["cut inside the last answer"](_some(call)), "length")


def truncated_early(call: Call) -> Reply:
    """Answers with a beginning, cut at the token limit inside the first card."""
    return call.completion(CUT["cut inside the last answer"](_some(call)[:1]), "length")


def fenced(call: Call) -> Reply:
    """Answers well, inside a Markdown fence between two sentences."""
    return call.completion(WHOLE["fenced in prose"](call.cards()))


def bare_array(call: Call) -> Reply:
    """Answers well, with the bare list of cards."""
    return call.completion(WHOLE["a bare array"](call.cards()))


def question_answer(call: Call) -> Reply:
    """Answers well, with other names: questions, question and answer."""
    return call.completion(WHOLE["question and answer"](call.cards()))


def latex(call: Call) -> Reply:
    """Answers with formulas: one escaped as JSON wants it, one with single backslashes."""
    escaped = {"front": "What is half of a, as a fraction?", "back": r"\frac{a}{2}"}
    single = r'{"front": "What is the product of b and c, as a fraction of d?", "back": "\frac{b \times c}{d}"}'
    return call.completion(f'{{"flashcards": [{to_json(escaped)}, {single}]}}')


def html(call: Call) -> Reply:
    """Answers with cards that hold HTML and scripts."""
    script = {
        "front": "What does <script>alert(1)</script> do?",
        "back": "It shows a box with <b>1</b> in it.",
    }
    image = {"front": 'What does <img src="x" onerror="alert(2)"> do?', "back": "It calls onerror."}
    return call.completion(content_of([script, image, *call.cards()]))


def duplicates(call: Call) -> Reply:
    """Answers well, with repeated cards and one that gives its answer away."""
    first, *rest = _some(call)
    again = {"front": f"  {first['front'].upper()}", "back": first["back"]}
    leak = {"front": "Which city is the capital of France, Paris?", "back": "Paris"}
    return call.completion(content_of([first, again, leak, *rest, first]))


SPOILT = (
    invalid_json,
    empty,
    null_content,
    list_content,
    refusal,
    truncated,
    truncated_early,
    fenced,
    bare_array,
    question_answer,
    latex,
    html,
    duplicates,
)
