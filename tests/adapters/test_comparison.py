import json

import numpy as np
import pytest
import theirs
import torch
from safetensors.torch import load_file, save_file

from peftlens.adapters.comparison import compare
from peftlens.adapters.external import ExternalAdapter
from peftlens.adapters.run_context import RunContext
from peftlens.errors import InputError


@pytest.fixture
def saved(bases, tmp_path):
    def make(name, kind="LORA", change=None, **options):
        folder = theirs.save(theirs.wrapped(kind, **options), tmp_path / name, str(bases["llama"]))
        if change:
            file = folder / "adapter_model.safetensors"
            save_file({n: change(n, t) for n, t in load_file(file).items()}, file)
        return ExternalAdapter(folder)

    return make


def negated(name, tensor):
    return -tensor if "lora_B" in name else tensor


def test_an_adapter_and_itself_are_the_same(saved):
    frame = compare([saved("a"), saved("b")]).frame
    assert (frame["in"] == "both").all()
    for column in ("cosine", "similarity", "similarity_in"):
        np.testing.assert_allclose(frame[column], 1, atol=1e-6)
    assert (frame["conflicts"] == 0).all()
    np.testing.assert_allclose(frame["canceled"], 0, atol=1e-6)
    np.testing.assert_allclose(frame["largest_angle"], 0, atol=1e-3)


def test_its_opposite_has_the_same_directions_and_cancels_it(saved):
    frame = compare([saved("a"), saved("b", change=negated)]).frame
    np.testing.assert_allclose(frame["cosine"], -1, atol=1e-6)
    np.testing.assert_allclose(frame["similarity"], 1, atol=1e-6)
    assert (frame["conflicts"] == 1).all()
    np.testing.assert_allclose(frame["canceled"], 1, atol=1e-6)


def test_random_ones_overlap_as_random_ones_do(saved):
    rng = np.random.default_rng(0)

    def shuffled(_, tensor):
        return type(tensor)(rng.normal(size=tuple(tensor.shape)).astype("float32"))

    frame = compare([saved("a", change=shuffled), saved("b", change=shuffled)], 2).frame
    assert set(frame["directions"]) == {2}
    assert frame["similarity_in"].mean() == pytest.approx(2 / 32, abs=0.06)
    assert (frame["random_in"] == 2 / 32).all()
    assert frame["conflicts"].mean() == pytest.approx(0.5, abs=0.05)


def test_what_one_alone_changes_is_named(saved):
    frame = compare([saved("a"), saved("b", target_modules=["q_proj"])]).frame
    alone = frame[frame["in"] != "both"]
    assert set(alone["in"]) == {"a"}
    assert alone["weight"].str.contains("v_proj").all()
    assert alone["norm"].notna().all()
    assert alone["other_norm"].isna().all()


def test_prompts_are_compared_by_their_vectors(saved):
    same, longer = saved("b", "PROMPT_TUNING"), saved("c", "PROMPT_TUNING", num_virtual_tokens=6)
    frame = compare([saved("a", "PROMPT_TUNING"), same, longer]).frame
    first = frame.iloc[0]
    assert first["cosine"] == pytest.approx(1)
    assert frame.iloc[1][["similarity_in", "norm"]].notna().all()
    assert frame.iloc[1][["cosine", "similarity", "conflicts"]].isna().all()


def test_types_whose_files_do_not_say_need_the_base(saved):
    pair = [saved("a", "OFT"), saved("b", "OFT")]
    with pytest.raises(InputError, match="its file alone does not determine .*; give --base"):
        compare(pair)
    frame = compare(pair, context=RunContext()).frame
    np.testing.assert_allclose(frame["cosine"], 1, atol=1e-5)


def test_three_make_three_pairs(saved):
    frame = compare([saved("a"), saved("b"), saved("c", r=4)]).frame
    assert len(frame.groupby(["adapter", "other"])) == 3


def test_one_is_too_few(saved):
    with pytest.raises(InputError, match="needs two"):
        compare([saved("a")])
    with pytest.raises(InputError, match="is listed twice"):
        compare([saved("a")] * 2)


def test_from_the_command_line(saved, run, tmp_path):
    one, other = saved("a"), saved("b", target_modules=["q_proj"])
    theirs.edit(other.path, base_model_name_or_path="another")
    code, out, err = run("compare", one.path, other.path, "--csv", tmp_path / "rows.csv")
    assert code == 0
    assert "3 weights changed by a alone" in out
    assert "name different base models" in err
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 7
    code, out, _ = run("compare", one.path, other.path, "--directions", 1, "--json")
    found = json.loads(out)
    assert len(found) == 6
    assert {row["directions"] for row in found if row["in"] == "both"} == {1}


def test_adapters_of_unequal_bases_are_told(saved):
    small = saved("a")
    wide = saved("b", change=lambda name, t: torch.cat([t, t], 1) if "lora_A" in name else t)
    with pytest.raises(InputError, match="has 32 inputs in .* and 64 in .*: they are adapters of"):
        compare([small, wide])


def test_what_the_files_do_not_determine_is_noted_and_not_measured(tmp_path):
    """Two DoRAs that differ in their lengths alone: their factors would be equal."""
    one = theirs.save(theirs.wrapped("LORA", use_dora=True), tmp_path / "one", "org/base")
    two = theirs.save(theirs.wrapped("LORA", use_dora=True), tmp_path / "two", "org/base")
    file = two / "adapter_model.safetensors"
    save_file({n: t * (1 + ("magnitude" in n)) for n, t in load_file(file).items()}, file)
    frame = compare([ExternalAdapter(one), ExternalAdapter(two)]).frame
    assert len(frame) == 6
    assert frame["cosine"].isna().all()
    assert frame["note"].str.contains("DoRA rescales the rows").all()


def test_a_trained_head_has_a_row(tmp_path):
    model = theirs.wrapped("LORA", modules_to_save=["lm_head"])
    one = theirs.save(model, tmp_path / "one", "org/base")
    two = theirs.save(model, tmp_path / "two", "org/base")
    file = two / "adapter_model.safetensors"
    save_file({n: t * (3 if "lm_head" in n else 1) for n, t in load_file(file).items()}, file)
    rows = compare([ExternalAdapter(one), ExternalAdapter(two)]).frame.set_index("weight")
    assert rows.loc["lm_head.weight", "note"] == (
        "both replace it, and differ by 2 of the first's norm"
    )
    assert rows["note"].notna().sum() == 1
