"""What Recto is compared with: Flask and requests, without tokens, limits, validation or a database."""

import os

import requests
from flask import Flask, Response, request
from requests.adapters import HTTPAdapter

app = Flask(__name__)

_URL = os.environ["OPENROUTER_BASE_URL"] + "/chat/completions"
_session = requests.Session()
# The default of 10 would open a connection for nearly every call under load, which is not what is to be compared.
_session.mount("http://", HTTPAdapter(pool_maxsize=1000))


@app.post("/generations")
def generations() -> Response:
    """Hand the body on as it is, and the provider's answer back as it is; a stream piece by piece."""
    is_stream = request.accept_mimetypes.best == "text/event-stream"
    answer = _session.post(
        _URL,
        data=b'{"stream":true,' + request.get_data()[1:] if is_stream else request.get_data(),
        headers={"Authorization": "Bearer bench", "Content-Type": "application/json"},
        timeout=30,
        stream=is_stream,
    )
    if is_stream:
        return Response(answer.iter_content(None), answer.status_code, mimetype="text/event-stream")
    return Response(answer.content, answer.status_code, mimetype="application/json")
