"""A real S3 server, moto's, in a process of its own."""

import json
import subprocess
import sys
from contextlib import closing

import boto3
import pytest
import requests
from tests.conftest import _free_port, until

_PROGRAM = (
    "import sys, threading; from moto.moto_server.threaded_moto_server import ThreadedMotoServer as Server\n"
    "Server(ip_address='127.0.0.1', port=int(sys.argv[1]), verbose=False).start(); threading.Event().wait()"
)
_PUBLIC = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": "*",
            "Action": ["s3:GetObject"],
            "Resource": ["arn:aws:s3:::pictures/recto/public/*"],
        }
    ],
}
KEYS = {"AWS_ACCESS_KEY_ID": "an-id", "AWS_SECRET_ACCESS_KEY": "a-secret"}


class S3Server:
    """Listens at ``address``; what it stores is gone when it is stopped."""

    def __init__(self, log):
        self._log, self._port = log, _free_port()
        self.address = f"http://127.0.0.1:{self._port}"

    def start(self):
        """Start it, with an empty bucket of which everybody reads what is public."""
        with self._log.open("a") as output:
            command = [sys.executable, "-c", _PROGRAM, str(self._port)]
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        until(self._answers)
        with self.client() as client:
            client.create_bucket(Bucket="pictures")
            client.put_bucket_policy(Bucket="pictures", Policy=json.dumps(_PUBLIC))

    def _answers(self):
        try:
            return requests.get(self.address, timeout=30)
        except requests.ConnectionError:
            return False

    def stop(self):
        self._process.kill()
        self._process.wait()

    def client(self):
        return closing(boto3.client("s3", endpoint_url=self.address, region_name="us-east-1"))

    def stored(self):
        """The keys of all objects."""
        with self.client() as client:
            return [each["Key"] for each in client.list_objects_v2(Bucket="pictures").get("Contents", [])]


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        for name, value in KEYS.items():
            patched.setenv(name, value)
        server = S3Server(tmp_path_factory.mktemp("s3") / "log")
        server.start()
        yield server
        server.stop()


@pytest.fixture
def bucket(s3_server):
    """The URL of an empty bucket."""
    yield f"s3://pictures/recto?endpoint_url={s3_server.address}"
    with s3_server.client() as client:
        for key in s3_server.stored():
            client.delete_object(Bucket="pictures", Key=key)
