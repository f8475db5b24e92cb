"""A converted adapter is what plain peft makes of the truncated update, and costs what is told."""

import warnings

import numpy as np
import peft
import pytest
import theirs
import torch
from tiny import build

import peftlens
from peftlens.adapters.conversion import Budget
from peftlens.errors import InputError
from peftlens.inspection.behavior import Measured
from peftlens.inspection.convert import convert
from peftlens.runs.config import RunConfig

IDS = torch.arange(3, 43).reshape(2, 20)
TEXT = "A quiet river ran past the old mill.\nNine ships left the harbor before dawn.\n"


@pytest.fixture
def measured(tmp_path):
    file = tmp_path / "general.txt"
    file.write_text(TEXT)
    return Measured(text=str(file))


def saved(bases, folder, kind, base="llama", **options):
    model = theirs.wrapped(kind, base, **options)
    return theirs.save(model, folder, str(bases[base])), model


def loaded(folder, base="llama"):
    """By plain peft, on a model of the test's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tied embeddings
        return peft.PeftModel.from_pretrained(build(base), folder).eval()


def log_probabilities(model, ids=IDS):
    with torch.no_grad():
        return model(ids).logits.double().log_softmax(dim=-1)


EXACT = [
    ("LORA", {"r": 3, "use_rslora": True}, 3),
    ("LORA", {"r": 3, "init_lora_weights": "pissa"}, 6),
    ("ADALORA", {"init_r": 3, "target_r": 3}, 3),
    ("LOHA", {"r": 2}, 4),
    ("VERA", {"r": 3}, 3),
    ("HRA", {"r": 2}, 2),
]


@pytest.mark.parametrize(("kind", "options", "rank"), EXACT)
def test_an_update_of_low_rank_keeps_its_logits(kind, options, rank, bases, tmp_path, measured):
    folder, model = saved(bases, tmp_path / "old", kind, **options)
    found = convert(folder, tmp_path / "new", Budget(energy=1.0), measured)
    assert {*found.weights["rank"]} == {rank}
    assert found.energy == pytest.approx(1)
    new = loaded(tmp_path / "new")
    with torch.no_grad():
        torch.testing.assert_close(new(IDS).logits, model(IDS).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["OFT", "IA3", "LOKR", "MISS"])
def test_an_update_of_any_rank_is_kept_by_full_rank(kind, bases, tmp_path, measured):
    folder, model = saved(bases, tmp_path / "old", kind)
    convert(folder, tmp_path / "new", Budget(energy=1.0), measured)
    new = loaded(tmp_path / "new")
    with torch.no_grad():
        torch.testing.assert_close(new(IDS).logits, model(IDS).logits, atol=1e-4, rtol=0)


def test_dora_is_not_of_rank_r_plus_1(bases, tmp_path, measured):
    """Lengths of rows scale the base's own rows, and those are of full rank."""
    folder, _ = saved(bases, tmp_path / "old", "LORA", r=2, use_dora=True)
    found = convert(folder, tmp_path / "new", Budget(energy=1.0), measured)
    assert (found.weights["rank_before"] >= 16).all()


def test_the_divergence_told_is_the_one_measured_anew(bases, tmp_path, measured):
    folder, model = saved(bases, tmp_path / "old", "LOHA", r=3)
    found = convert(folder, tmp_path / "new", Budget(rank=2), measured)
    row = found.models.set_index("model")["general_kl"]
    sums, count, new = {"converted": 0.0, "base": 0.0}, 0, loaded(tmp_path / "new")
    tokenizer = peftlens.load_base_model(str(bases["llama"])).tokenizer
    for line in TEXT.splitlines():
        ids = torch.tensor([tokenizer(line, add_special_tokens=False).input_ids])
        p = log_probabilities(model, ids)
        for name, other in (("converted", new), ("base", build("llama"))):
            kl = (p.exp() * (p - log_probabilities(other, ids))).sum(dim=-1)
            sums[name] += kl[0, :-1].sum().item()
        count += ids.shape[1] - 1
    for name, total in sums.items():
        assert row[name] == pytest.approx(total / count, rel=1e-3)
    assert row["original"] == 0
    assert 0 < row["converted"] < row["base"]


