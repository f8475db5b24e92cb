import gc
import weakref

import pytest

from peftlens.errors import InputError
from peftlens.models.base_model_cache import BaseModelCache
from peftlens.models.heads import Head


@pytest.fixture
def cache():
    return BaseModelCache()


def test_a_model_is_loaded_once_until_it_is_discarded(cache, bases):
    name = str(bases["llama"])
    first = cache.get(name, device="cpu", dtype="float32")
    assert cache.get(name, device="cpu", dtype="float32") is first
    assert not first.changed()
    cache.discard()
    assert cache.get(name, device="cpu", dtype="float32") is not first


def test_one_model_is_held_at_a_time(cache, bases):
    first = cache.get(str(bases["llama"]), device="cpu", dtype="float32")
    cache.get(str(bases["gpt2"]), device="cpu", dtype="float32")
    assert cache.get(str(bases["llama"]), device="cpu", dtype="float32") is not first


def test_heads_of_one_base_stay_as_long_as_they_are_in_use(cache, encoders, bases):
    heads = [Head(task_type="SEQ_CLS", labels=labels) for labels in (("a", "b"), ("a", "b", "c"))]
    name, options = str(encoders["bert"]), {"device": "cpu", "dtype": "float32"}
    first, other = (cache.get(name, **options, head=head) for head in heads)
    assert cache.get(name, **options, head=heads[0]) is first
    assert cache.get(name, **options, head=heads[1]) is other
    kept = weakref.ref(first.model)
    del first
    gc.collect()
    assert kept() is None
    cache.discard()
    assert cache.get(name, **options, head=heads[1]) is not other
    again = cache.get(name, **options, head=heads[1])
    cache.get(str(bases["llama"]), **options)
    assert cache.get(name, **options, head=heads[1]) is not again


def test_another_dtype_is_another_model(cache, bases):
    assert cache.get(str(bases["llama"]), device="cpu", dtype="float32").dtype == "float32"
    assert cache.get(str(bases["llama"]), device="cpu", dtype="bfloat16").dtype == "bfloat16"


def test_code_that_was_allowed_once_is_not_allowed_for_good(cache, with_code):
    name = str(with_code)
    assert cache.get(name, device="cpu", trust_remote_code=True).trusted
    with pytest.raises(InputError, match="allow it by --trust-remote-code"):
        cache.get(name, device="cpu")


def test_caches_share_nothing(cache, bases):
    first = cache.get(str(bases["llama"]), device="cpu", dtype="float32")
    other = BaseModelCache().get(str(bases["llama"]), device="cpu", dtype="float32")
    assert other is not first


def test_a_change_of_the_model_is_seen(cache, bases):
    base = cache.get(str(bases["llama"]), device="cpu", dtype="float32")
    base.model.train()
    assert base.changed()
