"""Folders of tiny models, and a file of rows to train on."""

import json
from pathlib import Path

import pytest
from tiny import build, byte_tokenizer

from peftlens.models.base import discard_resident, open_base

WORDS = ["good", "bad", "fine", "poor", "great", "awful", "kind", "mean", "calm", "rude"]


@pytest.fixture(scope="session")
def bases(tmp_path_factory) -> dict[str, Path]:
    """Folders of a tiny Llama, GPT-2 and T5, in the layout that transformers writes."""
    folders = {}
    for kind in ("llama", "gpt2", "t5"):
        folder = tmp_path_factory.mktemp("bases") / kind
        build(kind).save_pretrained(folder)
        byte_tokenizer().save_pretrained(folder)
        folders[kind] = folder
    return folders


@pytest.fixture(scope="session")
def words(tmp_path_factory) -> Path:
    """A JSONL file of words and whether they are kind: enough rows for three splits."""
    rows = [
        {"text": f"{word} {number}", "label": "up" if index % 2 == 0 else "down"}
        for number in range(12)
        for index, word in enumerate(WORDS)
    ]
    file = tmp_path_factory.mktemp("data") / "words.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def llama(bases):
    """The tiny Llama, opened in float32 on the CPU."""
    return open_base(str(bases["llama"]), device="cpu", dtype="float32")


@pytest.fixture(autouse=True)
def own_resident():
    """No test sees the base that another one held."""
    discard_resident()
    yield
    discard_resident()
