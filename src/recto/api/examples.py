"""The examples of the OpenAPI document: each is put together along its schema, of what its fields hold here."""

import json
from pathlib import Path
from typing import Any

from recto.api.contract import FlashcardProposal, GenerationDone
from recto.api.event_streams import event
from recto.api.job_contract import GenerationEnded
from recto.api.review_contract import Suggestion
from recto.text.prompt import PROMPT_VERSIONS
from recto.text.source import SourceText

_BODY = json.loads((Path(__file__).parent.parent / "playground/example.json").read_text(encoding="utf-8"))
_SOURCE = SourceText(_BODY["source_text"])
_CARD = {"front": "When was the decree of the Rosetta Stone issued?", "back": "In 196 BC"}
_QUOTE = "Priests gathered at Memphis issued the decree in 196 BC on behalf of King Ptolemy V."
_START = _SOURCE.text.index(_QUOTE)

_GENERATION = "3f0c9a52-7d1e-4b8a-9c64-5e2b7a1d8f30"
_DECK = "a4e1b7c6-0d52-4f39-8b1a-6c9d2e7f4035"
_SUGGESTION = "c81d4e2e-bcf2-41e6-869b-7df92533d2db"
_RENDER = "5b2a9f10-3c47-4e8d-a6b1-90d7c4e2f856"
_PICTURE = "https://cards.example.org/files/renders"
_TIME = "2026-11-20T09:30:00Z"
_MONTH = "2026-12-01T00:00:00Z"

# Of request bodies, whose other fields may be left out.
_BODIES: dict[str, dict[str, Any]] = {
    "CreateGeneration": _BODY | {"include": ["grounding"]},
    "StartGeneration": _BODY | {"count": 5},
    "StartDeckGeneration": {"topic": "The Rosetta Stone", "count": 20},
    "ReportAccepted": {"accepted_unedited_count": 0, "accepted_edited_count": 1},
    "ExportAnki": {"deck_name": "Rosetta", "flashcards": [_CARD]},
    "ReviewSuggestion": {"status": "accepted"},
    "ReviewSuggestions": {"reviews": [{"id": _SUGGESTION, "status": "accepted", "back": "196 BC"}]},
    "CreateImage": {"mode": "illustrate"} | _CARD,
    "CancelImage": {"action": "cancel"},
}

