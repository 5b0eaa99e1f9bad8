"""What OpenRouter remembers of its completions: ``GET /generation`` tells it, and tests see in it who left."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from time import monotonic, time
from typing import Any

_MOST_KEPT = 1000
# What its schema wants and the sandbox has no word for.
_UNKNOWN = dict.fromkeys(
    [
        "app_id",
        "cache_discount",
        "external_user",
        "http_referer",
        "latency",
        "moderation_latency",
        "native_tokens_cached",
        "native_tokens_completion_images",
        "native_tokens_reasoning",
        "num_fetches",
        "num_input_audio_prompt",
        "num_media_completion",
        "num_media_prompt",
        "num_search_results",
        "preset_id",
        "provider_responses",
        "router",
        "service_tier",
        "upstream_id",
        "upstream_inference_cost",
        "user_agent",
        "web_search_engine",
        "workspace_id",
    ]
)


@dataclass
class Generation:
    """One call and, once the sandbox has written an answer to it, what that took.

    ``finish_reason``: None while there is no answer. ``chunks``: how many a stream has sent. ``ended``:
    when nothing was left to write, or the client was seen to have left (``time.monotonic``); None before.
    ``cancelled``: the client left a stream, and what was not sent is not paid for. ``looks``: how often it was asked
    about; the first ``hidden_looks`` find nothing.
    """

    id: str
    model: str
    provider: str
    streamed: bool
    tokens_prompt: int
    usd_per_token: float
    created: int = field(default_factory=lambda: int(time()))
    begun: float = field(default_factory=monotonic)
    tokens_completion: int = 0
    finish_reason: str | None = None
    chunks: int = 0
    ended: float | None = None
    cancelled: bool = False
    looks: int = 0
    hidden_looks: int = 0

    @property
    def cost(self) -> float:
        """What the answer costs, in dollars; one that ends with an error is free."""
        if self.finish_reason == "error":
            return 0.0
        return round((self.tokens_prompt + self.tokens_completion) * self.usd_per_token, 9)

    def end(self, *, left: bool = False) -> None:
        """Note the end, unless it was noted before; ``left``: the client's going is its reason."""
        if self.ended is None:
            self.cancelled = left and self.streamed
            if self.cancelled:
                self.tokens_completion = min(self.chunks, self.tokens_completion)
            self.ended = monotonic()

    def describe(self) -> dict[str, Any]:
        """Return what OpenRouter says of it once it has ended."""
        return _UNKNOWN | {
            "id": self.id,
            "api_type": "completions",
            "cancelled": self.cancelled,
            "created_at": datetime.fromtimestamp(self.created, UTC).isoformat(),
            "data_region": "global",
            "finish_reason": self.finish_reason,
            "generation_time": round(((self.ended or monotonic()) - self.begun) * 1000),
            "is_byok": False,
            "model": self.model,
            "native_finish_reason": self.finish_reason,
            "native_tokens_completion": self.tokens_completion,
            "native_tokens_prompt": self.tokens_prompt,
            "origin": "",
            "provider_name": self.provider,
            "streamed": self.streamed,
            "tokens_completion": self.tokens_completion,
            "tokens_prompt": self.tokens_prompt,
            "total_cost": self.cost,
            "usage": self.cost,
        }


class Generations:
    """The last ``_MOST_KEPT`` calls of one sandbox."""

    def __init__(self) -> None:
        self._kept: dict[str, Generation] = {}
        self._lock = Lock()

    def keep(self, generation: Generation) -> None:
        """Remember a call, in place of the oldest one."""
        with self._lock:
            self._kept[generation.id] = generation
            if len(self._kept) > _MOST_KEPT:
                del self._kept[next(iter(self._kept))]

    def find(self, generation_id: str) -> Generation | None:
        """Return the call of this id."""
        return self._kept.get(generation_id)

    def look(self, generation_id: str) -> Generation | None:
        """Return the call of this id if its caller may hear of it: it was answered, and has ended."""
        found = self.find(generation_id)
        if found is None:
            return None
        found.looks += 1
        told = found.ended is not None and found.finish_reason is not None and found.looks > found.hidden_looks
        return found if told else None

    @property
    def cost(self) -> float:
        """What the calls that are remembered have cost together, in dollars."""
        with self._lock:
            return round(sum(generation.cost for generation in self._kept.values()), 9)

    @property
    def cancelled(self) -> list[Generation]:
        """The streams whose client left before their end, in the order in which they began."""
        with self._lock:
            return [generation for generation in self._kept.values() if generation.cancelled]
