import json

import finished

from peftlens.reports.provenance import origins, run_grid
from peftlens.results import study_results


def test_what_the_numbers_come_from(tmp_path):
    folder = finished.study(tmp_path, [finished.lora(1, 0), finished.lora(1, 1)])
    (folder / "calls").mkdir()
    call = {"began": "2026-01-02T03:04:05+00:00", "command": "peftlens study x.toml",
            "code": "c0de", "peftlens": "0.1.0", "folder": None, "processor": "P", "cores": 2,
            "memory_bytes": 8 * 2**30, "system": "Linux 6"}  # fmt: skip
    (folder / "calls" / "2026.json").write_text(json.dumps(call))
    found = list(origins(study_results.read(folder)))
    message = dict(found)
    assert message["base model"] == f"smollm2-135m, SHA-256 {finished.BASE[:16]}…"
    assert message["seeds"] == "0, 1"
    assert message["command"] == (
        "peftlens study x.toml (2026-01-02T03:04:05+00:00, peftlens 0.1.0)"
    )
    assert message["code"] == "peftlens at commit c0de"
    assert message["processor"] == "P, 2 cores, 8 GB, Linux 6"
    assert message["result tables"].startswith("SHA-256 ")
    assert sum(name == "base model" for name, _ in found) == 1


def test_every_run_has_its_hash(tmp_path):
    folder = finished.study(tmp_path, [finished.lora(1, 0)])
    found = run_grid(study_results.read(folder))
    (row,) = found.rows
    message = {head.name: cell.text for head, cell in zip(found.heads, row, strict=True)}
    assert message["configuration"] == "LoRA, rank 1, learning rate 0.001"
    assert message["seed"] == "0"
    assert message["training time (s)"] == "12.5"
    assert len(message["adapter sha256"]) == 16


def test_a_study_without_runs(tmp_path):
    folder = finished.study(tmp_path, [])
    assert [name for name, _ in origins(study_results.read(folder))] == ["result tables"]
