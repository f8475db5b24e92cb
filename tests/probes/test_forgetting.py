import pytest
import torch
from torch.nn.functional import cross_entropy

import peftlens
from peftlens.probes.forgetting import Config, measure
from peftlens.runs.config import RunConfig
from peftlens.tasks import load_task

WIKI = Config(suites=("wiki",))
BOTH = Config(suites=("wiki", "openbookqa"), items=40)


def train(bases, words, out, method, **training):
    return peftlens.train(
        RunConfig(method=method, task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
                  dtype="float32", training={"max_steps": 4, "checkpoint_steps": [0], **training}),
        out,
    )  # fmt: skip


@pytest.mark.parametrize("method", ["lora", "bottleneck", "full", "ln_tuning", "last_layers"])
def test_nothing_is_forgotten_before_the_first_step(context, bases, words, tmp_path, method):
    frame = measure(context, train(bases, words, tmp_path, method), BOTH)
    text, questions = frame[frame["step"] == 0].to_dict("records")
    for name in ("forgetting", "ci_low", "ci_high", "kl", "kl_ci_low", "kl_ci_high"):
        assert text[name] == 0
    for name in ("accuracy_change", "accuracy_ci_low", "accuracy_ci_high"):
        assert questions[name] == 0
    assert questions["loss"] == questions["base_loss"]
    assert (questions["lost"], questions["gained"], questions["flips_p_value"]) == (0, 0, 1)
    assert questions["lost_beyond_guessing"] < 0  # nothing flips, where guesses would
    end, _ = frame[frame["step"] == 4].to_dict("records")
    assert end["kl"] > 0


def test_a_model_of_noise_has_forgotten(context, bases, words, tmp_path, monkeypatch):
    """Weights replaced by noise, by way of a run whose training does that."""
    run = train(bases, words, tmp_path, "full")
    from peftlens.probes import forgetting_items

    real = forgetting_items.scores

    def spoiled(model, *rest):
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.data = torch.randn(parameter.shape)
        return real(model, *rest)

    monkeypatch.setattr(forgetting_items, "scores", spoiled)
    end = measure(context, run, WIKI).iloc[-1]
    assert 0 < end["ci_low"] < end["forgetting"] < end["ci_high"]
    assert 0 < end["kl_ci_low"] < end["kl"] < end["kl_ci_high"]


def test_the_base_has_not(context, bases, words, tmp_path):
    (only,) = measure(context, train(bases, words, tmp_path, "frozen"), WIKI).to_dict("records")
    assert only["ci_low"] == only["forgetting"] == only["ci_high"] == only["kl"] == 0


@pytest.mark.parametrize("method", ["full", "prompt_tuning"])
def test_loss_and_divergence_equal_a_plain_reference(context, bases, words, tmp_path, method):
    """One line at a time, unpadded, shifted by one, virtual tokens cut off."""
    run = train(bases, words, tmp_path, method)
    model = run.load()[0]
    base = peftlens.load_base_model(str(bases["llama"]), device="cpu", dtype="float32")
    total, divergence, tokens = 0.0, 0.0, 0
    for example in load_task("wiki", {}).splits["test"]:
        ids = base.tokenizer(example.answers[0], return_tensors="pt")["input_ids"][:, :64]
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
            before = base.model(ids).logits[0, :-1].log_softmax(-1)
        logits = logits[0, -ids.shape[1] : -1]
        total += cross_entropy(logits, ids[0, 1:], reduction="sum").item()
        divergence += (before.exp() * (before - logits.log_softmax(-1))).sum().item()
        tokens += ids.shape[1] - 1
    end = measure(context, run, WIKI).iloc[-1]
    assert end["n_tokens"] == tokens
    assert end["loss"] == pytest.approx(total / tokens, abs=1e-5)
    assert end["kl"] == pytest.approx(divergence / tokens, abs=1e-5)


@pytest.mark.parametrize("method", ["full", "prompt_tuning"])
def test_choices_equal_a_plain_reference(context, bases, words, tmp_path, method):
    run = train(bases, words, tmp_path, method, learning_rate=0.1)
    model = run.load()[0]
    tokenizer = context.base_models.get(
        str(bases["llama"]), device="cpu", dtype="float32"
    ).tokenizer
    right, losses = [], []
    for example in load_task("openbookqa", {}).splits["test"][:40]:
        sums = []
        room = 64 - max(len(tokenizer(answer)["input_ids"]) for answer in example.answers)
        if room < 1:  # one is longer than this model's context, and left out
            continue
        for answer in example.answers:
            ids = tokenizer(answer)["input_ids"]
            row = torch.tensor([[*tokenizer(example.prompt)["input_ids"][-room:], *ids]])
            with torch.inference_mode():
                logits = model(input_ids=row, attention_mask=torch.ones_like(row)).logits
            logs = logits[0, -len(ids) - 1 : -1].log_softmax(-1)
            sums.append(logs.gather(1, row[0, -len(ids) :, None]).sum().item())
        right.append(max(range(len(sums)), key=sums.__getitem__) == example.correct)
        losses.append(
            -sums[example.correct] / len(tokenizer(example.answers[example.correct])["input_ids"])
        )
    (_, end) = measure(context, run, Config(suites=("openbookqa",), items=40)).to_dict("records")
    assert end["n_items"] == 39
    assert end["accuracy"] == sum(right) / 39
    assert end["loss"] == pytest.approx(sum(losses) / 39, abs=1e-5)


def test_suites_of_ones_own(context, bases, words, tmp_path):
    run = train(bases, words, tmp_path, "lora")
    own = f"file:{words}"
    config = Config(suites=(own,), suite_options={own: {"template": "{text} is"}}, items=0)
    frame = measure(context, run, config)
    assert set(frame["suite"]) == {own}
    assert set(frame["n_items"]) == {24}
    assert frame["accuracy_change"].notna().all()
    assert frame["forgetting"].isna().all()


def test_flips_are_those_of_the_items(context, bases, words, tmp_path):
    """Openbookqa has four options: the correction is w_base w_tuned / 3."""
    from peftlens.evaluation import probe_runner

    run = train(bases, words, tmp_path, "full", learning_rate=0.1)
    config = {"forgetting": {"suites": ("openbookqa",), "items": 40}}
    items = probe_runner.run_probe(context, run, "forgetting_items", config).frame
    items = items[items["step"] == 4]
    before, after = items["base_right"].tolist(), items["right"].tolist()
    pairs = list(zip(before, after, strict=True))
    lost, gained, n = pairs.count((1, 0)), pairs.count((0, 1)), len(pairs)
    assert set(items["options"]) == {4}
    assert lost + gained > 0
    wrong = [min(1 - sum(one) / n, 0.75) for one in (before, after)]
    end = measure(context, run, Config(suites=("openbookqa",), items=40)).iloc[-1]
    assert (end["lost"], end["gained"]) == (lost / n, gained / n)
    assert end["gained"] - end["lost"] == pytest.approx(end["accuracy_change"])
    assert end["lost_beyond_guessing"] == pytest.approx(lost / n - wrong[0] * wrong[1] / 3)
    assert end["gained_beyond_guessing"] == pytest.approx(gained / n - wrong[0] * wrong[1] / 3)
