"""Pictures in an Anki deck: whose they may be, and where they stand in the package."""

import io
import json
import sqlite3
import zipfile
from uuid import uuid4

import pytest
from PIL import Image
from tests.conftest import until

from recto.api import exports

CARDS = [{"front": "<recto>", "back": "a & b"}, {"front": "Verso", "back": "c"}]


@pytest.fixture
def images(open_images):
    return open_images()


def draw(client):
    """Have a picture made, and return its render's id."""
    created = client.post("/v1/generations", json={"mode": "illustrate", "front": "Recto", "back": "A front"}).json
    until(lambda: client.work() == ["stored"])
    return client.get(f"/v1/generations/{created['id']}").json["variants"][0]["renderId"]


def export(client, *render_ids):
    cards = [card | {"renderId": render_id} for card, render_id in zip(CARDS, render_ids, strict=True)]
    return client.post("/exports/anki", json={"flashcards": cards})


def opened(answer, folder):
    """The package's files, what its media map says, and the fields of its notes."""
    with zipfile.ZipFile(io.BytesIO(answer.data)) as package:
        assert package.testzip() is None
        package.extract("collection.anki2", folder)
        files = {name: package.read(name) for name in package.namelist()}
    with sqlite3.connect(folder / "collection.anki2") as conn:
        fields = [row[0].split("\x1f") for row in conn.execute("select flds from notes order by id")]
    conn.close()
    return files, json.loads(files["media"]), fields


def test_a_picture_stands_below_the_back_and_is_in_the_package(images, tmp_path):
    render_id = draw(images)
    files, media, fields = opened(export(images, render_id, None), tmp_path)
    name = f"recto-{render_id}.jpg"
    assert media == {"0": name}
    assert fields == [["&lt;recto&gt;", f'a &amp; b<br><img src="{name}">'], ["Verso", "c"]]
    assert files["0"] == (tmp_path / f"files/public/renders/{render_id}/0.jpg").read_bytes()
    assert Image.open(io.BytesIO(files["0"])).format == "JPEG"


def test_two_cards_share_one_file(images, tmp_path):
    render_id = draw(images)
    files, media, fields = opened(export(images, render_id, render_id), tmp_path)
    assert media == {"0": f"recto-{render_id}.jpg"}
    assert files.keys() == {"collection.anki2", "media", "0"}
    assert all(back.endswith(f'<img src="recto-{render_id}.jpg">') for _, back in fields)


def test_a_render_that_is_anothers_or_nobodys_is_a_404(images, open_images):
    render_id = draw(images)
    for answer in (export(open_images(), render_id, None), export(images, render_id, str(uuid4()))):
        assert (answer.status_code, answer.json["error"]) == (404, "not_found")


def test_a_deleted_picture_is_a_404_also_while_its_row_is_there(images, tmp_path):
    render_id = draw(images)
    (tmp_path / f"files/public/renders/{render_id}/0.jpg").unlink()
    assert export(images, render_id, None).status_code == 404


def test_a_render_is_a_404_where_pictures_are_off(client):
    assert export(client, str(uuid4()), None).status_code == 404
    assert export(client, None, None).status_code == 200


def test_what_is_no_id_is_refused(client):
    answer = export(client, "../../etc/passwd", None)
    assert (answer.status_code, answer.json["error"]) == (400, "invalid_request")
    assert answer.json["message"].startswith("flashcards.0.renderId: ")


def test_a_storage_that_is_away_is_a_503(images, tmp_path):
    render_id = draw(images)
    (tmp_path / "files").rename(tmp_path / "elsewhere")
    (tmp_path / "files").write_text("in the way")
    for _ in range(5):  # each gives its place back
        answer = export(images, render_id, None)
        assert (answer.status_code, answer.json["message"]) == (503, "The service cannot do its work at the moment.")


def test_too_many_bytes_and_too_many_at_once_are_refused(images, monkeypatch):
    render_id = draw(images)
    monkeypatch.setattr(exports, "_MAX_PICTURES_MIB", 0)
    refused = export(images, render_id, None)
    assert (refused.status_code, refused.json["error"]) == (400, "invalid_request")
    for _ in range(4):
        exports._packing.acquire()
    refused = export(images, render_id, None)
    for _ in range(4):
        exports._packing.release()
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
