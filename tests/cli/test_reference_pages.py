import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from peftlens import cli, registry
from peftlens.cli import reference_pages
from peftlens.cli.options import pairs
from peftlens.errors import InputError

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def rows():
    return {row.name: row for row in reference_pages.methods(None)}


def test_every_method_is_there(rows):
    assert {name.partition(":")[0] for name in rows} == set(registry.names("methods"))


def test_every_method_but_baselines_names_its_paper(rows):
    # an idea of many, peft's own, and one that was tried here first
    own = {"embeddings", "trainable_tokens", "peft:TYPE", "framed_prompt_tuning"}
    missing = {name for name, row in rows.items() if not row.source and row.family != "baseline"}
    assert missing <= own


def test_what_can_be_merged_and_probed(rows):
    assert rows["lora"].merges == "yes"
    assert rows["bottleneck"].merges == "no"
    assert rows["peft:TYPE"].merges == "by type"
    assert rows["bitfit"].merges == "if the base has biases there"
    assert rows["prefix_tuning"].probes == (
        "displacement_agreement, prompt_elicitation, prompt_mixture, soft_prompt_neighbors, "
        "soft_prompt_null, soft_prompt_task_words, vocabulary_clusters"
    )
    assert "soft_prompt_faithfulness" in rows["prompt_tuning"].probes
    assert {"delta_spectrum", "weight_interpolation"} <= {*rows["lora"].probes.split(", ")}
    assert rows["bottleneck"].probes == ""


def test_nothing_is_counted_without_a_base(rows):
    assert {row.counted for row in rows.values()} == {""}


def test_counts_on_a_base(bases):
    rows = {row.name: row for row in reference_pages.methods(str(bases["llama"]))}
    assert rows["ln_tuning"].counted == "224"  # 7 normalizations of 32
    assert "add_biases=true" in rows["bitfit"].counted
    assert rows["peft:TYPE"].counted == "by type"


def test_unsupported_types_have_a_reason(rows):
    refused = dict(rows["peft:TYPE"].not_supported)
    assert {"XLORA", "SHADOW", "LILY", "eva", "corda", "lora_ga", "loftq"} <= set(refused)
    assert all(refused.values())


@pytest.mark.slow
def test_the_page_of_methods_is_what_the_program_writes():
    rows = reference_pages.methods("smollm2-135m")
    assert (DOCS / "methods.md").read_text() == reference_pages.markdown(rows, "smollm2-135m")


@pytest.mark.parametrize("kind", ["tasks", "probes", "claims"])
def test_the_pages_of_tasks_probes_and_claims_are_up_to_date(kind):
    written = (DOCS / f"{kind}.md").read_text()
    assert written == reference_pages.page(kind)
    for name in registry.names(kind):
        assert f"\n## {name}\n" in written


def section(page, name):
    return re.split(r"\n#", page.split(f"# {name}\n")[1])[0]


def test_what_a_page_says():
    probes, claims = reference_pages.page("probes"), reference_pages.page("claims")
    assert "Scope: runs that expose `token_vectors`." in section(probes, "soft_prompt_null")
    for name in ("rank_chart", "paired_accuracy"):
        assert "Scope: tables of `task_items`, `parameter_count`, `cost`." in section(probes, name)
    assert "| `accuracy` |" in probes
    assert "Judged by [`rank_chart`](probes.md#rank_chart)" in claims
    assert "Rule: the LoRA of rank 4 to 32 with the best validation accuracy" in claims


def test_options_of_a_task_and_a_probe_with_their_meanings():
    tasks, probes = reference_pages.page("tasks"), reference_pages.page("probes")
    assert "| `split.max_test` | `int \\| None` | `500` | largest" in section(tasks, "boolq")
    items = "| `items` | `int` | `150` | maximum number of questions per suite"
    assert items in section(probes, "forgetting")


def test_options_of_a_method_with_their_meanings_and_an_example(rows):
    page = reference_pages.markdown([*rows.values()], None)
    lora = section(page, "lora")
    assert "Example: `peftlens train lora --set rank=8`" in lora
    assert "| `rank` | `int` | `8` | inner size r of B (d_out, r) and A (r, d_in). |" in lora
    assert all(f"\n### {name}\n" in page for name in rows)


def test_every_example_is_a_command_with_options_that_its_method_takes(rows):
    group: Any = typer.main.get_command(cli.app)
    command = group.commands["train"]
    for name, row in rows.items():
        program, verb, *arguments = shlex.split(row.example)
        assert (program, verb) == ("peftlens", "train")
        given = command.make_context("train", arguments).params
        assert given["method"].partition(":")[0] == name.partition(":")[0]
        config = registry.configure("methods", given["method"], pairs(given["option"]))
        if row.options and not row.types:
            assert len(given["option"]) == 1
            assert getattr(config, row.options[0].name)


def test_rows_are_selected(rows):
    def names(**wanted):
        return {row.name for row in reference_pages.select([*rows.values()], **wanted)}

    assert names(family="mix") == {"mam", "unipelt"}
    assert names(exposes="soft_prompt") == {
        "cpt", "framed_prompt_tuning", "multitask_prompt_tuning", "p_tuning", "prompt_tuning",
        "peft:TYPE"
    }  # fmt: skip
    assert names(mergeable=True) & names(mergeable=False) == {"peft:TYPE"}
    assert names(mergeable=True) | names(mergeable=False) == set(rows)
    assert {"lora", "bitfit"} <= names(mergeable=True)
    with pytest.raises(InputError, match="--family 'x' fits no method; choose from additive"):
        names(family="x")
    with pytest.raises(InputError, match="--exposes 'x' fits no method; choose from delta_we"):
        names(exposes="x")
