import json
import warnings

import peft
import pytest
import theirs
import torch
from tiny import byte_tokenizer
from transformers import AutoModelForCausalLM

import peftlens
from peftlens.adapters import merging
from peftlens.errors import InputError
from peftlens.runs.store import seal


@pytest.fixture
def trained(bases, words, tmp_path):
    def train(method, kind="llama", dtype="float32", **config):
        return peftlens.train(
            peftlens.RunConfig(
                method=method,
                method_config=config,
                task=f"file:{words}",
                base_model=str(bases[kind]),
                training={"max_steps": 3, "learning_rate": 0.01},
                device="cpu",
                dtype=dtype,
            ),
            tmp_path / "runs",
        )

    return train


IDS = torch.arange(3, 11).reshape(2, 4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("method", "kind"),
    [("lora", "llama"), ("lora", "gpt2"), ("oft", "gpt2"), ("random_mask", "t5"), ("full", "t5"),
     ("head", "llama"), ("qlora", "gpt2"), ("intrinsic_dimension", "llama")],
)  # fmt: skip
def test_the_folder_is_within_the_stated_tolerance(trained, tmp_path, method, kind, dtype):
    run = trained(method, kind, dtype)
    error = peftlens.merge(run.path, tmp_path / "merged")
    assert error <= merging.TOLERANCE[dtype]
    saved = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert saved["dtype"] == dtype
    again = peftlens.load_base_model(str(tmp_path / "merged"), device="cpu", dtype="float32")
    assert again.tokenizer("good")["input_ids"]


def test_plain_transformers_loads_it_with_the_attached_logits(trained, tmp_path):
    run = trained("lora")
    peftlens.merge(run.path, tmp_path / "merged")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    attached = run.load(device="cpu")[0]
    base = peftlens.load_base_model(run.config.base_model, device="cpu", dtype="float32").model
    with torch.inference_mode():
        torch.testing.assert_close(plain(IDS).logits, attached(IDS).logits, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(base(IDS).logits, attached(IDS).logits, atol=1e-3)


@pytest.mark.parametrize(
    ("method", "config", "message"),
    [
        ("bottleneck", {}, "bottleneck can't be merged: the bottleneck is not linear"),
        ("prompt_tuning", {}, "prompt_tuning can't be merged: it changes the input and no weight"),
        ("peft:PREFIX_TUNING", {}, "it trains no update of the base's weights"),
        ("bitfit", {"add_biases": True}, "no place for model.layers.0.self_attn.q_proj.bias"),
    ],
)
def test_what_can_not_be_merged_says_why_and_leaves_nothing(
    trained, tmp_path, method, config, message
):
    run = trained(method, **config)
    with pytest.raises(InputError, match=message):
        peftlens.merge(run.path, tmp_path / "merged")
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}


def test_an_existing_folder_is_not_written_over(trained, tmp_path):
    run = trained("lora")
    with pytest.raises(InputError, match="exists; name a new folder"):
        peftlens.merge(run.path, tmp_path)


def test_a_merge_that_goes_wrong_is_noticed(trained, tmp_path, monkeypatch):
    run = trained("lora")
    monkeypatch.setattr(merging, "merge_into_base", lambda model, _: model.unload())
    with pytest.raises(InputError, match="even in float32 the merged weights give other logits"):
        peftlens.merge(run.path, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_run_whose_dtype_nobody_wrote_down_is_merged_in_float32(trained, tmp_path):
    """As that of somebody else's training in float16 is."""
    run = trained("lora")
    about = json.loads((run.path / "run.json").read_text())
    about["config"]["dtype"] = "auto"
    (run.path / "run.json").write_text(json.dumps(about))
    seal(run.path)
    assert peftlens.merge(run.path, tmp_path / "merged") <= merging.TOLERANCE["float32"]


@pytest.mark.parametrize("targets", [["q_proj", "embed_tokens"], ["lm_head"]])
def test_an_adapter_on_one_of_two_tied_tables_is_merged_into_that_one(tmp_path, targets):
    """An adapter of plain peft, whose base is given; the other table keeps the base's weights."""
    base = theirs.build("llama")
    base.config.tie_word_embeddings = True
    base.tie_weights()
    base.save_pretrained(tmp_path / "base")
    byte_tokenizer().save_pretrained(tmp_path / "base")
    adapter = theirs.save(theirs.wrapped("LORA", target_modules=targets), tmp_path / "a", "x")
    peftlens.merge(adapter, tmp_path / "merged", base_model=str(tmp_path / "base"))
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        attached = peft.PeftModel.from_pretrained(plain, adapter).eval()(IDS).logits
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
        torch.testing.assert_close(merged(IDS).logits, attached, rtol=1e-4, atol=1e-5)
