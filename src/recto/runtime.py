"""What a process holds: built once at start, passed in, closed at the end."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Self

from recto.db.commit import Commits
from recto.db.generations import Records
from recto.db.leases import Leases
from recto.db.listener import JobChanges
from recto.db.pool import Pool, open_pool
from recto.images.plans import Plans
from recto.providers import deadline
from recto.providers.jwks import fetch_jwks
from recto.providers.openrouter import OpenRouter
from recto.providers.outputs import Outputs
from recto.providers.replicate import Replicate
from recto.settings import ProviderSettings, Settings, SettingsError, WorkerSettings, default_data_dir
from recto.storage import Storage, StorageError, open_storage
from recto.telemetry import log
from recto.text.proposals import Bounds
from recto.times import Times
from recto.tokens import KeySet, TokenVerifier

_OUTPUT_TIMEOUT_MS = 30_000


@dataclass(frozen=True)
class Images:
    """What pictures take beside the rest, where REPLICATE_API_TOKEN is set. ``storage`` signs with the token."""

    replicate: Replicate
    outputs: Outputs
    storage: Storage

    @classmethod
    def open(cls, settings: WorkerSettings) -> Self | None:
        """Build it; None without a token. Raises ``SettingsError``."""
        if settings.replicate_api_token is None:
            return None
        token = settings.replicate_api_token.get_secret_value()
        try:
            storage = open_storage(
                settings.storage_url or f"file://{default_data_dir()}/files",
                base_url=settings.public_base_url or "",
                secret=sha256(f"recto files {token}".encode()).digest(),
            )
        except StorageError as error:
            raise SettingsError(f"STORAGE_URL: {error}") from None
        return cls(
            Replicate(
                deadline.session(),
                base_url=settings.replicate_base_url,
                token=token,
                model=settings.replicate_model,
                timeout_ms=settings.replicate_timeout_ms,
            ),
            Outputs(trusted=settings.replicate_output_hosts, timeout_ms=_OUTPUT_TIMEOUT_MS),
            storage,
        )


@dataclass(frozen=True)
class WorkerRuntime:
    """What running jobs takes."""

    settings: WorkerSettings
    times: Times
    pool: Pool
    leases: Leases
    commits: Commits
    records: Records
    openrouter: OpenRouter
    bounds: Bounds
    images: Images | None

    @classmethod
    def open_worker(cls, settings: WorkerSettings, times: Times, *, pool_size: int) -> Self:
        """Build what a worker needs; the database and the provider need not be up yet."""
        return cls(
            **_opened(settings, times, pool_size, times.worker_patience_s),
            # A failed attempt of a job is logged and repeated by its own rules.
            openrouter=openrouter(settings, quick_retry=False),
        )

    def warn_of_refused_key(self) -> None:
        """Ask the provider about its key, and tell the operator if that is refused: no generation can succeed then."""
        if status := self.openrouter.refusal_of_key():
            log.warning("openrouter_key_refused", upstream_status=status)

    def close(self) -> None:
        """Write what is late, and give the database connections back."""
        self.commits.close()
        self.leases.close()
        self.pool.close()


@dataclass(frozen=True)
class Runtime(WorkerRuntime):
    """What the web service holds. Make it after a fork, never before one: it opens connections."""

    settings: Settings
    verifier: TokenVerifier
    plans: Plans
    changes: JobChanges

    @classmethod
    def open(cls, settings: Settings, times: Times | None = None) -> Self:
        """Build everything; the database and the provider need not be up yet."""
        times = times or Times.of(settings.openrouter_timeout_ms)
        return cls(
            **_opened(settings, times, settings.database_pool_size, times.patience_s),
            openrouter=openrouter(settings),
            verifier=_verifier(settings),
            plans=Plans.load(settings.plans_file),
            changes=JobChanges(settings.database_url),
        )

    def close(self) -> None:
        """Write what is late, and give the database connections back."""
        self.changes.close()
        super().close()


def _opened(settings: WorkerSettings, times: Times, pool_size: int, patience_s: float) -> dict[str, Any]:
    pool = open_pool(settings.database_url, pool_size)
    return {
        "settings": settings,
        "times": times,
        "pool": pool,
        "leases": Leases(pool, lease_s=times.lease_s, renew_every_s=times.renew_every_s),
        "commits": Commits(patience_s),
        "records": Records(pool),
        "bounds": bounds(settings),
        "images": Images.open(settings),
    }


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
