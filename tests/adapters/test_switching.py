import pytest
import torch

import peftlens
from peftlens.errors import InputError
from peftlens.models.snapshot import fingerprint

METHODS = ("lora", "prompt_tuning", "full", "bottleneck", "random_mask")
IDS = torch.arange(3, 11).reshape(2, 4)


def logits(model):
    with torch.inference_mode():
        return model(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits[:, -4:]


@pytest.fixture
def runs(bases, words, tmp_path):
    common = {"task": f"file:{words}", "base_model": str(bases["llama"]), "device": "cpu"}
    training = {"max_steps": 3, "learning_rate": 0.01, "checkpoint_steps": (1,)}
    return {
        method: peftlens.train(
            peftlens.RunConfig(method=method, training=training, dtype="float32", **common),
            tmp_path,
        )
        for method in METHODS
    }


def test_each_gives_its_own_logits_in_any_order_on_one_base(runs, llama):
    expected = {name: logits(run.load(device="cpu")[0]) for name, run in runs.items()}
    plain, before = logits(llama.model), fingerprint(llama.model)
    adapters = peftlens.AdapterSet(llama)
    for name, run in runs.items():
        adapters.add(name, run.path)
    for name in (*METHODS, *reversed(METHODS), "lora", "full", "lora"):
        assert torch.equal(logits(adapters.use(name)), expected[name]), name
        assert not torch.equal(expected[name], plain)
    assert torch.equal(logits(adapters.use(None)), plain)
    assert fingerprint(llama.model) == before


def test_switching_reads_no_file_and_keeps_one_base(runs, llama, tmp_path):
    adapters = peftlens.AdapterSet(llama)
    for name, run in runs.items():
        adapters.add(name, run.path)
    (tmp_path / runs["lora"].id).rename(tmp_path / "elsewhere")
    weights = adapters.use("lora").base_model.model.model.embed_tokens.weight
    assert weights.data_ptr() == llama.model.model.embed_tokens.weight.data_ptr()


def test_a_checkpoint_can_be_added_beside_the_end(runs, llama):
    adapters = peftlens.AdapterSet(llama)
    adapters.add("early", runs["lora"].path, step=1)
    adapters.add("late", runs["lora"].path)
    assert not torch.equal(logits(adapters.use("early")), logits(adapters.use("late")))


def test_unknown_name(llama):
    with pytest.raises(InputError, match="no adapter named 'x'; there are none"):
        peftlens.AdapterSet(llama).use("x")


def test_another_base_is_refused_and_the_base_is_as_it_was(runs, bases):
    other = peftlens.load_base_model(str(bases["gpt2"]), device="cpu", dtype="float32")
    before = fingerprint(other.model)
    with pytest.raises(InputError, match="was trained on another"):
        peftlens.AdapterSet(other).add("lora", runs["lora"].path)
    assert fingerprint(other.model) == before
