"""The server, as it is started, requested over the network and by a real Chromium."""

import http.client
import json
import re
import subprocess
import sys
import urllib.parse
from contextlib import suppress

import pytest
import torch
from playwright.sync_api import expect

import peftlens
from peftlens.errors import InputError
from peftlens.explorer.auth import COOKIE
from peftlens.explorer.query import QueryVectors, neighbors
from peftlens.explorer.server import live_index
from peftlens.runs.config import RunConfig
from peftlens.vocab.nearest_neighbors import nearest
from peftlens.vocab.trained_vectors import trained_vectors
from peftlens.vocab.vocabulary import states, vocabulary


@pytest.fixture
def served(planted_run):
    """Port and token of a server over a run."""
    code = "from peftlens import cli; cli.main()"
    command = ["explore", str(planted_run.path), "--serve", "--port", "0", "--projection", "pca",
               "--no-logits", "--no-directions"]  # fmt: skip
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
        answer = connection.getresponse()
        return answer.status, answer
    finally:
        connection.close()


def test_what_is_not_its_own_page_gets_4xx_and_the_server_lives(served):
    port, token = served
    cookie = {"Cookie": f"{COOKIE}={token}"}
    assert requested(port, "GET", "/")[0] == 401
    assert requested(port, "GET", "/neighbors?q=x")[0] == 401
    assert requested(port, "GET", "/", Host="evil.example", **cookie)[0] == 403
    assert requested(port, "GET", "/", Origin="http://evil.example", **cookie)[0] == 403
    assert requested(port, "DELETE", "/", **cookie)[0] == 405
    assert requested(port, "GET", "/assets/..%2f..%2fetc/passwd", **cookie)[0] == 404
    assert requested(port, "GET", "/run.json", **cookie)[0] == 404
    assert requested(port, "GET", "/?q=" + "x" * 60_000, **cookie)[0] == 414
    with suppress(BrokenPipeError, ConnectionResetError):  # it does not wait for all of it
        assert requested(port, "GET", "/?q=" + "x" * 10_000_000, **cookie)[0] == 414
    with suppress(BrokenPipeError, ConnectionResetError):
        assert requested(port, "POST", "/neighbors", b"x" * 10_000_000, **cookie)[0] == 405
    with suppress(BrokenPipeError, ConnectionResetError):  # in chunks of no stated length
        body = iter([b"x" * 1000] * 1000)
        assert requested(port, "GET", "/neighbors", body, **cookie)[0] == 413
    status, answer = requested(port, "GET", "/", **cookie)
    assert status == 200
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Cache-Control"] == "no-store"
    status, answer = requested(port, "GET", f"/?token={token}")
    assert (status, answer.headers["Location"]) == (303, "/")


def test_runs_of_two_bases_are_refused(context, planted_run, tmp_path, bases, words):
    other = peftlens.train(
        RunConfig(method="prompt_tuning", task=f"file:{words}", base_model=str(bases["llama"]),
                  device="cpu", dtype="float32", training={"max_steps": 0, "max_length": 32}),
        tmp_path,
    )  # fmt: skip
    with pytest.raises(InputError, match="different base models"):
        live_index(context, [planted_run, other])


@pytest.fixture
def index(context, planted_run):
    return live_index(context, [planted_run])


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ({"q": ""}, "the query is empty"),
        ({"q": "\x1b[31m #99999999"}, ""),
        ({"q": "x" * 2000}, "2,000 characters"),
        ({"metric": "manhattan"}, "no metric named"),
        ({"count": "many"}, "choose 1 to 200"),
        ({"count": "0"}, "choose 1 to 200"),
        ({"count": "-1"}, "choose 1 to 200"),
        ({"count": "9" * 5000}, "choose 1 to 200"),
        ({"step": "99999"}, "step 99999 was not saved"),
        ({"step": "first"}, "'first'"),
        ({"layer": "99"}, "there is no block 99"),
        ({"layer": "1", "metric": "csls"}, "CSLS is of the embeddings"),
        ({"layer": "1", "q": "[0]"}, "another space"),
        ({"run": "nobody", "q": "[0]"}, "choose a run"),
    ],
)
def test_a_mistake_is_one_sentence(index, planted_run, odd, message):
    query = {"q": "#40", "count": "3", "run": planted_run.id, "step": str(planted_run.steps[-1])}
    answer = index.answer(query | odd)
    if "neighbors" in answer:  # a text with a control character is a text
        assert "\x1b" in odd["q"]
        return
    assert message in answer["error"]
    assert "\x1b" not in answer["error"]
    assert "\n" not in answer["error"]


