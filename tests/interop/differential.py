"""Runs every flow of flows.py with the real jobflow-remote runner and with ours, and says where the databases differ.

    differential.py                    all flows; ours with both ways of running Python on the worker
    differential.py addition detour    some flows
    differential.py --self             jobflow-remote against itself: proves that what is taken out is enough
    differential.py --planted          jobflow-remote against itself with changed documents: proves that changes are found

Ends with 0 when nothing differs but what flows.py lists. Environment: place.py.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from fnmatch import fnmatchcase
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent / "only_where_submitted"))

# The peer's, about its own libraries and about errors that are in the database as well.
warnings.simplefilter("ignore")

from bson import Int64
from flows import CASES, Case
from jobflow.core.flow import get_flow
from jobflow_remote import submit_flow
from normal import snapshot
from place import LIMIT_S, VENV, Place, Project

THEIRS = "theirs"


def workers(place: Place, project: str, executor: str, warm: str) -> dict:
    """The workers of one project. The names are the same in all, the ways of running a job are not."""
    path, limit = f"export PATH={VENV}/bin:$PATH", {}
    if executor == THEIRS:
        command, cold = warm, "jf -fe execution run {}"
    else:
        # The default of our runner, on a worker that has jobflow alone.
        command, cold = None, None
        # Each starts a Python of its own: all at once would not fit into a small machine.
        limit = {"max_jobs": 4}
        path = f"export PATH={Path(os.environ['JF_TEST_PYTHON']).parent}:$PATH"
    made = {}
    for name in ("local", "second", "cold"):
        worker = place.worker(project, name, execution_cmd=cold if name == "cold" else command, **limit)
        worker["pre_run"] += f"\n{path}"
        made[name] = {key: value for key, value in worker.items() if value is not None}
    return made


class Side:
    """One runner on one database."""

    def __init__(self, place: Place, name: str, executor: str, warm: str):
        self.name, self.executor = name, executor
        self.is_theirs = name.startswith(THEIRS)
        self.project: Project = place.project(name, workers(place, name, executor, warm))
        self.runner = None
        self.process = None

    def start(self) -> None:
        if not self.is_theirs:
            self.process = self.project.start_ours("--until-idle")

    def finish(self) -> None:
        if self.is_theirs:
            self.runner = self.project.run_theirs(self.runner)
        else:
            code = self.process.wait(LIMIT_S)
            if code != 0:
                sys.exit(f"our runner ended with {code}:\n{self.project.log()[-5000:]}")


def run(cases: list[Case], sides: list[Side]) -> dict[str, str]:
    """Submits everything to each side and runs it to its end; returns the uuid of each flow."""
    flows = {}
    for later in (False, True):
        chosen = [case for case in cases if bool(case.after) == later]
        if not chosen:
            continue
        for case in chosen:
            # Once: then the ids of the submitted jobs are the same everywhere.
            built = case.build(flows[case.after].jobs[0]) if later else case.build()
            external = case.options.get("allow_external_references", False)
            flows[case.name] = get_flow(built, allow_external_references=external)
            for side in sides:
                submit_flow(flows[case.name], project=side.project.name, **case.options)
        for side in sides:
            side.start()
        for side in sides:
            began = time.monotonic()
            side.finish()
            print(f"{side.name}: {len(chosen)} flows, {time.monotonic() - began:.1f} s", file=sys.stderr)
    return {name: made.uuid for name, made in flows.items()}


def differences(theirs, ours, path: str = ""):
    """Yields the path of each difference and both values."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in [*theirs, *(key for key in ours if key not in theirs)]:
            yield from differences(theirs.get(key, ABSENT), ours.get(key, ABSENT), f"{path}/{key}" if path else key)
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for number, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            yield from differences(one, other, f"{path}/{number}")
    elif type(theirs) is not type(ours) or theirs != ours:
        yield path, theirs, ours


class Absent:
    def __repr__(self):
        return "(nothing)"


ABSENT = Absent()


def shown(value) -> str:
    text = value if isinstance(value, str) and "\n" in value else repr(value)
    text = text if len(text) <= 1200 else f"{text[:600]} … {text[-600:]} ({len(text)} characters)"
    return text.replace("\n", "\n              ")


def differing(case: Case, uuid: str, theirs: Side, ours: Side):
    brief = ours.executor != THEIRS
    before = snapshot(theirs.project, uuid, case.concurrent, brief)
    after = snapshot(ours.project, uuid, case.concurrent, brief)
    return differences(before, after)


