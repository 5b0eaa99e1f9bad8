"""Messages to people, in the form of Slack's incoming webhooks: a JSON object with a ``text``."""

import requests

_TIMEOUT_S = 10


class WebhookError(Exception):
    """The message did not arrive; the text says why, without the address, which is a secret."""


def send(url: str, text: str) -> None:
    """Post the message. Raises ``WebhookError``."""
    try:
        response = requests.post(url, json={"text": text}, timeout=_TIMEOUT_S, allow_redirects=False)
    except requests.RequestException as error:
        raise WebhookError(type(error).__name__) from None
    if not response.ok or response.is_redirect:
        raise WebhookError(f"status {response.status_code}")
