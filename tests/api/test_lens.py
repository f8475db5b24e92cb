import pytest
import theirs

import peftlens as pl
from peftlens.diffing.trace_verdict import trace_verdict

FEW = {"items": 6, "random_updates": 1}


@pytest.fixture
def measured(trained):
    """A run whose activation differences are on disk, with few texts."""
    return trained, pl.probe(trained, "activation_difference", **FEW)


def test_a_run_is_read_from_what_its_folder_has(measured):
    run, table = measured
    pl.probe(run, "logit_shift", items=3, tokens=2)  # no part of the screen
    pl.probe(run, "layer_ablation", items=4, draws=2)
    lens = pl.lens(run)
    assert lens.tables.keys() == {"activation_difference", "layer_ablation"}
    assert lens.tables["activation_difference"].config["items"] == 6  # not measured again
    (one,) = lens.learned
    assert one.verdict == trace_verdict({"activation_difference": table.to_frame()})
    assert lens.verdicts["verdict"].tolist() == ["not tested"]  # the tiny base has no words
    assert one.raised == tuple(
        table.to_frame().query("text == 'general' and layer == 3")["raised"].iloc[0][:10]
    )
    assert str(lens).splitlines()[0] == f"What did it learn? {one.title}: ? not tested"
    html = lens._repr_html_()
    assert "Tokens raised" in html
    assert html.count("<rect ") == 3
    assert "<script" not in html


def test_an_adapter_has_no_seed_and_no_training_text(bases, tmp_path):
    folder = theirs.save(theirs.wrapped("LORA"), tmp_path / "hers", "unnamed")
    adapter = pl.load_adapter(folder, base_model=str(bases["llama"]))
    (tmp_path / "own.txt").write_text("a line of my own\n")
    lens = pl.lens(adapter, texts=str(tmp_path / "own.txt"))
    (one,) = lens.learned
    assert one.seed == ""
    assert one.verdict.outcome in ("trace, training text unknown", "not tested")
    assert "give training_text" in one.verdict.sentence
    assert set(lens.tables["activation_difference"].frame["text"]) == {"general", "own"}


def test_what_can_not_be_read_is_one_line(config, trained, tmp_path):
    frozen = pl.train(config(method="frozen", method_config={}), tmp_path / "runs")
    with pytest.raises(pl.InputError, match="has no trace to read: the states .* the base's own"):
        pl.lens(frozen)
    with pytest.raises(pl.InputError, match="nothing.txt.*is not a text file"):
        pl.lens(trained, training_text=str(tmp_path / "nothing.txt"))
    with pytest.raises(pl.InputError, match=r"probes \['cost'\] are not shown by lens; choose of"):
        pl.lens(trained, probes=["cost"])
    with pytest.raises(pl.InputError, match="has no trace to read: name one of the probes"):
        pl.lens(trained, probes=["layer_ablation"])
    with pytest.raises(pl.InputError, match="a Linear is no run.*save_pretrained"):
        pl.lens(theirs.torch.nn.Linear(1, 1))
