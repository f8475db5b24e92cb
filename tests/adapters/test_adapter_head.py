"""Adapters of classifiers, taggers, answer finders and bare models, made by plain peft."""

import json
import warnings
from contextlib import contextmanager

import peft
import pytest
import theirs
import torch
import transformers
from safetensors.torch import load_file, save_file

import peftlens
from peftlens.adapters.adapter_head import head_of_file, head_on_base
from peftlens.adapters.checkpoint import open_run
from peftlens.adapters.external import ExternalAdapter
from peftlens.errors import InputError
from peftlens.models.base_model import load_base_model
from peftlens.models.heads import Head, outputs

AUTO = {
    "SEQ_CLS": (transformers.AutoModelForSequenceClassification, {"num_labels": 3}),
    "TOKEN_CLS": (transformers.AutoModelForTokenClassification, {"num_labels": 5}),
    "QUESTION_ANS": (transformers.AutoModelForQuestionAnswering, {}),
    "FEATURE_EXTRACTION": (transformers.AutoModel, {}),
    None: (transformers.AutoModelForMaskedLM, {}),
}
TARGETS = {"bert": ["query", "value"], "roberta": ["query", "value"], "modernbert": ["Wqkv"],
           "deberta": ["query_proj"], "llama": ["q_proj", "v_proj"],
           "gpt2": ["c_attn"]}  # fmt: skip
# modules of a new head that peft does not save by itself
BEFORE_THE_LOGITS = {("bert", "SEQ_CLS"): ["pooler"], ("deberta", "SEQ_CLS"): ["pooler"]}
# transformers opens a Llama for question answering with none of its weights
PAIRS = [*(("bert", task) for task in AUTO),
         *(("llama", task) for task in ("SEQ_CLS", "TOKEN_CLS", "FEATURE_EXTRACTION")),
         ("gpt2", "QUESTION_ANS")]  # fmt: skip
EACH_TASK = [("bert", "TOKEN_CLS"), ("bert", "QUESTION_ANS"), ("bert", None), ("llama", "SEQ_CLS"),
             ("llama", "FEATURE_EXTRACTION")]  # fmt: skip
MORE = [("roberta", "SEQ_CLS"), ("deberta", "SEQ_CLS"), ("modernbert", "TOKEN_CLS"),
        ("gpt2", "SEQ_CLS")]  # fmt: skip


def batches():
    """Rows of one length, and padded ones."""
    ids = torch.arange(3, 27).reshape(3, 8)
    mask = torch.ones_like(ids)
    yield {"input_ids": ids, "attention_mask": mask}
    ends = torch.tensor([8, 5, 2])[:, None]
    mask = (torch.arange(8) < ends).long()
    yield {"input_ids": ids * mask, "attention_mask": mask}  # the pad token is 0


def plain(folder, task):
    auto, options = AUTO[task]
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return auto.from_pretrained(folder, **options)


@pytest.fixture
def saved(encoders, bases, tmp_path):
    """Save an adapter of plain peft, every trained number moved; and its folder's base."""

    def make(base, task, kind=peft.LoraConfig, name="adapter", **options):
        folder = str((encoders | bases)[base])
        if issubclass(kind, peft.PromptLearningConfig):
            options = {"num_virtual_tokens": 3} | options
        else:
            options = {"target_modules": TARGETS[base]} | options
            options |= {"fan_in_fan_out": True} if base == "gpt2" else {}
        if (base, task) in BEFORE_THE_LOGITS:
            options = {"modules_to_save": BEFORE_THE_LOGITS[base, task]} | options
        model = peft.get_peft_model(plain(folder, task), kind(task_type=task, **options))
        draws = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in (p for p in model.parameters() if p.requires_grad):
                parameter += 0.05 * torch.randn(parameter.shape, generator=draws)
        return theirs.save(model, tmp_path / name, folder), folder

    return make


@contextmanager
def opened(adapter, folder):
    one = ExternalAdapter(adapter, folder)
    head = head_on_base(one.file, folder)
    base = load_base_model(folder, device="cpu", dtype="float32", head=head)
    with open_run(one, base) as model, torch.inference_mode():
        yield model


def by_plain_peft(adapter, folder, task):
    return peft.PeftModel.from_pretrained(plain(folder, task), adapter).eval()


