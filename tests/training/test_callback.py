import itertools
from types import SimpleNamespace

import numpy as np
import peft
import pytest
import theirs
import torch
from safetensors.torch import load_file
from tiny import build, byte_tokenizer
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    EarlyStoppingCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    default_data_collator,
)

import peftlens
from peftlens.adapters import checkpoint
from peftlens.adapters.adapter_file import read
from peftlens.adapters.run_context import RunContext
from peftlens.evaluation import probe_runner
from peftlens.results import study_results
from peftlens.training import tracker as tracker_module

pytestmark = pytest.mark.long

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


class Named(TrainerCallback):
    """A user's callback: keeps the trained weights of a step, and may stop there."""

    def __init__(self, step, stops=False):
        self.step, self.stops, self.weights = step, stops, {}

    def on_step_end(self, args, state, control, model=None, **_):  # noqa: ARG002
        if state.global_step == self.step:
            trained = peft.get_peft_model_state_dict(model)
            self.weights = {name: tensor.detach().clone() for name, tensor in trained.items()}
            control.should_training_stop = self.stops


def trainer(bases, tmp_path, *callbacks, model=None, rows=IDS, processor=None, **options):
    """Transformers' Trainer on a tiny LoRA, with other options than above."""
    base = peftlens.load_base_model(str(bases["llama"]), device="cpu", dtype="float32")
    torch.manual_seed(0)
    model = model or peft.get_peft_model(base.model, theirs.config("LORA"))
    data = [{"input_ids": row, "labels": row} for row in rows.tolist() * 4]
    others = [{"input_ids": row[::-1], "labels": row[::-1]} for row in rows.tolist() * 2]
    values = {
        "max_steps": 8, "logging_steps": 2, "learning_rate": 5e-2, "report_to": [],
        "per_device_train_batch_size": 2, "save_strategy": "no", "use_cpu": True,
        "disable_tqdm": True,
    } | options  # fmt: skip
    ranks = itertools.count()  # the metric of the evaluations, so that the best one is known
    return Trainer(
        model, TrainingArguments(str(tmp_path / "trainer"), **values), train_dataset=data,
        eval_dataset=others, callbacks=[*callbacks], processing_class=processor,
        data_collator=default_data_collator, compute_metrics=lambda _: {"rank": next(ranks)},
    )  # fmt: skip


def saved(run, step=None):
    return load_file(run.adapter(step) / "adapter_model.safetensors")


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_resumed_training_does_not_begin_at_step_0(bases, tmp_path):
    first = Named(4, stops=True)
    options = {"save_strategy": "steps", "save_steps": 2}
    trainer(bases, tmp_path, first, **options).train()
    callback, last = peftlens.PeftLensCallback(tmp_path / "runs", every=3), Named(8)
    trainer(bases, tmp_path, last, callback, **options).train(resume_from_checkpoint=True)
    run = callback.run
    assert run.steps == (4, 6, 8)
    assert run.record.results["first_step"] == 4
    assert equal(saved(run, 4), first.weights)
    assert equal(saved(run), last.weights)
    lines = [line for line in run.timing() if "step" in line]
    assert [line["step"] for line in lines] == [6]


BEST = {
    "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2,
    "load_best_model_at_end": True, "metric_for_best_model": "eval_rank",
    "greater_is_better": False,
}  # fmt: skip


@pytest.mark.parametrize("every", [2, 3, 50])
def test_the_best_step_is_not_filed_as_the_last(every, bases, tmp_path, caplog):
    callback, best, last = (peftlens.PeftLensCallback(tmp_path / "runs", every=every), Named(2),
                            Named(8))  # fmt: skip
    made = trainer(bases, tmp_path, best, last, callback, **BEST)
    made.train()
    assert made.state.best_global_step == 2
    run = callback.run
    assert run.record.results | {"steps": 8, "best_step": 2} == run.record.results
    assert run.steps == tuple(sorted({0, 2, 8, *range(0, 8, every)}))
    assert equal(saved(run), last.weights)
    assert equal(saved(run, 2), best.weights)
    assert equal(peft.get_peft_model_state_dict(made.model), best.weights)
    assert "the model ends with the weights of step 2" in caplog.text


