"""Messages to people, in the form of Slack's incoming webhooks: a JSON object with a ``text``."""

import requests
import urllib3

from recto.providers import deadline

_TIMEOUT_S = 10.0


class WebhookError(Exception):
    """The message did not arrive; the text says why, without the address, which is a secret."""


def send(url: str, text: str) -> None:
    """Post the message, within ten seconds in all; redirects are not followed. Raises ``WebhookError``."""
    try:
        request = requests.Request("POST", url, json={"text": text}, headers={"User-Agent": "recto"}).prepare()
        with (
            deadline.session() as session,
            session.get_adapter(url).send(request, timeout=urllib3.Timeout(total=_TIMEOUT_S)) as response,  # type: ignore[arg-type]  # requests passes urllib3's own through
        ):
            status = response.status_code
    except (OSError, ValueError) as error:  # those of requests are OSErrors
        raise WebhookError(type(error).__name__) from None
    if not 200 <= status < 300:
        raise WebhookError(f"status {status}")
