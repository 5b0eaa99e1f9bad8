"""What OpenRouter lists beside its completions: models and their endpoints with prices, the key, the credits."""

from typing import Any

from recto.sandbox.chat import MODEL, PROVIDER, Reply, error, to_json
from recto.sandbox.faults import FAULTS

_CREATED = 1_763_596_800  # Unix time; every model's
_CONTEXT_TOKENS = 1_000_000
_CREDITS_USD = 100.0
_PARAMETERS = ["max_tokens", "max_completion_tokens", "response_format", "structured_outputs"]
_ARCHITECTURE = {
    "modality": "text->text",
    "input_modalities": ["text"],
    "output_modalities": ["text"],
    "tokenizer": "Other",
    "instruct_type": None,
}


def models(usd_per_token: float) -> Reply:
    """Every model that the sandbox has a name of its own for: the one that works, and one for each fault."""
    descriptions = {MODEL: "Makes flashcards by rule."} | {
        f"sandbox/{name}": fault.description for name, fault in FAULTS.items()
    }
    listed = [
        {
            "id": model,
            "canonical_slug": model,
            "hugging_face_id": None,
            "name": f"{PROVIDER}: {model}",
            "created": _CREATED,
            "description": description,
            "context_length": _CONTEXT_TOKENS,
            "architecture": _ARCHITECTURE,
            "pricing": _pricing(usd_per_token),
            "top_provider": {
                "context_length": _CONTEXT_TOKENS,
                "max_completion_tokens": None,
                "is_moderated": False,
            },
            "per_request_limits": None,
            "supported_parameters": _PARAMETERS,
            "supported_voices": None,
            "default_parameters": {},
            "expiration_date": None,
            "links": {"details": f"/api/v1/models/{model}/endpoints"},
        }
        for model, description in descriptions.items()
    ]
    return _answer(listed, links={"next": None}, total_count=len(listed))


def endpoints(model: str, usd_per_token: float) -> Reply:
    """The one endpoint of a model that the sandbox plays, at the sandbox's price; 404 for another of its names."""
    is_known = model == MODEL or not model.startswith("sandbox/") or model.removeprefix("sandbox/") in FAULTS
    if not is_known:
        return error(404, "not_found", "There is no model of that name.")
    unmeasured = dict.fromkeys(
        ["latency_last_30m", "throughput_last_30m", "uptime_last_5m", "uptime_last_30m", "uptime_last_1d"]
    )
    endpoint = unmeasured | {
        "name": f"{PROVIDER} | {model}",
        "model_id": model,
        "model_name": model,
        "tag": "sandbox",
        "context_length": _CONTEXT_TOKENS,
        "pricing": _pricing(usd_per_token) | {"discount": 0},
        "provider_name": PROVIDER,
        "quantization": None,
        "service_tier": None,
        "max_prompt_tokens": None,
        "max_completion_tokens": None,
        "supported_parameters": _PARAMETERS,
        "supports_implicit_caching": False,
        "supports_diarization": False,
        "supports_tool_choice": dict.fromkeys(["auto", "function", "none", "required"], False),
        "native_tools": {},
    }
    return _answer(
        {
            "id": model,
            "name": model,
            "created": _CREATED,
            "description": "",
            "architecture": _ARCHITECTURE,
            "endpoints": [endpoint],
        }
    )


def key(usage_usd: float) -> Reply:
    """A key without limits that has spent this much, all of it today."""
    used = dict.fromkeys(["usage", "usage_daily", "usage_weekly", "usage_monthly"], usage_usd)
    own = dict.fromkeys(["byok_usage", "byok_usage_daily", "byok_usage_weekly", "byok_usage_monthly"], 0)
    unset = dict.fromkeys(
        [
            "creator_user_id",
            "effective_budget",
            "expires_at",
            "limit",
            "limit_remaining",
            "limit_reset",
            "organization_id",
            "workspace_id",
        ]
    )
    return _answer(
        used
        | own
        | unset
        | {
            "label": "sandbox",
            "allowed_data_regions": ["global"],
            "budgets": [],
            "free_model_daily_requests": {"limit": 1000, "remaining": 1000, "used": 0},
            "include_byok_in_limit": False,
            "is_free_tier": False,
            "is_management_key": False,
            "is_provisioning_key": False,
            "rate_limit": {"requests": -1, "interval": "10s", "note": "This field is deprecated."},
        }
    )


def credits_left(usage_usd: float) -> Reply:
    """An account with this much spent of what was bought, in dollars."""
    return _answer({"total_credits": _CREDITS_USD, "total_usage": usage_usd})


def _pricing(usd_per_token: float) -> dict[str, Any]:
    price = f"{usd_per_token:.12f}"
    return {"prompt": price, "completion": price, "request": "0"}


def _answer(data: Any, **more: Any) -> Reply:
    return Reply(200, to_json({"data": data, **more}).encode())
