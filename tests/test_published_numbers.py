"""Numbers that reports quote in words and tables of their own are those of the committed tables."""

import re
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pandas as pd

from peftlens.studies import config
from peftlens.studies.config import StudyConfig
from peftlens.tasks import load_task

REPORTS = Path(__file__).parent.parent / "reports"
METHODS = {"full": "full", "LoRA": "lora rank=8",
           "prompt tuning": "prompt_tuning num_virtual_tokens=20"}  # fmt: skip
SCORES = {"exact match": "exact_match", "F1": "f1", "number": "number"}


def page(folder: str) -> str:
    return (REPORTS / folder / "README.md").read_text()


def table(folder: str, name: str, ending: str = ".csv") -> pd.DataFrame:
    return pd.read_csv(REPORTS / folder / f"{name}{ending}")


def rows(text: str, columns: str) -> Iterator[list[str]]:
    """Cells of the rows of a page's table that has these columns."""
    _, found, after = text.partition(f"| {columns} |\n")
    assert found, columns
    for line in after.splitlines()[1:]:
        if not line.startswith("|"):
            return
        yield line.strip("| ").split(" | ")


def signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def percent(share: float, digits: int) -> str:
    """A share in percent, as people round: 0.025 is 3 %, and 0.6425 is 64.3 %."""
    exact = 100 * Decimal(str(share))
    return str(exact.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP))


def span(values: pd.Series, digits: int) -> str:
    """Least and greatest value, or both at once if they are equal when rounded."""
    ends = [f"{one:.{digits}f}".replace("-", "−") for one in (values.min(), values.max())]
    return " to ".join(dict.fromkeys(ends))


def study(name: str) -> StudyConfig:
    file = REPORTS.parent / "analyses" / f"{name}.toml"
    return config.parse(file.read_text(), str(file))


def test_the_setup_of_the_studies():
    """The table that stands first in reports/README.md is that of files, data and verdicts."""
    heading = "| minilm-l6 | smollm2-135m, words near soft prompts | smollm2-135m, all else"
    text = (REPORTS / "README.md").read_text()
    quoted = {name.partition(":")[0]: cells for name, *cells in rows(text, heading)}
    seeds = pd.read_csv(REPORTS / "verdicts.csv").set_index("analysis")["seeds"]
    raced = seeds[["adapter_site", "comparison", "placement", "quantization", "rank"]].dropna()
    assert quoted["seeds"][0] == f"{raced.min():.0f} to {raced.max():.0f}"
    for name, title in (("word_sentiment", "words"), ("bbc_topic", "headlines")):
        studies = [
            study(f"studies/{one}_{title}")
            for one in ("comparison_minilm", "soft_prompts_smollm2", "lens_smollm2")
        ]
        compared, prompts, lens = studies
        for column, one in enumerate(studies):
            training = one.training
            assert quoted["training, AdamW"][column].startswith(
                f"{training.max_steps} steps of {training.batch_size}"
            )
        longer = max(entry.training["max_steps"] for entry in compared.runs if entry.training)
        assert quoted["training, AdamW"][0].endswith(f"prompt tuning {longer:,}")
        (longer,) = {one.training["max_steps"] for one in lens.runs if one.training}
        assert quoted["training, AdamW"][2].endswith(f"prompts {longer}")
        assert quoted["learning rate"][1] == f"{prompts.training.learning_rate:g}"
        assert quoted["seeds"][1] == f"{len(prompts.seeds)} for each of two starts"
        assert quoted["seeds"][2] == str(len(lens.seeds))
        (settings,) = compared.tasks
        assert prompts.tasks == compared.tasks
        task = load_task(name, settings.model_extra)
        train, test = (len(task.splits[part]) for part in ("train", "test"))
        assert quoted[name] == [
            f"{train:,} examples, tested on {test:,}",
            "as MiniLM",
            f"tested on {lens.tasks[0].model_extra['split']['max_test']}",
        ]
        assert len(task.labels) == (2 if name == "word_sentiment" else 5)


def test_written_answers():
    scores = table("answers", "scores").set_index(["task", "score", "configuration"])
    text, seen = page("answers"), 0
    for task, score, base, *methods in rows(text, f"task | score | base | {' | '.join(METHODS)}"):
        assert base == f"{scores.loc[(task, SCORES[score], 'base, first line'), 'mean']:.3f}"
        for name, cell in zip(METHODS.values(), methods, strict=True):
            one = scores.loc[(task, SCORES[score], name)]
            low, high = (signed(one[f"change_ci_{end}"], 3) for end in ("low", "high"))
            assert cell == f"{one['mean']:.3f} ({low} to {high})"
        seen += 1
    assert seen == 5
    trained = scores[scores.index.isin(METHODS.values(), level="configuration")]
    gained = 100 * trained.xs("exact_match", level="score")["change"]
    assert f"by {gained.min():.0f} to {gained.max():.0f} points of exact match" in text
    assert (
        trained.xs("exact_match", level="score")["change_ci_low"] > 0
    ).all()  # all beat the base
    f1 = scores.loc[("asdiv", "f1")]["mean"]
    best = f1[[*METHODS.values()]].max()
    assert f"F1 rises from {f1['base, first line']:.2f} to {best:.2f}" in text
    right = trained.loc[("asdiv", "number"), "mean"]
    assert f"right in {percent(right.min(), 0)} to {percent(right.max(), 0)} % of them" in text
    whole = scores.xs("base, 64 tokens", level="configuration")["change"].abs()
    assert 0 < whole.xs("f1", level="score").max() < 0.01
    assert (whole.drop("f1", level="score") == 0).all()


