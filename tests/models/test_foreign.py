import json
import shutil

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from peftlens import measuring
from peftlens.cli import app
from peftlens.errors import BadInput
from peftlens.models.adapters import opened
from peftlens.models.base import open_base
from peftlens.models.foreign import Adapter
from peftlens.models.vectors import vectors


@pytest.fixture
def folder(bases, tmp_path):
    """A prompt that plain peft has made and saved."""
    base = open_base(str(bases["llama"]), device="cpu", dtype="float32")
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    base.model.name_or_path = str(bases["llama"])
    model = peft.get_peft_model(base.model, config)
    model.save_pretrained(tmp_path / "theirs")
    return tmp_path / "theirs"


def test_its_vectors_are_those_in_the_file(folder):
    found = vectors(Adapter(folder), 0)
    assert torch.equal(
        found.now, load_file(folder / "adapter_model.safetensors")["prompt_embeddings"]
    )
    assert found.start is None


def test_its_model_is_plain_pefts(folder, bases):
    ids = torch.tensor([[5, 6, 7]])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    base = open_base(str(bases["llama"]), device="cpu")  # an adapter names no dtype
    expected = peft.PeftModel.from_pretrained(base.model, folder).eval()(**inputs).logits
    with opened(Adapter(folder)) as (model, _):
        assert torch.equal(model(**inputs).logits, expected)


def test_probes_write_nothing_into_somebody_elses_folder(folder):
    before = sorted(file.name for file in folder.rglob("*"))
    table = measuring.run_probe(Adapter(folder), "soft_prompt_null").frame
    assert {*table["verdict"]} <= {"tight, start unknown", "not distinguishable from noise"}
    assert sorted(file.name for file in folder.rglob("*")) == before


def test_what_needs_the_task_says_that_nobody_knows_it(folder):
    (row,) = measuring.run_probe(Adapter(folder), "task_items").frame.to_dict("records")
    assert row["status"] == "not_applicable"
    assert "a task that it does not name" in row["reason"]


def test_from_the_command_line(folder, bases):
    runner = CliRunner()
    arguments = [
        "probe",
        "soft_prompt_neighbors",
        str(folder),
        "--base",
        str(bases["llama"]),
        "--json",
    ]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout[result.stdout.index("[{") :])
    assert len(rows) == 4 * 5  # virtual tokens, metrics
    assert {row["start_token"] for row in rows} == {None}


def damage(folder, change):
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file({name: change(tensor) for name, tensor in tensors.items()}, file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[:, :8].contiguous(), "does not fit"),
        (lambda t: torch.full_like(t, float("nan")), "holds NaN"),
    ],
)
def test_what_does_not_fit_is_refused(folder, change, message):
    damage(folder, change)
    with pytest.raises(BadInput, match=message):
        vectors(Adapter(folder), 0)


def test_weights_that_could_run_code_are_refused(folder):
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(BadInput, match="can run code when opened"):
        _ = Adapter(folder).record


@pytest.mark.parametrize("text", ["{", "{}", '{"peft_type": "NEW"}', "[]"])
def test_a_configuration_that_is_none_is_refused(folder, text):
    (folder / "adapter_config.json").write_text(text)
    with pytest.raises(BadInput, match="no configuration of a peft adapter"):
        _ = Adapter(folder).record


def test_an_adapter_that_names_no_base_needs_one(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    about = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps(about | {"base_model_name_or_path": None}))
    with pytest.raises(BadInput, match="give it by --base"):
        _ = Adapter(copy).record
