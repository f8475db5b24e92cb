"""Adapters of every type, made by plain peft; and each that is not as it should be is refused."""

import pickle
from dataclasses import replace

import peft
import pytest
import theirs
import torch
from safetensors.torch import load_file, save_file

import peftlens
from peftlens.adapters.external import ExternalAdapter
from peftlens.adapters.run_context import RunContext
from peftlens.adapters.token_tables import require_vocabulary
from peftlens.errors import InputError
from peftlens.evaluation import probe_runner
from peftlens.models.base_model import load_base_model
from peftlens.models.origin import Origin, vocabulary_sha256
from peftlens.runs.config import RunConfig, TrainingConfig
from peftlens.vocab.trained_vectors import trained_vectors

IDS = torch.arange(3, 15).reshape(2, 6)
INPUTS = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}


@pytest.fixture
def saved(bases, tmp_path):
    """Make an adapter of a type, saved by plain peft; gives its folder and its model."""

    def make(kind="LORA", **changes):
        model = theirs.wrapped(kind, **changes)
        return theirs.save(model, tmp_path / kind, str(bases["llama"])), model

    return make


@pytest.fixture
def prompt(saved):
    return saved("PROMPT_TUNING")[0]


@pytest.mark.parametrize("kind", theirs.BUILDABLE)
@pytest.mark.filterwarnings("ignore::UserWarning")  # peft's own, in the loading it is held against
def test_every_type_gives_plain_pefts_logits(context, kind, saved, bases):
    folder, _ = saved(kind)
    inputs = dict(INPUTS)
    if kind in ("MULTITASK_PROMPT_TUNING", "POLY"):
        inputs["task_ids"] = torch.zeros(2, dtype=torch.long)
    base = context.base_models.get(str(bases["llama"]), device="auto", dtype="auto")
    if kind != "SHADOW":  # which plain peft can't call with these inputs either
        plain = load_base_model(str(bases["llama"]))
        model = peft.PeftModel.from_pretrained(plain.model, folder).eval()
        with torch.no_grad():
            expected = model(**inputs).logits
    with context.open_run(ExternalAdapter(folder)) as model, torch.no_grad():
        if kind != "SHADOW":
            assert torch.equal(model(**inputs).logits, expected)
    assert not base.changed()


