from types import SimpleNamespace

import numpy as np
import pytest
import torch

import peftlens
from peftlens.errors import InputError
from peftlens.probes import prompt_elicitation
from peftlens.probes.prompt_elicitation import (
    FRAMES,
    Config,
    contrast,
    contrasts,
    measure,
    sign_flip_p,
)
from peftlens.runs.config import RunConfig


@pytest.fixture
def trained(bases, words, tmp_path):
    def train(method, **training):
        return peftlens.train(
            RunConfig(
                method=method, task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
                dtype="float32", method_config={"num_virtual_tokens": 4},
                training={"max_steps": 40, "batch_size": 8, "learning_rate": 0.1} | training,
            ),
            tmp_path / "runs",
        )  # fmt: skip

    return train


@pytest.fixture(autouse=True)
def letters(llama, monkeypatch):
    """Tokens in the place of words: all answers of the task begin with a space."""

    def ids(text):
        return tuple(llama.tokenizer(text, add_special_tokens=False)["input_ids"])

    words = {"own": ids(" "), "one": ids("ABC"), "other": ids("XYZ")}
    monkeypatch.setattr(prompt_elicitation, "target_words", lambda *_: {"stated": words})
    return words


def test_the_contrast_is_the_own_rise_minus_the_others_mean():
    rise = np.array([[1.0, 3.0, 0.0, 5.0], [0.0, 0.0, 2.0, 4.0]])  # (frames, V)
    words = {"own": (0, 1), "one": (2,), "other": (3,)}
    assert contrast(rise, words).tolist() == [2 - 2.5, 0 - 3.0]
    assert contrasts(rise, words).tolist() == [[-0.5, -3.0], [0 - 3.5, 2 - 2.0], [5 - 1.0, 4 - 1.0]]


def test_signs_are_flipped_exactly():
    assert sign_flip_p(np.array([1.0, 1.0, 1.0])) == 1 / 8
    assert sign_flip_p(np.array([3.0, -1.0])) == 2 / 4
    assert sign_flip_p(np.zeros(2)) == 1


@pytest.mark.parametrize("method", ["prompt_tuning", "prefix_tuning"])
def test_a_prompt_that_learned_to_answer_is_told_from_random_ones(
    context, trained, letters, llama, method
):
    run = trained(method)
    frame = measure(context, run, Config(draws=39, planted=2))
    own = frame.iloc[0]
    assert (own["task"], own["own"], own["verdict"]) == ("own", True, "elicited")
    assert own["p"] == own["q"] == 1 / 40
    assert own["standardized"] > 3
    assert frame["task"].tolist() == ["own", "one", "other"]
    assert own["task_standardized"] == own["standardized"]
    assert frame["standardized"].notna().tolist() == [True, False, False]
    # what is above the random prompts for one task is below them for another
    assert frame["task_standardized"].min() < -2
    assert frame["contrast"].tolist()[0] > 0 > frame["contrast"].tolist()[1]
    # the rise, from plain passes through the run's model at its start and at its end
    at_start = trained(method, max_steps=0)
    rises = []
    for frame_text in FRAMES:
        ids = llama.tokenizer(frame_text, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            end, start = (
                one.load()[0](input_ids=ids, attention_mask=torch.ones_like(ids))
                .logits[0, -1]
                .log_softmax(-1)
                for one in (run, at_start)
            )
        rises.append((end - start)[letters["own"][0]].item())
    assert own["rise"] == pytest.approx(np.mean(rises), rel=1e-3)
    assert own["reference"] == "start"


def test_an_untrained_prompt_says_nothing(context, trained):
    own = measure(context, trained("prompt_tuning", max_steps=0), Config(draws=19)).iloc[0]
    assert own["contrast"] == pytest.approx(0, abs=1e-5)
    assert own["verdict"].startswith("not elicited (power ")
    assert own["q"] > 0.05


def test_an_adapter_of_unknown_start_is_compared_with_the_base_alone(context, trained, monkeypatch):
    run = trained("prompt_tuning")
    states = prompt_elicitation.PromptStates.of(run, context.base_model(run))
    unknown = prompt_elicitation.PromptStates(states.now, None, False)
    monkeypatch.setattr(prompt_elicitation, "PromptStates", SimpleNamespace(of=lambda *_: unknown))
    frame = measure(context, run, Config(draws=19, planted=1))
    assert set(frame["reference"]) == {"no prompt"}
    assert frame["rise"].notna().all()


def test_prompts_of_shuffled_labels_are_marked(context, trained):
    config = Config(draws=19, planted=1)
    for shuffled in (False, True):
        run = trained("prompt_tuning", max_steps=2, shuffle_labels=shuffled)
        assert set(measure(context, run, config)["shuffled_labels"]) == {shuffled}


def test_the_null_of_each_task_s_words_is_their_own(context, trained, letters):
    """The draws are the same for every task, so a run of the other task has the same row."""
    run = trained("prompt_tuning", max_steps=10)
    frame = measure(context, run, Config(draws=19, planted=1)).set_index("task")
    first = letters.pop("one")
    letters.update({name: letters.pop(name) for name in ("own", "other")})
    letters_of_one = {"one": first, **letters}
    letters.clear()
    letters.update(letters_of_one)
    again = measure(context, run, Config(draws=19, planted=1)).set_index("task")
    assert again["own"].tolist() == [True, False, False]
    for task in ("own", "one", "other"):
        assert again.loc[task, "task_standardized"] == pytest.approx(
            frame.loc[task, "task_standardized"], rel=1e-5
        )
    assert again.loc["one", "standardized"] == again.loc["one", "task_standardized"]


def test_too_few_draws_are_refused(context, trained):
    with pytest.raises(InputError, match="draws=3 must be finite and at least 19"):
        measure(context, trained("prompt_tuning", max_steps=0), Config(draws=3))
