"""Folders of tiny models, and a file of rows to train on."""

import gc
import json
import os
import shutil
import sys
from pathlib import Path

# before torch is loaded: tests run side by side, and two threads on one core wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray's way to say: nodes on loopback only

import planted
import pytest
import theirs
import torch
from tiny import ENCODERS, build, build_encoder, byte_tokenizer, word_piece_tokenizer

import peftlens
from peftlens import cli
from peftlens.adapters.run_context import RunContext
from peftlens.io.files import cache_dir
from peftlens.models.base_model import load_base_model
from peftlens.runs.config import RunConfig
from peftlens.vocab import null_tests, task_words

# what umap compiles, half a minute, is kept for the other processes and the next time
os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_dir("numba")))


def pytest_collection_modifyitems(items):
    """The slow and long ones first, so that no process is left with them alone at the end."""
    items.sort(key=lambda item: not any(map(item.get_closest_marker, ("slow", "long"))))


@pytest.fixture(scope="session", autouse=True)
def few_directions():
    """Twenty thousand directions in each of hundreds of tests would take minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(null_tests, "DIRECTIONS", 2)
        yield


@pytest.fixture(scope="module", autouse=True)
def libraries_are_no_garbage():
    """To look for garbage among all that libraries have loaded takes a seventh of the time."""
    if len(sys.modules) > 1.1 * frozen["modules"]:
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        frozen["modules"] = len(sys.modules)


frozen = {"modules": 0}


@pytest.fixture(autouse=True)
def torch_s_threads_stay():
    """One more thread than there are free cores makes every later test many times slower."""
    before = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == before


WORDS = ["good", "bad", "fine", "poor", "great", "awful", "kind", "mean", "calm", "rude"]


@pytest.fixture(scope="session")
def bases(tmp_path_factory) -> dict[str, Path]:
    """Folders of a tiny Llama, GPT-2 and T5, in the layout that transformers writes."""
    folders = {}
    for kind in ("llama", "gpt2", "t5"):
        folder = tmp_path_factory.mktemp("bases") / kind
        build(kind).save_pretrained(folder)
        byte_tokenizer().save_pretrained(folder)
        folders[kind] = folder
    return folders


@pytest.fixture(scope="session")
def encoders(tmp_path_factory) -> dict[str, Path]:
    """Folders of tiny encoders, in the layout that transformers writes."""
    folders = {}
    for kind in ENCODERS:
        folder = tmp_path_factory.mktemp("encoders") / kind
        build_encoder(kind).save_pretrained(folder)
        byte_tokenizer().save_pretrained(folder)
        folders[kind] = folder
    return folders


@pytest.fixture(scope="session")
def word_pieces(tmp_path_factory) -> Path:
    """Folder of the tiny BERT with a vocabulary of words and word pieces."""
    folder = tmp_path_factory.mktemp("encoders") / "word_pieces"
    build_encoder("bert").save_pretrained(folder)
    word_piece_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def words(tmp_path_factory) -> Path:
    """A JSONL file of words and whether they are kind: enough rows for three splits."""
    rows = [
        {"text": f"{word} {number}", "label": "up" if index % 2 == 0 else "down"}
        for number in range(12)
        for index, word in enumerate(WORDS)
    ]
    file = tmp_path_factory.mktemp("data") / "words.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture(scope="session")
def relabeled_words(words, tmp_path_factory) -> Path:
    """The same words with other names of the classes: another task."""
    names = {"up": "left", "down": "right"}
    rows = [json.loads(line) for line in words.read_text().splitlines()]
    file = tmp_path_factory.mktemp("data") / "relabeled.jsonl"
    file.write_text(
        "".join(json.dumps(row | {"label": names[row["label"]]}) + "\n" for row in rows)
    )
    return file


@pytest.fixture(scope="session")
def tiny_study(bases, words):
    """Text of a study on the tiny Llama: a line for each of its [[runs]], settings before them."""

    def text(*runs, settings='dtype = "float32"', training="max_steps = 2\nbatch_size = 4"):
        head = f'name = "tiny"\nbase_model = "{bases["llama"]}"\ndevice = "cpu"\n{settings}\n'
        task = f'[task]\nname = "file:{words}"\n[training]\n{training}\n'
        return head + task + "".join(f"[[runs]]\n{run}\n" for run in runs)

    return text


@pytest.fixture
def study_file(tiny_study, tmp_path):
    """A study of three runs and two probes."""
    file = tmp_path / "tiny.toml"
    settings = 'dtype = "float32"\nprobes = ["task_accuracy", "parameter_count"]'
    runs = ('method = "frozen"', 'method = "lora"\ngrid = { rank = [1, 2] }')
    file.write_text(tiny_study(*runs, settings=settings))
    return file


@pytest.fixture
def peft_adapter(bases, tmp_path):
    """Save an adapter of the tiny Llama by plain peft; gives its folder."""

    def make(kind="LORA", **changes):
        model = theirs.wrapped(kind, **changes)
        return theirs.save(model, tmp_path / "hers", str(bases["llama"]))

    return make


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Call `peftlens ARGUMENTS`; gives the exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["peftlens", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def llama(bases):
    """The tiny Llama, opened in float32 on the CPU."""
    return load_base_model(str(bases["llama"]), device="cpu", dtype="float32")


@pytest.fixture(scope="session", autouse=True)
def files_left_to_the_kernel():
    """No test cuts the power, and a killed process loses nothing that it wrote."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture
