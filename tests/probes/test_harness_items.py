import pytest

from peftlens.probes.harness_items import Config, measure
from peftlens.results.table import NotApplicable


def test_tasks_must_be_named(context, planted_run):
    with pytest.raises(NotApplicable, match="needs tasks, such as"):
        measure(context, planted_run, Config())
