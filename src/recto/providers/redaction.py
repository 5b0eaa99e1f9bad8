"""What a provider says, as far as an operator may read it: some quote the prompt, and some the key."""

import re
from collections.abc import Iterator, Sequence

# So much is kept of it, unless it shares a run of so many characters with what we sent.
KEPT_CHARACTERS = 1000
_SHARED_RUN_CHARACTERS = 12
_ESCAPE = re.compile(r"\\u[0-9a-fA-F]{4}")


def withhold(secrets: Sequence[str], parts: Sequence[str]) -> str:
    """Join the parts that repeat nothing of the secrets, as printable text: PostgreSQL stores no NUL characters."""
    said = {run for part in parts for run in _runs(part)}
    repeated = {run for secret in secrets for run in _runs(secret) if run in said}
    kept = [part for part in parts if not _ESCAPE.search(part) and repeated.isdisjoint(_runs(part))]
    detail = ": ".join(kept if len(kept) == len(parts) else [*kept, "(the rest is withheld: it repeats the request)"])
    return "".join(character if character.isprintable() else " " for character in detail)


def _runs(text: str) -> Iterator[str]:
    """Yield all runs of the text's characters, white space and case aside; a shorter text is one run itself."""
    folded = " ".join(text.casefold().split())
    last = max(len(folded) - _SHARED_RUN_CHARACTERS, 0)
    return (folded[start : start + _SHARED_RUN_CHARACTERS] for start in range(last + 1))
