"""`jf admin` and `jf backup` of both programs on the same databases: what one wrote, the other reads.

Ends with 0 when all holds. Environment: place.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from datetime import datetime, timezone
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent / "only_where_submitted"))
warnings.simplefilter("ignore")

from jobflow import Flow
from jobflow_remote import submit_flow
from place import VENV, Place, Project
from sample_jobs import add

OURS, THEIRS = os.environ["JF_TEST_JF"], str(VENV / "bin" / "jf")
COLLECTIONS = ["jobs", "flows", "batches", "jf_auxiliary"]


def run(program: str, project: Project, *arguments: str, typed: str = "", code: int = 0) -> str:
    """Runs one of the two programs; what it said, on both streams."""
    command = [program, "-p", project.name, *arguments]
    done = subprocess.run(command, input=typed, capture_output=True, text=True, timeout=300, cwd=project.place.root, env=os.environ | {"COLUMNS": "1000"})
    said = done.stdout + done.stderr
    assert done.returncode == code, f"{command} ended with {done.returncode}:\n{said}"
    return " ".join(said.split())


def documents(project: Project) -> dict:
    """Everything in the queue's database but what is about this database alone."""
    ours = {"_id": {"$ne": "jobferry_schema"}}
    found = {name: sorted(project.database_of()[name].find(ours), key=lambda document: str(document["_id"])) for name in COLLECTIONS}
    # The Python side leaves both behind, empty, where it once held a lock; its own backup does.
    for document in found["jf_auxiliary"]:
        for field in ("lock_id", "lock_time"):
            if field in document and document[field] is None:
                del document[field]
    return found


def submit(project: Project) -> None:
    for number in range(3):
        first = add(number, 1)
        flow = Flow([first, add(first.output, 2)], name=f"flow {number}")
        submit_flow(flow, project=project.name, worker="w", resources={"nodes": number, "big": 5_000_000_000}, priority=number)
    batches = [{"batch_uid": f"uid-{number}", "batch_state": "FINISHED", "worker": "w", "jobs": [["1", "x", 1]]} for number in range(2)]
    project.database_of()["batches"].insert_many(batches)
    project.database_of()["jobs"].update_one({"db_id": "2"}, {"$set": {"lock_id": "somebody", "lock_time": datetime.now(timezone.utc)}})


def check_backups(place: Place, new) -> None:
    source = new("source")
    submit(source)
    before = documents(source)
    for compress in ([], ["-c"]):
        folder = place.root / f"saved{len(compress)}"
        said = run(OURS, source, "backup", "create", str(folder / "ours"), *compress)
        assert "Backup created in" in said and "jobs collection: 6 documents" in said, said
        assert "batches collection: 2 documents" in said and "jf_auxiliary collection: 4 documents" in said, said
        said = run(THEIRS, source, "backup", "create", str(folder / "theirs"), "--python", *compress)
        assert "jobs collection: 6 documents" in said, said
        # Concatenated documents in the order of the collection: the very same bytes.
        if not compress:
            for name in ("jobs", "flows", "batches"):
                ours, theirs = ((folder / who / source.database / f"{name}.bson").read_bytes() for who in ("ours", "theirs"))
                assert ours == theirs, f"{name}.bson differs"
        for program, maker in ((THEIRS, "ours"), (OURS, "theirs"), (OURS, "ours")):
            target = new(f"{Path(program).parent.name}-{maker}-{len(compress)}")
            options = ["--python"] if program == THEIRS else []
            said = run(program, target, "backup", "restore", str(folder / maker / source.database), *options)
            assert "Backup restored" in said, said
            after = documents(target)
            differing = [pair for name in COLLECTIONS for pair in zip(before[name], after[name]) if pair[0] != pair[1]]
            assert after == before, f"{maker} restored by {program}: {differing}"
            run(program, target, "backup", "restore", str(folder / maker / source.database), *options, code=1)
            info = target.controller.get_jobs_info(db_ids=["6"])
            assert len(info) == 1 and target.controller.get_flows_info(job_ids=info[0].uuid)
            submit_flow(Flow([add(1, 1)]), project=target.name, worker="w")
            assert target.controller.count_jobs(db_ids=["7"]) == 1, "the counter goes on"


def check_locks(place: Place, new) -> None:
    project = new("locks")
    submit(project)
    database = project.database_of()
    held = {"$set": {"lock_id": "somebody", "lock_time": datetime.now(timezone.utc)}}
    database["jobs"].update_one({"db_id": "4"}, held)
    database["flows"].update_many({}, held)
    database["jf_auxiliary"].update_one({"running_runner": {"$exists": True}}, held)
    assert "2 jobs would be unlocked" in run(OURS, project, "admin", "unlock", "--dry-run")
    run(OURS, project, "admin", "unlock", typed="n\n")
    assert database["jobs"].count_documents({"lock_id": {"$ne": None}}) == 2
    assert "1 jobs were unlocked" in run(OURS, project, "admin", "unlock", "-did", "4", typed="y\n")
    assert "1 jobs were unlocked" in run(OURS, project, "admin", "unlock", "-y")
    assert "1 flows were unlocked" in run(OURS, project, "admin", "unlock-flow", "-did", "3", "-y")
    assert "2 flows were unlocked" in run(OURS, project, "admin", "unlock-flow", typed="y\n")
    assert "The runner document has been unlocked" in run(OURS, project, "admin", "unlock-runner")
    assert "was not locked. Nothing changed." in run(OURS, project, "admin", "unlock-runner")
    for name in COLLECTIONS:
        assert database[name].count_documents({"lock_id": {"$ne": None}}) == 0, name


