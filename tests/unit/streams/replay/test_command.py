"""`nextclick replay` from the command line to its report, on a stream and a release of seconds."""

import csv
import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from learner.data.dataset import load_interactions, load_items
from learner.data.events import Kind
from learner.evaluation.plan import plan, stream_from
from learner.evaluation.report import SLICES
from streams.cli import app
from tests.worlds.replay_world import stream, untrained_release

SYSTEMS = "nextclick,nextclick_signals,nextclick_state,popularity,item_knn,blend,random"
TOP = {
    "data", "protocol", "systems", "best_baseline", "lift", "lift_over_blend", "candidates", "learn",
}  # fmt: skip
EACH = {
    "ndcg@10", "hr@10", "mrr@10", "recall@20", "coverage@10", "novelty@10", "hr@10_last_list", "cold_users",
    "one_click", "few_clicks_users", "cold_items", "few_clicks_items", "tail", "ms_per_click", "ci95",
}  # fmt: skip


@pytest.fixture
def files(tmp_path):
    """The stream of `replay_world` as files, and a release for its first part."""
    made = stream()
    with (tmp_path / "interactions.csv").open("w") as file:
        rows = csv.writer(file)
        rows.writerow(["user_id", "item_id", "timestamp", "event"])
        for n in range(made.size):
            event = made.event(n)
            word = Kind(event.kind).word
            rows.writerow([made.user_ids[event.user], made.item_ids[event.item], event.time_ms, word])
    with (tmp_path / "items.csv").open("w") as file:
        rows = csv.writer(file)
        rows.writerow(["item_id", "title", "tags"])
        rows.writerows([record.item_id, record.title, "late"] for record in made.records)
    return tmp_path


def run_replay(folder, *flags):
    arguments = ["replay", "--learn", "none", "--interactions", str(folder / "interactions.csv"), "--items"]
    return CliRunner().invoke(app, [*arguments, str(folder / "items.csv"), *flags])


def first_part(folder, seed=0, split=0.8):
    data = load_interactions(folder / "interactions.csv"), load_items(folder / "items.csv")
    return plan(stream_from(*data, seed), split=split, seed=seed).first_part()


def test_the_report_is_written_to_the_letter(files):
    untrained_release(first_part(files), files / "release")
    done = run_replay(
        files, "--systems", SYSTEMS, "--release", str(files / "release"), "--report", str(files / "out.json"),
        "--without", "tags",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    told = json.loads((files / "out.json").read_text())
    assert set(told) >= TOP
    assert set(told["systems"]) == set(SYSTEMS.split(","))
    for name, figures in told["systems"].items():
        assert set(figures) >= EACH, name
        assert set(figures["ci95"]) == {"ndcg@10"}
        for part in SLICES:
            assert set(figures[part]) == {"n", "ndcg@10", "hr@10", "hr@50", "ci95"}
            empty = figures[part]["n"] == 0
            assert all((figures[part][key] is None) == empty for key in ("ndcg@10", "hr@10", "hr@50", "ci95"))
    assert told["best_baseline"] in ("popularity", "item_knn")
    assert set(told["lift"]["ndcg@10"]) == set(told["lift_over_blend"]["ndcg@10"]) == {"ratio", "ci95"}
    assert set(told["candidates"]) >= {"ann", "rules", "union"}
    assert set(told["candidates"]["union"]) == {"recall@200"}
    assert set(told["learn"]) == {"mode", "cpu_seconds", "ratio", "ci95"}
    assert told["learn"]["ratio"] > 0
    assert told["protocol"]["content_fields"] == ["title"]
    assert told["systems"]["nextclick_signals"]["settings"] == {"same_as": "nextclick"}
    assert told["systems"]["nextclick_signals"]["ndcg@10"] == told["systems"]["nextclick"]["ndcg@10"]
    assert "nextclick_state" in done.output


def test_seeds_are_averaged_each_with_a_release_of_its_own(files):
    for seed in (0, 1):
        untrained_release(first_part(files, seed), files / "release" / f"seed-{seed}")
    done = run_replay(
        files, "--systems", "nextclick,popularity", "--seeds", "2", "--release", str(files / "release"),
        "--report", str(files / "out.json"),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    told = json.loads((files / "out.json").read_text())
    assert told["protocol"]["seeds"] == [0, 1]
    figures = told["systems"]["nextclick"]
    assert len(figures["by_seed"]["ndcg@10"]) == 2
    assert told["lift_over_blend"] is None


def test_what_cannot_be_is_said_before_anything_runs(files):
    untrained_release(first_part(files), files / "release")
    for flags, word in (
        (("--systems", "oracle"), "no such system"),
        (("--report", str(files / "nowhere" / "out.json")), "no folder"),
        (("--without", "colour"), "an item's fields are"),
        (("--split", "0.5", "--release", str(files / "release"), "--systems", "nextclick"), "has seen"),
    ):
        done = run_replay(files, *flags)
        assert done.exit_code != 0
        assert word in str(done.exception)


def test_distilled_parts_want_a_release_that_had_teachers(files):
    """It lies beside the other; a plain one in its place would give equal figures."""
    untrained_release(first_part(files), files / "release-distilled")
    for name in ("student_distilled", "ranker_distilled"):
        done = run_replay(files, "--systems", name, "--release", str(files / "release"))
        assert "release-distilled: trained without teachers" in str(done.exception)


@pytest.mark.learner
def test_leave_one_out_tells_of_student_and_teacher(files, monkeypatch):
    pytest.importorskip("torch")
    from learner.evaluation import leave_one_out_models as models

    for name in ("STUDENT", "TEACHER"):
        monkeypatch.setattr(models, name, replace(getattr(models, name), epochs=1))
    arguments = ["replay", "--interactions", str(files / "interactions.csv"), "--protocol", "leave-one-out"]
    done = CliRunner().invoke(app, [*arguments, "--report", str(files / "loo.json")])
    assert done.exit_code == 0, done.output
    told = json.loads((files / "loo.json").read_text())
    assert told["protocol"]["name"] == "leave-one-out"
    assert set(told["systems"]) == {"student", "teacher"}
    for figures in told["systems"].values():
        assert set(figures) >= {"ndcg@10", "hr@10", "recall@10", "mrr@10", "recall@20", "ci95", "validation"}
    assert "teacher" in done.output
    assert "file order" in told["protocol"]["order"]
    lot = [*arguments, "--systems", "student", "--shuffle-days", "--report", str(files / "lot.json")]
    done = CliRunner().invoke(app, lot)
    assert done.exit_code == 0, done.output
    told = json.loads((files / "lot.json").read_text())
    assert "by lot" in told["protocol"]["order"]
    assert set(told["systems"]) == {"student"}
    done = CliRunner().invoke(app, [*arguments, "--systems", "popularity"])
    assert "student and teacher" in str(done.exception)
    done = run_replay(files, "--shuffle-days")
    assert "--protocol leave-one-out" in str(done.exception)
