"""The service's settings, read from the environment once, at start. Nothing else reads the environment."""

import os
import re
from datetime import timedelta
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from uuid import UUID

from limits import RateLimitItem, parse_many
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    HttpUrl,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Schema = Literal["public", "recto"]

SANDBOX_KEY = "sandbox"  # what Recto gives the sandbox, which wants a key

_WEBHOOK_SECRET = re.compile(r"whsec_[A-Za-z0-9+/]{32,86}={0,2}")
_LIMIT_STORE = re.compile(r"(redis|valkey)(s|\+unix)?://")


class SettingsError(Exception):
    """The environment does not describe a service that can run; the text has one line for each bad value."""


def _rate_limit(text: str) -> str:
    parse_many(text)  # raises ValueError
    return text


def _webhook_secrets(value: Any) -> Any:
    secrets = _split(value)
    if not all(_WEBHOOK_SECRET.fullmatch(secret) for secret in secrets):
        raise ValueError("must be whsec_ and 24 to 64 bytes in base64; two, by a comma, while one is rotated")
    return tuple(map(SecretStr, secrets))


def _split(value: Any) -> Any:
    return tuple(filter(None, (part.strip() for part in value.split(",")))) if isinstance(value, str) else value


def _secret_address(value: SecretStr) -> SecretStr:
    HttpUrl(value.get_secret_value())  # raises ValueError
    return value


def _limit_store(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    try:
        valid = _LIMIT_STORE.match(url) and urlsplit(url).port != 0
    except ValueError:  # its text quotes what stands where a port should, which may be a part of a password
        valid = False
    if not valid:
        raise ValueError("must be redis://… or valkey://…, with rediss or valkeys for TLS, redis+unix for a socket")
    if find_spec("redis") is None:
        raise ValueError("needs a client: pip install 'recto[valkey]'")
    return value


HttpAddress = Annotated[str, BeforeValidator(lambda value: str(HttpUrl(value)).rstrip("/"))]
# A webhook's address is its password.
SecretAddress = Annotated[SecretStr, AfterValidator(_secret_address)]
# Its address holds its password.
LimitStore = Annotated[SecretStr, AfterValidator(_limit_store)]
RateLimit = Annotated[str, AfterValidator(_rate_limit)]
WebhookSecrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_webhook_secrets)]
CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class _Environment(BaseSettings):
    """One immutable value per environment variable of the same name in capitals; an empty one counts as unset."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True)

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read the environment; raise ``SettingsError`` with one line for each missing or bad value."""
        try:
            return cls(**overrides)
        except ValidationError as error:
            raise SettingsError("\n".join(_line(problem) for problem in error.errors())) from None


class DatabaseSettings(_Environment):
    """Which database, for every command that needs one.

    ``database_schema``: where `recto migrate` puts Recto's tables. All others find them in either.
    """

    database_url: Annotated[str, Field(pattern=r"^postgres(ql)?://")]
    database_schema: Schema = "public"


class ProviderSettings(_Environment):
    """Which language model, and what is asked of it."""

    openrouter_api_key: SecretStr
    openrouter_base_url: HttpAddress = "https://openrouter.ai/api/v1"
    openrouter_model: str = "openai/gpt-4o-mini"
    openrouter_fallback_models: CommaSeparated = ()
    openrouter_timeout_ms: Annotated[int, Field(ge=1, le=600_000)] = 30_000
    openrouter_max_tokens: Annotated[int, Field(ge=16)] = 4096

    max_proposals: Annotated[int, Field(ge=1, le=100)] = 15
    max_front_characters: Annotated[int, Field(ge=1, le=10_000)] = 200
    max_back_characters: Annotated[int, Field(ge=1, le=10_000)] = 500
    deck_max_characters: Annotated[int, Field(ge=10_000, le=1_000_000)] = 200_000

    @cached_property
    def uses_sandbox(self) -> bool:
        """Whether the sandbox answers: Recto started it and gave it its key, or the model is one that only it has."""
        return self.openrouter_api_key.get_secret_value() == SANDBOX_KEY or self.openrouter_model.startswith("sandbox/")


