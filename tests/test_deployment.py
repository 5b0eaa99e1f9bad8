"""What nothing here can run (images, Prometheus, Grafana) agrees with the settings, the commands and the documents."""

import json
import re
import tomllib

import pytest
import yaml
from prometheus_client import REGISTRY

from recto.cli import cli
from recto.settings import Settings

from .conftest import ROOT

DOCUMENTS = "\n".join(path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")))
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
# By name: whether it is set, and to what.
ENV_EXAMPLE = {
    name: (not commented, value.strip('"'))
    for commented, name, value in re.findall(
        r"^(# )?([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE
    )
}
OURS = {name: service for name, service in COMPOSE["services"].items() if service.get("image") == "recto"}


def test_the_example_of_an_environment_has_all_settings_and_their_defaults():
    interpolated = set(re.findall(r"\$\{(\w+)", (ROOT / "compose.yaml").read_text()))
    assert ENV_EXAMPLE.keys() == {name.upper() for name in Settings.model_fields} | interpolated
    for name, (is_set, value) in ENV_EXAMPLE.items():
        field = Settings.model_fields.get(name.lower())
        if is_set or field is None:
            continue
        assert not field.is_required(), name
        assert value == "" or str(field.default).lower() == value.lower(), name
    required = {name.upper() for name, field in Settings.model_fields.items() if field.is_required()}
    assert required <= {name for name, (is_set, _) in ENV_EXAMPLE.items() if is_set}


def test_what_the_containers_run_are_commands_that_the_documents_name():
    commands = [json.loads(command) for command in re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)]
    commands += [service["command"] for service in OURS.values() if "command" in service]
    assert len(commands) == 3
    for program, name, *options in commands:
        assert program == "recto"
        assert cli.commands[name].make_context(name, list(options))
        assert re.search(rf"\b{' '.join([program, name, *options[:1]])}\b", DOCUMENTS.replace("[", "")), name
    assert " ".join(OURS["worker"]["command"]) in DOCUMENTS


def test_the_containers_settings_exist_and_their_services_wait_for_each_other():
    for service in OURS.values():
        assert {name.lower() for name in service["environment"]} <= Settings.model_fields.keys()
        assert set(service["depends_on"]) <= COMPOSE["services"].keys()
    assert OURS["web"]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}


def test_containers_have_as_long_to_stop_as_systemd_gives():
    periods = [OURS[name]["stop_grace_period"] for name in ("web", "worker")]
    assert periods == [f"{seconds}s" for seconds in re.findall(r"^TimeoutStopSec=(\d+)$", DOCUMENTS, re.MULTILINE)]


def test_the_image_is_slim_not_roots_and_says_whether_it_lives():
    build, run = DOCKERFILE.split("FROM ")[1:]
    assert run.startswith(f"{build.split()[0]}-slim\n")
    assert not re.search(r"\b(pip|apt-get|make|gcc)\b", run)
    assert 0 < run.index("USER recto") < run.index("\nCMD")
    assert "HEALTHCHECK" in run
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    tested = workflow["jobs"]["all"]["strategy"]["matrix"]["python"]
    assert build.split()[0].removeprefix("python:") in tested
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    promised = [name.rpartition(" ")[2] for name in pyproject["classifiers"] if ":: Python ::" in name]
    assert (tested[0], tested[-1]) == (promised[0], promised[-1])
    assert pyproject["requires-python"] == f">={tested[0]}"


def test_nginx_is_set_up_as_the_documents_say():
    def directives(text):
        return set(re.findall(r"^ *([^#\n]*;)", text, re.MULTILINE))

    documented = directives(re.search(r"```nginx\n(.*?)```", DOCUMENTS, re.DOTALL)[1])
    ours = directives((ROOT / "deploy/nginx.conf").read_text())
    assert documented - ours == {"listen 443 ssl;", "server_name cards.example.org;", "server 127.0.0.1:8000;"}
    assert ours - documented == {
        "listen 80;",
        "resolver 127.0.0.11 valid=10s;",
        "server web:8000 resolve;",
        "zone recto 64k;",
    }


def expressions(name):
    if name == "grafana.json":
        board = json.loads((ROOT / "deploy" / name).read_text())
        return [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    (group,) = yaml.safe_load((ROOT / "deploy" / name).read_text())["groups"]
    return [rule["expr"] for rule in group["rules"]]


@pytest.mark.parametrize("name", ["grafana.json", "alerts.yml"])
def test_metrics_that_are_looked_at_exist_with_their_labels(client, name):
    exposed = set()
    for family, kind in re.findall(r"^# TYPE (\w+) (\w+)$", client.get("/metrics").text, re.MULTILINE):
        exposed |= {f"{family}{end}" for end in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",))}
    for expression in expressions(name):
        metrics = set(re.findall(r"\brecto_\w+", expression))
        assert metrics <= exposed, expression
        collectors = [REGISTRY._names_to_collectors[metric] for metric in metrics & set(REGISTRY._names_to_collectors)]
        labels = {"le", "job"}.union(*(collector._labelnames for collector in collectors))
        used = re.findall(r'(\w+)(?:=|!=|=~|!~)"', expression)
        for grouped in re.findall(r"by \(([^)]*)\)", expression):
            used += grouped.split(", ")
        assert set(used) <= labels, expression


def test_hooks_and_workflows_call_what_there_is():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    makefile = (ROOT / "Makefile").read_text()
    for hook in hooks:
        program, target = hook["entry"].split()
        assert program == "make"
        assert f"\n{target}:" in makefile
    assert [step["run"] for step in jobs["all"]["steps"] if "run" in step] == [".ci/run"]
    assert (ROOT / ".ci/run").stat().st_mode & 0o100


def test_the_notice_names_every_file_with_a_copyright_of_others():
    notice = (ROOT / "NOTICE").read_text()
    files = [path for folder in ("src", "sql") for path in (ROOT / folder).rglob("*.*") if path.suffix != ".pyc"]
    assert len(files) > 100
    theirs = [path for path in files if path.is_file() and b"Copyright" in path.read_bytes()]
    assert theirs
    for path in theirs:
        assert f"\n{path.relative_to(ROOT)}\n" in notice
