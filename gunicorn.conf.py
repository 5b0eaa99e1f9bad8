"""How gunicorn serves Recto. Command-line options such as --bind come after this file and win."""

import gc
import json
import logging
import os
import shutil
import signal
import sys
import warnings
from contextlib import suppress
from importlib import import_module
from tempfile import mkdtemp
from threading import Thread

from gevent import monkey
from gunicorn import util

from recto.images.plans import Plans, PlansError
from recto.settings import Settings, SettingsError
from recto.times import Times

try:
    settings = Settings.load()
    Plans.load(settings.plans_file)
except (SettingsError, PlansError) as error:
    sys.exit(f"Recto cannot start:\n{error}")

bind = "127.0.0.1:8000"

# A request does little but wait for the provider. A greenlet waits in 50 KB where a thread takes a stack; see bench/
# for both under load.
worker_class = "gevent"
workers = settings.web_concurrency
# Half of them may send a body at a time (recto/api/bodies.py): the other half is left for answers and other callers.
worker_connections = 2000
backlog = 2048

# A database connection does not survive a fork: each worker builds the application itself.
preload_app = False

# For this worker class `timeout` is no limit of a request but how long the whole process may be stuck.
timeout = 60
# A SIGTERM lets every accepted request end: it may have just begun to wait for the provider.
graceful_timeout = Times.of(settings.openrouter_timeout_ms).graceful_stop_s
# Longer than the idle time after which the proxy in front hangs up (docs/operations.md), so that it never sends a
# request into a connection that is just being closed; short, because a stopping worker waits for idle ones too.
keepalive = 5

# A socket for remote control, by default in the user's home: signals serve as well.
control_socket_disable = True


def _write_error(sock, status, reason, _detail):
    """Answer what gunicorn refuses by itself, before there is a request, in the envelope of all errors.

    Such as a 400 for what is not HTTP, a 414 for too long an address, a 431 for too long headers. gunicorn has no
    setting for it. Its own detail is left out: it quotes what was sent.
    """
    code = "internal_error" if status == 500 else "invalid_request"  # a 501 is a transfer coding that nobody knows
    sock.setblocking(False)
    with suppress(OSError):
        sock.recv(65536)  # closing a connection with something unread resets it, and the answer is lost
    body = json.dumps({"error": code, "message": f"{reason}."}).encode()
    util.write_nonblock(
        sock,
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body,
    )


util.write_error = _write_error


def _quotes_nothing(record):
    """Drop what was sent from gunicorn's line about a request that it refuses."""
    if str(record.msg).startswith("Invalid request"):
        record.msg = record.msg.partition(": ")[0]
    return True


logging.getLogger("gunicorn.error").addFilter(_quotes_nothing)

# The one in C has no wheels, so that an installation would need a compiler; it saves some 25 µs a request.
http_parser = "python"

# Requests are logged by the application, as JSON.
accesslog = None
loglevel = "warning"


_STOPS = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}


def on_starting(server):
    """Name the folder through whose files prometheus_client sums over processes: once, as a HUP reads this file again.

    Then import, for all workers, what they share from now on: it saves 25 MB for each. gevent must have patched the
    standard library before psycopg and requests are imported, and prometheus_client reads the folder's name then.
    """
    server.metrics_folder = os.environ["PROMETHEUS_MULTIPROC_DIR"] = mkdtemp(prefix="recto-metrics-")
    if server.cfg.worker_class_str == "gevent":
        # gunicorn hears of processes that end by the system's own means. In each worker it patches the rest, too.
        warnings.simplefilter("ignore", monkey.MonkeyPatchWarning)
        monkey.patch_all(os=False, signal=False)
        import_module("recto.api")
        gc.collect()
        gc.freeze()  # a collection would write to what is shared
    os.register_at_fork(after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS))


def pre_fork(server, worker):
    """Let a signal wait that stops a process which is not yet ready for it: it would be lost, and with it the stop."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)


def post_worker_init(worker):
    """Let the process stop and streams know of it, have the provider's key checked, and spare the garbage collector.

    It need not look at what lives as long as the process. With 500 requests waiting one round takes some 50 ms, in
    which none is answered: so there is one after 6,000 requests, each of which leaves 8 small objects of the router's.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
    worker.wsgi.config["IS_STOPPING"] = lambda: not worker.alive
    Thread(target=worker.wsgi.extensions["recto"].warn_of_refused_key, daemon=True).start()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 4, 20)


def child_exit(server, worker):
    """Drop the gauges of a process that is gone."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)


def worker_exit(server, worker):
    """Give the database connections back."""
    if app := getattr(worker, "wsgi", None):
        app.extensions["recto"].close()


def on_exit(server):
    """Leave nothing behind."""
    shutil.rmtree(server.metrics_folder, ignore_errors=True)