def test_early_stopping_and_a_best_step_that_is_the_last(bases, tmp_path):
    stopping, last = EarlyStoppingCallback(early_stopping_patience=1), Named(4)
    callback = peftlens.PeftLensCallback(tmp_path / "runs")
    made = trainer(bases, tmp_path, last, callback, stopping, **BEST)
    made.train()
    assert made.state.global_step == 4
    run = callback.run
    assert run.steps == (0, 2, 4)
    assert equal(saved(run), last.weights)
    callback = peftlens.PeftLensCallback(tmp_path / "other", every=3)
    trainer(bases, tmp_path, callback, **BEST | {"greater_is_better": True}).train()
    assert callback.run.steps == (0, 3, 6, 8)
    assert "best_step" not in callback.run.record.results


def test_a_callback_that_ends_the_training_between_two_evaluations(bases, tmp_path):
    callback, last = peftlens.PeftLensCallback(tmp_path / "runs"), Named(5, stops=True)
    trainer(bases, tmp_path, callback, last, **BEST).train()
    assert callback.run.steps == (0, 2, 5)
    assert equal(saved(callback.run), last.weights)


def with_reference(model):
    """As TRL's DPO does for a peft model: a frozen copy of the adapter."""
    model = peft.get_peft_model(model, theirs.config("LORA"))
    model.add_adapter("ref", theirs.config("LORA"))
    model.set_adapter("default")
    for name, parameter in model.named_parameters():
        if ".ref." in name:
            parameter.requires_grad_(False)
    return model


def of_transformers(model):
    model.add_adapter(theirs.config("LORA"))
    return model


MAKES = {
    "a reference": with_reference,
    "another name": lambda m: peft.get_peft_model(m, theirs.config("LORA"), "policy"),
    "transformers' own": of_transformers,
}


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_adapters_beside_and_of_other_names(make, bases, tmp_path):
    base = peftlens.load_base_model(str(bases["llama"]), device="cpu", dtype="float32")
    torch.manual_seed(1)
    model = make(base.model)
    callback = peftlens.PeftLensCallback(tmp_path / "runs", every=4)
    trainer(bases, tmp_path, callback, model=model).train()
    run = callback.run
    assert run.steps == (0, 4, 8)
    assert run.record.results["trainable_parameters"] == sum(t.numel() for t in saved(run).values())
    assert run.record.results["base_parameters"] == sum(
        p.numel() for p in build("llama").parameters()
    )
    model.eval()
    with torch.no_grad():
        expected = model(input_ids=IDS).logits
        again, _ = peftlens.Run(run.path).load(device="cpu")
        assert torch.equal(again(input_ids=IDS).logits, expected)
        plain = peft.PeftModel.from_pretrained(build("llama"), run.adapter()).eval()
        assert torch.allclose(plain(input_ids=IDS).logits, expected, atol=1e-6)


class Processor:
    """What a multimodal processor is to a Trainer: a tokenizer and an image processor in one."""

    def __init__(self, **parts):
        vars(self).update(parts)

    def save_pretrained(self, folder, **_): ...


@pytest.mark.parametrize(
    ("processor", "is_known"),
    [(Processor(tokenizer=byte_tokenizer()), True), (Processor(), False), (None, False),
     (Processor(get_vocab=lambda: 1 / 0), False), (Processor(get_vocab=dict), True)],
)  # fmt: skip
def test_a_processor_in_the_tokenizers_place(processor, is_known, bases, tmp_path):
    callback = peftlens.PeftLensCallback(tmp_path / "runs")
    trainer(bases, tmp_path, callback, processor=processor).train()
    assert callback.run.steps == (0, 8)
    assert (read(callback.run.adapter()).vocabulary is not None) == is_known


def test_a_resized_table_is_kept_with_the_adapter(bases, tmp_path):
    """As peft keeps it: without it, the rows of the new tokens would be drawn anew."""
    base = AutoModelForCausalLM.from_pretrained(bases["llama"])
    base.resize_token_embeddings(264, mean_resizing=False)
    model = peft.get_peft_model(base, theirs.config("LORA"))
    callback = peftlens.PeftLensCallback(tmp_path / "runs")
    trainer(bases, tmp_path, callback, model=model).train()
    tables = {name: tuple(t.shape) for name, t in saved(callback.run).items() if "lora" not in name}
    assert set(tables.values()) == {(264, 32)}
    again = AutoModelForCausalLM.from_pretrained(bases["llama"])
    again.resize_token_embeddings(264, mean_resizing=False)
    again = peft.PeftModel.from_pretrained(again, callback.run.adapter()).eval()
    ids = torch.tensor([[5, 260, 7, 261, 9]])
    with torch.no_grad():
        expected = model.eval()(input_ids=ids).logits
        assert torch.allclose(again(input_ids=ids).logits, expected, atol=1e-6)