def test_vectors_of_any_checkpoint_are_answered(index, context, planted_run):
    base, table = context.base_model(planted_run), vocabulary(context.base_model(planted_run)).table
    for step in planted_run.steps:
        answer = index.answer({"q": "[2]", "run": planted_run.id, "step": str(step), "count": "4"})
        now = trained_vectors(planted_run, base, step).now[2:3]
        expected = nearest(now, table, 4)
        assert [one["id"] for one in answer["neighbors"]] == expected.ids[0].tolist()


def test_states_of_any_block_are_searched(index, context, planted_run):
    base = context.base_model(planted_run)
    for layer in (1, 2):
        table = torch.from_numpy(states(base, layer))
        answer = index.answer({"q": "#40 - #41", "layer": str(layer), "count": "5"})
        expected = nearest((table[40] - table[41])[None], table, 5)
        assert [one["id"] for one in answer["neighbors"]] == expected.ids[0].tolist()


def test_the_page_asks_the_server(context, served, planted_run, browsers):
    port, token = served
    base = context.base_model(planted_run)
    known = trained_vectors(planted_run, base, planted_run.steps[-1])
    given = QueryVectors(known.now, known.positions)
    tokens = vocabulary(base).tokens
    shown = browsers[True].new_context().new_page()
    said, addresses = [], []
    shown.on("pageerror", lambda error: said.append(str(error)))
    shown.on("request", lambda request: addresses.append(request.url))
    shown.goto(f"http://127.0.0.1:{port}/?token={token}")
    shown.wait_for_selector("body[data-drawn]")
    assert token not in shown.url
    names = shown.locator("#chosen .bars .token")

    def check(query, metric="cosine", layer=None, leave=None):
        found = neighbors(base, query, metric, 21, trained=given, layer=layer)
        expected = [one.token for one in found if one.token_id != leave][:20]
        expect(names).to_have_text(expected)

    shown.locator("#ask").fill("#40 + [2]")
    shown.locator("#ask").press("Enter")
    expect(shown.locator("#chosen h2")).to_have_text("Answer to #40 + [2]")
    check("#40 + [2]")
    expect(shown.locator("#map-run .query")).to_have_count(1)
    shown.locator("#metric").select_option("dot")
    check("#40 + [2]", "dot")
    shown.locator("#ask").fill("[99]")
    shown.locator("#ask").press("Enter")
    expect(shown.locator("#chosen [role=alert]")).to_contain_text("no such vector")
    shown.locator("#ask").fill("#40")
    shown.locator("#ask").press("Enter")
    shown.locator("#layer").select_option("1")
    check("#40", "dot", layer=1)
    shown.locator("#layer").select_option("")
    names.nth(3).click()  # a token is asked about like a text
    token_id = int(shown.url.split("token=")[1].split("&")[0])
    expect(shown.locator("#chosen h2")).to_contain_text(tokens[token_id])
    check(f"#{token_id}", "dot", leave=token_id)
    assert said == []
    own = f"http://127.0.0.1:{port}/"
    assert all(url.startswith(own) for url in addresses)
    queries = [urllib.parse.urlsplit(url).path for url in addresses]
    assert set(queries) == {"/", "/neighbors"}


def test_answers_are_json_without_nan(index):
    assert json.loads(json.dumps(index.answer({"q": "#40"}), allow_nan=False))["neighbors"]
