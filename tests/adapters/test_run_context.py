import shutil

import pytest
import torch

import peftlens
from peftlens.adapters.run_context import RunContext
from peftlens.errors import InputError
from peftlens.models.base_model_cache import BaseModelCache
from peftlens.runs.config import RunConfig
from peftlens.runs.run import Run


@pytest.fixture(scope="module")
def trained(words, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")

    def train(base, trust_remote_code=False):
        config = RunConfig(
            method="lora", task=f"file:{words}", base_model=str(base), device="cpu",
            dtype="float32", method_config={"rank": 2},
            training={"max_steps": 2, "batch_size": 4, "checkpoint_steps": [0]},
        )  # fmt: skip
        return peftlens.train(config, out, trust_remote_code=trust_remote_code)

    return train


def test_contexts_share_a_cache_that_they_are_given(trained, bases):
    run, base_models = trained(bases["llama"]), BaseModelCache()
    first = RunContext(base_models=base_models).base_model(run)
    assert RunContext(base_models=base_models).base_model(run) is first
    assert RunContext().base_model(run) is not first


def test_a_run_is_attached_for_the_block_alone(context, trained, bases):
    run, ids = trained(bases["llama"]), torch.tensor([[5, 6, 7]])
    base = context.base_model(run)
    with torch.no_grad():
        before = base.model(ids).logits
        with context.open_run(run) as model:
            tuned = model(ids).logits
        with context.open_run(run, 0) as model:
            start = model(ids).logits
    assert torch.equal(start, before)  # B is zero
    assert not torch.equal(tuned, before)
    assert not base.changed()


def test_runs_of_different_bases_have_none_in_common(context, trained, bases):
    runs = [trained(bases["llama"]), trained(bases["gpt2"])]
    with pytest.raises(InputError, match="different base models"):
        context.shared_base_model(runs)
    assert context.shared_base_model(runs[:1]).reference == str(bases["llama"])


def test_a_base_brings_code_only_where_the_context_allows_it(trained, with_code):
    run = trained(with_code, trust_remote_code=True)
    assert RunContext(trust_remote_code=True).base_model(run).trusted
    with pytest.raises(InputError, match="allow it by --trust-remote-code"):
        RunContext().base_model(run)


def test_a_run_from_a_gpu_opens_on_a_machine_without_one(
    context, trained, bases, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    run = Run(shutil.copytree(trained(bases["llama"]).path, tmp_path / "run"))
    (run.path / "digests.json").unlink()
    text = (run.path / "run.json").read_text()
    (run.path / "run.json").write_text(text.replace('"device": "cpu"', '"device": "cuda"', 1))
    assert run.config.device == "cuda"
    assert context.base_model(run).device != "cuda"
    with context.open_run(run) as model:
        assert next(model.parameters()).device.type != "cuda"