def check_reset(place: Place, new) -> None:
    project = new("reset")
    submit(project)
    database = project.database_of()
    indexes = {name: set(database[name].index_information()) for name in ("jobs", "flows", "batches")}
    database["jf_auxiliary"].update_one({"running_runner": {"$exists": True}}, {"$set": {"running_runner": {"hostname": "elsewhere"}}})
    assert "a runner acts on the store" in run(OURS, project, "admin", "reset", "-y", code=1)
    assert database["jobs"].count_documents({}) == 6
    database["jf_auxiliary"].update_one({"running_runner": {"$exists": True}}, {"$set": {"running_runner": None}})
    assert "The database was reset" in run(OURS, project, "admin", "reset", "-o", typed="y\n")
    for name in ("jobs", "flows", "batches", "outputs"):
        assert database[name].count_documents({}) == 0, name
    for name, known in indexes.items():
        assert known <= set(database[name].index_information()), name
    assert database["jf_auxiliary"].count_documents({"_id": {"$ne": "jobferry_schema"}}) == 4
    submit(project)
    assert project.controller.count_jobs(db_ids=["1"]) == 1


def check_indexes(place: Place, new) -> None:
    project = new("indexes")
    run(OURS, project, "job", "list")
    database = project.database_of()
    standard = set(database["jobs"].index_information())
    said = run(THEIRS, project, "admin", "index", "rebuild", "-fg")
    assert len(database["jobs"].index_information()) == 11, said
    assert "Index created" in run(OURS, project, "admin", "index", "create", "job.metadata.x", "desc", "-c", "jobs", "-fg")
    assert "job.metadata.x_-1" in database["jobs"].index_information()
    assert "Index created" in run(OURS, project, "admin", "index", "create", "metadata.y", "-c", "flows", "-u")
    assert database["flows"].index_information()["metadata.y_1"]["unique"]
    assert "Indexes rebuilt" in run(OURS, project, "admin", "index", "rebuild", "-fg")
    assert set(database["jobs"].index_information()) == standard
    assert "metadata.y_1" not in database["flows"].index_information()


def make_old(project: Project) -> None:
    database = project.database_of()
    database["jobs"].update_many({"db_id": {"$in": ["1", "3"]}}, {"$set": {"state": "TERMINATED"}})
    database["jobs"].update_one({"db_id": "5"}, {"$set": {"state": "REMOTE_ERROR", "previous_state": "TERMINATED"}})
    auxiliary = database["jf_auxiliary"]
    auxiliary.delete_one({"running_runner": {"$exists": True}})
    auxiliary.update_one({"jobflow_remote_version": {"$exists": True}}, {"$set": {"jobflow_remote_version": "0.1.4"}})
    auxiliary.insert_one({"batch_processes": {"w": {"12": "uid"}}})


def check_upgrade(place: Place, new) -> None:
    ours, theirs = new("upgraded-by-ours"), new("upgraded-by-theirs")
    for project in (ours, theirs):
        submit(project)
        make_old(project)
    said = run(OURS, ours, "admin", "upgrade", "--dry-run")
    for part in ("is at version 0.1.4", "of 2 jobs from TERMINATED", "state of 1 jobs", "delete 1 document", "to 1.0.1"):
        assert part in said, f"{part}: {said}"
    assert "1 batch processes of an older release are not over" in run(OURS, ours, "admin", "upgrade", typed=f"{ours.name}\n", code=1)
    assert ours.controller.jobs.count_documents({"state": "TERMINATED"}) == 2
    run(OURS, ours, "admin", "upgrade", "-f", typed="another\n", code=1)
    assert ours.controller.jobs.count_documents({"state": "TERMINATED"}) == 2
    said = run(OURS, ours, "admin", "upgrade", "-f", typed=f"{ours.name}\n")
    assert "The database has been upgraded" in said, said
    said = run(THEIRS, theirs, "admin", "upgrade", "-f", typed=f"{theirs.name}\n")
    assert "The database has been upgraded" in said, said
    fields = {"_id": 0, "db_id": 1, "state": 1, "previous_state": 1}
    states = [list(project.controller.jobs.find({}, fields, sort=[("db_id", 1)])) for project in (ours, theirs)]
    assert states[0] == states[1], states
    for project in (ours, theirs):
        auxiliary = project.database_of()["jf_auxiliary"]
        kinds = sorted(next(iter(set(document) - {"_id", "lock_id", "lock_time"})) for document in auxiliary.find({}, {"full_environment": 0, "jobflow_version": 0, "jobferry_schema": 0}) if len(document) > 1)
        assert kinds == ["jobflow_remote_version", "next_id", "runner_pings", "running_runner"], kinds
    assert str(ours.controller.get_current_db_version()) == "1.0.1"
    assert "No upgrade required" in run(THEIRS, ours, "admin", "upgrade")
    assert "No upgrade required" in run(OURS, theirs, "admin", "upgrade")


def main() -> int:
    with Place() as place:

        def new(name: str) -> Project:
            return place.project(name, {"w": place.worker(name, "w")})

        for check in (check_backups, check_locks, check_reset, check_indexes, check_upgrade):
            check(place, new)
            print(f"{check.__name__}: holds", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
