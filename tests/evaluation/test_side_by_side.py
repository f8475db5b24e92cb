import pytest

import peftlens
from peftlens.errors import InputError
from peftlens.evaluation.side_by_side import Pair


@pytest.mark.parametrize(
    ("base", "tuned", "at"),
    [("abc", "abc", None), ("abc", "abd", 2), ("ab", "abc", 2), ("", "", None)],
)
def test_where_texts_first_differ(base, tuned, at):
    assert Pair(base, tuned).differs_at == at


@pytest.fixture
def trained(bases, words, tmp_path):
    return peftlens.train(
        peftlens.RunConfig(
            method="lora", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
            dtype="float32", training={"max_steps": 30, "batch_size": 8, "learning_rate": 0.05,
                                       "checkpoint_steps": [0]},
        ),
        tmp_path / "runs",
    )  # fmt: skip


def test_texts_of_the_base_and_of_the_run_stand_side_by_side(trained):
    frame = trained.generate(["some text", "more"], max_new_tokens=6)
    assert [*frame.columns] == ["prompt", "base", "tuned"]
    assert frame["prompt"].tolist() == ["some text", "more"]
    assert (frame["base"] != frame["tuned"]).any()
    model, tokenizer = trained.load()
    ids = tokenizer("some text", return_tensors="pt")
    told = model.generate(**ids, max_new_tokens=6, do_sample=False, pad_token_id=0)[0]
    new = told[ids["input_ids"].shape[1] :]
    assert frame["tuned"][0] == tokenizer.decode(new, skip_special_tokens=True)
    start = trained.generate("some text", max_new_tokens=6, step=0)
    assert start["base"].tolist() == start["tuned"].tolist() == frame["base"].tolist()[:1]


def test_a_text_without_tokens_is_refused(trained):
    with pytest.raises(InputError, match="'' has no tokens"):
        trained.generate([""])


def test_on_the_command_line(trained, run):
    code, out, _ = run("generate", trained.path, "some text", "--max-new-tokens", "4")
    assert code == 0
    assert [line.split(":")[0] for line in out.splitlines() if line] == ["prompt", "base", "tuned"]
