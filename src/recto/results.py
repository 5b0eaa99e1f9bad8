"""What `recto generate` writes: the cards as CSV, as an Anki deck, or as the API's JSON."""

import json
from typing import Any

from recto import exports
from recto.text.chapter import Chapter
from recto.text.generate import Generation
from recto.text.options import Options


def render(
    generation: Generation, output_format: str, deck: str, options: Options, chapter: Chapter | None = None
) -> bytes:
    """Return the file's content. ``output_format``: json, csv or anki; ``chapter``: what it is of, if that is long."""
    cards = [(proposal.front, proposal.back) for proposal in generation.proposals]
    match output_format:
        case "csv":
            return exports.to_csv(cards).encode()
        case "anki":
            clozes = range(len(cards)) if options.style == "cloze" else ()
            titles = [chapter.parts[place].title or "" for place in chapter.places] if chapter else []
            return exports.to_anki(cards, deck, clozes=clozes, headings=dict(enumerate(titles)))
    return (json.dumps(_report(generation, options, chapter), ensure_ascii=False, indent=2) + "\n").encode()


def _report(generation: Generation, options: Options, chapter: Chapter | None) -> dict[str, Any]:
    """Return what `POST /generations` answers, with what its record has, and with the sections that a deck has."""
    completion = generation.completion
    proposals: list[dict[str, Any]] = [
        {"temp_id": f"temp-{number}", "front": proposal.front, "back": proposal.back, "source": "ai-full"}
        for number, proposal in enumerate(generation.proposals, 1)
    ]
    report = {
        "generation_id": None,  # nothing is recorded
        "flashcards_proposals": proposals,
        "generated_count": len(proposals),
        "dropped": dict(generation.drops),
        "incomplete": generation.incomplete,
        "language": generation.language if options.language else None,
        "model": completion.model,
        "tokens_input": completion.tokens_input,
        "tokens_output": completion.tokens_output,
        "cost_usd": None if completion.cost_usd is None else float(completion.cost_usd),
        "generation_duration": generation.duration_ms,
    }
    if chapter is None:
        return report
    from recto.api.section_contract import Progress, Section  # the API takes a third of a command's start

    for proposal, place in zip(proposals, chapter.places, strict=True):
        proposal["section"] = Section(number=place + 1, title=chapter.parts[place].title).model_dump()
    ended_by = chapter.failure.code if chapter.failure else None
    return report | Progress(**Progress.told(chapter.parts, ended_by)).model_dump()
