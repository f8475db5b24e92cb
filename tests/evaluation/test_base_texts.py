import pytest

import peftlens
from peftlens.data.collate import Collator
from peftlens.evaluation import base_texts as module
from peftlens.evaluation.base_texts import base_texts
from peftlens.evaluation.generation import generate
from peftlens.models.base_model import load_base_model
from peftlens.models.snapshot import fingerprint
from peftlens.probes import generations, task_items

PROMPTS = [(10, 11, 12, 13), (20,), (30, 31)]


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    monkeypatch.setenv("PEFTLENS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def decoded(monkeypatch):
    """Prompts that the base was asked to continue."""
    calls = []

    def count(*arguments, **options):
        calls.append(arguments[2])
        return generate(*arguments, **options)

    monkeypatch.setattr(module, "generate", count)
    return calls


def test_the_base_writes_once_and_is_left_as_it_was(llama, decoded):
    encoder, before = Collator.of(llama, 64), fingerprint(llama.model)
    first = base_texts(llama, encoder, PROMPTS, max_new_tokens=6)
    plain = generate(llama.model, encoder, PROMPTS, max_new_tokens=6)
    assert first == [one.text for one in plain]
    assert base_texts(llama, encoder, PROMPTS, max_new_tokens=6) == first
    assert len(decoded) == 1
    assert fingerprint(llama.model) == before


@pytest.mark.parametrize(
    ("prompts", "options"),
    [
        ([*PROMPTS[:2], (30, 32)], {}),
        (PROMPTS[::-1], {}),
        (PROMPTS, {"max_new_tokens": 7}),
        (PROMPTS, {"stop": ("x",)}),
    ],
)
def test_other_prompts_and_limits_are_other_texts(llama, decoded, prompts, options):
    encoder = Collator.of(llama, 64)
    base_texts(llama, encoder, PROMPTS, max_new_tokens=6)
    options = {"max_new_tokens": 6} | options
    told = base_texts(llama, encoder, prompts, **options)
    assert len(decoded) == 2
    assert told == [one.text for one in generate(llama.model, encoder, prompts, **options)]


@pytest.mark.parametrize("change", ["base", "dtype", "end", "threads"])
def test_another_base_writes_other_texts(llama, bases, decoded, change, monkeypatch):
    base_texts(llama, Collator.of(llama, 64), PROMPTS, max_new_tokens=6)
    other = {"base": ("gpt2", "float32"), "dtype": ("llama", "bfloat16")}.get(change)
    base = load_base_model(str(bases[other[0]]), device="cpu", dtype=other[1]) if other else llama
    if change == "end":  # of the generation config, which is not in the base's hash
        monkeypatch.setattr(base.model.generation_config, "eos_token_id", 77)
    if change == "threads":
        monkeypatch.setattr(module.torch, "get_num_threads", lambda: 99)
    base_texts(base, Collator.of(base, 64), PROMPTS, max_new_tokens=6)
    assert len(decoded) == 2


@pytest.fixture
def train(bases, tmp_path):
    file = tmp_path / "q.csv"
    file.write_text("text,label\n" + "".join(f"{a}{b},{a}\n" for a in range(5) for b in range(8)))

    def run(method, seed):
        return peftlens.train(
            peftlens.RunConfig(
                method=method, task=f"file:{file}", base_model=str(bases["llama"]), device="cpu",
                task_config={"kind": "generation", "template": "{text}=", "max_new_tokens": 4},
                dtype="float32", training={"max_steps": 2, "batch_size": 8}, seed=seed,
            ),
            tmp_path / "runs",
        )  # fmt: skip

    return run


def test_runs_of_a_study_share_the_base_s_texts(train, context, decoded):
    options = generations.Config(items=3, general="", max_new_tokens=4)
    frames = [generations.measure(context, train("lora", seed), options) for seed in (0, 1)]
    assert frames[0]["base"].tolist() == frames[1]["base"].tolist()
    assert len(decoded) == 1
    frozen = generations.measure(context, train("frozen", 0), options)
    assert frozen["tuned"].tolist() == frozen["base"].tolist() == frames[0]["base"].tolist()
    assert len(decoded) == 1


def test_the_untrained_base_answers_a_task_once(train, context, decoded, monkeypatch):
    runs = [train("frozen", seed) for seed in (0, 1)]
    first, second = (task_items.measure(context, run) for run in runs)
    assert len(decoded) == 1
    assert first["answer"].tolist() == second["answer"].tolist()
    monkeypatch.setattr(type(runs[0]), "is_base", False)  # as any other run's model
    assert task_items.measure(context, runs[0])["answer"].tolist() == first["answer"].tolist()
