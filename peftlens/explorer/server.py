"""Local web server: the explorer's page with a live index of nearest tokens behind it.

It listens on this machine only, and requests need its auth token. It answers two addresses: `/`,
the page, and `/neighbors`, the nearest tokens of a text, token, trained vector or sum of them as
JSON, among the embeddings or the states after a block.
"""

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlsplit

from peftlens.adapters.run_context import RunContext
from peftlens.errors import InputError
from peftlens.explorer.auth import HEADERS, Guard
from peftlens.explorer.data import ExplorerData
from peftlens.explorer.page import render
from peftlens.explorer.query import MOST, QueryVectors, neighbors
from peftlens.io.escaping import visible
from peftlens.models.base_model import BaseModel
from peftlens.results.table import NotApplicable
from peftlens.runs.trained_model import TrainedModel
from peftlens.vocab.trained_vectors import trained_vectors
from peftlens.vocab.vocabulary import state_blocks

HOST = "127.0.0.1"
TIMEOUT = 30  # seconds that a connection may be silent


@dataclass(frozen=True)
class LiveIndex:
    """Nearest tokens of queries about runs of one base model.

    Attributes:
        base: the base model.
        runs: runs whose trained vectors queries can refer to, by id.
        lock: held while a query is answered: runs attach to the one base model.
    """

    base: BaseModel
    runs: Mapping[str, TrainedModel]
    lock: Lock

    def answer(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Answer a query with its neighbors, or with an error as one sentence.

        Args:
            query: `q`, see `query.vector`; optional `metric`, `count`, `layer` (a block, from 1),
                and `run` and `step` of the trained vectors.
        """
        try:
            with self.lock:
                found = neighbors(
                    self.base,
                    query.get("q", ""),
                    query.get("metric", "cosine"),  # pyright: ignore[reportArgumentType]
                    _whole(query.get("count") or "20", f"neighbors; choose 1 to {MOST}"),
                    self._trained(query),
                    layer=_whole(query["layer"], "as a layer") if query.get("layer") else None,
                )
        except (InputError, NotApplicable) as error:
            return {"error": visible(str(error))}
        return {
            "neighbors": [
                {"id": one.token_id, "similarity": one.similarity, "flags": one.flags}
                for one in found
            ]
        }

    def _trained(self, query: Mapping[str, str]) -> QueryVectors | None:
        """Return the vectors of the query's run at its step; None without a run that is known."""
        run = self.runs.get(query.get("run", ""))
        if run is None:
            return None
        step = _whole(query.get("step") or str(run.steps[-1]), "as a step")
        if step not in run.steps:
            saved = ", ".join(map(str, run.steps))
            raise InputError(f"step {step} was not saved; there are {saved}")
        vectors = trained_vectors(run, self.base, step)
        return QueryVectors(vectors.now, vectors.positions, vectors.space)


def _whole(text: str, purpose: str) -> int:
    """Parse a whole number.

    Raises:
        InputError: it is none, or has more than nine digits.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InputError(f"{text!r} can't be shown {purpose}")
    return int(text)


class Server(ThreadingHTTPServer):
    """Server of one page and its index, on this machine only.

    Attributes:
        guard: access rules.
        page: the page, compressed by gzip.
        index: what answers the page's questions.
    """

    daemon_threads = True

    def __init__(self, page: str, index: LiveIndex, port: int) -> None:
        super().__init__((HOST, port), Handler)
        number = self.server_address[1]
        self.guard = Guard(frozenset({f"{HOST}:{number}", f"localhost:{number}"}))
        self.page = gzip.compress(page.encode(), mtime=0)
        self.index = index

    @property
    def address(self) -> str:
        """Address that opens the page, with the auth token."""
        return f"http://{HOST}:{self.server_address[1]}/?token={self.guard.token}"


class Handler(BaseHTTPRequestHandler):
    """Handler of one connection's requests; the guard judges them first."""

    timeout = TIMEOUT
    server_version, sys_version = "peftlens", ""
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def handle(self) -> None:
        """Handle the connection; nothing is left to do if the page closes it before its answer."""
        with suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        """Answer a request for the page or for neighbors, or refuse it."""
        guard, address = self.server.guard, urlsplit(self.path)
        status = guard.check(self.command, self.path, self.headers)  # pyright: ignore[reportArgumentType]
        if status is HTTPStatus.SEE_OTHER:
            self._send(status, b"", {"Location": address.path, "Set-Cookie": guard.cookie})
        elif status is HTTPStatus.OK and address.path == "/":
            kind = {"Content-Type": "text/html; charset=utf-8", "Content-Encoding": "gzip"}
            self._send(status, self.server.page, kind)
        elif status is HTTPStatus.OK and address.path == "/neighbors":
            query = {key: values[0] for key, values in parse_qs(address.query).items()}
            text = json.dumps(self.server.index.answer(query), allow_nan=False)
            self._send(status, text.encode(), {"Content-Type": "application/json"})
        else:
            refusal = HTTPStatus.NOT_FOUND if status is HTTPStatus.OK else status
            self._send(refusal, refusal.phrase.encode(), {"Content-Type": "text/plain"})

    do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_GET

    def _send(self, status: HTTPStatus, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: addresses may hold the token."""


def live_index(context: RunContext, runs: Sequence[TrainedModel]) -> LiveIndex:
    """Build the index of runs.

    Raises:
        InputError: the runs have different base models.
    """
    return LiveIndex(context.shared_base_model(runs), {run.id: run for run in runs}, Lock())


def live_page(data: ExplorerData, title: str, index: LiveIndex) -> str:
    """Render the page that asks the index for neighbors; its data keeps none."""
    layers = range(1, len(state_blocks(index.base)) + 1)
    return render(data, title, ids=[one.run_id for one in data.trails], layers=layers)


def serve(page: str, index: LiveIndex, port: int, announce: Callable[[str], None]) -> None:
    """Run the server until Ctrl-C.

    Args:
        page: HTML text of the page.
        index: what answers the page's questions.
        port: port of the server; 0 selects a free one.
        announce: function called with the address, including the token, when the server is ready.

    Raises:
        OSError: the port is in use.
    """
    with Server(page, index, port) as server:
        announce(server.address)
        with suppress(KeyboardInterrupt):
            server.serve_forever()
