"""What keeps a server of one user on one machine theirs.

Other pages in the user's browser can send requests to it, and reach it under a name of their own
(DNS rebinding); other users of the machine can open its port. So: a random token, the Host and
Origin that it was started for, and no method and no size beyond what its page needs.
"""

import hmac
import secrets
from dataclasses import dataclass, field

from flask import Flask, Response, abort, redirect, request

COOKIE = "peftlens"
LARGEST = 100_000  # bytes of a request
UPDATE = "/_dash-update-component"  # where Dash's page asks for what has changed


@dataclass(frozen=True)
class Guard:
    """Rules for one server.

    Attributes:
        hosts: values of Host that are its own.
        token: whoever has it may come in; the page keeps it as a cookie.
    """

    hosts: frozenset[str]
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    def watch(self, server: Flask) -> None:
        """Look at each request before anything else does."""
        server.before_request(self._check)
        server.after_request(_headers)

    def _check(self) -> Response | None:
        if request.host not in self.hosts:
            abort(403)
        origin = request.headers.get("Origin")
        if origin is not None and origin not in {f"http://{host}" for host in self.hosts}:
            abort(403)
        if request.method not in ("GET", "HEAD") and (request.method, request.path) != (
            "POST",
            UPDATE,
        ):
            abort(405)
        if (request.content_length or 0) > LARGEST or len(request.query_string) > LARGEST:
            abort(413)
        if ".." in request.path or "\\" in request.path:
            abort(404)
        if self._is(request.args.get("token")):
            answer = redirect(request.path)
            answer.set_cookie(COOKIE, self.token, httponly=True, samesite="Strict")
            return answer  # pyright: ignore[reportReturnType]
        if not self._is(request.cookies.get(COOKIE)):
            abort(401)
        return None

    def _is(self, given: str | None) -> bool:
        return given is not None and hmac.compare_digest(given.encode(), self.token.encode())


def _headers(answer: Response) -> Response:
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["X-Frame-Options"] = "DENY"
    return answer
