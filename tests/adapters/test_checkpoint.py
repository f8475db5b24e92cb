import json
import warnings

import pytest
import safetensors.torch
import torch

import peftlens
from peftlens import registry
from peftlens.adapters import checkpoint
from peftlens.api.run import Run
from peftlens.errors import InputError
from peftlens.models.base_model import load_base_model
from peftlens.models.origin import Origin
from peftlens.runs.config import RunConfig

FAST = {"max_steps": 4, "batch_size": 4, "max_length": 32, "checkpoint_steps": [0, 2]}


@pytest.fixture(scope="module")
def trained(bases, words, tmp_path_factory):
    """A short run of each kind of method on the tiny Llama, in float32."""
    out = tmp_path_factory.mktemp("runs")

    def train(method, **options) -> Run:
        config = RunConfig(
            method=method, task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
            dtype="float32", method_config=options, training=FAST,
        )  # fmt: skip
        return peftlens.train(config, out)

    return {
        "lora": train("lora", rank=2),
        "prompt_tuning": train("prompt_tuning", num_virtual_tokens=3),
        "bottleneck": train("bottleneck"),
        "full": train("full"),
        "ln_tuning": train("ln_tuning"),
    }


def logits(model):
    ids = torch.arange(3, 11).reshape(2, 4)
    with torch.inference_mode():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


@pytest.mark.parametrize("method", ["lora", "prompt_tuning", "ln_tuning"])
def test_plain_peft_loads_the_adapter_with_equal_logits(trained, bases, method):
    import peft
    from transformers import AutoModelForCausalLM

    run = trained[method]
    plain = AutoModelForCausalLM.from_pretrained(bases["llama"], dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Unsupported layer type")  # of every Llama norm
        theirs = peft.PeftModel.from_pretrained(plain, run.path / "adapter").eval()
    ours = run.load()[0]
    assert torch.equal(logits(theirs), logits(ours))
    assert not torch.equal(logits(ours), logits(run.load(step=0)[0]))


@pytest.mark.parametrize("method", ["lora", "prompt_tuning", "bottleneck", "full"])
def test_load_gives_what_the_probes_see(context, trained, method):
    run = trained[method]
    for step in run.steps:
        with checkpoint.open_run(run, context.base_model(run), step) as model:
            inside = logits(model)
        assert torch.equal(logits(run.load(step=step)[0]), inside)


def test_a_checkpoint_that_is_not_there(trained):
    with pytest.raises(InputError, match=r"has no checkpoint 3; it has \(0, 2, 4\)"):
        trained["lora"].load(step=3)


def test_the_adapter_names_its_base_as_the_user_did(trained, bases):
    for run in trained.values():
        about = json.loads((run.path / "adapter" / "adapter_config.json").read_text())
        assert about["base_model_name_or_path"] == str(bases["llama"])


def attached(bases):
    base = load_base_model(str(bases["llama"]), device="cpu", dtype="float32")
    return checkpoint.attach(base.model, "lora", registry.configure("methods", "lora", {"rank": 2}))


@pytest.fixture
def copy_of_adapter(trained, tmp_path):
    """The LoRA run's tensors, and a way to write changed ones."""
    tensors = safetensors.torch.load_file(trained["lora"].adapter() / checkpoint.WEIGHTS)

    def write(changed):
        safetensors.torch.save_file(changed, tmp_path / checkpoint.WEIGHTS)
        return tmp_path

    return tensors, write


def test_missing_and_unknown_tensors(bases, copy_of_adapter):
    tensors, write = copy_of_adapter
    name = next(iter(tensors))
    tensors["layers.99.lora_A.weight"] = tensors.pop(name)
    with pytest.raises(InputError, match="1 tensors missing .* 1 unknown"):
        checkpoint.load_state(attached(bases), write(tensors))


def test_no_tensors_at_all(bases, copy_of_adapter):
    with pytest.raises(InputError, match="12 tensors missing"):
        checkpoint.load_state(attached(bases), copy_of_adapter[1]({}))


def test_another_shape(bases, copy_of_adapter):
    tensors, write = copy_of_adapter
    name = next(iter(tensors))
    tensors[name] = torch.zeros(3, 3)
    with pytest.raises(InputError, match=r"has shape \(3, 3\), the model needs \(2, 32\)"):
        checkpoint.load_state(attached(bases), write(tensors))


def test_values_that_are_not_finite(bases, copy_of_adapter):
    tensors, write = copy_of_adapter
    name = next(iter(tensors))
    tensors[name][0, 0] = torch.nan
    with pytest.raises(InputError, match=f"NaN or infinite values in {name}"):
        checkpoint.load_state(attached(bases), write(tensors))


def test_truncated_file(bases, copy_of_adapter):
    tensors, write = copy_of_adapter
    file = write(tensors) / checkpoint.WEIGHTS
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(InputError, match="can't be read"):
        checkpoint.load_state(attached(bases), file.parent)


def test_a_base_that_changed_since(trained, tmp_path):
    import shutil

    run = Run(shutil.copytree(trained["lora"].path, tmp_path / "run"))
    (run.path / "digests.json").unlink()
    text = (run.path / "run.json").read_text()
    (run.path / "run.json").write_text(text.replace(run.record.depends_on["base"], "0" * 64))
    with pytest.raises(InputError, match="its files have changed since"):
        Run(run.path).load()


def test_parse_config_refuses_unknown_keys_and_wrong_types():
    with pytest.raises(InputError, match=r"lora has no option 'r'; did you mean rank\?"):
        registry.configure("methods", "lora", {"r": 8})
    with pytest.raises(InputError, match="lora: alpha='high'"):
        registry.configure("methods", "lora", {"alpha": "high"})
    with pytest.raises(InputError, match=r"boolq: split.test='a'"):
        registry.configure("tasks", "boolq", {"split": {"test": "a"}})


def test_a_full_disk_is_an_os_error(bases, monkeypatch, tmp_path):
    def full(*_, **__):
        raise safetensors.SafetensorError("No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(OSError, match="No space left on device: '.*adapter_model.safetensors'"):
        checkpoint.save(attached(bases), "lora", None, Origin("base"), tmp_path / "adapter")
