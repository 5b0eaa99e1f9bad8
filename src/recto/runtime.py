"""What a process holds: built once at start, passed in, closed at the end."""

from dataclasses import dataclass
from typing import Self

from recto.db.job_changes import JobChanges
from recto.db.pool import Pool, open_pool
from recto.providers import deadline
from recto.providers.jwks import fetch_jwks
from recto.providers.openrouter import OpenRouter
from recto.settings import ProviderSettings, Settings, WorkerSettings
from recto.text.proposals import Bounds
from recto.tokens import KeySet, TokenVerifier


@dataclass(frozen=True)
class WorkerRuntime:
    """What running jobs takes."""

    settings: WorkerSettings
    pool: Pool
    openrouter: OpenRouter
    bounds: Bounds

    @classmethod
    def open_worker(cls, settings: WorkerSettings, *, pool_size: int) -> Self:
        """Build what a worker needs; the database and the provider need not be up yet."""
        return cls(
            settings=settings,
            pool=open_pool(settings.database_url, pool_size),
            # A failed attempt of a job is logged and repeated by its own rules.
            openrouter=openrouter(settings, quick_retry=False),
            bounds=bounds(settings),
        )

    def close(self) -> None:
        """Give the database connections back."""
        self.pool.close()


@dataclass(frozen=True)
class Runtime(WorkerRuntime):
    """What the web service holds. Make it after a fork, never before one: it opens connections."""

    settings: Settings
    verifier: TokenVerifier
    changes: JobChanges

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Build everything; the database and the provider need not be up yet."""
        return cls(
            settings=settings,
            pool=open_pool(settings.database_url, settings.database_pool_size),
            openrouter=openrouter(settings),
            bounds=bounds(settings),
            verifier=_verifier(settings),
            changes=JobChanges(settings.database_url),
        )

    def close(self) -> None:
        """Give the database connections back."""
        self.changes.close()
        super().close()


def openrouter(settings: ProviderSettings, *, quick_retry: bool = True) -> OpenRouter:
    """Build the provider's client."""
    return OpenRouter(
        deadline.session(),
        base_url=settings.openrouter_base_url,
        api_key=settings.openrouter_api_key.get_secret_value(),
        timeout_ms=settings.openrouter_timeout_ms,
        max_tokens=settings.openrouter_max_tokens,
        fallback_models=settings.openrouter_fallback_models,
        quick_retry=quick_retry,
    )


def bounds(settings: ProviderSettings) -> Bounds:
    """Return how many proposals are asked for and how long their sides may be."""
    return Bounds(
        proposals=settings.max_proposals,
        front=settings.max_front_characters,
        back=settings.max_back_characters,
    )


def _verifier(settings: Settings) -> TokenVerifier:
    keys = None
    if url := settings.supabase_url:
        session = deadline.session()
        keys = KeySet(lambda: fetch_jwks(session, url))
    return TokenVerifier(
        secret=settings.supabase_jwt_secret.get_secret_value() if settings.supabase_jwt_secret else None,
        keys=keys,
        issuer=f"{url}/auth/v1" if url else None,
        allow_anonymous=settings.allow_anonymous_users,
    )
