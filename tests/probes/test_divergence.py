import numpy as np
import pytest
import torch

import peftlens
from peftlens.errors import InputError
from peftlens.probes import forgetting
from peftlens.probes.divergence import Config, measure
from peftlens.runs.config import RunConfig
from peftlens.tasks import load_task

METHODS = {
    "full": {},
    "lora": {"rank": 2},
    "prompt_tuning": {"num_virtual_tokens": 3},
    "prefix_tuning": {"num_virtual_tokens": 3},
}


@pytest.fixture
def trained(bases, words, tmp_path):
    def train(method, kind="llama", **training):
        return peftlens.train(
            RunConfig(
                method=method, task=f"file:{words}", base_model=str(bases[kind]), device="cpu",
                dtype="float32", method_config=METHODS.get(method, {}),
                training={"max_steps": 5, "learning_rate": 0.01} | training,
            ),
            tmp_path / "runs",
        )  # fmt: skip

    return train


@pytest.mark.parametrize("method", METHODS)
def test_the_mean_over_general_text_is_the_probe_forgetting_s_kl(context, trained, method):
    run = trained(method)
    frame = measure(context, run, Config(tokens=0, passage=0))
    (whole,) = forgetting.measure(
        context, run, forgetting.Config(suites=("passages_short",))
    ).to_dict("records")
    (general,) = frame[frame["text"] == "general"].to_dict("records")
    assert general["mean_kl"] == pytest.approx(whole["kl"], rel=1e-6)
    assert general["mean_kl"] > 0
    assert general["n_tokens"] == whole["n_tokens"]


def test_tokens_are_those_of_a_plain_forward_pass(context, trained, bases, words):
    run = trained("lora")
    frame = measure(context, run, Config(items=4, tokens=6, passage=10))
    base = peftlens.load_base_model(str(bases["llama"]), device="cpu", dtype="float32")
    tuned = run.load()[0]
    examples = load_task(f"file:{words}", {}).splits["test"]
    for row in frame[(frame["text"] == "task") & (frame["part"] != "all")].to_dict("records"):
        one = examples[row["line"]]
        ids = base.tokenizer(one.prompt + one.answers[one.correct], return_tensors="pt")[
            "input_ids"
        ]
        at = row["position"]
        with torch.inference_mode():
            p, q = (
                model(ids).logits[0, at - 1].double().log_softmax(-1)
                for model in (base.model, tuned)
            )
        assert row["kl"] == pytest.approx((p.exp() * (p - q)).sum().item(), rel=1e-3)
        assert base.tokenizer.decode(ids[0, at]) == row["token"].replace("␣", " ").replace(
            "<U+000A>", "\n"
        )
        assert row["base_probability"] == pytest.approx(p[ids[0, at]].exp().item(), rel=1e-4)
        assert row["tuned_probability"] == pytest.approx(q[ids[0, at]].exp().item(), rel=1e-4)
        best = int(q.argmax())
        first = row["tuned_expects"].split(", ")[0]
        assert first.endswith(f"{q[best].exp():.2f}")


def test_shares_add_up_to_the_whole(context, trained):
    frame = measure(context, trained("full"), Config(items=3, tokens=10**6, passage=10**6))
    for _, kind in frame.groupby("text"):
        whole = kind[kind["part"] == "all"].iloc[0]
        largest, passage = (kind[kind["part"] == part] for part in ("largest", "passage"))
        assert largest["kl"].is_monotonic_decreasing
        assert largest["share"].iloc[-1] == pytest.approx(1)
        assert passage["share"].sum() == pytest.approx(1)
        assert passage["kl"].mean() == pytest.approx(whole["mean_kl"])
        assert whole["ci_low"] <= whole["mean_kl"] <= whole["ci_high"]
        assert len(largest) == len(passage) == whole["n_tokens"]


def test_what_starts_as_the_base_diverges_nowhere(context, trained):
    frame = measure(context, trained("lora", max_steps=0), Config(items=2))
    assert frame["kl"].max() == 0
    assert (frame[frame["part"] == "largest"]["share"] == 0).all()
    assert np.isfinite(frame[frame["part"] == "all"]["mean_kl"]).all()


def test_texts_of_the_user_s(context, trained, tmp_path):
    file = tmp_path / "own.txt"
    file.write_text("a first line\n\nb\nanother line\n")
    frame = measure(context, trained("lora"), Config(items=2, texts=str(file), passage=50))
    own = frame[frame["text"] == "own"]
    assert own.iloc[0]["n_texts"] == 1  # of the first two lines one has a single token
    assert "".join(own[own["part"] == "passage"]["token"]) == "␣first␣line"
    file.write_text("a\n")
    with pytest.raises(InputError, match="has no line of two tokens"):
        measure(context, trained("lora"), Config(items=2, texts=str(file)))
    with pytest.raises(InputError, match="is not a text file"):
        measure(context, trained("lora"), Config(texts=str(tmp_path)))


def test_an_encoder_decoder_is_compared_on_the_answers(context, trained, words):
    frame = measure(context, trained("lora", kind="t5"), Config(items=4))
    task = frame[(frame["text"] == "task") & (frame["part"] == "all")].iloc[0]
    examples = load_task(f"file:{words}", {}).splits["test"][:4]
    assert task["n_texts"] == 4
    assert task["n_tokens"] == sum(len(one.answers[one.correct]) for one in examples)