def compare(case: Case, uuid: str, theirs: Side, ours: Side) -> list[str]:
    """Returns a text for each difference that is not listed with the flow, and for each listed one that was not met."""
    listed = [] if ours.is_theirs else [d for d in case.differences if fnmatchcase(ours.executor, d.executor)]
    met, told = set(), []
    for path, one, other in differing(case, uuid, theirs, ours):
        wanted = next((d for d in listed if fnmatchcase(path, d.path)), None)
        if wanted:
            met.add(wanted)
        else:
            told.append(f"  {path}\n      theirs: {shown(one)}\n      ours:   {shown(other)}")
    told += [f"  {d.path}: listed as fault {d.fault} of the peer, but nothing differs there" for d in listed if d not in met]
    return told


def report(cases: list[Case], uuids: dict[str, str], theirs: Side, ours: Side) -> int:
    failed = 0
    for case in cases:
        told = compare(case, uuids[case.name], theirs, ours)
        if told:
            failed += 1
            print(f"\n{case.name}: {len(told)} differences between {theirs.name} and {ours.name}", *told, sep="\n")
    print(f"{ours.name}: {len(cases) - failed} of {len(cases)} flows are as {theirs.name} ends them")
    return failed


# One change to one document of a flow: the flow, the collection, how the document is found, the change, the path reported.
PLANTED = [
    ("another_worker", "jobs", {"index": 1}, {"$set": {"priority": Int64(7)}}, "jobs/*.1 add/priority"),
    ("blob", "data", {}, {"$set": {"data.2": 3}}, "blobs/*/data/2"),
    ("detour", "jobs", {"state": "COMPLETED"}, {"$set": {"updated_on": None}}, "jobs/*/updated_on"),
    ("diamond", "jobs", {"parents": {"$size": 2}}, {"$pop": {"parents": 1}}, "jobs/*/parents"),
    ("failing_job", "jobs", {"state": "FAILED"}, {"$set": {"error": "Traceback"}}, "jobs/*/error"),
    ("flow_with_metadata", "flows", {}, {"$set": {"metadata.run": 3.0}}, "flow/metadata/run"),
    ("nested_flows", "jobs", {"job.name": "keep"}, {"$set": {"job.hosts.0": "x"}}, "jobs/*/job/hosts/0"),
    ("replaced_job", "jobs", {"index": 2}, {"$set": {"state": "RUNNING"}}, "jobs/0.2 add/state"),
    ("single_job", "outputs", {}, {"$set": {"output": 6.0}}, "outputs/0.1/output"),
    ("updates_of_metadata", "outputs", {"index": 2}, {"$unset": {"metadata.db_id": ""}}, "outputs/0.2/metadata/db_id"),
]


def planted(uuids: dict[str, str], theirs: Side, other: Side) -> int:
    """Makes each of the changes above and looks whether it, and nothing else, is found; returns how many were not."""
    database = other.project.database_of()
    failed = 0
    for name, collection, query, change, path in PLANTED:
        members = {"$in": database["flows"].find_one({"uuid": uuids[name]})["jobs"]}
        key = {"flows": "uuid", "data": "job_uuid"}.get(collection, "uuid")
        query = query | {key: uuids[name] if collection == "flows" else members}
        assert database[collection].update_one(query, change).modified_count == 1, name
        case = next(case for case in CASES if case.name == name)
        found = [where for where, *_ in differing(case, uuids[name], theirs, other)]
        if not (found and all(fnmatchcase(where, path) for where in found)):
            failed += 1
            print(f"{name}: {path} was changed, found: {found}")
    print(f"{len(PLANTED) - failed} of {len(PLANTED)} planted changes were found")
    return failed


def main() -> int:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("flows", nargs="*")
    arguments.add_argument("--self", action="store_true")
    arguments.add_argument("--planted", action="store_true")
    arguments.add_argument("--executor", choices=["theirs", "ours"], help="only one way of running jobs on the worker")
    asked = arguments.parse_args()
    chosen = {row[0] for row in PLANTED} if asked.planted else set(asked.flows)
    unknown = chosen - {case.name for case in CASES}
    assert not unknown, f"flows.py has no {unknown}"
    cases = [case for case in CASES if not chosen or case.name in chosen]
    needed = {case.after for case in cases} - {None}
    cases = [case for case in CASES if case in cases or case.name in needed]
    with Place() as place:
        warm = place.warm_command()
        theirs = Side(place, THEIRS, THEIRS, warm)
        if asked.self or asked.planted:
            others = [Side(place, "theirs_again", THEIRS, warm)]
        else:
            executors = [asked.executor] if asked.executor else ["theirs", "ours"]
            others = [Side(place, f"ours_{executor}", executor, warm) for executor in executors]
        uuids = run(cases, [theirs, *others])
        if asked.planted:
            return int(planted(uuids, theirs, others[0]) > 0)
        return int(sum(report(cases, uuids, theirs, other) for other in others) > 0)


if __name__ == "__main__":
    sys.exit(main())
