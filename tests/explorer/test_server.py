"""The server, as it is started, requested over the network and by a real Chromium."""

import http.client
import re
import shutil
import subprocess
import sys
from contextlib import suppress

import pytest
from playwright.sync_api import expect, sync_playwright

import peftlens
from peftlens.errors import InputError
from peftlens.explorer.auth import COOKIE, UPDATE, Guard
from peftlens.explorer.query import QueryVectors, neighbors
from peftlens.explorer.server import application
from peftlens.runs.config import RunConfig
from peftlens.vocab.trained_vectors import trained_vectors


@pytest.fixture
def served(planted_run):
    """Port and token of a server over a run."""
    code = "from peftlens import cli; cli.main()"
    command = ["explore", str(planted_run.path), "--serve", "--port", "0"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *command], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        found = re.search(r"http://127.0.0.1:(\d+)/\?token=(\S+)", process.stdout.readline())
        assert found
        yield int(found[1]), found[2]
        process.terminate()


def requested(port, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_what_is_not_its_own_page_gets_4xx_and_the_server_lives(served):
    port, token = served
    cookie = {"Cookie": f"{COOKIE}={token}"}
    assert requested(port, "GET", "/") == 401
    assert requested(port, "GET", "/", Host="evil.example", **cookie) == 403
    assert requested(port, "GET", "/", Origin="http://evil.example", **cookie) == 403
    assert requested(port, "DELETE", "/", **cookie) == 405
    assert requested(port, "GET", "/assets/..%2f..%2fetc/passwd", **cookie) == 404
    assert requested(port, "GET", "/?q=" + "x" * 70_000, **cookie) == 414
    with suppress(BrokenPipeError, ConnectionResetError):  # it does not wait for all of it
        assert requested(port, "GET", "/?q=" + "x" * 10_000_000, **cookie) == 414
    with suppress(BrokenPipeError, ConnectionResetError):
        assert requested(port, "POST", UPDATE, b"x" * 10_000_000, **cookie) == 413
    with suppress(BrokenPipeError, ConnectionResetError):  # in chunks of no stated length
        body, kind = iter([b"x" * 1000] * 1000), {"Content-Type": "application/json"}
        assert requested(port, "POST", UPDATE, body, **cookie, **kind) == 411
    assert requested(port, "GET", "/", **cookie) == 200


def test_runs_of_two_bases_are_refused(context, planted_run, tmp_path, bases, words):
    other = peftlens.train(
        RunConfig(method="prompt_tuning", task=f"file:{words}", base_model=str(bases["llama"]),
                  device="cpu", dtype="float32", training={"max_steps": 0, "max_length": 32}),
        tmp_path,
    )  # fmt: skip
    names = {run.id: run.id for run in (planted_run, other)}
    with pytest.raises(InputError, match="different base models"):
        application(context, [planted_run, other], names, Guard(frozenset()))


@pytest.mark.parametrize(
    "odd",
    [
        {"run": ["x"], "step": {}}, {"metric": ["cosine"]}, {"metric": None}, {"count": "many"},
        {"count": 1e300}, {"count": -1}, {"query": {"a": 1}}, {"query": "\x1b[31m #99999999"},
        {"query": ["x"] * 1000}, {"step": "0"},
    ],
)  # fmt: skip
def test_values_that_no_page_sends_are_answered_in_a_sentence(context, planted_run, odd):
    guard = Guard(frozenset({"localhost"}))
    app = application(context, [planted_run], {planted_run.id: "one"}, guard)
    values = {"query": "#40", "metric": "cosine", "count": 3, "run": planted_run.id, "step": 2}
    inputs = [{"id": name, "property": "value", "value": value}
              for name, value in (values | odd).items()]  # fmt: skip
    body = {"output": "answer.children", "inputs": inputs, "changedPropIds": ["query.value"],
            "outputs": {"id": "answer", "property": "children"}}  # fmt: skip
    client = app.server.test_client()
    client.set_cookie(COOKIE, guard.token)
    answer = client.post(UPDATE, json=body)
    assert answer.status_code == 200
    assert "\\u001b" not in answer.text


def test_a_text_is_answered(context, served, planted_run):
    port, token = served
    executable = shutil.which("chromium")
    assert executable, "these tests need Chromium: apt-get install chromium"
    known = trained_vectors(planted_run, context.base_model(planted_run), planted_run.steps[-1])
    given = QueryVectors(known.now, known.positions)
    first = neighbors(context.base_model(planted_run), "#40 + [2]", trained=given)[0]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page()
        said, addresses = [], []
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: addresses.append(request.url))
        page.goto(f"http://127.0.0.1:{port}/?token={token}")
        expect(page.locator("#answer")).to_contain_text("A word")
        assert token not in page.url
        page.locator("#query").fill("#40 + [2]")
        page.locator("#query").press("Enter")
        expect(page.locator("#answer [role=alert]")).to_contain_text("choose a run")
        page.locator("#run").click()
        page.get_by_role("option").first.click()
        row = page.locator("#answer tbody tr").first
        expect(row.locator("code")).to_have_text(first.token)
        expect(row.locator("td").nth(2)).to_have_text(f"{first.similarity:.4f}")
        assert said == []
        own = f"http://127.0.0.1:{port}/"
        assert all(url.startswith((own, "data:", "blob:")) for url in addresses)
        browser.close()