@pytest.mark.parametrize(("base", "task"), PAIRS + MORE)
def test_logits_are_those_of_plain_peft(saved, base, task):
    adapter, folder = saved(base, task)
    model = by_plain_peft(adapter, folder, task)
    for inputs in batches():
        with opened(adapter, folder) as ours:
            ours, expected = outputs(ours(**inputs)), outputs(model(**inputs))
        assert ours.shape == expected.shape
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("base", ["bert", "llama"])
def test_a_soft_prompt_of_a_classifier_gives_the_logits_of_plain_peft(saved, base):
    adapter, folder = saved(base, "SEQ_CLS", peft.PromptTuningConfig)
    model = by_plain_peft(adapter, folder, "SEQ_CLS")
    inputs = next(batches())
    with opened(adapter, folder) as ours:
        torch.testing.assert_close(ours(**inputs).logits, model(**inputs).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("SEQ_CLS", Head(task_type="SEQ_CLS", labels=("LABEL_0", "LABEL_1", "LABEL_2"))),
        ("TOKEN_CLS", Head(task_type="TOKEN_CLS", labels=tuple(f"LABEL_{n}" for n in range(5)))),
        ("QUESTION_ANS", Head(task_type="QUESTION_ANS", labels=("LABEL_0", "LABEL_1"))),
        ("FEATURE_EXTRACTION", Head(task_type="FEATURE_EXTRACTION")),
        (None, None),
    ],
)
def test_the_head_is_read_from_the_file(saved, task, expected):
    adapter, _ = saved("bert", task)
    assert head_of_file(ExternalAdapter(adapter).file) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"0": "down", "2": "flat", "1": "up"}, ("down", "up", "flat")),
        ({"0": "down", "1": "up"}, ("LABEL_0", "LABEL_1", "LABEL_2")),  # of another head
        (None, ("LABEL_0", "LABEL_1", "LABEL_2")),
    ],
)
def test_classes_are_named_by_the_model_s_configuration_beside_the_adapter(
    saved, tmp_path, names, expected
):
    adapter, _ = saved("bert", "SEQ_CLS")
    (adapter / "config.json").write_text(json.dumps({"model_type": "bert", "id2label": names}))
    assert head_of_file(ExternalAdapter(adapter).file).labels == expected
    about = dict(peftlens.inspect_adapter(adapter).about)
    told = "SEQ_CLS, 3 outputs"
    assert about["task"] == (told if "LABEL_0" in expected else f"{told}: down, up, flat")
    if "down" in expected:
        peftlens.merge(adapter, tmp_path / "merged")
        config = json.loads((tmp_path / "merged" / "config.json").read_text())
        assert config["id2label"] == {"0": "down", "1": "up", "2": "flat"}


def test_a_damaged_configuration_beside_an_adapter_names_nothing(saved):
    adapter, _ = saved("bert", "SEQ_CLS")
    (adapter / "config.json").write_text("{")
    assert not head_of_file(ExternalAdapter(adapter).file).is_named


def test_a_bare_model_is_recognized_by_the_names_of_an_adapter_without_a_task(saved):
    adapter, folder = saved("bert", "FEATURE_EXTRACTION")
    theirs.edit(adapter, task_type=None)
    found = head_on_base(ExternalAdapter(adapter).file, folder)
    assert found == Head(task_type="FEATURE_EXTRACTION")
    other, folder = saved("llama", "FEATURE_EXTRACTION", name="other")
    theirs.edit(other, task_type=None)
    assert head_on_base(ExternalAdapter(other).file, folder) == found
    language, folder = saved("bert", None, name="language")
    assert head_on_base(ExternalAdapter(language).file, folder) is None


def test_a_head_that_was_not_saved_is_told(saved):
    adapter, folder = saved("bert", "SEQ_CLS")
    file = adapter / "adapter_model.safetensors"
    kept = {name: t for name, t in load_file(file).items() if "classifier" not in name}
    save_file(kept, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"holds no head .*task_type='SEQ_CLS'.*modules_to_save"):
        head_on_base(ExternalAdapter(adapter).file, folder)
    found = peftlens.inspect_adapter(adapter, folder)
    assert found.broken
    assert dict(found.about)["task"] == "SEQ_CLS, without its head"


def test_a_layer_before_the_logits_that_was_not_saved_is_told(saved):
    """DeBERTa's pooler is new in a classifier, and peft does not save it by itself."""
    adapter, folder = saved("deberta", "SEQ_CLS", modules_to_save=None)
    with (
        pytest.raises(InputError, match=r"lacks 2 tensors of its head .*pooler.*modules_to_save"),
        opened(adapter, folder),
    ):
        pass


