"""PeftLensCallback in TRL's trainers: runs with rows, on which probes, report and texts work."""

import peft
import pytest
import theirs
import torch
import trackers
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

import peftlens
from peftlens.errors import InputError
from peftlens.evaluation import probe_runner
from peftlens.results import study_results

TEMPLATE = (
    "{% for m in messages %}<{{ m['role'][0] }}>{{ m['content'] }}|{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}"
)
COUNT = 12


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def pairs(start):
    return [{"prompt": f"q{n}:", "chosen": f" yes{n}", "rejected": " no"}
            for n in range(start, start + COUNT)]  # fmt: skip


def chats(start):
    return [{"messages": [user(f"q{n}"), assistant(f"yes {n}")]}
            for n in range(start, start + COUNT)]  # fmt: skip


def questions(start):
    return [{"prompt": [user(f"{n}+1?")], "completion": str(n + 1)}
            for n in range(start, start + COUNT)]  # fmt: skip


def train(bases, tmp_path, kind, **task):
    """Two steps of one of TRL's trainers on a tiny Llama with a LoRA; gives the run."""
    model = AutoModelForCausalLM.from_pretrained(bases["llama"], dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(bases["llama"])
    tokenizer.chat_template = TEMPLATE
    callback = peftlens.PeftLensCallback(tmp_path / "runs", every=1, **task)
    common = {
        "output_dir": str(tmp_path / "trl"), "max_steps": 2, "report_to": "none", "bf16": False,
        "per_device_train_batch_size": 4, "logging_steps": 1, "disable_tqdm": True,
        "save_strategy": "no", "use_cpu": True, "learning_rate": 1e-2,
        "activation_checkpointing": False,
    }  # fmt: skip
    shared = {"processing_class": tokenizer, "callbacks": [callback],
              "peft_config": theirs.config("LORA")}  # fmt: skip
    if kind == "dpo":
        args = trl.DPOConfig(**common, beta=0.3, max_length=64)
        made = trl.DPOTrainer(model, args=args, train_dataset=Dataset.from_list(pairs(100)),
                              **shared)  # fmt: skip
    elif kind == "sft":
        args = trl.SFTConfig(**common, max_length=64)
        made = trl.SFTTrainer(model, args=args, train_dataset=Dataset.from_list(chats(100)),
                              **shared)  # fmt: skip
    else:
        args = trl.GRPOConfig(**common, num_generations=2, max_completion_length=4)
        made = trl.GRPOTrainer(model, reward_funcs=digits, args=args, **shared,
                               train_dataset=Dataset.from_list(questions(100)))  # fmt: skip
    made.train()
    return peftlens.Run(callback.run.path), made.model


def digits(completions, **_):
    """Reward of GRPO: how many digits a completion has."""
    return [float(sum(c.isdigit() for c in one[0]["content"])) for one in completions]


def items(run):
    context = peftlens.adapters.run_context.RunContext()
    return probe_runner.run_probe(context, run, "task_items").frame


def test_dpo_keeps_preferences(bases, tmp_path, run, monkeypatch):
    one, model = train(bases, tmp_path, "dpo", task=Dataset.from_list(pairs(0)))
    assert one.steps == (0, 1, 2)
    training = one.config.training
    assert (training.loss, training.dpo_beta, training.max_length) == ("dpo", 0.3, 64)
    assert one.config.task_config["kind"] == "preference"
    assert one.results["examples"] == {"train": 4, "validation": 1, "test": 7}
    # every item's choice and loss are those of TRL's own model
    frame = items(one)
    task = peftlens.tasks.task_of(one)
    tokenizer = AutoTokenizer.from_pretrained(bases["llama"])
    model.eval()
    for example, (_, row) in zip(task.splits["test"], frame.iterrows(), strict=True):
        scores = []
        for answer in example.answers:
            prompt, whole = (tokenizer(text, add_special_tokens=False).input_ids
                             for text in (example.prompt, example.prompt + answer))  # fmt: skip
            ids = torch.tensor([[*whole, tokenizer.eos_token_id]])
            with torch.no_grad():
                logs = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
            picked = logs.gather(1, ids[0, 1:, None])[len(prompt) - 1 :, 0]
            scores.append((picked.sum().item(), picked.mean().item()))
        assert row["chosen"] == max((0, 1), key=lambda at: scores[at][0])
        assert row["loss"] == pytest.approx(-scores[0][1], rel=1e-4)
    lines = [line for line in one.metrics() if "rewards/margins" in line]
    assert [line["step"] for line in lines] == [1, 2]
    trackers.module(monkeypatch, "mlflow")
    for command in (("export", one.path, "--to", "mlflow", "--out", "m.db"),
                    ("push", one.path, "org/name", "--base", "org/tiny", "--dry-run"),
                    ("probe", "task_accuracy", one.path), ("probe", "generations", one.path,
                    "--set", "items=2", "--set", "max_new_tokens=2"), ("report", one.path),
                    ("generate", one.path, "q1:", "--max-new-tokens", 2)):  # fmt: skip
        code, _, err = run(*command)
        assert code == 0, err


def test_grpo_keeps_questions_that_are_answered_as_text(bases, tmp_path, run):
    (tmp_path / "chat.jinja").write_text(TEMPLATE)
    config = {"kind": "generation", "score": "number", "max_new_tokens": 3,
              "chat_template": str(tmp_path / "chat.jinja")}  # fmt: skip
    one, _ = train(bases, tmp_path, "grpo", task=questions(0), task_config=config)
    frame = items(one)
    assert len(frame) == 7
    assert set(frame["score"]) <= {0.0, 1.0}
    assert frame["answer"].notna().all()
    assert {"reward", "rewards/digits/mean"} <= one.metrics()[0].keys()
    assert not any(name.endswith("step_time") for line in one.metrics() for name in line)
    code, out, err = run("generate", one.path, "1+1?", "--max-new-tokens", 2, "--json")
    assert code == 0, err
    assert '"prompt":"1+1?"' in out


def test_sft_keeps_conversations(bases, tmp_path):
    (tmp_path / "chat.jinja").write_text(TEMPLATE)
    config = {"chat_template": str(tmp_path / "chat.jinja")}
    one, _ = train(bases, tmp_path, "sft", task=chats(0), task_config=config)
    assert (one.config.task_config["kind"], one.config.training.loss) == ("chat", "sft")
    frame = items(one)
    assert len(frame) == 7
    assert frame["loss"].between(0, 10).all()
    found = study_results.read(tmp_path / "runs")
    assert not found.warnings
    # the adapter is read as peft left it, although the run has a task
    again, _ = one.load(device="cpu")
    plain = AutoModelForCausalLM.from_pretrained(bases["llama"], dtype=torch.float32)
    plain = peft.PeftModel.from_pretrained(plain, one.adapter()).eval()
    ids = torch.arange(3, 19).reshape(2, 8)
    with torch.no_grad():
        assert torch.equal(again(input_ids=ids).logits, plain(input_ids=ids).logits)


def test_rows_that_can_t_be_used_are_refused_before_the_training(tmp_path):
    with pytest.raises(InputError, match="prompts without answers"):
        peftlens.PeftLensCallback(tmp_path, task=[{"prompt": f"q{n}"} for n in range(9)])
