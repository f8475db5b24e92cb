"""docs/gallery.md shows every method: a call, its formula, what it trains, where it can be served.

`python tests/test_gallery.py` writes the page. What can be served is tried on a tiny Llama.
"""

import inspect
import re
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from method_cases import OPTIONS, OURS, UNTRAINED
from tiny import build

from peftlens import registry
from peftlens.adapters import adapter_file, checkpoint
from peftlens.cli import reference_pages
from peftlens.inspection.serving import judge_serving
from peftlens.inspection.serving_rules import VLLM
from peftlens.models.origin import Origin
from peftlens.models.outline import Outline, read_outline

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "gallery.md"
HEAD = f"""# Methods gallery

Written by `python tests/test_gallery.py` from the methods' own modules. A test compares.

W is a weight (d_out, d_in), x or h an input, y an output, f a layer or the model, E the embedding
table, K and V keys and values; a prime marks what is there after training. [A; B] is A in front of
B, ⊙ the product entry by entry, ⊗ Kronecker's. Parameters are counted on SmolLM2-135M with the
default options, which [methods.md](methods.md) lists with the papers.

*Plain peft*: `peft.PeftModel.from_pretrained` loads the saved adapter and gives the same logits; a
contract test tries it. *vLLM*: what {VLLM.name} {VLLM.version} does with the adapter of a Llama,
by the rules of `peftlens inspect ADAPTER --for vllm --base org/model`; vLLM itself was not run.
"""


@dataclass(frozen=True)
class Served:
    """Whether an adapter loads in plain peft, and what vLLM does with it."""

    by_peft: str
    by_vllm: str


def page() -> str:
    rows = [row for row in reference_pages.methods(None) if row.name in OURS]
    parts = [HEAD, *overview(rows)]
    for family in dict.fromkeys(row.family for row in rows):
        parts.append(f"## {family.capitalize()}\n")
        parts += [section(row) for row in rows if row.family == family]
    return "\n".join(parts)


def overview(rows: list[reference_pages.Row]) -> list[str]:
    lines = ["| method | trained | merges | plain peft | vLLM |", "|---|---:|---|---|---|"]
    for row in rows:
        found = served(row.name)
        cells = (f"[`{row.name}`](#{row.name})", counted(row.name), row.merges, found.by_peft,
                 found.by_vllm)  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return ["\n".join(lines) + "\n"]


def section(row: reference_pages.Row) -> str:
    module, found = registry.load("methods", row.name), served(row.name)
    facts = {
        "formula": f"`{module.FORMULA}`",
        "set-up": summary(module.attach),
        "trained": summary(module.trainable_parameters),
        "on SmolLM2-135M": counted(row.name),
        "merges into the base": row.merges,
        "plain peft": found.by_peft,
        "vLLM": found.by_vllm,
        "paper": paper(row.source),
    }
    table = [f"| {name} | {fact} |" for name, fact in facts.items() if fact]
    lines = [f"### {row.name}", "", row.summary, "", "```", row.example, "```", "",
             "| | |", "|---|---|", *table, "", f"[Options](methods.md#{row.name})", ""]  # fmt: skip
    return "\n".join(lines)


def summary(function: object) -> str:
    """First paragraph of a docstring, on one line."""
    doc = inspect.getdoc(function) or ""
    return " ".join(doc.partition("\n\n")[0].split()).replace("|", "\\|")


def paper(source: str) -> str:
    number = source.removeprefix("arXiv:")
    return f"[{source}](https://arxiv.org/abs/{number})" if number != source else source


@cache
def counts() -> dict[str, str]:
    """Numbers of trained parameters on SmolLM2-135M, from docs/methods.md, which a test checks."""
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", (DOCS / "methods.md").read_text(), re.MULTILINE)
    return {name: re.split(r"(?<!\\)\|", rest)[2].strip() for name, rest in rows
            if len(re.split(r"(?<!\\)\|", rest)) == 6}  # fmt: skip


def counted(name: str) -> str:
    """The number; where there is none, the reason stands in docs/methods.md."""
    count = counts()[name]
    return count if count.replace(",", "").isdecimal() else "depends on the options"


@cache
def served(name: str) -> Served:
    """Save the method's adapter of a tiny Llama, and judge it."""
    if name in UNTRAINED:
        return Served("nothing to load", "the base itself")
    model = build("llama")
    config = registry.configure("methods", name, OPTIONS.get(name, {}))
    torch.manual_seed(7)
    trained = checkpoint.attach(model, name, config)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(trained, name, config, Origin("the base"), Path(folder) / "adapter")
        file = adapter_file.read(Path(folder) / "adapter")
        broken = any(one.severity == "broken" for one in judge_serving("vllm", file, outline()))
    by_peft = "yes" if file.is_peft_type else "no: `run.load()`"
    return Served(by_peft, merged(name) if broken else "yes, as an adapter")


@cache
def outline() -> Outline:
    with tempfile.TemporaryDirectory() as folder:
        build("llama").config.save_pretrained(folder)
        return read_outline(folder)


def merged(name: str) -> str:
    """Whether a model that vLLM can serve comes of merging."""
    row = reference_pages.method(name)
    return "no" if row.merges == "no" else f"merged{row.merges.removeprefix('yes')}".replace(
        "mergedif", "merged, if")  # fmt: skip


def test_the_page_is_what_the_methods_say():
    assert PAGE.read_text() == page()


def test_every_method_has_a_formula():
    missing = [name for name in OURS if not getattr(registry.load("methods", name), "FORMULA", "")]
    assert not missing


def test_what_is_served():
    assert served("lora") == Served("yes", "yes, as an adapter")
    assert served("dora") == Served("yes", "merged")
    assert served("bottleneck") == Served("no: `run.load()`", "no")
    assert served("bitfit").by_vllm == "merged, if the base has biases there"
    assert served("prompt_tuning") == Served("yes", "no")


def test_the_numbers_are_those_of_the_page_of_methods():
    assert counted("lora") == "460,800"
    assert counted("bitfit") == "depends on the options"
    assert counts().keys() >= {*OURS}


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    PAGE.write_text(page())
