import pytest

import peftlens
from peftlens.adapters.run_context import RunContext
from peftlens.errors import InputError
from peftlens.evaluation.keep_text import require_apart, text_rows
from peftlens.probes import forgetting_items
from peftlens.runs.config import RunConfig
from peftlens.tasks import load_task

TEXTS = {"kind": "language_modeling", "template": "{text}"}


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "texts.csv"
    file.write_text("text\n" + "".join(f"{n} words of a text\n" for n in range(30)))
    return file


def test_a_long_text_is_several_rows_and_every_token_is_kept(llama, tmp_path, monkeypatch):
    monkeypatch.setattr("peftlens.evaluation.keep_text.ROW_TOKENS", 10)
    file = tmp_path / "texts.csv"
    file.write_text("text\n" + "".join(f"{n}{'abcdefgh' * n}\n" for n in range(1, 6)))
    rows = text_rows(llama, f"file:{file}")
    assert {len(row.answer) for row in rows} <= {*range(2, 11)}
    tokenizer = llama.tokenizer
    joined = "".join(tokenizer.decode(row.answer) for row in rows)
    texts = [one.answers[0] for one in load_task(f"file:{file}", TEXTS).splits["train"]]
    assert "".join(texts).startswith(joined[:30])
    assert len(joined) >= sum(len(text) - 1 for text in texts)


def test_a_file_of_too_short_texts(llama, tmp_path):
    file = tmp_path / "texts.csv"
    file.write_text("text\na\nb\nc\nd\n")
    with pytest.raises(InputError, match="has no text of two tokens to train on"):
        text_rows(llama, f"file:{file}")


@pytest.fixture
def kept(bases, words, file, tmp_path):
    keep = {"kind": "replay", "data": f"file:{file}"}
    config = RunConfig(
        method="lora", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
        dtype="float32", training={"max_steps": 1, "batch_size": 4, "keep": keep},
    )  # fmt: skip
    return peftlens.train(config, tmp_path / "runs")


def test_the_test_split_of_the_same_file_is_other_text(kept, file):
    require_apart(kept, {f"file:{file}": TEXTS, "openbookqa": {}})


def test_another_file_with_the_same_texts_is_refused(kept, file, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text(file.read_text().replace(" words", "  Words"))
    name = f"file:{other}"
    options = forgetting_items.Config(
        suites=(name,), suite_options={name: TEXTS | {"split": {"seed": 1}}}
    )
    with pytest.raises(InputError, match=rf"texts of the suite .* run {kept.id} was kept near"):
        forgetting_items.measure(RunContext(), kept, options)


def test_a_run_that_is_not_kept_is_scored_on_anything(bases, words, file, tmp_path):
    config = RunConfig(
        method="lora", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
        dtype="float32", training={"max_steps": 0},
    )  # fmt: skip
    require_apart(peftlens.train(config, tmp_path), {f"file:{file}": TEXTS})
