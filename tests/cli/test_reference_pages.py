from pathlib import Path

import pytest

from peftlens import registry
from peftlens.cli import reference_pages

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def rows():
    return {row.name: row for row in reference_pages.methods(None)}


def test_every_method_is_there(rows):
    assert {name.partition(":")[0] for name in rows} == set(registry.names("methods"))


def test_every_method_but_baselines_names_its_paper(rows):
    own = {"embeddings", "trainable_tokens", "peft:TYPE"}  # an idea of many, and peft's own
    missing = {name for name, row in rows.items() if not row.source and row.family != "baseline"}
    assert missing <= own


def test_what_can_be_merged_and_probed(rows):
    assert rows["lora"].merges == "yes"
    assert rows["bottleneck"].merges == "no"
    assert rows["peft:TYPE"].merges == "by type"
    assert rows["bitfit"].merges == "if the base has biases there"
    assert rows["prefix_tuning"].probes == (
        "soft_prompt_neighbors, soft_prompt_null, soft_prompt_task_words, vocabulary_clusters"
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


@pytest.mark.parametrize("kind", ["probes", "claims"])
def test_the_pages_of_probes_and_claims_are_up_to_date(kind):
    written = (DOCS / f"{kind}.md").read_text()
    assert written == reference_pages.page(kind)
    for name in registry.names(kind):
        assert f"\n## {name}\n" in written


def test_what_a_page_says():
    probes, claims = reference_pages.page("probes"), reference_pages.page("claims")
    assert "For runs that expose `token_vectors`." in probes
    assert "| `accuracy` |" in probes
    assert "Judged by [`rank_chart`](probes.md#rank_chart)" in claims
    assert "Rule: the most accurate LoRA of rank 4 to 32" in claims
