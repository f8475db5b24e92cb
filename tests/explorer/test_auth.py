import flask
import pytest

from peftlens.explorer.auth import COOKIE, LARGEST, UPDATE, Guard

HOST = "127.0.0.1:8050"


@pytest.fixture
def guard():
    return Guard(frozenset({HOST}))


@pytest.fixture
def ask(guard):
    """A request with everything as it should be, but for what a test changes."""
    server = flask.Flask(__name__)
    server.add_url_rule("/", view_func=lambda: "page")
    server.add_url_rule(UPDATE, "update", view_func=lambda: "new", methods=["GET", "POST"])
    guard.watch(server)

    def call(path="/", method="GET", cookie=guard.token, host=HOST, **more):
        client = server.test_client()
        if cookie:
            client.set_cookie(COOKIE, cookie, domain=host.partition(":")[0])
        return client.open(path, method=method, base_url=f"http://{host}", **more)

    return call


def test_its_own_page_is_let_in(ask):
    answer = ask()
    assert (answer.status_code, answer.text) == (200, "page")
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert ask(UPDATE, "POST", headers={"Origin": f"http://{HOST}"}).status_code == 200


def test_the_token_becomes_a_cookie_and_leaves_the_address(ask, guard):
    answer = ask(f"/?token={guard.token}", cookie=None)
    assert (answer.status_code, answer.location) == (302, "/")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"cookie": None}, 401),
        ({"cookie": "wrong"}, 401),
        ({"path": "/?token=wrong", "cookie": None}, 401),
        ({"path": "/?token=%C3%A9", "cookie": None}, 401),
        ({"host": "evil.example:8050"}, 403),
        ({"host": "127.0.0.1:9999"}, 403),
        ({"headers": {"Origin": "http://evil.example"}}, 403),
        ({"headers": {"Origin": "null"}}, 403),
        ({"method": "DELETE"}, 405),
        ({"method": "PUT", "path": UPDATE}, 405),
        ({"method": "POST"}, 405),
        ({"method": "OPTIONS"}, 405),
        ({"path": "/assets/..%2f..%2fetc/passwd"}, 404),
        ({"path": "/..%5cx"}, 404),
        ({"path": UPDATE, "method": "POST", "data": b"x" * (LARGEST + 1)}, 413),
        ({"path": "/?q=" + "x" * (LARGEST + 1)}, 413),
    ],
)
def test_others_are_not(ask, request_, code):
    assert ask(**request_).status_code == code
    assert ask().status_code == 200  # it lives