def test_answers_learned_by_heart():
    text = page("answers")
    for row in table("answers", "memorized").itertuples():
        assert f"on {row.n_rows} of the same rows for {row.epochs} epochs" in text
        assert row.tuned_exact_match == row.tuned_f1 == 1
        assert row.base_exact_match == 0


def test_architectures_that_work():
    text, methods, probes = (page("architectures"), *(
        table("architectures", name) for name in ("methods", "probes")))  # fmt: skip
    cells = methods.set_index("architecture") == "works"
    counts = cells.sum(axis=1)
    quoted = dict(rows(text, f"architecture | methods that work, of {cells.shape[1]}"))
    assert quoted == counts.astype(str).to_dict()
    assert (
        f"{cells.shape[1]} methods on tiny random models of {len(cells)} architectures: of "
        f"{cells.size} combinations {counts.sum()} train, and {cells.size - counts.sum()} are "
    ) in text
    measured = probes.drop(columns=["architecture", "probe"]) == "works"
    assert f"on {probes['architecture'].nunique()} architectures" in text
    assert f"of {measured.size} combinations {measured.sum().sum()} measure" in text


def test_piqa_by_two_programs():
    text, columns = page("harness"), ("accuracy", "acc", "acc_agreement", "accuracy_per_byte",
                                      "acc_bytes", "acc_bytes_agreement", "acc_norm")  # fmt: skip
    scores = table("harness", "agreement").set_index("dtype")
    heading = "dtype | our accuracy | `acc` | same items | ours per byte | `acc_bytes` | same items"
    quoted = {dtype: cells for dtype, *cells in rows(text, f"{heading} | `acc_norm`")}
    assert quoted.keys() == {*scores.index}
    for dtype, cells in quoted.items():
        for cell, value in zip(cells, 100 * scores.loc[dtype, [*columns]], strict=True):
            assert cell == ("100 %" if value == 100 else f"{value:.1f} %")
    assert f"an accuracy is {100 * scores['standard_error'].mean():.2f} points" in text
    (share,) = {f"{100 * one:.1f} %" for one in scores["accuracy_of_task_rows"]}
    (count,) = {f"{one:,}" for one in scores["n_task_rows"]}
    assert f"{share} of the other {count} are right" in text


def test_piqa_with_errors_of_rounding():
    text = page("harness")
    found = table("harness", "quantization").set_index("added")
    heading = "weights | accuracy | per byte | loss of the right answer, nats per token"
    given, again, without = ([*cells] for _, *cells in rows(text, heading))
    shares = [f"{percent(found.loc[0, one], 1)} %" for one in ("accuracy", "accuracy_per_byte")]
    assert given == [*shares, f"{found.loc[0, 'loss']:.2f}"]
    for added, cells in ((1, again), (-1, without)):
        one = found.loc[added]
        assert cells == [
            *(f"{signed(100 * one[f'{score}_change'], 1)} ± {100 * one[f'{score}_se']:.1f} points"
              for score in ("accuracy", "accuracy_per_byte")),
            f"{signed(one['loss_change'], 2)} ± {one['loss_se']:.2f}",
        ]  # fmt: skip
    asked = table("harness", "prompts").set_index("prompt")
    for prompt, said in (
        ("goal alone", "changes the accuracy by {} ± {} points and that per byte by {} ± {}"),
        ("chat template", "the chat template by {} ± {} and {} ± {}"),
    ):
        one = 100 * asked.loc[prompt]
        values = [
            word
            for score in ("accuracy", "accuracy_per_byte")
            for word in (signed(one[f"{score}_change"], 1).replace("+0.0", "0.0"),
                         f"{one[f'{score}_se']:.1f}")
        ]  # fmt: skip
        assert said.format(*values) in text


