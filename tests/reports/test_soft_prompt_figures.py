from dataclasses import replace

import finished
import pandas as pd
import pytest

from peftlens.figures.method_styles import GRAY
from peftlens.reports.soft_prompt_figures import neighbor_plots, null_plots
from peftlens.results import study_results


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    configs = [finished.plain("prompt_tuning", seed, num_virtual_tokens=20) for seed in (0, 1)]
    folder = finished.study(tmp_path_factory.mktemp("study"), [*configs, finished.lora(1, 0)])
    return study_results.read(folder).tables


def test_tightness_stands_beside_its_nulls(tables):
    tightness, movement = null_plots(tables)
    directions, steps, trained = tightness.series
    assert [one.name for one in tightness.series] == [
        "random directions", "random steps from the start", "trained vectors",
    ]  # fmt: skip
    assert (directions.x, steps.x, trained.x) == ((0.25,) * 2, (0.48,) * 2, (0.45,) * 2)
    assert directions.style.color == GRAY
    assert tightness.finding.startswith("The nearest words of 2 of 2 prompts lie closer together")
    assert (
        movement.finding == "Prompt tuning, 20 tokens: 1.1 lengths of the start, the median of 6."
    )
    assert movement.x.title == "movement (lengths of the start)"


def test_vectors_lie_between_their_start_and_noise(tables):
    (strip,) = neighbor_plots(tables)
    random, vectors = strip.series
    assert sorted(set(vectors.x)) == pytest.approx([0.4, 0.6, 0.8])
    assert (vectors.name, vectors.style.is_open) == ("readable", False)
    assert random.x == pytest.approx((1.01**-0.5,) * 2)  # a step of a tenth of the start's length
    assert strip.finding == "2 of 6 vectors lie closer to noise than to their start."
    assert vectors.keys[0] == "vector 0, prompt_tuning num_virtual_tokens=20"


def test_vectors_that_are_not_readable_are_outlines(tables):
    frame = tables["soft_prompt_null"].frame
    kept = frame.assign(verdict=frame["verdict"].mask(frame["position"] == 1, "start kept"))
    null = replace(tables["soft_prompt_null"], frame=kept)
    (strip,) = neighbor_plots(tables | {"soft_prompt_null": null})
    looks = {one.name: (one.style.is_open, one.style.symbol) for one in strip.series}
    assert looks["start kept"] == (True, "triangle-up")
    assert looks["readable"] == (False, "square")


def test_without_a_known_start_the_nearest_token_is_what_they_are_near(tables):
    neighbors = tables["soft_prompt_neighbors"]
    for frame in (
        neighbors.frame.drop(columns="start_cosine"),
        neighbors.frame.assign(start_cosine=None),
    ):
        (strip,) = neighbor_plots({"soft_prompt_neighbors": replace(neighbors, frame=frame)})
        (series,) = strip.series
        assert (series.x, series.name) == ((0.5,) * 6, "not tested")
        assert strip.x.title == "cosine with the nearest token"


def test_runs_without_prompts_have_no_figures(tables):
    def without(name):
        frame = tables[name].frame
        return {name: replace(tables[name], frame=frame[frame["method"] == "lora"])}

    assert null_plots(without("soft_prompt_null")) == []
    assert neighbor_plots(without("soft_prompt_neighbors")) == []
    assert pd.api.types.is_list_like(null_plots(tables))