class Odd(Trainer):
    """A user's Trainer whose logs have every kind of name and value."""

    def log(self, logs, start_time=None):  # noqa: ARG002
        odd = {"step": -5, "self": 1, 3: 4, "huge": 10**400, "array": np.float32(2), "deep": [[1]],
               "none": None, "inf": float("inf"), "text": "x", "tensor": torch.ones(2)}  # fmt: skip
        control = self.callback_handler.on_log(self.args, self.state, self.control, logs | odd)
        self.control = control


def test_no_log_ends_the_training_or_its_record(bases, tmp_path, caplog):
    made = trainer(bases, tmp_path)
    callback = peftlens.PeftLensCallback(tmp_path / "runs", every=4)
    odd = Odd(made.model, made.args, train_dataset=made.train_dataset,
              data_collator=default_data_collator, callbacks=[callback])  # fmt: skip
    odd.train()
    lines = callback.run.metrics()
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 8]
    assert lines[0] | {"self": 1, "3": 4, "array": 2.0} == lines[0]
    assert not {"huge", "deep", "none", "inf", "text", "tensor"} & lines[0].keys()
    assert "stopped tracking" not in caplog.text


def test_values_that_no_run_can_hold_are_left_out_and_told(bases, tmp_path, caplog):
    made = trainer(bases, tmp_path, seed=2**32 - 1, weight_decay=-0.5, learning_rate=1e-3)
    made.args.seed = 2**40
    made.args.per_device_train_batch_size = 2.5
    callback = peftlens.PeftLensCallback(tmp_path / "runs")
    made.add_callback(callback)
    handler = made.callback_handler
    made.state.max_steps, made.state.is_world_process_zero = 8, True
    handler.on_train_begin(made.args, made.state, made.control)
    made.state.global_step = 8
    handler.on_step_end(made.args, made.state, made.control)
    handler.on_train_end(made.args, made.state, made.control)
    config = callback.run.config
    assert (config.seed, config.training.weight_decay, config.training.batch_size) == (0, 0.0, 16)
    assert config.training.learning_rate == 1e-3
    assert "does not record these values of the training" in caplog.text
    assert "records the seed 1099511627776 as 0" in caplog.text


def test_a_broken_trainer_is_told_and_goes_on(tmp_path, caplog):
    """Arguments and states of another program may lack anything."""
    callback = peftlens.PeftLensCallback(tmp_path)
    state = SimpleNamespace(is_world_process_zero=True, global_step=0, max_steps=3)
    callback.on_train_begin(SimpleNamespace(), state, None)
    callback.on_step_end(SimpleNamespace(), state, None)
    callback.on_train_end(SimpleNamespace(), state, None)
    assert callback.run is None
    assert caplog.text.count("does not track this training, which continues") == 1


@pytest.mark.parametrize(("base", "whole"), [("bert", False), ("bert", True), ("llama", False)])
def test_a_classifier_s_training_is_a_run_with_its_head(encoders, bases, tmp_path, base, whole):
    folder = str((encoders | bases)[base])
    names = {"id2label": {0: "down", 1: "up"}, "label2id": {"down": 0, "up": 1}}
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2, **names)
    model.config.pad_token_id = 0
    if not whole:
        more = {"modules_to_save": ["pooler"]} if base == "bert" else {}
        targets = ["query", "value"] if base == "bert" else ["q_proj", "v_proj"]
        config = peft.LoraConfig(task_type="SEQ_CLS", target_modules=targets, **more)
        model = peft.get_peft_model(model, config)
    rows = [{"input_ids": row, "labels": k % 2} for k, row in enumerate(IDS.tolist() * 4)]
    args = TrainingArguments(
        str(tmp_path / "trainer"), max_steps=3, learning_rate=1e-2, use_cpu=True, report_to=[],
        per_device_train_batch_size=2, save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    callback = peftlens.PeftLensCallback(tmp_path / "runs")
    Trainer(model, args, train_dataset=rows, callbacks=[callback]).train()
    run = callback.run
    assert run.record.depends_on["head"] == {"task_type": "SEQ_CLS", "labels": ["down", "up"]}
    with torch.inference_mode(), RunContext().open_run(run) as again:
        torch.testing.assert_close(
            again(input_ids=IDS).logits, model.eval()(input_ids=IDS).logits, atol=1e-5, rtol=0
        )
    assert not peftlens.inspect_adapter(run, folder).broken
