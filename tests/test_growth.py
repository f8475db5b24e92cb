"""Twice the input costs at most twice: counted, not timed."""

import os
import sys
from collections import Counter

import drawn
import finished
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from peftlens.data.collate import Collator
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.evaluation import log_likelihood
from peftlens.explorer import page as explorer_page
from peftlens.models import base_model_cache
from peftlens.reports import page as report_page
from peftlens.runs import store
from peftlens.runs.run import Run
from peftlens.studies import runner
from peftlens.studies.runner import StudyOptions
from peftlens.training import attention_backend
from peftlens.vocab.nearest_neighbors import METRICS, nearest


class Largest(TorchDispatchMode):
    """Remembers the most numbers that any operation made."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and not func.is_view:
            self.numbers = max(self.numbers, made.numel())
        return made


def largest(action):
    with Largest() as seen:
        action()
    return seen.numbers


@pytest.fixture
def swept(tiny_study, tmp_path):
    """A study of so many runs of LoRA, carried out in this process."""

    def study_stub(seeds, **how):
        file = tmp_path / f"{seeds}.toml"
        settings = f'seeds = {list(range(seeds))}\ndtype = "float32"\nprobes = ["cost"]'
        file.write_text(tiny_study('method = "lora"', settings=settings))
        return runner.run_study(file, tmp_path / f"{seeds}", StudyOptions(workers=0, **how))

    return study_stub


def test_a_study_reads_twice_as_much_for_twice_the_runs(swept, monkeypatch):
    """Forward passes of the model, of training and of validation."""
    calls = Counter()
    real = log_likelihood.answer_states

    def counted(model, batch):
        calls["passes"] += 1
        return real(model, batch)

    monkeypatch.setattr(log_likelihood, "answer_states", counted)
    seen = []
    for seeds in (2, 4):
        calls.clear()
        swept(seeds)
        seen.append(calls["passes"])
    assert seen[0] > 0
    assert seen[1] == 2 * seen[0]


def test_the_base_is_loaded_and_the_task_tokenized_once_however_many_runs(swept, monkeypatch):
    counts = Counter()

    def counted(name, real):
        def call(*args, **options):
            counts[name] += 1
            return real(*args, **options)

        return call

    monkeypatch.setattr(
        base_model_cache, "load_base_model", counted("base", base_model_cache.load_base_model)
    )
    monkeypatch.setattr(Collator, "items", counted("splits", Collator.items))
    swept(4)
    # three splits, and a sample by which the order of runs is chosen
    assert counts == {"base": 1, "splits": 4}


def test_a_run_trained_with_others_has_no_larger_batch_of_its_own(swept, monkeypatch):
    """One pass for all runs: as many passes as one run takes alone."""
    passes = Counter()
    real = attention_backend.attention_backend

    def counted(batch):
        passes[len(batch.inputs["input_ids"])] += 1
        return real(batch)

    monkeypatch.setattr("peftlens.training.batched_trainer.attention_backend", counted)
    swept(4, runs_per_pass=4)
    assert passes == {4 * 4: 2}  # runs times rows, steps


def test_a_folder_of_runs_is_read_once_each(tmp_path):
    """Files that are opened to see what is finished: as many for each run, however many."""
    opened = Counter()
    counting = []

    def hook(event, args):
        if counting and event == "open" and str(args[0]).startswith(str(tmp_path)):
            opened["files"] += 1

    sys.addaudithook(hook)
    seen = []
    for count in (5, 10):
        folder = tmp_path / str(count)
        folder.mkdir()
        finished.study(folder, [finished.lora(1, seed) for seed in range(count)], probes=("cost",))
        opened.clear()
        counting.append(True)
        there, _ = store.finished(folder / "runs", os.listdir(folder / "runs"))
        counting.clear()
        assert len(there) == count
        seen.append(opened["files"])
    assert seen[0] > 0
    assert seen[1] == 2 * seen[0]


@pytest.mark.parametrize("metric", METRICS)
def test_a_larger_vocabulary_needs_no_more_memory_at_once(metric):
    """What a search makes has the size of a chunk of rows; of all rows, one number each."""
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(20, 8, generator=generator)
    sizes = {}
    for rows in (4000, 8000):
        table = torch.randn(rows, 8, generator=generator)
        density = torch.rand(rows, generator=generator)
        nearest(queries, table, 5, metric, density=density, chunk=1000)
        sizes[rows] = largest(
            lambda t=table, d=density: nearest(queries, t, 5, metric, density=d, chunk=1000)
        )
    assert sizes[8000] <= max(20 * 1000, 8000)
    assert sizes[8000] <= max(sizes[4000], 8000)


def test_twice_the_text_needs_no_more_memory_at_once(llama):
    """Logits of one batch, (tokens of a batch, V), and never of all texts."""
    encoder = Collator.of(llama, 64)
    sizes = []
    for count in (64, 128):
        rows = [TokenizedAnswer((), tuple(range(3, 35))) for _ in range(count)]
        sizes.append(
            largest(lambda r=rows: log_likelihood.log_probabilities(llama.model, encoder, r, ""))
        )
    assert sizes[0] == sizes[1] <= encoder.at_once * 259
    assert encoder.at_once < 64 * 31  # both are more than a batch


def test_a_report_grows_by_no_more_than_its_runs(tmp_path):
    sizes = []
    for count in (0, 8, 16):
        folder = tmp_path / str(count)
        folder.mkdir()
        made = finished.study(folder, [finished.lora(1 + seed % 4, seed) for seed in range(count)])
        sizes.append(len(report_page.render([made]).encode()))
    assert sizes[2] - sizes[0] <= 2 * (sizes[1] - sizes[0])


def test_a_map_grows_by_no_more_than_its_tokens():
    empty, one, two = (
        len(explorer_page.render(drawn.explorer_data(size), "t").encode())
        for size in (10, 2000, 4000)
    )
    assert two - empty <= 2.1 * (one - empty)


def test_a_run_s_folder_is_found_by_its_name(tmp_path):
    """Adding a run to a store writes nothing beside its own folder."""
    folder = tmp_path / "store"
    folder.mkdir()
    configs = [finished.lora(1, seed) for seed in range(3)]
    finished.study(folder, configs[:2], probes=("cost",))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    made = finished.run(folder / "runs", configs[2], 2)
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert {path: time for path, time in after.items() if made.path not in path.parents} == before
    assert isinstance(made, Run)
    assert np.all([path.is_relative_to(made.path) for path in after.keys() - before.keys()])
