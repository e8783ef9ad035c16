"""Which drills (tests that take minutes) a change touches: prints their files, and on stderr the reasons.

    .ci/drills.py [BASE]

The change is what HEAD has and BASE has not. Without BASE it is what the commits of the last day brought,
since a fresh clone of main does not tell what was pushed. Where the history does not go back so far, all
drills run.
"""

import subprocess
import sys
from collections.abc import Iterable

DAY_S = 86_400
DEMO, EVERYTHING = ("tests/e2e/test_demo.py",), ("tests/integration/worker/test_everything.py",)
OUTAGE = ("tests/integration/learning/test_canary_outage.py",)
AWAY = ("tests/e2e/test_broker_comes_and_goes.py", "tests/strangers/test_broker_away.py")
WHEEL = ("tests/e2e/test_wheel.py",)
GROWING = (
    "tests/integration/worker/test_growing.py", "tests/integration/worker/test_scaling.py",
    "tests/strangers/test_while_it_runs.py",
)  # fmt: skip
BENCH = ("tests/integration/operate/test_bench.py",)
SOAK = ("tests/integration/worker/test_soak.py",)
TRAINER = (
    "tests/integration/training/test_trainer_process.py", "tests/integration/releases/test_bad_candidates.py",
)  # fmt: skip
UP, STEPS = ("tests/integration/up/test_up.py",), ("tests/e2e/test_first_steps.py",)
IMAGE, COMPOSE = ("tests/e2e/test_image.py",), ("tests/e2e/test_compose_kafka.py",)
RIGHTS, TRACES = ("tests/integration/transport/test_rights.py",), ("tests/integration/worker/test_traces.py",)
DESCRIBED, CROWD = ("tests/integration/api/test_described.py",), ("tests/integration/api/test_crowd.py",)
RUNNING = (
    BENCH + DEMO + EVERYTHING + OUTAGE + AWAY + GROWING + SOAK + TRACES + TRAINER + UP + STEPS + DESCRIBED
    + CROWD
)  # fmt: skip
ALL, NONE = RUNNING + IMAGE + COMPOSE + WHEEL + RIGHTS, ()
# Wants a Debian mirror, root and many minutes: for whoever changes the image, and before a version is tagged.
BY_HAND = IMAGE
# The drills of a path are those of its longest prefix that stands here; where none does, all.
TOUCHES: dict[str, tuple[str, ...]] = {
    "README.md": NONE,
    "deploy/": NONE,
    "deploy/compose.yaml": COMPOSE,
    "deploy/containers/": IMAGE,
    "docs/": NONE,
    "docs/first-steps.md": STEPS,
    "docs/operating/secure.md": RIGHTS,
    "indexer/": RUNNING,
    "learner/": RUNNING,
    "learner/evaluation/": DEMO,
    "learner/judging/": OUTAGE + TRAINER,
    "learner/models/": DEMO,
    "learner/text/": DEMO,
    "learner/training/": DEMO + TRAINER,
    "nextclick/": NONE,
    "streams/": RUNNING,
    "streams/cli/": DEMO,
    "streams/cli/up.py": UP + STEPS,
    "streams/demo/": DEMO,
    "streams/operate/": BENCH + EVERYTHING,
    "streams/operate/topics_repair.py": BENCH + EVERYTHING + GROWING[:1],
    "streams/recorded/": DEMO,
    "streams/replay/": NONE,
    "streams/traffic/": DEMO,
    "streams/training/": DEMO + TRAINER,
    "streams/transport/": RUNNING + RIGHTS,
    "streams/up/": DEMO + UP + STEPS,
    "tests/": NONE,
    "tests/conftest.py": ALL,
    "tests/e2e/test_demo.py": DEMO,
    "tests/e2e/test_wheel.py": WHEEL,
    "tests/e2e/test_broker_comes_and_goes.py": AWAY,
    "tests/e2e/test_compose_kafka.py": COMPOSE,
    "tests/e2e/test_first_steps.py": STEPS,
    "tests/e2e/test_image.py": IMAGE,
    "tests/integration/api/test_crowd.py": CROWD,
    "tests/integration/api/test_described.py": DESCRIBED,
    "tests/integration/conftest.py": DESCRIBED,
    "tests/integration/learning/test_canary_outage.py": OUTAGE,
    "tests/integration/transport/test_rights.py": RIGHTS,
    "tests/integration/up/test_up.py": UP,
    "tests/integration/worker/test_everything.py": EVERYTHING,
    "tests/integration/worker/test_growing.py": GROWING[:1],
    "tests/bench/soak.py": SOAK,
    "tests/integration/operate/test_bench.py": BENCH,
    "tests/integration/releases/test_bad_candidates.py": TRAINER[1:],
    "tests/integration/training/test_trainer_process.py": TRAINER[:1],
    "tests/integration/worker/test_scaling.py": GROWING[1:2],
    "tests/integration/worker/test_soak.py": SOAK,
    "tests/integration/worker/test_traces.py": TRACES,
    "tests/worlds/collector.py": TRACES,
    "tests/strangers/test_while_it_runs.py": GROWING[2:],
    "tests/worlds/": RUNNING,
    "tests/worlds/aftermath.py": EVERYTHING + AWAY,
    "tests/worlds/away.py": AWAY,
    "tests/worlds/bare_image.py": IMAGE,
    "tests/worlds/happenings.py": EVERYTHING,
    "tests/worlds/ledger.py": EVERYTHING + AWAY,
    "tests/worlds/over_http.py": DESCRIBED + CROWD + RIGHTS,
    "tests/worlds/strict.py": RIGHTS,
    "tests/worlds/undisturbed.py": EVERYTHING,
}


def touched(path: str) -> tuple[str, ...]:
    """The drills that a change of the file calls for."""
    prefixes = [prefix for prefix in TOUCHES if path.startswith(prefix)]
    return TOUCHES[max(prefixes, key=len)] if prefixes else ALL


def chosen(paths: Iterable[str]) -> dict[str, str]:
    """For each drill that is to run the first path that calls for it."""
    found: dict[str, str] = {}
    for path in paths:
        for drill in touched(path):
            found.setdefault(drill, path)
    return found


def base_of(given: str | None) -> str | None:
    """The commit that the change is measured from; None where the history does not say."""
    if given is not None:
        return _git("rev-parse", "--verify", "--quiet", f"{given}^{{commit}}")
    newest = _git("log", "-1", "--format=%ct")
    return _git("rev-list", "-1", f"--before={int(newest) - DAY_S}", "HEAD") if newest else None


def _git(*arguments: str) -> str | None:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None if done.returncode == 0 else None


def main(given: str | None = None) -> None:
    """Prints the files of the drills that are to run, nothing where there are none."""
    base = base_of(given)
    if base is None:
        why, since = dict.fromkeys(ALL, "the history does not say what has changed"), ""
    else:
        why, since = (
            chosen((_git("diff", "--name-only", "--no-renames", base, "HEAD") or "").splitlines()),
            f" since {base[:9]}",
        )
    why = {drill: path for drill, path in why.items() if drill not in BY_HAND}
    for drill in ALL:
        reason = f"runs ({why[drill]}{since})" if drill in why else f"does not run: nothing of it{since}"
        if drill in BY_HAND:
            reason = f"is run by hand: make drills ARGS={drill}"
        print(f"drill {drill} {reason}", file=sys.stderr)
    print(*(drill for drill in ALL if drill in why))


if __name__ == "__main__":
    main(*sys.argv[1:2])