class WorkerSettings(DatabaseSettings, ProviderSettings):
    """What a worker needs, and what it shares with the service about jobs."""

    allowed_models: CommaSeparated = ()
    max_concurrent_generations: Annotated[int, Field(ge=1, le=10_000)] = 10
    quota_generations_per_month: Annotated[int, Field(ge=0)] | None = None
    retry_window_hours: Annotated[float, Field(gt=0, le=24 * 365)] = 24
    retention_days: Annotated[float, Field(gt=0, le=365 * 10)] = 30
    alert_webhook_url: SecretAddress | None = None

    replicate_api_token: SecretStr | None = None
    replicate_base_url: HttpAddress = "https://api.replicate.com"
    replicate_model: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")] = "google/nano-banana"
    replicate_timeout_ms: Annotated[int, Field(ge=1, le=60_000)] = 10_000
    replicate_output_hosts: CommaSeparated = ()
    storage_url: str | None = None
    render_deadline_s: Annotated[float, Field(gt=0, le=3600)] = 600
    public_base_url: HttpAddress | None = None

    log_format: Literal["json", "console"] = "json"

    @cached_property
    def models(self) -> tuple[str, ...]:
        """The models that a caller may ask for: the default one and ``allowed_models``."""
        return tuple(dict.fromkeys((self.openrouter_model, *self.allowed_models)))

    @cached_property
    def configured_models(self) -> frozenset[str]:
        """Every model that may answer by configuration: those of ``models`` and the fallback ones."""
        return frozenset((*self.models, *self.openrouter_fallback_models))

    @cached_property
    def retry_window(self) -> timedelta:
        """How long after its failure a generation may be retried."""
        return timedelta(hours=self.retry_window_hours)

    @cached_property
    def retention(self) -> timedelta:
        """How long suggestions are kept."""
        return timedelta(days=self.retention_days)


class Settings(WorkerSettings):
    """What the service needs."""

    database_pool_size: Annotated[int, Field(ge=1, le=100)] = 4

    supabase_url: HttpAddress | None = None
    supabase_jwt_secret: SecretStr | None = None
    allow_anonymous_users: bool = False
    development_user: UUID | None = None

    rate_limit_per_user: RateLimit = "5 per 5 minutes"
    rate_limit_per_ip: RateLimit = "30 per 5 minutes"
    rate_limit_storage_url: LimitStore | None = None
    replicate_webhook_secret: WebhookSecrets = ()
    allow_unsigned_webhooks: bool = False
    plans_file: Path | None = None

    trusted_proxy_count: Annotated[int, Field(ge=0, le=10)] = 0
    cors_origins: CommaSeparated = ()

    web_concurrency: Annotated[int, Field(ge=1, le=64)] = os.cpu_count() or 1

    @model_validator(mode="after")
    def _has_a_key_source(self) -> Self:
        if self.supabase_url is None and self.supabase_jwt_secret is None:
            raise ValueError("SUPABASE_JWT_SECRET or SUPABASE_URL: one must be set, or no token could be verified")
        return self

    @model_validator(mode="after")
    def _can_sign_in(self) -> Self:
        if self.development_user and self.supabase_jwt_secret is None:
            raise ValueError("DEVELOPMENT_USER: needs SUPABASE_JWT_SECRET, which signs that user's tokens")
        return self

    @model_validator(mode="after")
    def _can_be_told_of_pictures(self) -> Self:
        if self.replicate_api_token is None:
            return self
        url = self.public_base_url or ""
        if not (url.startswith("https://") or urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")):
            raise ValueError("PUBLIC_BASE_URL: must be the service's https address, at which Replicate reaches it")
        if not self.replicate_webhook_secret and not self.allow_unsigned_webhooks:
            raise ValueError("REPLICATE_WEBHOOK_SECRET: must be set, or anybody could say that a picture is there")
        return self

    @cached_property
    def limits_per_user(self) -> tuple[RateLimitItem, ...]:
        """The rules of ``rate_limit_per_user``, each once."""
        return tuple(dict.fromkeys(parse_many(self.rate_limit_per_user)))

    @cached_property
    def limits_per_ip(self) -> tuple[RateLimitItem, ...]:
        """The rules of ``rate_limit_per_ip``, each once."""
        return tuple(dict.fromkeys(parse_many(self.rate_limit_per_ip)))


def default_data_dir() -> Path:
    """Return where a service keeps what it is not told to keep elsewhere."""
    # For root outside of any home: PostgreSQL refuses to run as root, and the user that it then runs as must be able
    # to walk to its files.
    return Path("/var/lib/recto") if os.geteuid() == 0 else Path.home() / ".local/share/recto"


class DevelopmentSettings(_Environment):
    """What `recto dev` and `recto token` look at before they fill in the rest with defaults of their own.

    ``recto_data_dir`` holds the embedded database and the development secret.
    """

    recto_data_dir: Annotated[Path, Field(default_factory=default_data_dir)]
    openrouter_api_key: SecretStr | None = None
    openrouter_timeout_ms: int = 30_000
    replicate_api_token: SecretStr | None = None
    supabase_url: HttpAddress | None = None
    supabase_jwt_secret: SecretStr | None = None


def _line(problem: Any) -> str:
    name = ".".join(map(str, problem["loc"])).upper()
    reason = "must be set" if problem["type"] == "missing" else problem["msg"].removeprefix("Value error, ")
    return f"{name}: {reason}" if name else reason
