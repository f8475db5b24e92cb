import pytest

from peftlens.errors import InputError
from peftlens.probes.harness_items import Config, measure


def test_tasks_must_be_named(context, planted_run):
    with pytest.raises(InputError, match="needs tasks, such as"):
        measure(context, planted_run, Config())