# By field, or by model and field where the models differ. What has an example of its own in the contract, one possible
# value, or a schema, needs none here.
_FIELDS: dict[str, Any] = _CARD | {
    "accepted_edited": 1,
    "accepted_edited_count": 1,
    "accepted_unedited": 6,
    "accepted_unedited_count": 0,
    "attempts": 1,
    "completedAt": _TIME,
    "cost_usd": 0.00042,
    "cost_usd_per_kept_card": 0.00006,
    "count": None,
    "coverage": None,
    "created_at": _TIME,
    "createdAt": _TIME,
    "date": "2026-11-20",
    "days": 30,
    "deck_id": _DECK,
    "end": _START + len(_QUOTE),
    "error": None,
    "error_message": "no answer within 30000 ms",
    "failures": 1,
    "finished_at": "2026-11-20T09:30:03Z",
    "first_front": _CARD["front"],
    "first_proposal_ms": None,
    "generated_count": 1,
    "generation_duration": 2140,
    "generation_id": _GENERATION,
    "grounded": True,
    "grounding_known": 8,
    "id": _GENERATION,
    "images": None,
    "incomplete": None,
    "index": 0,
    "language": None,
    "limit": 100,
    "median_first_proposal_ms": 900,
    "message": "The language model did not answer in time.",
    "mode": "illustrate",
    "model": "openai/gpt-4o-mini",
    "next_cursor": None,
    "nextCursor": None,
    "pairs_generated": 10,
    "position": 1,
    "predictionId": "gm3qorzdhgbfurvjtvhg6dckhu",
    "prompt_version": PROMPT_VERSIONS[-1],
    "proposed": 8,
    "quote": _QUOTE,
    "rejected": 1,
    "renderId": _RENDER,
    "reserved": 0,
    "resets_at": _MONTH,
    "retries": 0,
    "retry_at": None,
    "reviewed_count": 0,
    "section": None,
    "sections": None,
    "sections_done": None,
    "sections_without_cards": [],
    "settings": {},
    "since": "2026-10-22T00:00:00Z",
    "source_text_hash": _SOURCE.hash,
    "source_text_length": _SOURCE.length,
    "start": _START,
    "started_at": _TIME,
    "suggestion_id": _SUGGESTION,
    "suggestions_count": 1,
    "thumbUrl": f"{_PICTURE}/{_RENDER}/0-thumb.jpg",
    "tokens_input": 912,
    "tokens_output": 318,
    "tokens_per_kept_card": 175.7,
    "updated_at": _TIME,
    "url": f"{_PICTURE}/{_RENDER}/0.jpg",
    "used": 12,
    "user_id": "00000000-0000-4000-8000-000000000001",
    "AiGeneration.deck_id": None,
    "AiGeneration.status": "succeeded",
    "CreatedGeneration.generation_id": 123,
    "DeckGeneration.count": 20,
    "DeckGeneration.finished_at": None,
    "DeckGeneration.kind": "deck",
    "DeckGeneration.status": "running",
    "DeckGeneration.suggestions_count": 10,
    "Generation.id": 123,
    "GenerationErrorLog.id": 45,
    "Image.status": "succeeded",
    "ListedGeneration.deck_id": None,
    "ListedGeneration.status": "succeeded",
    "ModelStats.generations": 4,
    "ModelStats.grounded": 8,
    "ModelStats.language": "en",
    "Suggestion.id": _SUGGESTION,
}

# By model and field: what differs from the example of the model that stands in the field.
_CHANGES: dict[str, dict[str, Any]] = {
    "RetriedGeneration.generation": {"status": "pending", "retries": 1, "model": None, "finished_at": None},
}


def of_model(name: str, schemas: dict[str, Any]) -> dict[str, Any]:
    """Return an example of the model. Raises ``KeyError`` naming a field that has none."""
    if name in _BODIES:
        return _BODIES[name]
    return {field: _of_field(name, field, schema, schemas) for field, schema in schemas[name]["properties"].items()}


def _of_field(model: str, field: str, schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    for name in (f"{model}.{field}", field):
        if name in _FIELDS:
            return _FIELDS[name]
    schema = schema.get("anyOf", [schema])[0]
    if "$ref" in schema:
        return of_model(schema["$ref"].rpartition("/")[2], schemas) | _CHANGES.get(f"{model}.{field}", {})
    if "items" in schema:
        return [_of_field(model, f"{field}[]", schema["items"], schemas)]
    for choices in ("examples", "enum"):
        if choices in schema:
            return schema[choices][0]
    return schema["const"] if "const" in schema else _FIELDS[f"{model}.{field}"]


def of_parameter(name: str) -> Any:
    """Return an example of a part of an address."""
    return _FIELDS[name]


def of_text(operation_id: str, schemas: dict[str, Any]) -> str:
    """Return an example of an operation's answer that is text. Raises ``KeyError`` if it has none."""
    match operation_id:
        case "createGeneration":
            proposal = FlashcardProposal.model_validate(of_model("FlashcardProposal", schemas))
            done = GenerationDone.model_validate(of_model("CreatedGeneration", schemas))
            return (event("proposal", proposal) + event("done", done)).decode()
        case "followAiGeneration":
            suggestion = Suggestion.model_validate(of_model("Suggestion", schemas))
            ended = GenerationEnded.model_validate(of_model("AiGeneration", schemas))
            return (event("suggestion", suggestion, event_id="1") + event("done", ended, event_id="done")).decode()
        case "metrics":
            return 'recto_http_requests_total{method="POST",route="/generations",status="200"} 12.0\n'
        case _:
            raise KeyError(operation_id)
