import json

import finished
import pytest

from peftlens.figures import LINES
from peftlens.figures.method_styles import REFERENCE, method_style
from peftlens.reports import loss_curves
from peftlens.reports.loss_curves import POINTS, loss_plots, loss_table
from peftlens.results import study_results


def results(folder, configs, probes=("cost",), lines=None):
    finished.study(folder, configs, probes)
    for n, run in enumerate(sorted((folder / "runs").iterdir())):
        if lines:
            texts = [json.dumps(line) for line in lines(n)]
            (run / "metrics.jsonl").write_text("\n".join(texts) + "\n")
            (run / "digests.json").unlink()
    return study_results.read(folder)


def test_seeds_are_averaged_and_their_range_is_the_band(tmp_path):
    def lines(n):
        return [{"step": step, "loss": step + n} for step in (1, 2)] + [
            {"step": 2, "validation_loss": 5.0 + n}
        ]

    read = results(tmp_path, [finished.lora(1, seed) for seed in (0, 1)], lines=lines)
    (plot,) = loss_plots(loss_table(read))
    training, validation = plot.series
    assert (training.x, training.y) == ((1.0, 2.0), (1.5, 2.5))
    assert (training.low, training.high) == ((1.0, 2.0), (2.0, 3.0))
    assert (training.draws, training.name) == ("line", "LoRA, rank 1, learning rate 0.001")
    assert (validation.x, validation.y, validation.draws) == ((2.0,), (5.5,), "marks")
    assert plot.finding == (
        "Last validation loss of LoRA, rank 1, learning rate 0.001, 5.5 nats per token."
    )


def test_saved_checkpoints_add_validation_losses(tmp_path):
    read = results(tmp_path, [finished.lora(1, 0), finished.plain("full", 0)], ("learning",))
    (plot,) = loss_plots(loss_table(read))
    marks = [one for one in plot.series if one.draws == "marks"]
    assert [(one.x, one.y) for one in marks] == [((0.0, 40.0), (2.0, 1.0))] * 2
    assert [one.style for one in marks] == [method_style("lora"), method_style("full")]
    assert plot.finding == "The validation loss at the end is 1 nats per token for all."


def test_the_untrained_base_is_a_line_for_comparison(tmp_path):
    def lines(n):
        base = [{"step": 0, "validation_loss": 9.0}]
        return base if n else [{"step": step, "loss": 8.0 / step} for step in (1, 40)]

    configs = [finished.lora(1, 0), finished.plain("frozen", 0)]
    (plot,) = loss_plots(loss_table(results(tmp_path, configs, lines=lines)))
    _, base = plot.series
    assert (base.name, base.y) == ("Base model before training, validation", (9.0, 9.0))
    assert (base.x, base.style) == ((1.0, 40.0), REFERENCE)
    assert plot.y.kind == "log"  # from 8 to 0.2
    assert plot.finding.startswith("Last training loss of LoRA")


def test_many_steps_are_averaged_to_fewer_points(tmp_path):
    def lines(_):
        return [{"step": step, "loss": float(step)} for step in range(1, 2 * POINTS + 1)]

    read = results(tmp_path, [finished.lora(1, 0)], lines=lines)
    (plot,) = loss_plots(loss_table(read))
    assert len(plot.series[0].x) == POINTS
    assert (plot.series[0].x[0], plot.series[0].y[0]) == (1.5, 1.5)
    assert len(loss_table(read).frame) == 2 * POINTS


def test_more_lines_than_can_be_read_are_several_figures(tmp_path):
    read = results(tmp_path, [finished.lora(rank, 0) for rank in range(1, LINES + 3)])
    plots = loss_plots(loss_table(read))
    counts = [sum(one.draws == "line" for one in plot.series) for plot in plots]
    assert sum(counts) == LINES + 2
    assert max(counts) <= LINES
    assert [plot.title.rpartition(": ")[2] for plot in plots] == ["LoRA, 1 of 2", "LoRA, 2 of 2"]


def test_without_recorded_losses_there_is_no_table(tmp_path):
    read = results(tmp_path, [finished.lora(1, 0)], lines=lambda _: [{"step": 1, "tokens": 3}])
    assert loss_table(read) is None


def test_columns_are_described(tmp_path):
    data = loss_table(results(tmp_path, [finished.lora(1, 0)]))
    assert [column.name for column in data.columns] == list(data.frame)
    assert data.frame["training_loss"].tolist()[:4] == pytest.approx([2.0, 1.0, 2 / 3, 0.5])
    assert (loss_curves.__doc__ or "").startswith("Loss curves")
