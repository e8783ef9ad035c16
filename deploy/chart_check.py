"""The chart, rendered for each example of values: what Kubernetes, KEDA and Prometheus would say to it.

Owns which schemas are asked. How helm and the others come here is `deploy.tools`'.
"""

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from deploy.tools import INSTALL_SECONDS, KEDA, ROOT, Wrong, by_tools, found, run, tool
from streams.figures.table import METRICS
from streams.operate import sizing
from streams.operate.chart_values import Values, as_yaml, chart_values
from streams.settings import Settings

CHART = ROOT / "deploy" / "chart"
KUBERNETES = ("1.30.0", "1.35.0")  # of the versions that the chart is for, an old and a new one
NOT_OURS = re.compile(r"AWS_\w+")
LARGE = sizing.Load(clicks=3_000, items=1_000_000, users=5_000_000, reads=5_000)

# Prints what the manifests of a file give to processes by ConfigMaps, and what KEDA asks Prometheus.
READ = """
import json, sys, jsonschema, yaml

def strict(schema):  # Kubernetes drops fields that a schema does not name, and says nothing
    if isinstance(schema, dict):
        if "properties" in schema and "x-kubernetes-preserve-unknown-fields" not in schema:
            schema.setdefault("additionalProperties", False)
        return {name: strict(each) for name, each in schema.items()}
    return [strict(each) for each in schema] if isinstance(schema, list) else schema

schema, told = json.load(sys.stdin), {"settings": {}, "queries": [], "workers": {}}
for each in yaml.safe_load_all(open(sys.argv[1])):
    if each and each["kind"] == "StatefulSet" and each["metadata"]["name"].endswith("worker"):
        (container,) = each["spec"]["template"]["spec"]["containers"]
        told["workers"] = {"replicas": each["spec"].get("replicas"), "resources": container["resources"]}
    if each and each["kind"] == "ConfigMap":
        told["settings"] |= each["data"]
    if each and each["kind"] == "ScaledObject":
        told["queries"] += [trigger["metadata"]["query"] for trigger in each["spec"]["triggers"]]
        if schema:
            jsonschema.validate(each, strict(schema))
print(json.dumps(told))
"""


def chart() -> str:
    """Lints and renders; returns what has been looked at. Raises Missing and Wrong."""
    helm, validate, rendered = tool("helm"), tool("kubernetes-validate"), 0
    schema, values = keda(), planned_values(LARGE)
    with tempfile.TemporaryDirectory() as folder:
        planned, made = Path(folder, "planned.yaml"), Path(folder, "made.yaml")
        planned.write_text("\n".join(as_yaml(values)))
        examples = [[file] for file in sorted((CHART / "ci").glob("*.yaml"))]
        for files in (*examples, [CHART / "ci" / "plain.yaml", planned]):
            given = [word for file in files for word in ("--values", file)]
            run(helm, "lint", "--strict", "--quiet", CHART, *given, "--kube-version", KUBERNETES[0])
            for version in KUBERNETES:
                command = (helm, "template", "shop", CHART, "--namespace", "shop", "--kube-version", version)
                made.write_text(run(*command, *given))
                run(validate, "--strict", "--no-warn", "-k", version.rpartition(".")[0], made)
                told = json.loads(by_tools(READ, made, told=json.dumps(schema)))
                fitting_settings(told["settings"])
                known_metrics(told["queries"])
                if planned in files:
                    keeps_to(values, told["workers"])
                rendered += 1
    known = "Kubernetes' schemas and KEDA's" if schema else "Kubernetes' schemas (KEDA's cannot be had here)"
    return f"helm renders {rendered} times what passes {known}"


def planned_values(load: sizing.Load) -> Values:
    """The values that `nextclick plan --values` prints for a load, by the constants of the package."""
    constants = sizing.known_constants(Path("nowhere"))
    return chart_values(sizing.plan(load, Settings(), constants), constants, load.replication)


def keeps_to(values: Values, workers: Mapping[str, Any]) -> None:
    """Raises Wrong if the workers that are rendered are not those of the plan."""
    if workers != {name: values["worker"][name] for name in ("replicas", "resources")}:
        raise Wrong(f"planned: {values['worker']}\nrendered: {workers}")


def keda() -> dict[str, Any] | None:
    """The schema of a ScaledObject; None where KEDA's module cannot be had."""
    if not found("go"):
        return None
    read = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))"
    try:
        module = json.loads(run("go", "mod", "download", "-json", KEDA, seconds=INSTALL_SECONDS))
        file = Path(module["Dir"]) / "config" / "crd" / "bases" / "keda.sh_scaledobjects.yaml"
        definition = json.loads(by_tools(read, file))
    except (Wrong, OSError, KeyError):
        return None
    schema: dict[str, Any] = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def fitting_settings(variables: Mapping[str, str]) -> None:
    """Raises Wrong if a process would refuse these variables; a file stands in for each secret."""
    with tempfile.NamedTemporaryFile() as secret:
        values = {
            name.removeprefix("NEXTCLICK_").lower(): secret.name if value.startswith("/secrets/") else value
            for name, value in variables.items()
            if not NOT_OURS.fullmatch(name)
        }
        try:
            Settings(**values)
        except ValidationError as error:
            raise Wrong(f"a process would refuse what the chart sets: {error}") from None


def known_metrics(queries: list[str]) -> None:
    """Raises Wrong if Prometheus cannot read a query, or nobody tells what it asks for."""
    named = set(re.findall(r"nextclick_\w+", "\n".join(queries)))
    if unknown := {re.sub(r"_bucket$", "", name) for name in named} - METRICS.keys():
        raise Wrong(f"the chart asks for metrics that nobody tells: {', '.join(sorted(unknown))}")
    if queries and (promtool := found("promtool")):
        listed = [{"record": f"asked:{at}", "expr": query} for at, query in enumerate(queries)]
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
            json.dump({"groups": [{"name": "asked", "rules": listed}]}, file)
            file.flush()
            run(promtool, "check", "rules", file.name)
