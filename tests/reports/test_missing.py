import json

import finished
import homes

from peftlens.reports.missing import missing_results
from peftlens.results import study_results


def test_nothing_is_absent(tmp_path):
    folder = finished.study(tmp_path, [finished.lora(1, 0)])
    assert list(missing_results(study_results.read(folder))) == []


def test_each_kind_with_its_remedy(tmp_path):
    folder = finished.study(
        tmp_path, [finished.lora(1, 0), finished.lora(2, 0)], probes=("cost",),
    )  # fmt: skip
    index = json.loads((folder / "study.json").read_text())
    index |= {"runs": [*index["runs"], "f" * 12, "e" * 12], "probes": ["cost", "latency"]}
    index["names"] |= {"f" * 12: "full seed=0", "e" * 12: "full seed=1"}
    (folder / "study.json").write_text(json.dumps(index))
    (folder / "runs" / index["runs"][0] / "timing.jsonl").unlink()
    (folder / "failed").mkdir()
    failure = {"summary": f"no room in {homes.LINUX}/x", "traceback": f"File {homes.ROOT}/x"}
    about = {"what": "full seed=0"} | failure
    (folder / "failed" / f"{'f' * 12}.json").write_text(json.dumps(about))
    (folder / "tables" / "cost.parquet").write_bytes(b"")
    found = {one.title: one for one in missing_results(study_results.read(folder))}
    assert found["Failed"].lines == [("full seed=0: no room in ~/x", "File ~/x")]
    assert found["Failed"].remedy.endswith("--retry-failed to try again.")
    assert found["Damaged, and left out"].lines[0][0].startswith("lora rank=1")
    assert found["Not run"].lines == [("full seed=1", "")]
    assert found["Not measured"].lines == [("latency", "")]
    assert found["Tables that can't be read"].lines[0][0].startswith("cost: ")
