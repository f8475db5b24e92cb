"""Every published study file can be run: its first seed is planned, as `study validate` does."""

import re
from pathlib import Path

import pytest
from transformers import BertConfig, BertModel

from peftlens.adapters.run_context import RunContext
from peftlens.studies import grid
from tests.tiny import word_piece_tokenizer

ANALYSES = Path(__file__).parents[1] / "analyses"
TEXTS = {file: file.read_text() for file in sorted(ANALYSES.rglob("*.toml"))}
# Files of one base model and dtype follow each other, so that it is loaded once for them.
FILES = sorted(
    (file for file, text in TEXTS.items() if "[[runs]]" in text),
    key=lambda file: re.findall(r"^(?:base_model|dtype) = .*", TEXTS[file], re.MULTILINE),
)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """An untrained encoder of the shapes of minilm-l6, which has no head for masked tokens."""
    folder = tmp_path_factory.mktemp("encoder")
    sizes = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12}
    BertModel(BertConfig(**sizes, intermediate_size=1536, vocab_size=30522)).save_pretrained(folder)
    word_piece_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def context():
    """One context for all files, so that each base model is loaded once."""
    return RunContext()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_configuration_of_a_study_file_can_be_planned(file, encoder, context):
    text = TEXTS[file].replace('"minilm-l6"', f'"{encoder}"')
    text = re.sub(r"^seeds = .*", "seeds = [0]", text, flags=re.MULTILINE)
    planned = grid.plan_study(text, str(file), context)
    assert len(planned.plans) > 1
    assert len(set(planned.labels.values())) > 1