@pytest.mark.parametrize(
    "changes",
    [
        {"init_lora_weights": "olora"},
        {"init_lora_weights": "pissa"},
        {"bias": "all"},
        {"use_dora": True, "use_rslora": True},
        {"rank_pattern": {"q_proj": 3}, "alpha_pattern": {"v_proj": 5}},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"modules_to_save": ["lm_head"]},
        {"trainable_token_indices": [4, 9]},
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # peft's, of embeddings that it saves
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings")
def test_unusual_loras_leave_the_base_as_it_was(context, changes, saved, bases):
    folder, _ = saved(**changes)
    base = context.base_models.get(str(bases["llama"]), device="auto", dtype="auto")
    plain = peft.PeftModel.from_pretrained(
        load_base_model(str(bases["llama"])).model, folder
    ).eval()
    with context.open_run(ExternalAdapter(folder)) as model, torch.no_grad():
        assert torch.equal(model(**INPUTS).logits, plain(**INPUTS).logits)
    assert not base.changed()


def test_its_vectors_are_those_in_the_file(context, prompt):
    found = trained_vectors(ExternalAdapter(prompt), context.base_model(ExternalAdapter(prompt)), 0)
    assert torch.equal(
        found.now, load_file(prompt / "adapter_model.safetensors")["prompt_embeddings"]
    )
    assert found.start is None


def test_probes_write_nothing_into_somebody_elses_folder(context, prompt):
    before = sorted(file.name for file in prompt.rglob("*"))
    table = probe_runner.run_probe(context, ExternalAdapter(prompt), "soft_prompt_null").frame
    assert {*table["verdict"]} <= {"tight, start unknown", "not distinguishable from noise"}
    assert sorted(file.name for file in prompt.rglob("*")) == before


def test_what_needs_the_task_says_that_nobody_knows_it(context, prompt):
    (row,) = probe_runner.run_probe(context, ExternalAdapter(prompt), "task_items").frame.to_dict(
        "records"
    )
    assert row["status"] == "not_applicable"
    assert "a task that it does not name" in row["reason"]


@pytest.mark.parametrize("probe", ["cost", "parameter_count"])
def test_what_its_training_took_nobody_knows(context, probe, prompt):
    (row,) = probe_runner.run_probe(context, ExternalAdapter(prompt), probe).frame.to_dict(
        "records"
    )
    assert row["status"] == "not_applicable"
    assert row["reason"] == "no training metrics were recorded"


def test_an_adapter_that_names_no_base_needs_one(prompt):
    theirs.edit(prompt, base_model_name_or_path=None)
    with pytest.raises(InputError, match="give it by --base"):
        _ = ExternalAdapter(prompt).record


@pytest.fixture(scope="module")
def trained(bases, words, tmp_path_factory):
    """Train a method of ours on the tiny Llama; gives the run."""
    out = tmp_path_factory.mktemp("runs")

    def train(method):
        training = TrainingConfig(max_steps=1, batch_size=4, max_length=32)
        names = {"task": f"file:{words}", "base_model": str(bases["llama"])}
        return peftlens.train(RunConfig(method=method, **names, training=training), out)

    return train


def test_a_method_of_ours_is_loaded_from_its_folder_alone(context, trained):
    run = trained("bottleneck")
    with context.open_run(run) as model, torch.no_grad():
        expected = model(**INPUTS).logits
    alone = ExternalAdapter(run.path / "adapter")
    assert alone.config.method == "bottleneck"
    with context.open_run(alone) as model, torch.no_grad():
        assert torch.equal(model(**INPUTS).logits, expected)


def rewrite(folder, change):
    file = folder / "adapter_model.safetensors"
    save_file(change(load_file(file)), file)


def half(tensors):
    return dict(list(tensors.items())[::2])


def deeper(tensors):
    return tensors | {
        name.replace("layers.2", "layers.9"): tensor.clone()
        for name, tensor in tensors.items()
        if "layers.2" in name
    }


def spoilt(value):
    def change(tensors):
        first = next(iter(tensors))
        return tensors | {first: torch.full_like(tensors[first], value)}

    return change


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("LORA", half, "lacks 6 tensors: .*lora_B.weight.*; it is incomplete"),
        ("LORA", lambda _: {}, "holds no tensors; save the adapter again"),
        ("LORA", deeper, "has, in addition to those that fit, 4 tensors: .*layers.9"),
        ("LORA", spoilt(float("nan")), "NaN or infinite values in base_model.*; train it again"),
        ("LORA", spoilt(float("inf")), "NaN or infinite values in base_model"),
        ("PROMPT_TUNING", spoilt(float("nan")), "NaN or infinite values in prompt_embeddings"),
        (
            "PROMPT_TUNING",
            lambda t: {n: v[:, :8].clone() for n, v in t.items()},
            "has vectors of 8 val",
        ),
    ],
)
def test_weights_that_are_not_whole_are_refused(context, kind, change, message, saved, run):
    folder, _ = saved(kind)
    rewrite(folder, change)
    with pytest.raises(InputError, match=message), context.open_run(ExternalAdapter(folder)):
        pass
    refused(run, kind, folder)


def refused(run, kind, folder):
    """By the command line: exit code 2, and one line."""
    probe = "delta_spectrum" if kind == "LORA" else "soft_prompt_neighbors"
    code, out, err = run("probe", probe, folder)
    assert (code, out) == (2, "")
    assert err.startswith("Error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("LORA", {"peft_type": "NEWEST"}, "peft_type='NEWEST', which .* supports .*, LORA, "),
        ("LORA", {"peft_type": None}, "peft_type=None"),
        ("LORA", {"lora_alpha": "16"}, "lora_alpha='16'; it must be a finite number"),
        ("LORA", {"lora_alpha": 0}, "lora_alpha=0; it must be a finite number other than 0"),
        ("LORA", {"lora_alpha": 1e9}, "multiplied by 1.25e.08"),
        ("LORA", {"r": 10_000_000}, "says rank 10000000 for .*q_proj, but .* has 8"),
        ("LORA", {"r": "8"}, "r='8'; it must be a whole number"),
        ("LORA", {"auto_mapping": {"base_model_class": "M", "parent_library": "evil"}},
         "auto_mapping, which makes peft import code"),
        ("LORA", {"megatron_core": "evil"}, "megatron_core, which makes peft import code"),
        ("LORA", {"megatron_config": {"a": 1}}, "megatron_core, which makes peft import code"),
        ("PROMPT_TUNING", {"num_virtual_tokens": 10_000_000}, "num_virtual_tokens=10000000, but"),
        ("PROMPT_TUNING", {"token_dim": 64}, "token_dim=64, but .* has vectors of 32"),
        ("PREFIX_TUNING", {"num_layers": 30}, "num_layers=30, but .* has vectors of 96"),
        ("PREFIX_TUNING", {"token_dim": 32}, "token_dim=32, num_layers=3, but .* of 96"),
    ],
)  # fmt: skip
def test_configurations_that_can_not_be_are_refused(context, kind, changes, message, saved, run):
    folder, _ = saved(kind)
    theirs.edit(folder, **changes)
    with pytest.raises(InputError, match=message), context.open_run(ExternalAdapter(folder)):
        pass
    refused(run, kind, folder)


