import peft
import pytest
import torch
from finished import lora
from finished import run as finished_run

import peftlens as pl


def test_a_path_as_text_opens_a_run(tmp_path):
    folder = finished_run(tmp_path, lora(2, seed=0), number=7).path
    run = pl.Run(str(folder))
    assert run == pl.Run(folder)
    assert run.id == "000000000007"
    assert run.results["trainable_parameters"] == 2 * 57_600
    assert "57600" not in run._repr_html_()
    assert "115,200" in run._repr_html_()


def test_the_history_has_a_row_for_each_step(tmp_path):
    history = pl.Run(finished_run(tmp_path, lora(2, seed=0), number=0).path).history
    assert history["step"].tolist() == [10, 20, 30, 40]
    assert history["loss"].tolist() == [2.0, 1.0, pytest.approx(2 / 3), 0.5]
    assert history["validation_accuracy"].dropna().to_dict() == {3: 0.75}


def test_a_run_that_logged_nothing_has_an_empty_history(tmp_path):
    folder = finished_run(tmp_path, lora(2, seed=0), number=0).path
    (folder / "metrics.jsonl").write_text("")
    (folder / "digests.json").unlink()
    assert pl.Run(folder).history.empty


def test_a_model_and_its_tokenizer_as_transformers_has_them(trained):
    model, tokenizer = trained.load(device="cpu")
    inputs = tokenizer("good 3\nAnswer:", return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs).logits
        start = trained.load(step=0, device="cpu")[0](**inputs).logits
    assert isinstance(model, peft.PeftModel)
    assert logits.shape == (1, inputs["input_ids"].shape[1], len(tokenizer))
    assert not torch.equal(logits, start)


def test_no_run_is_one_line(tmp_path):
    with pytest.raises(pl.InputError, match="not a run: it has no run.json"):
        _ = pl.Run(tmp_path).results
