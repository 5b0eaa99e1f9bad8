"""A proxy before PostgreSQL that lets a commit arrive and loses its acknowledgement."""

import select
import socket
import threading
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit


class LossyProxy:
    """Listens at ``url`` for the database of a Unix socket. ``lost`` counts the connections that it broke."""

    def __init__(self, database_url: str) -> None:
        parts = urlsplit(database_url)
        (folder,) = parse_qs(parts.query)["host"]
        self._path = f"{folder}/.s.PGSQL.5432"
        self._patterns: list[bytes] = []
        self.lost = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"postgresql://postgres@127.0.0.1:{self._server.getsockname()[1]}{parts.path}?sslmode=disable"

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_error):
        self._server.close()

    def lose_after(self, *patterns: str) -> None:
        """Break the connection on which these texts have passed, in this order, before the answer to the last."""
        self._patterns = [pattern.encode() for pattern in patterns]

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
            server.connect(self._path)
            seen = 0
            while True:
                readable, _, _ = select.select([client, server], [], [])
                for sock in readable:
                    data = sock.recv(65536)
                    if not data:
                        return
                    if sock is server:
                        client.sendall(data)
                        continue
                    while seen < len(self._patterns) and self._patterns[seen] in data:
                        seen += 1
                    server.sendall(data)
                    if self._patterns and seen == len(self._patterns):
                        self._patterns = []
                        server.recv(65536)  # the server has done it
                        self.lost += 1
                        return
