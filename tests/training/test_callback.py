import peft
import pytest
import theirs
import torch
from safetensors.torch import load_file
from tiny import byte_tokenizer
from transformers import Trainer, TrainingArguments

import peftlens
from peftlens.adapters import checkpoint
from peftlens.evaluation import probe_runner
from peftlens.results import study_results
from peftlens.training import tracker as tracker_module

IDS = torch.arange(3, 19).reshape(2, 8)


def train(bases, tmp_path, *callbacks, kind="LORA", count=6):
    """Transformers' Trainer on a tiny peft model; gives the model."""
    base = peftlens.load_base_model(str(bases["llama"]), device="cpu", dtype="float32")
    torch.manual_seed(0)
    model = peft.get_peft_model(base.model, theirs.config(kind))
    rows = [{"input_ids": row, "labels": row} for row in IDS.tolist() * 4]
    args = TrainingArguments(
        str(tmp_path / "trainer"), max_steps=count, logging_steps=2, learning_rate=1e-2,
        per_device_train_batch_size=2, report_to=[], save_strategy="no", use_cpu=True,
        disable_tqdm=True, warmup_steps=3,
    )  # fmt: skip
    trainer = Trainer(model, args, train_dataset=rows, callbacks=[*callbacks],
                      processing_class=byte_tokenizer())  # fmt: skip
    trainer.train()
    return model


def test_watching_changes_nothing(bases, tmp_path):
    callback = peftlens.PeftLensCallback(tmp_path / "runs", every=2)
    plain, watched = train(bases, tmp_path), train(bases, tmp_path, callback)
    one, other = (peft.get_peft_model_state_dict(model) for model in (plain, watched))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_trainers_run_is_read_like_any_other(context, bases, tmp_path, run):
    callback = peftlens.PeftLensCallback(
        tmp_path / "runs", every=4, probes=["training_log", "cost"]
    )
    model = train(bases, tmp_path, callback)
    kept = callback.run
    assert kept.steps == (0, 4, 6)
    training = kept.config.training
    assert (training.batch_size, training.learning_rate, training.warmup_ratio) == (2, 1e-2, 0.5)
    saved = load_file(kept.adapter() / "adapter_model.safetensors")
    assert all(
        torch.equal(saved[name], value)
        for name, value in peft.get_peft_model_state_dict(model).items()
    )
    rows = probe_runner.run_probe(context, kept, "training_log").frame
    assert list(rows["step"]) == [2, 4, 6]
    assert rows["loss"].notna().all()
    found = study_results.read(tmp_path / "runs")
    assert set(found.tables) == {"configurations", "training_log", "cost"}
    pca = ("--logits", "--projection", "pca")
    for command in (
        ("report", tmp_path / "runs"),
        ("report", kept.path),
        ("inspect", kept.path),
        ("explore", kept.path, *pca),
        ("cite", kept.path),
    ):
        code, _, err = run(*command)
        assert code == 0, err
    page = (tmp_path / "runs" / "report.html").read_text()
    assert "Loss of the training batches" in page


@pytest.mark.parametrize("place", ["save", "read", "build"])
def test_no_failure_reaches_the_training(place, bases, tmp_path, monkeypatch, caplog):
    def fails(*_, **__):
        raise OSError(28, "No space left on device")

    target = checkpoint if place == "save" else tracker_module
    monkeypatch.setattr(target, place, fails)
    callback = peftlens.PeftLensCallback(tmp_path / "runs", every=2)
    watched = train(bases, tmp_path, callback)
    monkeypatch.undo()
    plain = train(bases, tmp_path)
    one, other = (peft.get_peft_model_state_dict(model) for model in (plain, watched))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert caplog.text.count("peftlens stopped tracking") == 1
    assert callback.run is None
    assert not list((tmp_path / "runs").iterdir())
