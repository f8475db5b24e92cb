import json

from peftlens.cli.task_examples import trained_examples


def test_the_trained_tokens_stand_in_marks(bases, tmp_path, run):
    file, template = tmp_path / "c.jsonl", tmp_path / "t.jinja"
    template.write_text("{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }};{% endfor %}"
                        "{% if add_generation_prompt %}<assistant>{% endif %}")  # fmt: skip
    rows = [{"instruction": f"say {i}", "output": f"it is {i}"} for i in range(30)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {"kind": "chat", "chat_template": str(template)}
    (one,) = trained_examples(f"file:{file}", options, str(bases["llama"]), 1, False)
    before, _, rest = one.text.partition("⟦")
    assert before.startswith("<user>say ")
    assert before.endswith(";<assistant>")
    assert rest.startswith("it is ")
    assert rest.endswith(";⟧")
    assert one.n_trained == len(rest) - 1  # a byte each
    assert one.n_tokens == len(before) + one.n_trained
    sets = ["--task-set", "kind=chat", "--task-set", f"chat_template={template}"]
    code, out, _ = run("tasks", f"file:{file}", "--show", 2, "--base", bases["llama"], *sets)
    assert code == 0
    assert out.count("tokens are trained:") == 2
