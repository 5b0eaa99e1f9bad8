"""Other gateways in front of the same provider, where they are installed: ``python -m bench --peer``.

They pass chat completions on: they verify no user's token, count no limit and record nothing. They are sent what Recto
sends its provider, but for the instructions and the JSON schema.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

from bench.payload import bodies
from bench.targets import JWT_SECRET, Target, free_port, served

# The command of each, and where it comes from.
INSTALLED_BY = {
    "gateway": "npm install --prefix=FOLDER @portkey-ai/gateway; FOLDER/node_modules/.bin belongs on the PATH",
    "litellm": "pip install 'litellm[proxy]' in an environment of its own, whose bin belongs on the PATH",
}
_TEXTS = 500  # sent in turn
_KEY = f"sk-{JWT_SECRET}"


def missing() -> list[str]:
    """One line for each that is not installed: how it would be."""
    return [f"no {command}: {how}" for command, how in INSTALLED_BY.items() if shutil.which(command) is None]


@contextmanager
def portkey(upstream: Target, folder: Path) -> Iterator[Target]:
    """Portkey's gateway: one process of Node."""
    port = free_port()
    headers = {
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{upstream.port}/api/v1",
        "Authorization": "Bearer bench",
    }
    command = ["gateway", f"--port={port}", "--headless"]
    with served("Portkey", port, command, {"NODE_ENV": "production"}, folder, "/") as target:
        yield _sent(target, folder, headers)


@contextmanager
def litellm(upstream: Target, folder: Path) -> Iterator[Target]:
    """LiteLLM's proxy without a database, with two workers as Recto has."""
    port = free_port()
    config = folder / "litellm.json"  # which is YAML, too
    to = {"model": "openai/bench", "api_base": f"http://127.0.0.1:{upstream.port}/api/v1", "api_key": "bench"}
    config.write_text(json.dumps({"model_list": [{"model_name": "bench", "litellm_params": to}]}))
    command = ["litellm", "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    # While a worker starts it answers nobody, for longer than its parent would wait for.
    command += ["--num_workers", "2", "--timeout_worker_healthcheck", "120"]
    environment = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": _KEY}
    with served("LiteLLM", port, command, environment, folder, "/health/liveliness") as target:
        yield _sent(target, folder, {"Authorization": f"Bearer {_KEY}"})


PEERS = {"gateway": portkey, "litellm": litellm}


def _sent(target: Target, folder: Path, headers: dict[str, str]) -> Target:
    """The target with chat completions of the same texts as its load."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    requests = []
    for body in islice(bodies(), _TEXTS):
        text = json.loads(body)["source_text"]
        asked = {"model": "bench", "max_tokens": 4000, "messages": [{"role": "user", "content": text}]}
        sent = json.dumps(asked)  # ASCII: its length is the number of bytes
        requests.append(
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\n{lines}"
            f"Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n\r\n{sent}"
        )
    path = folder / f"{target.name}.json"
    path.write_text(json.dumps(requests))
    return replace(target, load=("--requests", str(path)))