def test_truncation_is_the_nearest_update_of_that_rank(bases, tmp_path, measured):
    folder, model = saved(bases, tmp_path / "old", "LOHA", r=3)
    found = convert(folder, tmp_path / "new", Budget(rank=2), measured)
    new = theirs.deltas(loaded(tmp_path / "new"))
    kept, total = 0.0, 0.0
    for name, delta in theirs.deltas(model).items():
        u, s, vt = np.linalg.svd(delta.numpy())
        np.testing.assert_allclose(new[name], u[:, :2] * s[:2] @ vt[:2], atol=1e-6)
        kept, total = kept + (s[:2] ** 2).sum(), total + (s**2).sum()
    assert found.energy == pytest.approx(kept / total, rel=1e-4)
    assert found.parameters == sum(2 * sum(delta.shape) for delta in new.values())


def test_shared_parameters_keep_more_energy_than_equal_ranks(bases, tmp_path, measured):
    folder, _ = saved(bases, tmp_path / "old", "LOHA", r=3, rank_pattern={"v_proj": 1})
    equal = convert(folder, tmp_path / "equal", Budget(rank=2), measured)
    shared = convert(folder, tmp_path / "shared", Budget(rank=2, adaptive=True), measured)
    assert shared.energy > equal.energy
    assert shared.weights["rank"].nunique() > 1
    loaded(tmp_path / "shared")


def test_the_least_budget_for_a_divergence(bases, tmp_path, measured):
    folder, _ = saved(bases, tmp_path / "old", "LOHA", r=4)
    coarse = convert(folder, tmp_path / "coarse", Budget(rank=1), measured)
    limit = coarse.models.set_index("model").loc["converted", "general_kl"] / 10
    found = convert(folder, tmp_path / "found", Budget(kl=limit), measured)
    assert found.models.set_index("model").loc["converted", "general_kl"] <= limit
    assert (found.weights["rank"] < found.weights["rank_before"]).any()
    fewer = convert(folder, tmp_path / "fewer", Budget(energy=found.energy - 0.2), measured)
    assert fewer.models.set_index("model").loc["converted", "general_kl"] > limit


@pytest.mark.parametrize("base", ["llama", "gpt2", "t5"])
def test_a_whole_model_beside_its_base(base, bases, tmp_path, measured):
    tuned = build(base)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    tuned.save_pretrained(tmp_path / "tuned")
    peftlens.load_base_model(str(bases[base])).tokenizer.save_pretrained(tmp_path / "tuned")
    found = convert(
        tmp_path / "tuned", tmp_path / "new", Budget(energy=1.0), measured,
        base_model=str(bases[base]),
    )  # fmt: skip
    own, before = dict(tuned.named_parameters()), dict(build(base).named_parameters())
    lost = {name: own[name] - before[name] for name in found.lost["weight"]}
    norms = [delta.norm().item() for delta in lost.values()]
    np.testing.assert_allclose(found.lost["norm"], norms, rtol=1e-4)
    new, plain = loaded(tmp_path / "new", base), build(base)
    with torch.no_grad():
        for name, delta in lost.items():  # what is told as lost is all that differs
            for model in (new.get_base_model(), plain):
                place = name if name in dict(model.named_parameters()) else _inner(name)
                dict(model.named_parameters())[place].add_(delta)
        arguments = {"decoder_input_ids": IDS} if base == "t5" else {}
        expected = tuned(IDS, **arguments).logits
        torch.testing.assert_close(new(IDS, **arguments).logits, expected, atol=1e-4, rtol=1e-4)


def _inner(name):
    """A bias inside of peft's layer."""
    module, _, last = name.rpartition(".")
    return f"{module}.base_layer.{last}"