def test_learning_rates():
    text, found = page("rates"), table("rates", "rates")
    sums = found.groupby(["method", "learning_rate"])["validation_loss"].sum()
    heading = "method | rates | least validation loss at | loss, summed over both tasks"
    quoted = {method: cells for method, *cells in rows(text, heading)}
    assert quoted.keys() == {*found["method"]}
    for method, (grid, best, loss) in quoted.items():
        ours = sums[method]
        assert grid == f"{ours.index.min():g} to {ours.index.max():g}"
        edge = " (edge)" * (ours.idxmin() in (ours.index.min(), ours.index.max()))
        assert best == f"{ours.idxmin():g}{edge}"
        assert loss == f"{ours.min():.3f}"
    right = found.set_index(["task", "method", "learning_rate"])["validation_accuracy"]
    topics = right["bbc_topic"]
    assert (
        f"LoRA has an accuracy of {topics['lora', 3e-4]:.2f} at 3e-4 and of "
        f"{topics['lora', 3e-3]:.2f} at 3e-3, (IA)³ {topics['ia3', 3e-3]:.3f} at 3e-3 and "
        f"{topics['ia3', 3e-2]:.3f} at 3e-2"
    ) in text


def test_prompts_that_read_as_another_text():
    found = table("soft_prompts", "waywardness").set_index("pull")
    heading = (
        "γ | accuracy (95 % interval) | loss | nearest token is the text's | cosine to it | "
        "accuracy of those tokens | their loss"
    )
    quoted = [*rows(page("soft_prompts"), heading)]
    assert [float(pull) for pull, *_ in quoted] == [*found.index]
    for one, (_, *cells) in zip(found.itertuples(), quoted, strict=True):
        assert cells == [
            f"{one.accuracy:.3f} ({one.ci_low:.3f} to {one.ci_high:.3f})",
            f"{one.loss:.2f}",
            f"{percent(one.reads_as_the_text, 0)}%",
            f"{one.similarity:.2f}",
            f"{one.accuracy_of_nearest_tokens:.3f}",
            f"{one.loss_of_nearest_tokens:.2f}",
        ]


def test_algorithms_that_cluster_a_vocabulary():
    text = page("soft_prompts")
    found = table("soft_prompts", "vocabulary_clusters").set_index(["algorithm", "clusters"])
    ward, chosen = "Ward on the neighbor graph", 1024
    assert f"with {chosen:,} clusters two tokens of one cluster have the most similar" in text
    assert found["coherence"].xs(chosen, level="clusters").idxmax() == ward
    assert (found.loc[ward, "agreement_of_seeds"] == 1).all()  # it needs no seed
    assert (found["silhouette"] < 0).all()


def test_traces_that_can_be_read():
    """Number of runs of each method and task with words of the training on general text."""
    heading = "method | headlines | words | first block after which it is read"
    quoted = {method: counts for method, *counts, _ in rows(page("lens"), heading)}
    found = table("lens", "tables/lens_smollm2/activation_difference", ".csv.gz")
    general = found[(found["text"] == "general") & (found["method"] != "frozen")]
    assert quoted.keys() == {*general["method"]}
    for method, ours in general.groupby("method"):
        for study, count in zip(("headlines", "words"), quoted[method], strict=True):
            least = ours[ours["study"].str.endswith(study)].groupby("run")["q"].min()
            assert count == f"{(least <= 0.01).sum()} of {len(least)}"


def test_layers_that_carry_the_gain():
    """The text names least and greatest of the runs, in percent; prefixes stand alone."""
    found = table("lens", "tables/lens_smollm2/layer_ablation", ".csv.gz")
    found = found[found["kind"].isna() & (found["method"] != "frozen")]
    sets = found[found["active"] == "smallest set"]
    sizes = sets.set_index("method")["blocks"].str.split().str.len()

    def per_run(active, how, methods):
        ours = found[(found["active"] == active) & found["method"].isin(methods)]
        return span(100 * ours.groupby("run")["gain_share"].agg(how), 0)

    *most, prefix = sorted({*sets["method"]})  # prefix_tuning is the last
    random = [per_run("random set", "mean", methods) for methods in (most, [prefix])]
    updates = found.loc[found["active"] == "random update", "gain_share"]
    best = per_run("this block alone", "max", ["bottleneck"])
    others = per_run("this block alone", "max", [one for one in most if one != "bottleneck"])
    left = per_run("all but this block", "min", most)
    alone = per_run("this block alone", "max", [prefix])
    costs = 100 * (1 - found.loc[found["active"] == "all but this block", "gain_share"].min())
    sentences = (
        f"sets of {span(sizes.drop(prefix), 0)} of 30 blocks keep about 95 % of the gain, "
        f"but random sets of as many keep {random[0]} %",
        f"({left.partition(' ')[0]} % or more is kept)",
        f"the best one alone gives at most {others.split()[-1]} %, of bottleneck adapters {best} %",
        f"Prefixes are different: {span(sizes[prefix], 0)} blocks, random sets {random[1]} %, "
        f"at best {alone.split()[-1]} % in one block, and one block without its prefix costs up to "
        f"{costs:.0f} %",
        f"Random updates of equal norm have {span(updates, 2)} of the gain",
    )
    for sentence in sentences:
        assert sentence in page("lens")


