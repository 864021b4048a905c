"""A run on Ray ends as the same run in one process does."""

import json

import pytest

pytest.importorskip("ray", reason="needs the extra ray")

from tests.execution.test_ray_context import cluster  # noqa: E402, F401


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_ray_gives_the_result_of_the_streaming_context(finished, run_train, tmp_path):
    flags = {**finished.flags, "devices": None, "context": "ray"}
    ended = run_train(tmp_path / "run", **flags, ray_actors=2)
    assert ended.code == 0, ended.err
    assert "ray:0/CPU:0, ray:1/CPU:0; 2 clients at a time, context ray" in ended.out
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["devices"] == ["ray:0/CPU:0", "ray:1/CPU:0"]
    ours, theirs = (
        json.loads((folder / "result.json").read_text())
        for folder in (tmp_path / "run", finished.folder)
    )
    # Two actors of one lane each add what two lanes add, in the same order.
    for scores in ("test", "clients", "held_out"):
        assert ours[scores] == theirs[scores]
    refused = run_train(tmp_path / "run", **flags, ray_actors=1)
    assert refused.code == 2
    assert "--ray_actors=2, not --ray_actors=1" in refused.err
