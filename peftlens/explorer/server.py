"""Local web server (Dash): nearest tokens of any text, token, trained vector, or sum of them.

It needs the extra `app`. It listens on this machine only, and requests need its auth token.
"""

import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import dash
from dash import Input, Output, dcc, html
from werkzeug.serving import make_server

from peftlens.adapters.run_context import RunContext
from peftlens.errors import InputError
from peftlens.explorer.auth import Guard
from peftlens.explorer.query import LONGEST, MOST, Neighbor, QueryVectors, neighbors
from peftlens.io.escaping import visible
from peftlens.results.table import NotApplicable
from peftlens.runs.trained_model import TrainedModel
from peftlens.vocab.nearest_neighbors import METRICS
from peftlens.vocab.trained_vectors import trained_vectors

HOST = "127.0.0.1"
HELP = (
    "A word, a token's id such as #123, a trained vector such as [3], or sums and differences of "
    "them: king - man + woman. A text in double quotes is used literally, with no leading space."
)


def application(
    context: RunContext, runs: Sequence[TrainedModel], names: dict[str, str], guard: Guard
) -> dash.Dash:
    """Build the app for the base model of runs; trained vectors are those of the selected step."""
    app = dash.Dash(__name__, title="peftlens", update_title="", serve_locally=True)
    guard.watch(app.server)
    base, by_id = context.shared_base_model(runs), {run.id: run for run in runs}
    app.layout = _layout(runs, names)

    @app.callback(Output("step", "options"), Output("step", "value"), Input("run", "value"))
    def steps(run: Any):
        saved = by_id[run].steps if _is_listed(run, by_id) else ()
        return [*saved], saved[-1] if saved else None

    @app.callback(
        Output("answer", "children"),
        Input("query", "value"), Input("metric", "value"), Input("count", "value"),
        Input("run", "value"), Input("step", "value"),
    )  # fmt: skip
    def answer(query: Any, metric: Any, count: Any, run: Any, step: Any):
        if not query:
            return html.P(HELP)
        try:
            trained = None
            if _is_listed(run, by_id) and step in by_id[run].steps:
                vectors = trained_vectors(by_id[run], base, step)
                trained = QueryVectors(vectors.now, vectors.positions)
            nearest = neighbors(base, str(query), metric, _number(count), trained)
        except (InputError, NotApplicable) as error:
            return html.P(visible(str(error)), role="alert")
        return _table(nearest)

    return app


def _is_listed(run: Any, by_id: Mapping[str, TrainedModel]) -> bool:
    """Return whether a value of the page is the id of a run; a request may hold anything."""
    return isinstance(run, str) and run in by_id


def _number(count: Any) -> int:
    """Return the number of neighbors; 20 by default.

    Raises:
        InputError: it is not a whole number.
    """
    if count is None:
        return 20
    if not isinstance(count, int):
        raise InputError(f"{count!r} neighbors can't be shown; choose 1 to {MOST}")
    return count


def serve(
    context: RunContext,
    runs: Sequence[TrainedModel],
    names: dict[str, str],
    port: int,
    announce: Callable[[str], None],
) -> None:
    """Run the server until Ctrl-C.

    Args:
        context: access to the base model.
        runs: runs of one base model.
        names: names of the runs, by run id.
        port: port of the server; 0 selects a free one.
        announce: function called with the address, including the token, when the server is ready.

    Raises:
        InputError: the runs have different base models.
        OSError: the port is in use.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen()
        number = listener.getsockname()[1]
        guard = Guard(frozenset({f"{HOST}:{number}", f"localhost:{number}"}))
        server = application(context, runs, names, guard).server
        waiting = make_server(HOST, number, server, threaded=True, fd=listener.fileno())
        announce(f"http://{HOST}:{number}/?token={guard.token}")
        with suppress(KeyboardInterrupt):
            waiting.serve_forever()


def _layout(runs: Sequence[TrainedModel], names: dict[str, str]) -> html.Main:
    options = [{"label": names[run.id], "value": run.id} for run in runs]
    style = {"maxWidth": "60rem", "margin": "0 auto", "padding": "1rem", "font": "16px system-ui"}
    return html.Main(
        [
            html.H1("Neighbors"),
            html.Label("Near to", htmlFor="query"),
            dcc.Input(id="query", type="text", debounce=0.3, placeholder="tech", maxLength=LONGEST),
            html.Label("by", htmlFor="metric"),
            dcc.Dropdown(id="metric", options=[*METRICS], value="cosine", clearable=False),
            html.Label("number", htmlFor="count"),
            dcc.Input(id="count", type="number", min=1, max=MOST, step=1, value=20),
            html.Label("[n] is a vector of", htmlFor="run"),
            dcc.Dropdown(id="run", options=options, placeholder="a run"),
            html.Label("at step", htmlFor="step"),
            dcc.Dropdown(id="step", options=[], placeholder="of the run", clearable=False),
            html.Div(id="answer", role="status"),
        ],
        style=style,
    )


def _table(nearest: Sequence[Neighbor]) -> html.Table:
    head = html.Tr([html.Th(name) for name in ("token", "id", "similarity", "")])
    rows = [
        html.Tr([html.Td(html.Code(one.token)), html.Td(one.token_id),
                 html.Td(f"{one.similarity:z.4f}"), html.Td(one.flags)])
        for one in nearest
    ]  # fmt: skip
    return html.Table([html.Thead(head), html.Tbody(rows)])
