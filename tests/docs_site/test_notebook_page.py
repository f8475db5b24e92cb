import json

import pytest

pytestmark = pytest.mark.usefixtures("site_modules")


def cell(source, *outputs):
    return {"cell_type": "code", "source": [source], "outputs": list(outputs)}


def test_a_notebook_is_text_code_and_outputs(tmp_path):
    from notebook_page import notebook_page

    html = {"data": {"text/html": ["<style>p {}</style><p>\n", "\n", "a</p>"], "text/plain": "a"}}
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "\n", "Text."]},
        cell("1 + 1", {"data": {"text/plain": ["2"]}}),
        cell("show()", html),
        cell("print(3)", {"text": ["3\n"]}),
    ]
    file = tmp_path / "one.ipynb"
    file.write_text(json.dumps({"cells": cells}))
    assert notebook_page(file).split("\n\n") == [
        "# Title", '<a href="one.ipynb" download>Download the notebook</a>', "Text.",
        "```python\n1 + 1\n```", "```text\n2\n```",
        "```python\nshow()\n```", '<div class="cell-output"><p>a</p></div>',
        "```python\nprint(3)\n```", "```text\n3\n```",
    ]  # fmt: skip
