import pytest

from peftlens.studies.local_pool import InProcessPool, LocalPool
from peftlens.studies.options import StudyOptions
from peftlens.studies.pools import closing, open_local_pool


class Pool:
    slots = 1
    closed = None

    def close(self, *, now):
        self.closed = "now" if now else "after the jobs"


def test_a_pool_is_closed_at_once_only_after_an_error():
    pool = Pool()
    with closing(pool) as same:
        assert same is pool
    assert pool.closed == "after the jobs"
    with pytest.raises(KeyboardInterrupt), closing(pool):
        raise KeyboardInterrupt
    assert pool.closed == "now"


def test_no_workers_are_this_process():
    assert isinstance(open_local_pool(StudyOptions(workers=0)), InProcessPool)
    pool = open_local_pool(StudyOptions(workers=4))
    assert isinstance(pool, LocalPool)
    assert pool.slots == 1  # until the plan says how much memory a run takes
