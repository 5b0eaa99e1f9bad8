"""The public contract of the sections that a long text is split into."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, Field

from recto.text.deck import Part, coverage, without_cards

_Number = Annotated[int, Field(ge=1, description="From 1, in the order of the text.")]
_Title = Annotated[str | None, Field(description="The heading that it stands under.")]


class Section(BaseModel):
    """The section of a long text that a card was made of."""

    number: _Number
    title: _Title


class SectionWithoutCards(Section):
    """A section of a long text that gave no card."""

    start: Annotated[int, Field(description="Where it begins in the trimmed text, in Unicode code points from 0.")]
    end: Annotated[int, Field(description="Behind its last code point.")]
    reason: Annotated[
        str,
        Field(
            description="`not_asked`: fewer cards were asked for than there are sections. `model_stopped`, "
            "`max_tokens`, `content_filter`, `upstream_invalid_response`: the model was asked and wrote none. Else "
            "what ended the generation: `canceled`, or the code of its error.",
            examples=["model_stopped", "upstream_timeout"],
        ),
    ]


class Progress(BaseModel):
    """How far a generation is with the sections of its text."""

    sections: Annotated[
        int | None, Field(description="Of a text that is longer than a call's may be; null if it is asked as a whole.")
    ]
    sections_done: Annotated[int | None, Field(description="Of these, how many are asked no more.")]
    coverage: Annotated[
        float | None,
        Field(ge=0, le=1, description="Which share of the text, by characters, stands in sections that have a card."),
    ]
    sections_without_cards: Annotated[
        list[SectionWithoutCards], Field(description="Those that are asked no more. Empty if there are no sections.")
    ]

    @staticmethod
    def told(parts: Sequence[Part], ended_by: str | None) -> dict[str, Any]:
        """Return the fields' values; ``ended_by``: the code of what ended the generation before it was done, if any."""
        return {
            "sections": len(parts) or None,
            "sections_done": sum(part.outcome is not None for part in parts) if parts else None,
            "coverage": coverage(parts) if parts else None,
            "sections_without_cards": [
                SectionWithoutCards(number=number, title=part.title, start=part.start, end=part.end, reason=reason)
                for number, part, reason in without_cards(parts, ended_by)
            ],
        }
