"""What docs/examples has to copy runs as it stands, where its tool is on this machine."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streams.settings import load_settings
from tests.worlds.browser import browser_page, shop
from tests.worlds.places import ROOT

EXAMPLES = ROOT / "docs" / "examples"
SECONDS = 200
ADDRESS = "http://127.0.0.1:8080"  # as the page has it
# What a page's script finds in a browser, for Node: its own fetch, and EventSource from a package of npm.
IN_NODE = """
import {{ EventSource }} from "{eventsource}";
globalThis.EventSource = EventSource;
const {{ Nextclick }} = await import("{script}");
const nextclick = new Nextclick("{url}");
const lists = [];
const end = nextclick.stream("{user}", (made) => lists.push(made), {{ k: 5, fields: "title" }});
const until = async (holds) => {{ while (!holds()) await new Promise((go) => setTimeout(go, 20)); }};
await until(() => lists.length === 1);
const answers = {{ recommendation_id: lists[0].recommendation_id }};
const receipt = await nextclick.click("{user}", "{item}", answers);
const read = await nextclick.recommendations("{user}", {{ k: 5, timeout_ms: 60000 }});
await until(() => lists.some((made) => made.trigger.kind === "click"));
end();
const wrong = await nextclick.recommendations("{user}", {{ k: 0 }}).catch((error) => error);
const {{ status, errors }} = wrong;
console.log(JSON.stringify({{ receipt, read, told: lists.at(-1), status, errors }}));
"""


def ran(over_http: Any, words: list[str], **more: Any) -> str:
    """What a program prints that gets its addresses from the environment."""
    system = over_http.system
    own = {
        "NEXTCLICK_URL": over_http.url, "BOOTSTRAP_SERVERS": system.bootstrap,
        "NEXTCLICK_PREFIX": system.prefix, "TIMEOUT": str(SECONDS),
    }  # fmt: skip
    done = subprocess.run(
        words, env=os.environ | own, capture_output=True, text=True, timeout=SECONDS, check=False, **more
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def needs(tool: str) -> str:
    """Where it is; without it the test is skipped."""
    found = shutil.which(tool)
    if found is None:
        pytest.skip(f"no {tool} on this machine")
    return found


def check(told: dict[str, Any], user: str, item: str) -> None:
    """It is the user's list, and knows the click."""
    assert told["user_id"] == user
    assert len(told["items"]) >= 5
    assert item not in [each["item_id"] for each in told["items"]]


def test_curl(over_http: Any) -> None:
    needs("curl")
    check(json.loads(ran(over_http, ["bash", str(EXAMPLES / "shell.sh"), "shell-1", "50"])), "shell-1", "50")


def test_kcat(over_http: Any) -> None:
    """Alone: no further list is made that would tell kcat to end."""
    needs("kcat")
    check(json.loads(ran(over_http, ["bash", str(EXAMPLES / "kcat.sh"), "kcat-1", "50"])), "kcat-1", "50")


@pytest.mark.parametrize(
    ("package", "script"), [("kafka", "kafka_python.py"), ("confluent_kafka", "confluent.py")]
)
def test_python(over_http: Any, package: str, script: str) -> None:
    pytest.importorskip(package, reason=f"no {package} is installed")
    check(json.loads(ran(over_http, [sys.executable, str(EXAMPLES / script), package, "50"])), package, "50")


def test_node(over_http: Any) -> None:
    said = ran(over_http, [needs("node"), str(EXAMPLES / "node.mjs"), "node-1", "50"])
    read, streamed = map(json.loads, said.splitlines())
    check(read, "node-1", "50")
    check(streamed, "node-1", "50")


@pytest.fixture(scope="session")
def eventsource(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Browsers' EventSource as a package of npm, which Node has not by itself."""
    folder = tmp_path_factory.mktemp("npm")
    words = [
        needs("npm"),
        "install",
        "--silent",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "eventsource@3",
    ]
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("npm does not bring the package eventsource: it takes too long")
    if done.returncode:
        pytest.skip(f"npm does not bring the package eventsource: {done.stderr[:200]}")
    return folder / "node_modules" / "eventsource" / "dist" / "index.js"


def test_a_browsers_script(over_http: Any, eventsource: Path, tmp_path: Path) -> None:
    program = tmp_path / "page.mjs"
    copy = tmp_path / "browser.mjs"  # Node reads a file as a module by its name
    copy.write_text((EXAMPLES / "browser.js").read_text())
    named = {"eventsource": eventsource, "script": copy, "url": over_http.url, "user": "page-1", "item": "50"}
    program.write_text(IN_NODE.format(**named))
    said = json.loads(ran(over_http, [needs("node"), str(program)]))
    assert said["receipt"]["accepted"] == 1
    check(said["read"], "page-1", "50")
    check(said["told"], "page-1", "50")
    assert "fields" in said["told"]["items"][0]
    assert (said["status"], said["errors"][0]["pointer"]) == (422, "/k")


def test_a_page_in_a_browser(over_http: Any, tmp_path: Path) -> None:
    """browser.html as it stands, but for the address: lists come, and a click on an item changes them."""
    shutil.copytree(EXAMPLES, tmp_path / "shop")
    html = tmp_path / "shop" / "browser.html"
    assert html.read_text().count(ADDRESS) == 1
    html.write_text(html.read_text().replace(ADDRESS, over_http.url))
    with shop(tmp_path / "shop") as port, browser_page() as (page, wrong):
        from playwright.sync_api import expect

        patience = SECONDS * 1000
        page.goto(f"http://127.0.0.1:{port}/browser.html")
        lines = page.locator("#list li")
        expect(lines).to_have_count(10, timeout=patience)
        title = lines.first.text_content().partition(": ")[0]
        with page.expect_response(lambda answer: "/v1/clicks" in answer.url) as clicked:
            lines.first.click()
        assert clicked.value.status == 202
        expect(page.locator("#list")).not_to_contain_text(title, timeout=patience)
        expect(lines).to_have_count(10)
    assert wrong == []


def test_java(over_http: Any) -> None:
    jars = sorted(load_settings().cache_dir.glob("kafka-*/*.jar"))
    if not jars:
        pytest.skip("no jars of Kafka in the cache: the broker here is not the embedded one")
    said = ran(
        over_http,
        [
            needs("java"),
            "-cp",
            os.pathsep.join(map(str, jars)),
            str(EXAMPLES / "Nextclick.java"),
            "java-1",
            "50",
        ],
    )
    check(json.loads(said.splitlines()[-1]), "java-1", "50")


def test_each_example_is_listed_and_run() -> None:
    files = {file.name for file in EXAMPLES.iterdir()} - {"README.md", "browser.html"}
    listed = (EXAMPLES / "README.md").read_text()
    mine = Path(__file__).read_text()
    assert [name for name in files if f"({name})" not in listed or f'"{name}"' not in mine] == []
