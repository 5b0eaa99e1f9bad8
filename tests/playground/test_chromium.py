"""The page's tests find a Chromium, or get one, or say in one sentence that they cannot."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import ROOT

from . import chromium

STARTS = 'echo "Chromium 150"'


@pytest.fixture
def bare_machine(tmp_path, monkeypatch):
    """A machine whose only programs are those that a test puts there, and which reaches no download."""
    (tmp_path / "env").symlink_to(shutil.which("env"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path / "playwright"))
    monkeypatch.setenv("PLAYWRIGHT_DOWNLOAD_HOST", "http://127.0.0.1:1")

    def put(name: str, *lines: str) -> Path:
        path = tmp_path / name
        path.write_text("\n".join(["#!/bin/sh", *lines]))
        path.chmod(0o755)
        return path

    return put


def get() -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tests.playground.chromium"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ)


@pytest.mark.parametrize("name", ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"])
def test_it_is_found_under_any_usual_name(bare_machine, name):
    assert chromium.find() is None
    path = bare_machine(name, STARTS)
    assert chromium.find() == str(path)


def test_one_that_does_not_start_is_passed_over(bare_machine):
    bare_machine("chromium-browser", 'echo "Install the snap."', "exit 1")
    chrome = bare_machine("google-chrome", STARTS)
    assert chromium.find() == str(chrome)


def test_debians_package_is_installed_where_none_is_found(bare_machine, tmp_path):
    bare_machine("sudo", "shift", 'exec "$@"')
    bare_machine(
        "apt-get",
        f'case "$*" in *install*chromium*) echo "#!/bin/sh" > {tmp_path}/chromium; /bin/chmod +x {tmp_path}/chromium;;'
        " esac",
    )
    got = get()
    assert got.returncode == 0
    assert got.stderr.splitlines() == ["Installing Debian's Chromium for the page's tests …"]
    assert chromium.find() == str(tmp_path / "chromium")


@pytest.mark.soak
def test_where_none_can_be_had_one_sentence_says_so(bare_machine):
    bare_machine("apt-get", "exit 1")
    bare_machine("sudo", "exit 1")
    got = get()
    assert got.returncode == 1
    assert got.stderr.splitlines()[-1] == chromium.MISSING
