import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch._dynamo.utils import counters

from peftlens.runs.config import RunConfig
from peftlens.training import compiled_blocks
from peftlens.training.run_plan import plan_run
from peftlens.training.trainer import train_run

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore"),  # torch's own, of its compiler
]
TRAINING = {"max_steps": 4, "batch_size": 4, "max_length": 32, "logging_steps": 1}


@pytest.fixture
def train(bases, context, tmp_path):
    """Train one run, compiled or not, in a folder of its own; all its rows are of one length."""
    rows = "\n".join(
        f"{a} and {b},{'yes' if b < 'x' else 'odd'}" for a in "abcdef" for b in "uvwxyz"
    )
    (tmp_path / "rows.csv").write_text(f"text,label\n{rows}\n")

    def one(name, *, compiled=True, method="lora", options=None, **training):
        config = RunConfig(
            method=method, method_config=options or {}, task=f"file:{tmp_path / 'rows.csv'}",
            base_model=str(bases["llama"]), device="cpu", dtype="float32",
            training=TRAINING | training,
        )  # fmt: skip
        planned = replace(plan_run(config, context), compiled=compiled)
        return train_run(planned, tmp_path / name)

    return one


@pytest.fixture
def forget(tmp_path, monkeypatch):
    """Forget what this process has compiled; code that is traced alike is found on disk."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))

    def call():
        torch._dynamo.reset()
        counters.clear()
        compiled_blocks._compiled.cache_clear()

    call()
    yield call
    call()


def contents(run):
    return run.path.joinpath("metrics.jsonl").read_bytes(), [
        (name, tensor.numpy().tobytes())
        for name, tensor in sorted(
            load_file(run.path / "adapter/adapter_model.safetensors").items()
        )
    ]


def test_a_compiled_run_is_the_same_run(train, forget):
    """Up to rounding; and to the byte whatever was compiled before."""
    train("other shapes", batch_size=3)
    assert counters["stats"]["unique_graphs"] == 1  # none of validation's passes
    compiled = train("compiled")
    assert counters["stats"]["unique_graphs"] == 1
    plain = train("plain", compiled=False)
    for one, other in zip(plain.metrics(), compiled.metrics(), strict=True):
        for name in ("loss", "grad_norm", "validation_loss"):
            assert one.get(name, 0) == pytest.approx(other.get(name, 0), rel=1e-4)
    assert plain.id == compiled.id
    assert compiled.record.environment["compiled"]
    assert "compiled" not in plain.record.environment
    forget()
    assert contents(train("alone")) == contents(compiled)


@pytest.mark.usefixtures("forget")
@pytest.mark.parametrize("method", ["prompt_tuning", "prefix_tuning"])
def test_passes_behind_a_prompt_are_not_compiled_block_by_block(train, method):
    options = {"num_virtual_tokens": 3}
    compiled = train("compiled", method=method, options=options)
    assert not counters["stats"]["unique_graphs"]
    plain = train("plain", method=method, options=options, compiled=False)
    assert contents(plain) == contents(compiled)


def test_the_lowest_trained_block_is_left_alone(train):
    run = train("a", method="last_layers", options={"blocks": 1})
    assert "compiled" not in run.record.environment


@pytest.mark.parametrize(
    ("missing", "said"), [("compiler", "C++ compiler"), ("headers", "header files")]
)
def test_without_a_compiler_a_run_is_trained_as_it_is(train, monkeypatch, missing, said):
    with monkeypatch.context() as patch:
        if missing == "compiler":
            patch.setattr(shutil, "which", lambda _: None)
        else:
            patch.setattr(Path, "exists", lambda path: path.name != "Python.h")
        assert said in compiled_blocks.why_not("cpu")
    monkeypatch.setattr(compiled_blocks, "why_not", lambda _: said)
    assert "compiled" not in train("a").record.environment


def test_it_is_for_processors():
    assert "cuda" in compiled_blocks.why_not("cuda")