def test_a_mapping_to_transformers_own_classes_is_no_code(saved):
    """What peft writes where no task type was given."""
    folder, _ = saved()
    library = "transformers.models.llama.modeling_llama"
    mapping = {"base_model_class": "LlamaForCausalLM", "parent_library": library}
    theirs.edit(folder, auto_mapping=mapping)
    assert ExternalAdapter(folder).config.method == "peft:LORA"


def test_code_is_allowed_by_hand_alone(saved):
    folder, _ = saved()
    theirs.edit(folder, auto_mapping={"base_model_class": "M", "parent_library": "theirs"})
    trusting = RunContext(trust_remote_code=True)
    with trusting.open_run(ExternalAdapter(folder, trust_remote_code=True)) as model:
        assert isinstance(model, peft.PeftModel)


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_damaged_configuration_is_named(text, saved):
    folder, _ = saved()
    (folder / "adapter_config.json").write_text(text)
    with pytest.raises(
        InputError, match=r"adapter_config\.json is (damaged|not the configuration)"
    ):
        _ = ExternalAdapter(folder).record


def test_a_truncated_file_is_named(saved):
    folder, _ = saved()
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(
        InputError, match=r"adapter_model\.safetensors can't be read: .*get the file"
    ):
        _ = ExternalAdapter(folder).file


class Canary:
    """Unpickled, it writes a file."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return (open, (str(self.file), "w"))


@pytest.mark.parametrize("name", ["adapter_model.bin", "weights.pt", "adapter.pkl"])
def test_weights_that_could_run_code_are_never_opened(name, saved, run, tmp_path):
    folder, _ = saved()
    (folder / "adapter_model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Canary(tmp_path / "canary")))
    for command in (("probe", "parameter_count"), ("inspect",), ("explore",)):
        code, _, err = run(*command, folder)
        assert code == 2
        assert f"{name} was not opened, because that can run code" in err
        assert "torch.load(" in err
        assert "weights_only=True" in err
    assert not (tmp_path / "canary").exists()


def test_a_prompt_on_another_vocabulary_is_refused(context, saved, bases, run):
    """By the tokenizer beside it, or by the hash that ours have; sizes may fit by chance."""
    folder, _ = saved("PROMPT_TUNING")
    base = load_base_model(str(bases["llama"]))
    base.tokenizer.save_pretrained(folder)
    with context.open_run(ExternalAdapter(folder)):
        pass  # the same vocabulary
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text.replace('"A":', '"swapped":', 1))
    message = "trained with another vocabulary than that of .*--base"
    with pytest.raises(InputError, match=message), context.open_run(ExternalAdapter(folder)):
        pass
    refused(run, "PROMPT_TUNING", folder)
    (folder / "tokenizer.json").write_text("{")
    with (
        pytest.raises(InputError, match=r"tokenizer\.json can't be read"),
        context.open_run(ExternalAdapter(folder)),
    ):
        pass


@pytest.mark.parametrize("method", ["prompt_tuning", "bottleneck"])
def test_our_own_adapters_know_their_vocabulary(method, trained, llama):
    file = ExternalAdapter(trained(method).path / "adapter").file
    assert file.vocabulary == llama.origin.vocabulary
    other = replace(llama, reference="other")
    other.__dict__["origin"] = Origin("other", vocabulary_sha256({"a": 0}))
    with pytest.raises(InputError, match="another vocabulary than that of 'other'"):
        require_vocabulary(file, other)


def test_an_adapter_is_no_base(saved, bases, tmp_path):
    import shutil

    folder, _ = saved()
    base = shutil.copytree(bases["llama"], tmp_path / "base")
    shutil.copy(folder / "adapter_config.json", base)
    with pytest.raises(InputError, match="holds an adapter next to a model"):
        load_base_model(str(base))


def test_a_rank_above_the_matrix_is_refused(context, saved):
    folder, _ = saved(r=40, lora_alpha=40)
    message = "rank 40 of .*q_proj, 32 x 32, is more .*`peftlens resize`"
    with pytest.raises(InputError, match=message), context.open_run(ExternalAdapter(folder)):
        pass
