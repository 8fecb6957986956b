"""The real JobController takes running jobs away from our runner: their processes end, and nothing is started twice.

    taken_away.py [--replica-set]

Its own cancel reaches one process at the most, never what that has started. Then the locks of its tools: what they hold, our
`jf` leaves alone, says who holds it, and waits for it when it is told to.
"""

from __future__ import annotations

import collections
import json
import logging
import os
import signal
import subprocess
import sys
import time
import warnings

warnings.simplefilter("ignore")

from jobflow_remote.utils.db import JobLockedError
from place import Place, Project

NAMES = ("stopped", "again", "deleted", "kept")
# The peer says that it could not cancel.
logging.getLogger("jobflow_remote").setLevel(logging.CRITICAL)
LIMIT_S = 60


def until(what: str, holds, project: Project) -> None:
    end = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < end, f"not within {LIMIT_S} s: {what}\n{project.log()[-3000:]}"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(") ", 1)[1][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def jf(project: Project, *words: str) -> subprocess.CompletedProcess:
    command = [os.environ["JF_TEST_JF"], "-p", project.name, *words]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def started(path) -> dict[str, int]:
    """The pid of each attempt by its token; each attempt starts once."""
    lines = [line.split() for line in path.read_text().splitlines()]
    counts = collections.Counter(token for token, _ in lines)
    assert set(counts.values()) <= {1}, counts
    return {token: int(pid) for token, pid in lines}


def submit(project: Project, starts) -> None:
    # The child of the shell is what has to end; on its second attempt a job ends by itself.
    sleep = f'echo "$JF_TOKEN $$" >> {starts}; case $JF_TOKEN in *_1) sleep 600; echo over ;; esac'
    jobs = {name: {"shell": sleep} for name in NAMES}
    file = project.place.root / "flow.json"
    file.write_text(json.dumps({"flow": "taken", "jobs": jobs}))
    done = jf(project, "submit", str(file))
    assert done.returncode == 0, done.stderr


def take_away(project: Project, starts) -> None:
    documents = project.database_of()["jobs"]
    state = lambda name: (documents.find_one({"job.name": name}) or {}).get("state")
    until("all jobs run", lambda: all(state(name) == "RUNNING" for name in NAMES), project)
    until("all jobs have said so", lambda: len(starts.read_text().splitlines()) == len(NAMES), project)
    uuids = {name: documents.find_one({"job.name": name})["uuid"] for name in NAMES}
    db_ids = {name: documents.find_one({"job.name": name})["db_id"] for name in NAMES}
    first = {name: started(starts)[f"{uuids[name]}_1_1"] for name in NAMES}
    children = {name: int(subprocess.check_output(["pgrep", "-P", str(first[name])], text=True).split()[0]) for name in NAMES}

    project.controller.stop_job(db_id=db_ids["stopped"])
    project.controller.rerun_job(db_id=db_ids["again"])
    project.controller.delete_job(db_id=db_ids["deleted"])
    for name in ("stopped", "again", "deleted"):
        until(f"the processes of {name} end", lambda: not is_alive(first[name]) and not is_alive(children[name]), project)
    assert is_alive(first["kept"]) and is_alive(children["kept"]), "a job that nobody took away was ended"
    until("the job that is run again completes", lambda: state("again") == "COMPLETED", project)
    assert set(started(starts)) == {f"{uuids[name]}_1_1" for name in NAMES} | {f"{uuids['again']}_1_2"}
    assert state("stopped") == "USER_STOPPED" and state("deleted") is None

    done = jf(project, "job", "stop", db_ids["kept"])
    assert done.returncode == 0, done.stderr
    until("the last process ends", lambda: not is_alive(first["kept"]) and not is_alive(children["kept"]), project)
    left = lambda: project.database_of()["jf_auxiliary"].count_documents({"jobferry_cancel": {"$exists": True}})
    until("no order is left", lambda: left() == 0, project)


def locks(project: Project) -> None:
    documents = project.database_of()["jobs"]
    db_id = documents.find_one({"job.name": "stopped"})["db_id"]
    with project.controller.lock_job(filter={"db_id": db_id}, get_locked_doc=True) as lock:
        assert lock.locked_document
        refused = jf(project, "job", "resume", db_id)
        expected = f"Job with db_id {db_id} is locked with lock_id {lock.locked_document['lock_id']} since 20"
        assert refused.returncode == 1 and expected in refused.stderr, refused
        waiting = subprocess.Popen(
            [os.environ["JF_TEST_JF"], "-p", project.name, "job", "resume", db_id, "--wait", "30"], stdout=subprocess.DEVNULL
        )
        time.sleep(1.5)
        assert waiting.poll() is None, "it does not wait"
        assert documents.find_one({"db_id": db_id})["state"] == "USER_STOPPED"
    assert waiting.wait(30) == 0
    # What our tools hold for a moment on a server without transactions looks like this to theirs.
    documents.update_one({"db_id": db_id}, {"$set": {"lock_id": "ours", "jobferry_lock": {"id": "ours"}}})
    try:
        project.controller.pause_job(db_id=db_id)
    except JobLockedError as error:
        assert "ours" in str(error)
    else:
        raise AssertionError("it was paused although it was locked")


def main() -> int:
    uri = os.environ["JF_TEST_MONGODB_REPLICA_SET_URI"] if "--replica-set" in sys.argv else None
    with Place(uri) as place:
        starts = place.root / "starts"
        starts.touch()
        project = place.project("taken", {"local": place.worker("taken", "local")})
        submit(project, starts)
        runner = project.start_ours()
        try:
            take_away(project, starts)
            assert runner.poll() is None, f"our runner ended:\n{project.log()[-3000:]}"
            runner.terminate()
            runner.wait(60)
            locks(project)
        finally:
            for pid in started(starts).values():
                if is_alive(pid):
                    os.kill(pid, signal.SIGKILL)
    return 0


if __name__ == "__main__":
    sys.exit(main())
