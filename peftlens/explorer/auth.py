"""Authentication of the local server: auth token, Host and Origin checks, and request limits.

Other pages in the user's browser can send requests to the server, also under another host name (DNS
rebinding), and other users of the machine can open its port. So every request needs a random token
and the right Host and Origin, and methods and sizes are limited to those that the page needs.
"""

import hmac
import secrets
from dataclasses import dataclass, field

from flask import Flask, Response, abort, redirect, request

COOKIE = "peftlens"
LARGEST = 100_000  # maximum size of a request, bytes
UPDATE = "/_dash-update-component"  # path of Dash's callbacks


@dataclass(frozen=True)
class Guard:
    """Access rules of one server.

    Attributes:
        hosts: accepted values of the Host header.
        token: auth token that grants access; the page keeps it as a cookie.
    """

    hosts: frozenset[str]
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    def watch(self, server: Flask) -> None:
        """Check each request of the server before any other handler."""
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
        _check_size()
        if ".." in request.path or "\\" in request.path:
            abort(404)
        if self._matches(request.args.get("token")):
            response = redirect(request.path)
            response.set_cookie(COOKIE, self.token, httponly=True, samesite="Strict")
            return response  # pyright: ignore[reportReturnType]
        if not self._matches(request.cookies.get(COOKIE)):
            abort(401)
        return None

    def _matches(self, token: str | None) -> bool:
        return token is not None and hmac.compare_digest(token.encode(), self.token.encode())


def _check_size() -> None:
    if "Transfer-Encoding" in request.headers:
        abort(411)  # a body in chunks, whose length is unknown
    if (request.content_length or 0) > LARGEST or len(request.query_string) > LARGEST:
        abort(413)


def _headers(response: Response) -> Response:
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Frame-Options"] = "DENY"
    return response
