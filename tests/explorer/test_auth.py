from email.message import Message

import pytest

from peftlens.explorer.auth import COOKIE, LARGEST, Guard

HOST = "127.0.0.1:8050"


@pytest.fixture
def guard():
    return Guard(frozenset({HOST}))


@pytest.fixture
def ask(guard):
    """A request with everything as it should be, but for what a test changes."""

    def call(path="/", method="GET", cookie=guard.token, host=HOST, **headers):
        message = Message()
        message["Host"] = host
        if cookie:
            message["Cookie"] = f"other=1; {COOKIE}={cookie}"
        for name, value in headers.items():
            message[name.replace("_", "-")] = value
        return int(guard.check(method, path, message))

    return call


def test_its_own_page_is_let_in(ask):
    assert ask() == ask(method="HEAD") == ask("/neighbors?q=x") == 200
    assert ask(Origin=f"http://{HOST}") == 200


def test_the_token_becomes_a_cookie(ask, guard):
    assert ask(f"/?token={guard.token}", cookie=None) == 303
    assert guard.cookie.startswith(f"{COOKIE}={guard.token}; ")
    assert "HttpOnly" in guard.cookie
    assert "SameSite=Strict" in guard.cookie


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"cookie": None}, 401),
        ({"cookie": "wrong"}, 401),
        ({"cookie": "\x00;;=\xff"}, 401),
        ({"path": "/?token=wrong", "cookie": None}, 401),
        ({"path": "/?token=%C3%A9", "cookie": None}, 401),
        ({"host": "evil.example:8050"}, 403),
        ({"host": "127.0.0.1:9999"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"method": "DELETE"}, 405),
        ({"method": "PUT"}, 405),
        ({"method": "POST"}, 405),
        ({"method": "OPTIONS"}, 405),
        ({"path": "/assets/..%2f..%2fetc/passwd"}, 404),
        ({"path": "/..%5cx"}, 404),
        ({"Content_Length": "9"}, 413),
        ({"Transfer_Encoding": "chunked"}, 413),
        ({"path": "/?q=" + "x" * (LARGEST + 1)}, 414),
    ],
)
def test_others_are_not(ask, request_, code):
    assert ask(**request_) == code


def test_a_request_without_a_host_is_refused(guard):
    assert guard.check("GET", "/", Message()) == 403