def context():
    """Base models of this test's own."""
    return RunContext()


@pytest.fixture(scope="session")
def planted_base(tmp_path_factory) -> Path:
    """Folder of a tiny Llama whose vocabulary has known clusters; see planted.py."""
    folder = tmp_path_factory.mktemp("planted")
    planted.save(folder)
    return folder


@pytest.fixture(scope="session")
def planted_words(tmp_path_factory) -> Path:
    """A JSONL file of words of two planted clusters, labeled by the first word of each."""
    rows = [
        {"text": f"{one} {planted.word(400 + 20 * side + number)}", "label": planted.group(side)[0]}
        for number in range(5)
        for side in (0, 1)
        for one in planted.group(side)[2:]
    ]
    file = tmp_path_factory.mktemp("data") / "planted.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def planted_run(planted_base, planted_words, tmp_path):
    """A run of prompt tuning, hardly trained, on the planted vocabulary."""
    return peftlens.train(
        RunConfig(
            method="prompt_tuning", task=f"file:{planted_words}", base_model=str(planted_base),
            device="cpu", dtype="float32", method_config={"num_virtual_tokens": 6},
            training={"max_steps": 2, "batch_size": 4, "checkpoint_steps": [0]},
        ),
        tmp_path / "runs",
    )  # fmt: skip


@pytest.fixture
def other_tasks(monkeypatch):
    """Tasks about three planted clusters in place of the built-in ones."""
    others = [planted.topic(f"topic{number}", number) for number in (20, 21, 22)]
    monkeypatch.setattr(task_words, "other_tasks", lambda _: others)


@pytest.fixture
def fast(monkeypatch, tmp_path):
    """Write a study for the worker that trains nothing, see fast.py; gives its file."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))

    def write(**requested):
        file = tmp_path / "fast.json"
        file.write_text(json.dumps({"runs": 10, "seconds": 0.0} | requested))
        return file

    return write


OWN = """
from transformers import LlamaConfig, LlamaForCausalLM

class Config(LlamaConfig):
    pass

class Model(LlamaForCausalLM):
    config_class = Config
"""


@pytest.fixture
def with_code(bases, tmp_path, monkeypatch):
    """A model's folder that brings classes of its own."""
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = shutil.copytree(bases["llama"], tmp_path / "with_code")
    (folder / "own.py").write_text(OWN)
    config = json.loads((folder / "config.json").read_text())
    config |= {"auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder
