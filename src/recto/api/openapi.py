"""The OpenAPI 3.1 document: the models of the contract, and a table of what each route answers."""

from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from pydantic_core import to_json

from recto.api import contract, job_contract
from recto.api.openapi_parts import REF, header, in_header, in_path, in_query, operation

_LOCATION = {"Location": header("Where to follow the generation.")}
_ETAG = {"ETag": header("Changes with the answer.")}
_APPLIED = {"Preference-Applied": header("`respond-async`, if it was preferred.")}
_PREFER = in_header("Prefer", "`respond-async`: have it run in the background.")
_IF_NONE_MATCH = in_header("If-None-Match", "The `ETag` of what is known.")


def _synchronous() -> dict[str, Any]:
    return {
        "/generations": {
            "post": operation(
                "createGeneration",
                "Make flashcard proposals of a source text, and wait for them",
                body=contract.CreateGeneration,
                answers={200: contract.CreatedGeneration},
                errors=(502,),
                starts=True,
            ),
            "get": operation(
                "listGenerations",
                "The caller's generations, newest first",
                answers={200: contract.GenerationPage},
                parameters=in_query(contract.PageQuery),
            ),
        },
        "/generations/{generation_id}": {
            "get": operation(
                "getGeneration",
                "One of the caller's generations",
                answers={200: contract.Generation},
                errors=(404,),
                parameters=(in_path("generation_id", type="integer", minimum=1, maximum=2**63 - 1),),
            ),
        },
        "/generation-error-logs": {
            "get": operation(
                "listGenerationErrorLogs",
                "The caller's failed generations, newest first",
                answers={200: contract.GenerationErrorLogPage},
                parameters=in_query(contract.PageQuery),
            ),
        },
        "/exports/anki": {
            "post": operation(
                "exportAnki",
                "An Anki deck package of the given flashcards; nothing is kept",
                body=contract.ExportAnki,
                answers={200: "application/octet-stream"},
            ),
        },
    }


def _background() -> dict[str, Any]:
    return {
        "/ai/generations": {
            "post": operation(
                "startAiGeneration",
                "Make flashcard proposals of a source text in the background, for review",
                body=job_contract.StartGeneration,
                answers={202: job_contract.StartedGeneration},
                headers=_LOCATION,
                starts=True,
            ),
            "get": operation(
                "listAiGenerations",
                "The caller's generations for review, in sessions and of decks, newest first",
                answers={200: job_contract.AiGenerationPage},
                parameters=in_query(job_contract.AiGenerationQuery),
            ),
        },
        "/ai/generations/{generation_id}": {
            "get": operation(
                "getAiGeneration",
                "One generation; with `wait`, as soon as it has ended",
                answers={200: job_contract.AiGeneration, 304: None},
                errors=(404,),
                parameters=(in_path("generation_id"), *in_query(job_contract.WaitQuery), _IF_NONE_MATCH),
                headers=_ETAG,
            ),
            "delete": operation(
                "cancelAiGeneration",
                "Cancel a generation that has not ended; erase the text and the suggestions of any",
                answers={204: None},
                errors=(404,),
                parameters=(in_path("generation_id"),),
            ),
        },
        "/ai/generations/{generation_id}/suggestions": {
            "get": operation(
                "listSuggestions",
                "The suggestions of a generation, in order",
                answers={200: job_contract.SuggestionList},
                errors=(404,),
                parameters=(in_path("generation_id"), *in_query(job_contract.SuggestionQuery)),
            ),
        },
        "/ai/generations/{generation_id}/suggestions/review": {
            "post": operation(
                "reviewSuggestions",
                "Accept or reject several suggestions, all or none",
                body=job_contract.ReviewSuggestions,
                answers={200: job_contract.SuggestionList},
                errors=(404,),
                parameters=(in_path("generation_id"),),
            ),
        },
        "/ai/suggestions/{suggestion_id}": {
            "patch": operation(
                "reviewSuggestion",
                "Accept, edit or reject a suggestion",
                body=job_contract.ReviewSuggestion,
                answers={200: job_contract.Suggestion},
                errors=(404,),
                parameters=(in_path("suggestion_id"),),
            ),
        },
        "/sessions/ai": {
            "post": operation(
                "createSession",
                "Make flashcard proposals for review, and wait for them",
                body=job_contract.StartGeneration,
                answers={200: job_contract.CreatedSession},
                errors=(410, 502),
                error=job_contract.FailedGeneration,
                starts=True,
            ),
        },
        "/sessions/ai/{generation_id}/retry": {
            "post": operation(
                "retryGeneration",
                "Run a failed generation anew from its stored inputs",
                answers={200: job_contract.CreatedSession, 202: job_contract.RetriedGeneration},
                errors=(404, 410, 502),
                error=job_contract.FailedGeneration,
                parameters=(in_path("generation_id"), _PREFER),
                headers=_APPLIED,
                starts=True,
            ),
        },
        "/decks/{deck_id}/generation": {
            "post": operation(
                "startDeckGeneration",
                "Make pairs for a deck in the background, of a source text or a topic",
                body=job_contract.StartDeckGeneration,
                answers={202: job_contract.StartedGeneration},
                errors=(404,),
                parameters=(in_path("deck_id"),),
                headers=_LOCATION,
                starts=True,
            ),
            "get": operation(
                "getDeckGeneration",
                "A deck's latest generation and how far it is",
                answers={200: job_contract.DeckGeneration},
                errors=(404,),
                parameters=(in_path("deck_id"),),
            ),
        },
        "/decks/{deck_id}/pairs": {
            "get": operation(
                "listPairs",
                "A deck's pairs, oldest first",
                answers={200: job_contract.PairPage},
                errors=(404,),
                parameters=(in_path("deck_id"), *in_query(contract.PageQuery)),
            ),
        },
        "/usage": {
            "get": operation(
                "getUsage",
                "What is used of this month's quota",
                answers={200: job_contract.Usage},
            ),
        },
    }


def _operations() -> dict[str, Any]:
    return {
        "/healthz": {
            "get": operation(
                "healthz",
                "Is the process alive?",
                answers={200: contract.Status},
                public=True,
            ),
        },
        "/readyz": {
            "get": operation(
                "readyz",
                "Can requests be served?",
                answers={200: contract.Status},
                errors=(503,),
                public=True,
            ),
        },
        "/metrics": {
            "get": operation(
                "metrics",
                "Metrics for Prometheus",
                answers={200: "text/plain"},
                public=True,
            ),
        },
    }


_MODELS: tuple[type[BaseModel], ...] = (
    contract.CreateGeneration,
    contract.CreatedGeneration,
    contract.Generation,
    contract.GenerationPage,
    contract.GenerationErrorLog,
    contract.GenerationErrorLogPage,
    contract.ExportAnki,
    contract.Error,
    contract.Status,
    job_contract.StartGeneration,
    job_contract.StartDeckGeneration,
    job_contract.StartedGeneration,
    job_contract.AiGeneration,
    job_contract.AiGenerationPage,
    job_contract.DeckGeneration,
    job_contract.Suggestion,
    job_contract.SuggestionList,
    job_contract.PairPage,
    job_contract.ReviewSuggestion,
    job_contract.ReviewSuggestions,
    job_contract.Usage,
    job_contract.CreatedSession,
    job_contract.RetriedGeneration,
    job_contract.FailedGeneration,
)


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI document. It is the same for the life of the process."""
    _, schemas = models_json_schema(
        [(model, "validation" if issubclass(model, contract.Body) else "serialization") for model in _MODELS],
        ref_template=REF,
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Recto",
            "version": "1",
            "description": "Turns a learner's source text into flashcard proposals. Every route that needs a token is "
            "also served under `/api`.",
        },
        "security": [{"bearer": []}],
        "paths": _synchronous() | _background() | _operations(),
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "The access token of a signed-in Supabase user.",
                }
            },
        },
    }


@cache
def document_json() -> bytes:
    """Return the document as JSON."""
    return to_json(document())
