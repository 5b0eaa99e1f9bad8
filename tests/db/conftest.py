"""The database at other ports than its own."""

from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict


@pytest.fixture
def at_port(database):
    """Let the database listen at another port too, and return its URL there: `at_port("6543")`."""
    links = []

    def url(port):
        links.append(Path(conninfo_to_dict(database)["host"]) / f".s.PGSQL.{port}")
        links[-1].symlink_to(".s.PGSQL.5432")
        return f"{database}&port={port}"

    yield url
    for link in links:
        link.unlink()
