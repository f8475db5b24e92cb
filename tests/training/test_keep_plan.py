import pytest

from peftlens.errors import InputError
from peftlens.runs.config import RunConfig
from peftlens.training.run_plan import plan_run


@pytest.fixture
def planned(bases, words, context):
    def plan(keep, base="llama", method="lora", training=None, **changes):
        every = {"max_steps": 2, "keep": keep} | (training or {})
        one = {"task": f"file:{words}"} | changes
        config = RunConfig(
            method=method, base_model=str(bases[base]), device="cpu", dtype="float32",
            training=every, **one,
        )  # fmt: skip
        return plan_run(config, context)

    return plan


@pytest.fixture
def texts(tmp_path):
    file = tmp_path / "texts.csv"
    file.write_text("text\n" + "".join(f"{n} words of text\n" for n in range(9)))
    return file


def as_text(file):
    options = {"kind": "language_modeling", "template": "{text}"}
    return {"task": f"file:{file}", "task_config": options}


def test_other_text_is_another_run(planned, texts):
    keep = {"kind": "replay", "data": f"file:{texts}"}
    first = planned(keep)
    texts.write_text("text\n" + "".join(f"{n} other words\n" for n in range(9)))
    other = planned(keep)
    assert first.id != other.id
    assert first.depends_on["keep"] != other.depends_on["keep"]
    assert planned({"kind": "l2sp"}).depends_on.keys() == {"base", "data", "versions"}


@pytest.mark.parametrize(
    ("keep", "name"),
    [
        ({"kind": "l2sp"}, "lora rank=8 keep=l2sp"),
        ({"kind": "l2sp", "weight": 2}, "lora rank=8 keep=l2sp keep_weight=2.0"),
    ],
)
def test_the_configuration_names_it(planned, keep, name):
    assert planned(keep).configuration == name


def test_what_trains_nothing_is_not_kept(planned):
    assert planned({"kind": "l2sp"}, method="frozen").config.training.keep is None


def test_masked_kl_needs_tokens_that_are_no_targets(planned, texts):
    keep = {"kind": "masked_kl"}
    with pytest.raises(InputError, match="every token of task .* is one; take kl"):
        planned(keep, **as_text(texts))
    with pytest.raises(InputError, match="the decoder of .* reads nothing else; take kl"):
        planned(keep, base="t5")
    with pytest.raises(InputError, match="loss='dpo' is of pairs of answers; take kl"):
        planned(keep, training={"loss": "dpo"})


def test_gradients_that_would_not_fit(planned, monkeypatch):
    monkeypatch.setattr("peftlens.training.keep_plan.MOST_BYTES", 64 * 4 * 1000)
    with pytest.raises(InputError, match="take a method that trains at most 1,000"):
        planned({"kind": "orthogonal"}, method="full")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("boolq", "data='boolq' is classification; name running text, such as 'passages'"),
        ("passages_short", "a shortened test set; name 'passages'"),
        ("file:missing.csv", "missing.csv"),
        ("nothing", "nothing"),
    ],
)
def test_text_that_is_none(planned, data, message):
    with pytest.raises(InputError, match=message) as caught:
        planned({"kind": "kl", "data": data})
    assert "\n" not in str(caught.value)


def test_a_head_predicts_no_tokens(encoders, words, context):
    def config(kind):
        return RunConfig(
            method="lora", task=f"file:{words}", base_model=str(encoders["bert"]), device="cpu",
            dtype="float32", training={"max_steps": 2, "keep": {"kind": kind}},
        )  # fmt: skip

    with pytest.raises(InputError, match="a new head predicts none; take l2sp"):
        plan_run(config("replay"), context)
    assert plan_run(config("l2sp"), context).config.training.keep.weight == 0.1
