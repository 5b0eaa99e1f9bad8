"""What an answer of the provider says, good or bad.

It is untrusted: a value that the database, a log or the arithmetic could not hold counts as missing.
"""

import re
from decimal import Decimal
from typing import Any

from recto.calls import Spent
from recto.errors import UpstreamInvalidResponse

# More than any call takes, and little enough for the sums over a job's calls: they are stored as int4, numeric(12, 6).
MAX_TOKENS = 10_000_000
MAX_COST_USD = 1_000

_NAME = re.compile(r"[!-~]{1,200}")


def is_error(answer: dict[str, Any]) -> bool:
    """Whether an answer, or a chunk of one, reports an error."""
    match answer:
        case {"error": error} if error:
            return True
        case {"choices": [{"error": error}, *_]} if error:
            return True
        case {"choices": [{"finish_reason": "error"}, *_]}:
            return True
    return False


def choice_of(answer: dict[str, Any]) -> dict[str, Any] | None:
    """Return the first choice of an answer in which nothing is an error."""
    match answer:
        case {"choices": [dict() as choice, *_]} if not is_error(answer):
            return choice
    return None


def written(choice: dict[str, Any]) -> tuple[str, str | None]:
    """Return what the model wrote and why it stopped. Raises ``UpstreamInvalidResponse`` if it wrote nothing."""
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    content = text(message.get("content"))
    finish_reason = name(choice.get("finish_reason"))
    if not content.strip():
        refused = message.get("refusal") or finish_reason == "content_filter"
        reason = "the model refused" if refused else "the model wrote nothing"
        raise UpstreamInvalidResponse(f"{reason} (finish_reason {finish_reason})")
    return content, finish_reason


def name(value: Any) -> str | None:
    """Return a name of up to 200 visible ASCII characters; None for all else, which may be a text."""
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None


def usage(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the provider's own count of tokens and US dollars, in the words of ``Call``; None for what is odd."""
    usage = answer.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return {
        "tokens_input": _count(usage.get("prompt_tokens")),
        "tokens_output": _count(usage.get("completion_tokens")),
        "cost_usd": _cost(usage.get("cost")),
    }


def spent(answer: dict[str, Any]) -> Spent | None:
    """Return what a past call took, as OpenRouter's ``GET /generation`` tells it; None if it does not."""
    told = answer.get("data")
    told = told if isinstance(told, dict) else {}
    # Those of the model's own tokenizer, as in the usage of an answer.
    tokens_input = _count(told.get("native_tokens_prompt", told.get("tokens_prompt")))
    tokens_output = _count(told.get("native_tokens_completion", told.get("tokens_completion")))
    cost_usd = _cost(told.get("total_cost"))
    if tokens_input is None or tokens_output is None or cost_usd is None:
        return None
    return Spent(tokens_input, tokens_output, cost_usd)


def text(content: Any) -> str:
    """Return a message's content, which is a text, a list of parts, or null."""
    match content:
        case str():
            return content
        case list():
            return "".join(
                part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
            )
    return ""


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TOKENS else None


def _cost(value: Any) -> Decimal | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_COST_USD:
        return Decimal(str(value))
    return None
