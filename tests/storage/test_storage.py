"""Files in a folder and in a real S3 server's bucket: the same from outside."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
import requests
from tests.conftest import until

from recto.storage import StorageError, keys, open_storage
from recto.storage.failures import StorageUnavailable
from recto.storage.keys import InvalidKey

ID = UUID("00000000-0000-4000-8000-00000000000a")
OTHER = UUID("00000000-0000-4000-8000-00000000000b")
SECRET = b"a secret that signs"
PUBLIC = keys.of_variant(ID, 0)
THUMBNAIL = keys.of_variant(ID, 0, thumbnail=True)
PRIVATE = keys.of_input(ID, OTHER, "png")


@pytest.fixture(params=["folder", "s3"])
def storage(request, tmp_path):
    url = f"file://{tmp_path}" if request.param == "folder" else request.getfixturevalue("bucket")
    return open_storage(url, base_url="https://recto.test", secret=SECRET)


def test_a_file_is_read_as_it_was_stored_replaced_and_deleted(storage):
    assert (storage.read(PUBLIC), storage.exists(PUBLIC)) == (None, False)
    storage.put(PUBLIC, b"one")
    storage.put(THUMBNAIL, b"small")
    storage.put(PUBLIC, b"two")
    assert (storage.read(PUBLIC), storage.exists(PUBLIC), storage.read(THUMBNAIL)) == (b"two", True, b"small")
    for _ in range(2):
        storage.delete(PUBLIC)
    assert (storage.read(PUBLIC), storage.exists(PUBLIC), storage.exists(THUMBNAIL)) == (None, False, True)


def test_many_at_once_leave_one_whole_file(storage):
    contents = [bytes([n]) * 100_000 for n in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda data: storage.put(PRIVATE, data), contents))
    assert storage.read(PRIVATE) in contents


@pytest.mark.parametrize(
    "text",
    [
        "",
        "../../etc/passwd",
        "private/../public",
        f"private/{ID}/inputs/../{OTHER}.png",
        f"private/{ID}/inputs/{OTHER}.svg",
        f"/private/{ID}/inputs/{OTHER}.png",
        f"private/{ID}/inputs/{OTHER}.png\0",
        f"private/{ID}/inputs/{OTHER}.png\n",
        f"private//{ID}/inputs/{OTHER}.png",
        f"public/renders/{ID}/0.jpg/..",
        f"public/renders/{ID}/100.jpg",
        f"public/renders/{ID}/0.jpg?x",
        f"PUBLIC/renders/{ID}/0.jpg",
        f"public/renders/{ID}/٠.jpg",
    ],
)
def test_what_is_no_key_is_none(text):
    with pytest.raises(InvalidKey):
        keys.parse(text)


def test_keys_say_whose_and_what_they_are():
    for key in (PUBLIC, THUMBNAIL, PRIVATE):
        assert keys.parse(key) == key
    assert f"public/renders/{ID}/0.jpg" == PUBLIC
    assert f"private/{ID}/inputs/{OTHER}.png" == PRIVATE
    assert [keys.is_public(key) for key in (PUBLIC, THUMBNAIL, PRIVATE)] == [True, True, False]
    assert [keys.media_type(key) for key in (PUBLIC, PRIVATE)] == ["image/jpeg", "image/png"]


def test_a_folder_signs_addresses_that_expire(tmp_path):
    storage = open_storage(f"file://{tmp_path}", base_url="https://recto.test", secret=SECRET)
    assert storage.url(PUBLIC) == f"https://recto.test/files/{PUBLIC}"
    address = urlsplit(storage.signed_url(PRIVATE, seconds=300))
    assert address.path == f"/files/{PRIVATE}"
    query = {name: value for name, (value,) in parse_qs(address.query).items()}
    expires = int(query["expires"])
    assert abs(expires - time.time() - 300) < 60
    assert storage.is_signed(PRIVATE, **query, now_s=expires)
    assert not storage.is_signed(PRIVATE, **query, now_s=expires + 1)
    assert not storage.is_signed(keys.of_input(ID, ID, "png"), **query, now_s=expires)
    for wrong in ("", "x", "é", query["signature"][:-1] + "x", query["signature"].upper()):
        assert not storage.is_signed(PRIVATE, expires=query["expires"], signature=wrong, now_s=expires)
    for wrong in ("", "-1", "1e9", str(expires + 1), "9" * 400, "٣"):
        assert not storage.is_signed(PRIVATE, expires=wrong, signature=query["signature"], now_s=0)
    other = open_storage(f"file://{tmp_path}", base_url="https://recto.test", secret=b"another")
    assert not other.is_signed(PRIVATE, **query, now_s=0)


def test_a_bucket_signs_addresses_that_can_be_read_and_says_how_long_public_files_stay(bucket):
    storage = open_storage(bucket, base_url="", secret=b"")
    storage.put(PRIVATE, b"a picture")
    storage.put(PUBLIC, b"another")
    answer = requests.get(storage.signed_url(PRIVATE, seconds=300), timeout=30)
    assert (answer.content, answer.headers["Content-Type"]) == (b"a picture", "image/png")
    assert "X-Amz-Expires=" in storage.signed_url(PRIVATE, seconds=300)
    assert "immutable" in requests.get(storage.signed_url(PUBLIC, seconds=60), timeout=30).headers["Cache-Control"]
    assert urlsplit(storage.url(PUBLIC)).path == f"/pictures/recto/{PUBLIC}"
    elsewhere = open_storage(f"{bucket}&public_url=https://cdn.test/", base_url="", secret=b"")
    assert elsewhere.url(PUBLIC) == f"https://cdn.test/recto/{PUBLIC}"


def test_a_folder_that_is_away_or_full_is_told_as_such_and_leaves_no_half_file(tmp_path, monkeypatch):
    storage = open_storage(f"file://{tmp_path}", base_url="", secret=SECRET)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageUnavailable) as away:
        storage.put(PUBLIC, b"x")
    assert str(away.value) == "OSError"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    (tmp_path / "blocked").write_text("a file where a folder should be")
    blocked = open_storage(f"file://{tmp_path}/blocked", base_url="", secret=SECRET)
    for act in (lambda: blocked.put(PUBLIC, b"x"), lambda: blocked.read(PUBLIC), lambda: blocked.delete(PUBLIC)):
        with pytest.raises(StorageUnavailable):
            act()


def test_what_a_killed_process_left_of_a_file_goes_with_it(tmp_path):
    code = (
        "import os, signal, sys; from recto.storage import open_storage\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "open_storage(sys.argv[1], base_url='', secret=b'').put(sys.argv[2], b'half')"
    )
    subprocess.run([sys.executable, "-c", code, f"file://{tmp_path}", PRIVATE], check=False)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] != []
    storage = open_storage(f"file://{tmp_path}", base_url="", secret=SECRET)
    assert storage.read(PRIVATE) is None
    storage.delete(PRIVATE)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_bucket_that_is_not_there_or_a_server_that_is_away_is_told_as_such(bucket, free_port):
    for url in (bucket.replace("pictures", "none"), f"s3://pictures?endpoint_url=http://127.0.0.1:{free_port}"):
        storage = open_storage(url, base_url="", secret=b"")
        with pytest.raises(StorageUnavailable) as away:
            storage.put(PUBLIC, b"x")
        assert "127.0.0.1" not in str(away.value)


@pytest.mark.parametrize(
    "url",
    ["", "/folder", "file://host/folder", "file:///folder?x=1", "s3:///prefix", "http://a/b", "s3://b?region_name=x"],
)
def test_an_address_that_names_no_storage_is_refused(url):
    with pytest.raises(StorageError):
        open_storage(url, base_url="", secret=b"")


def test_the_last_file_takes_its_folder_with_it(tmp_path):
    storage = open_storage(f"file://{tmp_path}", base_url="", secret=SECRET)
    storage.put(PUBLIC, b"x")
    storage.put(THUMBNAIL, b"y")
    storage.delete(PUBLIC)
    assert until(lambda: (tmp_path / THUMBNAIL).exists())
    storage.delete(THUMBNAIL)
    assert not (tmp_path / "public/renders" / str(ID)).exists()
