"""What every probe must keep."""

import json
from dataclasses import asdict
from functools import partial

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

import peftlens
from peftlens import registry
from peftlens.adapters.run_context import RunContext
from peftlens.evaluation import probe_runner
from peftlens.models.snapshot import fingerprint
from peftlens.probes import (
    prompt_elicitation,
    soft_prompt_null,
    soft_prompt_task_words,
    training_cost,
    vocabulary_clusters,
)
from peftlens.results.configurations import configurations_table
from peftlens.results.table import IDENTITY, STATUS
from peftlens.runs.config import RunConfig
from peftlens.runs.configuration_names import configurations
from peftlens.training.step_cost import StepRequest, step_cost
from peftlens.vocab.null_tests import neighborhoods

pytestmark = pytest.mark.long

METHODS = {
    "lora": {"rank": 2},
    "prompt_tuning": {"num_virtual_tokens": 3},
    "prefix_tuning": {"num_virtual_tokens": 3},
    "embeddings": {},
    "bottleneck": {},
}


@pytest.fixture(scope="module")
def runs(bases, words, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return [
        peftlens.train(
            RunConfig(
                method=method, task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
                dtype="float32", method_config=options,
                training={"max_steps": 3, "batch_size": 4, "checkpoint_steps": [0],
                          "canaries": [2] if method == "lora" else []},
            ),
            out,
        )
        for method, options in METHODS.items()
    ]  # fmt: skip


OPTIONS = {
    "combination": {"items": 4},
    "activation_difference": {"items": 10, "random_updates": 1},
    "patchscope": {"items": 10, "random_updates": 1},
    "canary_exposure": {"alternatives": 7},
    "divergence": {"suite": "wiki", "items": 4, "tokens": 3, "passage": 10},
    "generations": {"items": 2, "general": "", "max_new_tokens": 3},
    "forgetting": {"suites": ("wiki", "piqa"), "items": 20},
    "forgetting_items": {"suites": ("wiki", "piqa"), "items": 20},
    "linear_probes": {"tasks": ("word_sentiment",), "train": 40, "items": 20},
    "layer_ablation": {"items": 4, "draws": 2, "random_updates": 1},
    "latency": {"tokens": 8, "rounds": 2},
    "rank_components": {"task_items": 4, "general_items": 2, "random": 3},
    "memorization": {"items": 8},
    "prompt_elicitation": {"draws": 19, "planted": 2},
    "prompt_mixture": {"items": 4, "planted": 1},
    "representation_shift": {"items": 10},
    "task_divergence": {"items": 4},
    "training_cost": {"rows": (1,), "lengths": (8,), "rounds": 1, "steps": 1},
    "update_directions": {"task_items": 4, "general_items": 2, "random": 3},
    "update_survival": {"precisions": ("float32", "nf4"), "texts": 2, "items": 4},
    "update_survival_weights": {"precisions": ("nf4",)},
    "weight_interpolation": {"scales": (0.0, 0.5), "items": 10},
}


# Methods that change no block, or no matrix in one; the probes find out by themselves.
WITHOUT = {
    "layer_ablation": {"prompt_tuning", "embeddings"},
    "rank_components": {"embeddings"},
    "update_directions": {"prompt_tuning", "prefix_tuning", "embeddings"},
}


def name_of(probe):
    return probe.__name__.rpartition(".")[2]


def measurable(probe, run):
    if name_of(probe) == "adapter_vectors" and "prompt" not in run.config.method:
        return False  # it finds out by itself, from the file
    if name_of(probe) == "canary_exposure" and not run.config.training.canaries:
        return False
    if run.config.method in WITHOUT.get(name_of(probe), ()):
        return False
    if name_of(probe) == "linear_probes":
        return False  # these runs predict text, which forgetting scores
    if name_of(probe) in ("prompt_elicitation", "prompt_mixture") and (
        run.config.method == "embeddings"
    ):
        return False  # it finds out by itself that rows of the table are no prompt
    return probe.REQUIRES <= registry.load("methods", run.config.method).EXPOSES


@pytest.fixture(params=registry.names("probes"))
def probe(request):
    return registry.load("probes", request.param)


def tables(context, probe, runs):
    """The probe's own frames: one for each run it applies to, or the one that compares them."""
    options = OPTIONS.get(name_of(probe), {})
    config = (probe.Config(**options),) if hasattr(probe, "Config") else ()
    if hasattr(probe, "measure"):
        return [probe.measure(context, run, *config) for run in runs if measurable(probe, run)]
    if hasattr(probe, "compare"):
        able = {run: run.record.configuration for run in runs if measurable(probe, run)}
        return [probe.compare(context, able, *config)]
    sources = {
        name: probe_runner.collect(context, runs, name, None, OPTIONS).frame
        for name in probe.INPUTS
    }
    labels = configurations(run.record for run in runs)
    sources["configurations"] = configurations_table(runs, labels).frame
    return [probe.combine(sources, *config)]


TASK = """
task: letters
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
output_type: multiple_choice
test_split: test
doc_to_text: text
doc_to_target: label
doc_to_choice: [up, down]
"""


@pytest.fixture(scope="module", autouse=True)
def harness_task(tmp_path_factory):
    """A task of lm-evaluation-harness whose data are a file."""
    folder = tmp_path_factory.mktemp("harness")
    rows = [{"text": f"word {n}", "label": n % 2} for n in range(4)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "letters.yaml").write_text(TASK.format(file=folder / "rows.jsonl"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_DATASETS_CACHE", str(folder / "cache"))
        own = {"tasks": ("letters",), "include_path": str(folder)}
        patch.setitem(OPTIONS, "harness_items", own)
        yield


@pytest.fixture(scope="module", autouse=True)
def few_draws():
    """What every probe must keep does not depend on how many draws a null has."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (soft_prompt_null, soft_prompt_task_words, vocabulary_clusters):
            patch.setattr(module, "neighborhoods", partial(neighborhoods, draws=100))
        yield


@pytest.fixture(scope="module", autouse=True)
def words_of_tasks():
    """No word is one token in a vocabulary of bytes; letters stand for words."""
    letters = {name: tuple((ord(one) + 3,) for one in name) for name in ("abcde", "fghij", "klmno")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(soft_prompt_task_words, "task_words", lambda _, __: letters)
        tokens = {name: tuple(one for (one,) in ids) for name, ids in letters.items()}
        patch.setattr(prompt_elicitation, "target_words", lambda _, __: {"stated": tokens})
        yield


@pytest.fixture(scope="module", autouse=True)
def one_process():
    """A new process would load torch for every step; what it measures is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            training_cost,
            "_in_new_process",
            lambda request: asdict(step_cost(StepRequest.model_validate(request))),
        )
        yield


# numbers that are the machine's
TIMED = {
    "latency": {"seconds", "ratio", "ci_low", "ci_high", "swap_seconds"},
    "training_cost": {"step_seconds", "peak_memory_bytes", "loading_peak_memory_bytes"},
}


@pytest.fixture(scope="module")
def measured(runs):
    """Each probe's frames, measured once for all tests."""
    context, known = RunContext(), {}

    def of(probe):
        if probe.__name__ not in known:
            known[probe.__name__] = tables(context, probe, runs)
        return known[probe.__name__]

    return of


def test_columns_are_as_declared(probe, measured):
    for frame in measured(probe):
        assert list(frame.columns) == [column.name for column in probe.COLUMNS]
        # these runs are no sequence, write no answers, and no two of them differ in a seed, a task
        # or a rank alone
        assert len(frame) > 0 or name_of(probe).startswith(
            ("combination", "continual", "subspace", "displacement", "corpus")
        )


def test_the_same_run_gives_the_same_table_and_the_model_is_unchanged(
    context, probe, runs, measured
):
    first = measured(probe)
    base = context.base_model(runs[0])
    before = fingerprint(base.model)
    for one, again in zip(first, tables(context, probe, runs), strict=True):
        drop = list(TIMED.get(name_of(probe), ()))
        pd.testing.assert_frame_equal(one.drop(columns=drop), again.drop(columns=drop))
    assert context.base_model(runs[0]) is base
    assert fingerprint(base.model) == before


PROMPT_PROBES = [
    name
    for name in registry.names("probes")
    if {"token_vectors", "soft_prompt"} & getattr(registry.load("probes", name), "REQUIRES", set())
    and hasattr(registry.load("probes", name), "measure")
]


@pytest.mark.parametrize("name", PROMPT_PROBES)
def test_a_prompt_of_one_vector(context, name, bases, words, tmp_path):
    run = peftlens.train(
        RunConfig(
            method="prompt_tuning",
            task=f"file:{words}",
            base_model=str(bases["llama"]),
            device="cpu",
            dtype="float32",
            training={"max_steps": 2, "batch_size": 4},
            method_config={"num_virtual_tokens": 1, "init": "text", "init_text": "a"},
        ),
        tmp_path,
    )
    frame = probe_runner.run_probe(context, run, name).frame
    assert set(frame["status"]) == {"measured"}


@pytest.mark.parametrize("name", registry.names("probes"))
def test_options_that_name_files_are_known_as_such(name):
    """A table from disk is stale once such a file has changed."""
    named = {
        option.name
        for option in registry.describe("probes", name).options
        if option.meaning.startswith(("file ", "text file "))
    }
    assert named == {*getattr(registry.load("probes", name), "FILES", ())}


def test_charts_name_columns_of_the_table(probe):
    columns = {column.name for column in (*IDENTITY, *probe.COLUMNS, *STATUS)}
    for chart in probe.CHARTS:
        named = {chart.x, chart.y, chart.low, chart.high, chart.text, chart.each} - {None}
        assert named <= columns


def test_every_column_says_what_it_means(probe):
    assert all(column.meaning for column in probe.COLUMNS)


# What a classifier on an encoder is measured by: each of them, and by what the method leaves
OF_ANY_CLASSIFIER = {
    "adapter_weights", "base_parameters", "cost", "forgetting", "forgetting_items", "latency",
    "learning", "linear_probes", "parameter_count", "representation_shift", "sequence_items",
    "task_items", "training_log",
}  # fmt: skip
ON_AN_ENCODER = {
    "lora": {"amplification", "delta_spectrum", "dora_decomposition", "intruder_dimensions",
             "layer_ablation", "update_survival_weights"},
    "head": set(),
    "prefix_tuning": {"adapter_vectors", "layer_ablation", "soft_prompt_neighbors",
                      "soft_prompt_null", "soft_prompt_task_words", "vocabulary_clusters"},
    "prompt_tuning": {"adapter_vectors", "soft_prompt_faithfulness", "soft_prompt_neighbors",
                      "soft_prompt_null", "soft_prompt_task_words", "vocabulary_clusters"},
}  # fmt: skip
# The others' reasons: the first that is true of the method, in the order in which probes ask.
READS_TEXT = {
    "activation_difference", "divergence", "forgotten_tokens",
    "generations", "harness_items", "logit_shift", "memorization", "patchscope",
    "prompt_elicitation", "prompt_mixture", "rank_components", "task_divergence",
    "update_directions", "update_survival", "weight_interpolation",
}  # fmt: skip
OTHER_REASONS = {
    "adapter_vectors": "trains no vectors before the input",
    "canary_exposure": "no canaries were planted",
    "update_survival_weights": "no weight has an update",
    "layer_ablation": "changes nothing inside the model's blocks",
    **dict.fromkeys(
        ("amplification", "delta_spectrum", "dora_decomposition", "intruder_dimensions"),
        "head has changed no weight matrix",
    ),
}


def reason_on_an_encoder(name, method):
    """What the probe says of a classifier by this method, which it does not measure."""
    missing = registry.load("probes", name).REQUIRES - registry.load("methods", method).EXPOSES
    if missing:
        return f"{method} has no {', '.join(sorted(missing))}"
    return "predicts no text" if name in READS_TEXT else OTHER_REASONS[name]


@pytest.fixture(scope="module", params=ON_AN_ENCODER)
def classifier(request, word_pieces, words, tmp_path_factory):
    method = request.param
    config = RunConfig(
        method=method, task=f"file:{words}", base_model=str(word_pieces), device="cpu",
        dtype="float32", method_config=METHODS.get(method, {}),
        training={"max_steps": 3, "batch_size": 4, "checkpoint_steps": [0]},
    )  # fmt: skip
    return peftlens.train(config, tmp_path_factory.mktemp("classifier"))


def test_a_classifier_on_an_encoder_is_measured_or_the_reason_is_told(classifier):
    """By every probe that measures a run."""
    context, method = RunContext(), classifier.config.method
    before = fingerprint(context.base_model(classifier).model)
    texts = {classifier.config.task: {"kind": "language_modeling", "template": "{text}"}}
    suites = {"suites": (*texts,), "suite_options": texts}
    options = OPTIONS | dict.fromkeys(("forgetting", "forgetting_items"), suites)
    for name in registry.names("probes"):
        if not hasattr(registry.load("probes", name), "measure"):
            continue
        frame = probe_runner.run_probe(context, classifier, name, options).frame
        if name in OF_ANY_CLASSIFIER | ON_AN_ENCODER[method]:
            assert set(frame["status"]) == {"measured"}, (name, frame["reason"].iloc[0])
        else:
            assert set(frame["status"]) == {"not_applicable"}, name
            assert reason_on_an_encoder(name, method) in frame["reason"].iloc[0], name
    assert fingerprint(context.base_model(classifier).model) == before


def test_classifiers_on_an_encoder_are_compared(classifier):
    """By every probe that compares runs; most have nothing to say of a single one."""
    context, rows = RunContext(), {}
    for name in registry.names("probes"):
        if not hasattr(registry.load("probes", name), "compare"):
            continue
        rows[name] = len(probe_runner.collect(context, [classifier], name, None, OPTIONS).frame)
    assert rows["training_cost"] == 2  # and a control
    assert not rows["corpus_scores"] and not rows["displacement_agreement"]


@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_neighbors_of_a_prompt_are_the_rows_of_the_encoder_s_table(encoders, words, tmp_path, kind):
    """The nearest token by cosine, of the vectors in the file and the table of transformers."""
    config = RunConfig(
        method="prompt_tuning", task=f"file:{words}", base_model=str(encoders[kind]), device="cpu",
        dtype="float32", method_config=METHODS["prompt_tuning"], training={"max_steps": 3},
    )  # fmt: skip
    run = peftlens.train(config, tmp_path)
    frame = probe_runner.run_probe(RunContext(), run, "soft_prompt_neighbors", OPTIONS).frame
    found = frame[(frame["metric"] == "cosine") & (frame["step"] == frame["step"].max())]
    vectors = load_file(run.path / "adapter" / "adapter_model.safetensors")["prompt_embeddings"]
    table = AutoModel.from_pretrained(encoders[kind]).get_input_embeddings().weight.detach()
    close = torch.nn.functional.cosine_similarity(vectors[:, None], table[None], dim=-1)
    assert [ids[0] for ids in found["token_ids"]] == close.argmax(dim=1).tolist()
    assert found["similarity"].to_numpy() == pytest.approx(close.amax(dim=1).numpy(), abs=1e-5)
