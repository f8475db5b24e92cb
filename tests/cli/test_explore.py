def test_a_run_is_explored(run, planted_run, tmp_path):
    code, out, _ = run("explore", planted_run.path, "--projection", "pca")
    assert (code, out.strip()) == (0, "explorer.html")
    page = (tmp_path / "explorer.html").read_text()
    assert "default-src 'none'" in page
    assert ", inside</option>" in page
    code, out, _ = run(
        "explore", planted_run.path, "--between", 0, 1, "--no-directions", "--out", "plane.html"
    )
    assert (code, out.strip()) == (0, "plane.html")
    assert ", inside</option>" not in (tmp_path / "plane.html").read_text()
    code, out, _ = run("explore", planted_run.path.parent, "--projection", "pca", "--out", "x.html")
    assert (code, out.strip()) == (0, "x.html")


def test_mistakes(run, tmp_path, planted_run):
    code, _, err = run("explore", tmp_path)
    assert (code, "holds no finished run" in err) == (2, True)
    code, _, err = run("explore", planted_run.path, "--out", tmp_path / "no" / "x.html")
    assert (code, "is not a folder" in err) == (2, True)
