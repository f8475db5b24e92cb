import pytest
from tiny import byte_tokenizer

from peftlens.data.chat_template import ChatTemplate, with_template
from peftlens.data.conversation import Conversation
from peftlens.errors import InputError

UNMARKED = (
    "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }};{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
MARKED = (
    "{% for m in messages %}[{{ m['role'] }}]{% if m['role'] == 'assistant' %}{% generation %}"
    "{{ m['content'] }};{% endgeneration %}{% else %}{{ m['content'] }};{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
# as templates of models that think: only the last answer keeps all its text
REWRITING = (
    "{% for m in messages %}[{{ m['role'] }}]{% if m['role'] == 'assistant' and loop.last %}<t>"
    "{% endif %}{{ m['content'] }};{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
CHAT = Conversation(
    (
        {"role": "system", "content": "S"},
        {"role": "user", "content": "a?"},
        {"role": "assistant", "content": "one"},
        {"role": "tool", "content": "7"},
        {"role": "assistant", "content": "two"},
    )
)
TOKENIZER = byte_tokenizer()


def shown(rendered):
    """The text, with what is trained in angle brackets."""
    parts, inside = [], False
    for token, trained in zip(rendered.ids, rendered.trained, strict=True):
        if trained != inside:
            parts.append("<" if trained else ">")
            inside = trained
        parts.append(TOKENIZER.decode([token]))
    return "".join(parts) + (">" if inside else "")


@pytest.mark.parametrize("template", [MARKED, UNMARKED])
def test_the_assistants_tokens_are_trained(template):
    every = ChatTemplate(TOKENIZER, template).render(CHAT)
    assert shown(every) == "[system]S;[user]a?;[assistant]<one;>[tool]7;[assistant]<two;>"
    last = ChatTemplate(TOKENIZER, template, "last").render(CHAT)
    assert shown(last) == "[system]S;[user]a?;[assistant]one;[tool]7;[assistant]<two;>"


def test_a_template_that_rewrites_earlier_turns_is_refused_but_for_the_last():
    with pytest.raises(InputError, match=r'writes earlier turns anew.*set turns = "last"'):
        ChatTemplate(TOKENIZER, REWRITING).render(CHAT)
    last = ChatTemplate(TOKENIZER, REWRITING, "last").render(CHAT)
    assert shown(last).endswith("[assistant]one;[tool]7;[assistant]<<t>two;>")


def test_marks_around_nothing_are_told():
    nothing = MARKED.replace("{{ m['content'] }};{% endgeneration %}", "{% endgeneration %}")
    assert ChatTemplate(TOKENIZER, nothing).render(CHAT) == "no token of the assistant"


def test_a_template_that_raises_is_told():
    picky = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    with pytest.raises(InputError, match="the chat template refuses a conversation: no system"):
        ChatTemplate(TOKENIZER, picky).render(CHAT)


def test_tools_reach_the_template():
    template = "{% if tools %}{{ tools[0]['name'] }}{% endif %}" + UNMARKED
    with_tools = Conversation(CHAT.messages, ({"name": "search"},))
    assert shown(ChatTemplate(TOKENIZER, template).render(with_tools)).startswith("search[system]")


def test_where_the_template_comes_from(tmp_path):
    with pytest.raises(InputError, match=r"no chat template; set chat_template.*chatml, plain"):
        with_template(TOKENIZER, None)
    file = tmp_path / "own.jinja"
    file.write_text(MARKED)
    assert with_template(TOKENIZER, str(file)) == MARKED
    with pytest.raises(InputError, match=r"'missing.jinja' is not a file"):
        with_template(TOKENIZER, "missing.jinja")
    for name in ("chatml", "plain"):
        template = ChatTemplate(TOKENIZER, with_template(TOKENIZER, name))
        rendered = template.render(CHAT)
        before = template.prompt(CHAT.messages[:2])
        assert list(rendered.ids[: len(before)]) == before
        assert rendered.trained.index(True) == len(before)
        trained = [one for one, there in zip(rendered.ids, rendered.trained, strict=True) if there]
        assert TOKENIZER.decode(trained).strip().startswith("one")
