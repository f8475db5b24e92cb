"""Authentication of the local server: auth token, Host and Origin checks, and request limits.

Other pages in the user's browser can send requests to the server, also under another host name (DNS
rebinding), and other users of the machine can open its port. So every request needs a random token
and the right Host and Origin, and methods and sizes are limited to those that the page needs.
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, unquote, urlsplit

COOKIE = "peftlens"
LARGEST = 16_384  # maximum length of a path with its query, bytes
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}  # of every response


@dataclass(frozen=True)
class Guard:
    """Access rules of one server.

    Attributes:
        hosts: accepted values of the Host header.
        token: auth token that grants access; the page keeps it as a cookie.
    """

    hosts: frozenset[str]
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    @property
    def cookie(self) -> str:
        """Value of the Set-Cookie header that keeps the token."""
        return f"{COOKIE}={self.token}; HttpOnly; SameSite=Strict; Path=/"

    def check(self, method: str, target: str, headers: Mapping[str, str]) -> HTTPStatus:
        """Judge a request before any other handler.

        Args:
            method: method of the request.
            target: path and query as they were sent.
            headers: headers of the request, names in any case.

        Returns:
            OK; SEE_OTHER if the address has the token, which the cookie is to keep instead; or the
            status of the refusal.
        """
        if headers.get("Host") not in self.hosts:
            return HTTPStatus.FORBIDDEN
        origin = headers.get("Origin")
        if origin is not None and origin not in {f"http://{host}" for host in self.hosts}:
            return HTTPStatus.FORBIDDEN
        if method not in ("GET", "HEAD"):
            return HTTPStatus.METHOD_NOT_ALLOWED
        if len(target) > LARGEST:
            return HTTPStatus.REQUEST_URI_TOO_LONG
        if "Transfer-Encoding" in headers or headers.get("Content-Length", "0") != "0":
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE  # no request of the page has a body
        address = urlsplit(target)
        if ".." in unquote(address.path) or "\\" in unquote(address.path):
            return HTTPStatus.NOT_FOUND
        if any(self._matches(one) for one in parse_qs(address.query).get("token", ())):
            return HTTPStatus.SEE_OTHER
        granted = self._matches(_stored(headers.get("Cookie", "")))
        return HTTPStatus.OK if granted else HTTPStatus.UNAUTHORIZED

    def _matches(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self.token.encode())


def _stored(cookies: str) -> str:
    """Read the token from a Cookie header; empty if there is none."""
    try:
        jar = SimpleCookie(cookies)
    except CookieError:
        return ""
    return jar[COOKIE].value if COOKIE in jar else ""