def test_directions_of_updates():
    found = table("lens", "tables/lens_smollm2/update_directions", ".csv.gz").dropna(subset="found")
    runs = found.drop_duplicates(["run", "side"])
    means = 100 * runs.groupby(["method", "side", "study"])[["found", "found_random"]].mean()
    written = means.xs("writes", level="side")
    read = means.loc["lora"].xs("reads")
    both = written.loc[["full", "bottleneck"]]
    (power,) = [name for name in found if name.startswith("power_at_0.8")]
    sentences = (
        f"*write* words of the task ({span(both['found'], 0)} % of them; random ones "
        f"{span(both['found_random'], 0)} %)",
        f"those of IA3 do not ({span(written.loc['ia3', 'found'], 0)} %)",
        f"those that LoRA *reads* are undecided ({span(read['found'], 0)} %, random "
        f"{span(read['found_random'], 0)} %)",
        f"in {(runs[power] >= 0.8).sum()} of {len(runs)} runs and sides",
    )
    for sentence in sentences:
        assert sentence in page("lens")


def test_prompts_that_name_their_task():
    found = table("lens", "tables/lens_smollm2/prompt_elicitation")
    own = found[found["own"].eq(True) & (found["words"] == "stated")]
    headlines, words = (own[own["study"].str.endswith(name)] for name in ("headlines", "words"))
    said = headlines["q"] <= 0.05
    assert f"({headlines['method'].nunique()} methods, {said.sum()} of {len(said)} runs" in page(
        "lens"
    )
    low, high = headlines["contrast"].agg(["min", "max"])
    assert f"{low:+.1f} to {high:+.1f} nats more than other tasks' words" in page("lens")
    counts = (words["q"] <= 0.05).groupby(words["method"]).sum()
    assert (
        f"prefixes do in {counts['prefix_tuning']} of 3 runs, framed prompts in "
        f"{counts['framed_prompt_tuning']}, plain prompts in {counts['prompt_tuning']}"
    ) in page("lens")


def test_a_planted_topic():
    text, found = page("lens"), table("lens", "planted").set_index(["method", "text"])
    heading = "method | planted: least q | control: least q | random updates of equal norm with"
    quoted = {method: cells for method, *cells in rows(text, f"{heading} such words")}
    assert quoted.keys() == {*found.index.get_level_values("method")}
    for method, (planted, control, drawn) in quoted.items():
        here, there = found.loc[(method, "planted")], found.loc[(method, "control")]
        assert float(planted) == float(f"{here['q']:.1g}")
        assert float(control) == float(f"{there['q']:.2g}")
        updates = here["random_updates"]
        assert drawn == f"{here['random_found'] * updates:.0f} of {updates}"
    planted, control = (found.xs(text, level="text") for text in ("planted", "control"))
    assert planted["found"].all() and not control["found"].any()
    lucky = (planted["random_found"] * planted["random_updates"]).sum()
    assert f"and {lucky:.0f} of {planted['random_updates'].sum()} random updates is" in text


def test_how_small_a_planted_update_may_be():
    text, found = page("lens"), table("lens", "planted_power")
    assert {*found["text"]} == {"planted"}
    (heading,) = re.findall(r"^\| (bottleneck \| full \|.*?) \|$", text, re.MULTILINE)
    (cells,) = rows(text, heading)
    hidden = found[found["noise"] == 1]
    for method, cell in zip(heading.split(" | "), cells, strict=True):
        ours = hidden[hidden["method"] == method].sort_values("share").set_index("share")["found"]
        lost = ours.index[~ours].max()  # found from the next share on
        after = ours.index[ours.index > lost]
        assert cell == (f"{after.min():g}" if len(after) else "not even at 1")
    alone = found[found["noise"] == 0].pivot(index="method", columns="share", values="found")
    assert not alone[0.001].any()
    assert {*alone.index[~alone[0.01]]} == {"full", "prompt_tuning"}
    assert alone[0.1].all()


def test_what_the_first_command_measured():
    text, accuracy = page("quickstart"), table("quickstart", "task_accuracy")
    (items,) = accuracy["n_items"].unique()
    assert f"on {items} test headlines" in text
    assert len(accuracy) == 9 and "nine configurations" in text
    forgetting = table("quickstart", "forgetting").set_index("suite")
    texts = forgetting.loc["passages_short"]
    (items,), (tokens,) = texts["n_items"].unique(), texts["n_tokens"].unique()
    assert f"on {items} texts of running text (`passages_short`, {tokens:,.0f} tokens)" in text
    (items,) = forgetting.loc["openbookqa", "n_items"].unique()
    assert f"answers to {items} questions of elementary science" in text
