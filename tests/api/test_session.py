from peftlens.api.session import session_context


def test_two_calls_share_the_base_model(bases):
    options = {"device": "cpu", "dtype": "float32"}
    first = session_context().base_models.get(str(bases["llama"]), **options)
    assert session_context().base_models.get(str(bases["llama"]), **options) is first
    allowed = session_context(trust_remote_code=True)
    assert allowed.trust_remote_code
    assert allowed.base_models is session_context().base_models
