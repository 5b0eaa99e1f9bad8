"""OpenRouter's list of a model's endpoints, with what each takes a token."""

from recto.sandbox.chat import MODEL, PROVIDER, Reply, error, to_json
from recto.sandbox.faults import FAULTS


def endpoints(model: str, usd_per_token: float) -> Reply:
    """The one endpoint of a model that the sandbox plays, at the sandbox's price; 404 for another of its names."""
    is_known = model == MODEL or not model.startswith("sandbox/") or model.removeprefix("sandbox/") in FAULTS
    if not is_known:
        return error(404, "not_found", "There is no model of that name.")
    price = f"{usd_per_token:.12f}"
    endpoint = {
        "name": f"{PROVIDER} | {model}",
        "model_id": model,
        "context_length": 1_000_000,
        "pricing": {"prompt": price, "completion": price, "request": "0", "discount": 0},
        "provider_name": PROVIDER,
        "max_completion_tokens": None,
        "supported_parameters": ["max_tokens", "response_format", "structured_outputs"],
    }
    data = {"id": model, "name": model, "created": 0, "description": "", "endpoints": [endpoint]}
    return Reply(200, to_json({"data": data}).encode())