def test_an_adapter_of_a_decoder_is_refused_on_an_encoder(saved, encoders):
    adapter, _ = saved("llama", "SEQ_CLS")
    theirs.edit(adapter, task_type="CAUSAL_LM")
    with (
        pytest.raises(InputError, match="CAUSAL_LM.* is an encoder, which writes no text"),
        opened(adapter, str(encoders["bert"])),
    ):
        pass


@pytest.mark.parametrize(("base", "task"), EACH_TASK)
def test_inspect_calls_it_whole_and_measures_it(saved, run, base, task):
    adapter, folder = saved(base, task)
    code, out, err = run("inspect", adapter, "--base", folder, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert not found["broken"]
    texts = [one["text"] for one in found["findings"]]
    assert f"It fits {folder}: every tensor has its place." in texts
    assert found["about"].get("task", "").startswith(task or "")
    for probe in ("adapter_weights", "delta_spectrum", "intruder_dimensions"):
        assert found["tables"][probe], probe


@pytest.mark.parametrize(("base", "task"), EACH_TASK)
def test_a_merged_model_has_its_head_and_the_logits_of_plain_peft(saved, tmp_path, base, task):
    adapter, folder = saved(base, task)
    assert peftlens.merge(adapter, tmp_path / "merged") <= 1e-5
    auto, _ = AUTO[task]
    merged = auto.from_pretrained(tmp_path / "merged").eval()
    model = by_plain_peft(adapter, folder, task)
    for inputs in batches():
        with torch.inference_mode():
            ours, expected = outputs(merged(**inputs)), outputs(model(**inputs))
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", [peft.IA3Config, peft.VeraConfig, peft.OFTConfig])
def test_other_types_than_lora_are_merged_with_a_head_of_two_layers(saved, tmp_path, kind):
    """peft's own `merge_and_unload` fails on a pooler beside them."""
    options = {"feedforward_modules": []} if kind is peft.IA3Config else {}
    adapter, folder = saved("bert", "SEQ_CLS", kind, **options)
    peftlens.merge(adapter, tmp_path / "merged")
    merged = AUTO["SEQ_CLS"][0].from_pretrained(tmp_path / "merged").eval()
    inputs, model = next(batches()), by_plain_peft(adapter, folder, "SEQ_CLS")
    with torch.inference_mode():
        expected = model(**inputs).logits
        torch.testing.assert_close(merged(**inputs).logits, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("base", "task"), [("bert", "SEQ_CLS"), ("llama", "TOKEN_CLS")])
def test_adapters_with_heads_are_compared(saved, run, base, task):
    (one, folder), (other, _) = saved(base, task), saved(base, task, name="other", r=4)
    for more in ([], ["--base", folder]):
        code, out, err = run("compare", one, other, "--json", *more)
        assert code == 0, err
        rows = json.loads(out)
        weights = [row for row in rows if not row["note"]]
        assert len(weights) == len(TARGETS[base]) * (2 if base == "bert" else 3)
        assert all(row["in"] == "both" and -1 <= row["cosine"] <= 1 for row in weights)
        noted = {row["weight"] for row in rows if row["note"]}
        assert any(name.startswith(("classifier", "score")) for name in noted)


def test_adapters_of_two_tasks_are_compared_with_their_base(saved, run):
    (one, folder), (other, _) = saved("bert", "SEQ_CLS"), saved("bert", "TOKEN_CLS", name="other")
    code, out, err = run("compare", one, other, "--base", folder, "--json")
    assert code == 0, err
    assert sum(row["in"] == "both" and not row["note"] for row in json.loads(out)) == 4


@pytest.mark.parametrize(("base", "task"), EACH_TASK)
def test_a_resized_adapter_keeps_its_head(saved, tmp_path, base, task):
    adapter, folder = saved(base, task)
    peftlens.truncate_adapter(adapter, tmp_path / "smaller", energy=1.0)
    model = by_plain_peft(tmp_path / "smaller", folder, task)
    before = by_plain_peft(adapter, folder, task)
    inputs = next(batches())
    with torch.inference_mode():
        ours, expected = outputs(model(**inputs)), outputs(before(**inputs))
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("base", ["bert", "llama"])
def test_a_prompt_of_a_classifier_is_on_the_map(saved, run, tmp_path, base):
    adapter, folder = saved(base, "SEQ_CLS", peft.PromptTuningConfig)
    page = tmp_path / "map.html"
    code, _, err = run("explore", adapter, "--base", folder, "--projection", "pca", "--out", page)
    assert code == 0, err
    assert page.stat().st_size > 10_000
