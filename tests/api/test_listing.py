import peftlens as pl
from peftlens import registry


def test_every_plugin_has_a_row():
    for kind, frame in {
        "methods": pl.list_methods(), "tasks": pl.list_tasks(),
        "probes": pl.list_probes(), "claims": pl.list_claims(),
    }.items():  # fmt: skip
        assert frame["name"].tolist() == registry.names(kind)
        assert frame["summary"].str.len().min() > 0


def test_what_a_row_says():
    lora = pl.list_methods().set_index("name").loc["lora"]
    assert lora["family"] == "reparametrization"
    assert lora["exposes"] == "delta_weight"
    assert lora["source"] == "arXiv:2106.09685"
    assert lora["learning_rate"] == registry.load("methods", "lora").LEARNING_RATE
    probes = pl.list_probes().set_index("name")
    assert probes.loc["delta_spectrum", "requires"] == "delta_weight"
    assert probes.loc["task_accuracy", "inputs"] == "task_items"
    claims = pl.list_claims().set_index("name")
    assert "forgetting" in claims.loc["forgetting", "needs"]
    assert claims["claim"].str.len().min() > 0