def test_a_run_has_accuracy_and_forgetting(bases, words, tmp_path, measured):
    run = peftlens.train(
        RunConfig(
            method="full", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
            dtype="float32", training={"max_steps": 8, "batch_size": 4, "learning_rate": 1e-2},
        ),
        tmp_path / "runs",
    )  # fmt: skip
    found = convert(run.path, tmp_path / "new", Budget(energy=0.9), measured)
    table = found.models.set_index("model")
    accuracy = peftlens.probe(run, "task_accuracy").to_frame()["accuracy"].item()
    assert table.loc["original", "accuracy"] == pytest.approx(accuracy)
    loss = table["general_loss"]
    assert table.loc["converted", "forgetting"] == pytest.approx(loss["converted"] - loss["base"])
    assert {"task_kl", "task_loss"} <= {*table.columns}
    assert found.lost["weight"].str.contains("norm").all()


@pytest.mark.parametrize("method", ["loha", "lora"])  # an update of weights, and one of factors
def test_a_classifier_keeps_its_head(bases, words, tmp_path, method):
    run = peftlens.train(
        RunConfig(
            method=method, task=f"file:{words}", task_config={"head": "classification"},
            base_model=str(bases["llama"]), device="cpu", dtype="float32",
            method_config={"rank": 2},
            training={"max_steps": 8, "batch_size": 4, "learning_rate": 1e-2},
        ),
        tmp_path / "runs",
    )  # fmt: skip
    found = convert(run.path, tmp_path / "new", Budget(energy=1.0))
    table = found.models.set_index("model")
    assert table.loc["converted", "task_kl"] == pytest.approx(0, abs=1e-6)
    assert table.loc["base", "task_kl"] > 1e-4
    assert table.loc["converted", "accuracy"] == table.loc["original", "accuracy"]
    assert "general_kl" not in table


BAD = [
    ({}, "give one budget"),
    ({"rank": 2, "kl": 0.1}, "give one budget"),
    ({"rank": 0}, "rank=0"),
    ({"energy": 1.5}, "energy=1.5"),
    ({"kl": float("nan")}, "kl=nan"),
    ({"energy": 0.5, "adaptive": True}, "--adaptive"),
]


@pytest.mark.parametrize(("budget", "words_of_error"), BAD)
def test_a_budget_that_is_none(budget, words_of_error, tmp_path):
    with pytest.raises(InputError, match=words_of_error):
        convert(tmp_path, tmp_path / "new", Budget(**budget))


def test_what_changes_no_matrix_is_refused(bases, tmp_path, measured):
    folder, _ = saved(bases, tmp_path / "old", "LN_TUNING", target_modules=["input_layernorm"])
    with pytest.raises(InputError, match="no update that a LoRA can carry.*layernorm"):
        convert(folder, tmp_path / "new", Budget(rank=2), measured)
    assert not (tmp_path / "new").exists()


def test_a_prompt_and_a_lone_model_are_refused(bases, tmp_path, measured):
    folder, _ = saved(bases, tmp_path / "old", "PROMPT_TUNING")
    with pytest.raises(InputError, match="can't be merged"):
        convert(folder, tmp_path / "new", Budget(rank=2), measured)
    with pytest.raises(InputError, match="--base"):
        convert(bases["llama"], tmp_path / "new", Budget(rank=2), measured)
    with pytest.raises(InputError, match="is not a fine-tuned"):
        convert(bases["llama"], tmp_path / "new", Budget(rank=2), measured,
                base_model=str(bases["gpt2"]))  # fmt: skip


def test_a_divergence_that_lost_weights_exceed(bases, tmp_path, measured):
    tuned = build("llama")
    with torch.no_grad():
        tuned.model.norm.weight *= 1.5
        tuned.model.layers[0].mlp.up_proj.weight *= 1.01
    tuned.save_pretrained(tmp_path / "tuned")
    peftlens.load_base_model(str(bases["llama"])).tokenizer.save_pretrained(tmp_path / "tuned")
    with pytest.raises(InputError, match="can't be reached: a LoRA of full rank diverges"):
        convert(tmp_path / "tuned", tmp_path / "new", Budget(kl=1e-9), measured,
                base_model=str(bases["llama"]))  # fmt: skip
