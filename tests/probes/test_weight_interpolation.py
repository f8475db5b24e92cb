import numpy as np
import pytest

import peftlens
from peftlens.evaluation import probe_runner, retention
from peftlens.models.base_model import load_base_model
from peftlens.models.snapshot import fingerprint
from peftlens.probes import forgetting, task_items, weight_interpolation
from peftlens.probes.weight_interpolation import Config, _between, measure
from peftlens.runs.config import RunConfig

TEXTS = 20  # of the running text, in the place of all


@pytest.fixture(autouse=True)
def few_texts(monkeypatch):
    def few(base, name, options, most):
        assert most is None
        return retention.suite(base, name, options, TEXTS)

    monkeypatch.setattr(weight_interpolation, "suite", few)


@pytest.fixture
def run(bases, words, tmp_path):
    def train(method, base="llama", dtype="float32", **options):
        return peftlens.train(
            RunConfig(
                method=method, task=f"file:{words}", base_model=str(bases[base]), device="cpu",
                dtype=dtype, method_config=options,
                training={"max_steps": 8, "batch_size": 4, "learning_rate": 0.05},
            ),
            tmp_path / "runs",
        )  # fmt: skip

    return train


@pytest.mark.parametrize(
    ("method", "base"),
    [("lora", "llama"), ("full", "llama"), ("head", "llama"), ("ia3", "llama"), ("lora", "gpt2"),
     ("bitfit", "gpt2"), ("full", "t5")],
)  # fmt: skip
def test_nothing_of_an_update_is_the_base_and_all_of_it_the_tuned_model(context, run, method, base):
    trained = run(method, base)
    before = fingerprint(context.base_model(trained).model)
    none, whole = measure(context, trained, Config(scales=(0.0, 1.0))).to_dict("records")
    assert none["forgetting"] == none["ci_low"] == none["ci_high"] == none["kl"] == 0
    config = forgetting.Config(
        suites=("passages_short",), suite_options={"passages_short": {"split": {"max_test": TEXTS}}}
    )
    end = forgetting.measure(context, trained, config).iloc[-1]
    assert whole["forgetting"] == pytest.approx(end["forgetting"], abs=1e-4)
    items = task_items.measure(context, trained)
    assert whole["accuracy"] == pytest.approx((items["chosen"] == items["correct"]).mean())
    assert whole["loss"] == pytest.approx(items["loss"].mean(), abs=1e-4)
    assert fingerprint(context.base_model(trained).model) == before


def test_half_of_an_update_is_half_of_every_weight(bases):
    base = load_base_model(str(bases["llama"]), device="cpu", dtype="float32")
    own = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    tuned = {name: tensor + 2 for name, tensor in own.items()}
    with _between(base.model, tuned, 0.5) as model:
        for name, tensor in model.state_dict().items():
            np.testing.assert_allclose(tensor, own[name] + 1, atol=1e-5)
    assert all((tensor == own[name]).all() for name, tensor in base.model.state_dict().items())


def test_a_run_in_bfloat16_is_scaled_in_float32(context, run):
    trained = run("lora", dtype="bfloat16")
    with context.open_run(trained):
        pass
    (row,) = measure(context, trained, Config(scales=(0.5,))).to_dict("records")
    assert row["forgetting"] != 0


def test_what_has_no_place_in_the_base_says_why(context, run):
    frame = probe_runner.run_probe(
        context, run("bitfit", add_biases=True), "weight_interpolation"
    ).frame
    assert frame["status"].tolist() == ["not_applicable"]
    assert "has no place for" in frame["reason"].item()
