"""What the Python side sees of our runner and of what it wrote: its daemon, its controller, its stores and its `jf`.

    python_view.py runner     a runner that is at work, ours or theirs
    python_view.py results    what ours left in the database
    python_view.py turns      jobs that one runner has started and the other ends
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

warnings.simplefilter("ignore")

import sample_jobs as jobs
from jobflow import Flow
from jobflow_remote import get_jobstore, submit_flow
from jobflow_remote.jobs.daemon import DaemonManager
from jobflow_remote.jobs.state import FlowState, JobState
from place import LIMIT_S, VENV, Place, Project


def theirs(project: Project, *words: str) -> subprocess.CompletedProcess:
    """The `jf` of jobflow-remote."""
    environment = os.environ | {"COLUMNS": "250", "NO_COLOR": "1", "PYTHONWARNINGS": "ignore"}
    environment |= {"PYTHONPATH": os.path.dirname(__file__), "PATH": f"{VENV}/bin:{os.environ['PATH']}"}
    command = [f"{VENV}/bin/jf", "-p", project.name, *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)


def check(holds: bool, what: str, shown: object = "") -> None:
    global failed
    if not holds:
        failed += 1
        print(f"FAULT: {what}\n{shown}")


failed = 0


def wait_until(condition, what: str):
    end = time.monotonic() + LIMIT_S / 5
    while not (found := condition()):
        assert time.monotonic() < end, f"waited too long until {what}"
        time.sleep(0.05)
    return found


def our_runner_is_seen(project: Project) -> None:
    runner = project.start_ours()
    auxiliary = project.controller.auxiliary
    shown = wait_until(lambda: project.controller.get_running_runner(), "our runner shows itself")
    for name in ("hostname", "user", "daemon_dir", "project_name"):
        check(isinstance(shown[name], str) and shown[name] != "", f"running_runner has no {name}", shown)
    for name in ("start_time", "last_pinged"):
        check(isinstance(shown[name], datetime.datetime), f"running_runner has no {name}", shown)
    check(shown["project_name"] == project.name, "running_runner is of another project", shown)
    pings = wait_until(project.controller.get_runner_pings, "our runner pings")
    wanted = {"daemon_id", "runner_id", "project_name", "hostname", "run_options", "user", "daemon_dir", "time"}
    check(set(pings[-1]) >= wanted, "a ping lacks what the Python side writes", pings[-1])

    for words in (["start"], ["start", "--single"]):
        answer = theirs(project, "runner", *words)
        refused = answer.returncode == 1 and "may be already running" in answer.stdout + answer.stderr
        check(refused, f"their `jf runner {words}` did not refuse to start beside ours", answer)
        if answer.returncode == 0:
            theirs(project, "runner", "shutdown")
    answer = theirs(project, "runner", "info", "--pings")
    text = answer.stdout + answer.stderr
    check(answer.returncode == 0, "their `jf runner info` fails", answer)
    check("Data about running runner in the DB" in text and shown["hostname"] in text, "their `jf runner info` does not show ours", text)
    check("inconsistency" not in text, "their `jf runner info` finds an inconsistency", text)
    answer = theirs(project, "runner", "status")
    check(answer.returncode == 0, "their `jf runner status` fails", answer)
    check(runner.poll() is None, "our runner ended while theirs looked at it", project.log()[-2000:])

    runner.terminate()
    check(runner.wait(30) == 0, "our runner did not end well", project.log()[-2000:])
    gone = auxiliary.find_one({"running_runner": {"$exists": True}})
    check(gone["running_runner"] is None, "our runner left itself in the database", gone)
    check(DaemonManager.from_project(project.controller.project).check_matching_runner() is None, "a runner is still seen")


def their_runner_is_respected(project: Project) -> None:
    """While theirs is shown as running, ours waits and does nothing."""
    shown = {"hostname": "their-host", "user": "them", "daemon_dir": "/their/daemon", "project_name": project.name}
    now = datetime.datetime.now(datetime.timezone.utc)
    shown |= {"start_time": now, "last_pinged": now, "processes_info": None, "mac_address": "", "runner_options": {}}
    selector = {"running_runner": {"$exists": True}}
    project.controller.auxiliary.update_one(selector, {"$set": {"running_runner": shown}})
    submit_flow(jobs.add(1, 2), project=project.name)
    project.start_ours("--until-idle", "--max-seconds", "3").wait(60)
    states = project.database_of()["jobs"].distinct("state")
    check(states == ["READY"], "our runner acted beside theirs", states)
    project.controller.auxiliary.update_one(selector, {"$set": {"running_runner": None}})


def what_we_wrote_is_read(project: Project) -> None:
    first = jobs.add(1, 2)
    blobs = jobs.one_blob(3)
    replaced = jobs.replaced_by_flow(first.output)
    failing = jobs.writes_then_fails()
    flow = Flow([first, replaced, jobs.keep(replaced.output), blobs, failing], name="read again")
    submit_flow(flow, project=project.name)
    code = project.start_ours("--until-idle").wait(LIMIT_S / 2)
    check(code == 0, "our runner did not end well", project.log()[-2000:])

    controller = project.controller
    info = controller.get_job_info(job_id=first.uuid, job_index=1)
    check(info.state == JobState.COMPLETED and info.run_dir and info.run_time is not None, "get_job_info", info)
    document = controller.get_job_doc(job_id=failing.uuid)
    check(document.state == JobState.FAILED and "first line" in document.error, "get_job_doc of a failed job", document.error)
    check(len(controller.get_jobs_doc(flow_ids=[flow.uuid])) == 8, "get_jobs_doc")
    check(controller.get_job_output(job_id=first.uuid) == 3, "get_job_output")
    (flow_info,) = controller.get_flows_info(flow_ids=[flow.uuid])
    check(flow_info.state == FlowState.FAILED and len(flow_info.job_ids) == 8, "get_flows_info", flow_info)
    counts = controller.count_jobs_states([JobState.COMPLETED, JobState.FAILED])
    check((counts.get(JobState.COMPLETED), counts.get(JobState.FAILED)) == (8, 1), "count_jobs_states", counts)
    controller.get_trends([JobState.COMPLETED, JobState.FAILED], interval="days")

    store = get_jobstore(project.name)
    store.connect()
    check(store.get_output(first.uuid) == 3, "get_output")
    check(store.get_output(replaced.uuid) == 6, "get_output of a replaced job")
    check(store.get_output(blobs.uuid, load=True)["big"] == [0, 1, 2], "get_output with blobs", store.get_output(blobs.uuid, load=True))
    check(store.get_output(blobs.uuid, load=False)["small"] == 5, "get_output without blobs")
    store.close()

    readings = [
        (["job", "list"], ["COMPLETED", "FAILED", "store_inputs", "writes_then_fails"]),
        (["job", "list", "-vv"], ["COMPLETED"]),
        (["job", "info", info.db_id], [first.uuid, "COMPLETED"]),
        (["job", "info", "-vv", info.db_id], [first.uuid]),
        (["job", "info", failing.uuid], ["first line", "FAILED"]),
        (["job", "output", info.db_id], ["3"]),
        (["job", "queue-out", failing.uuid], ["the last words of the job"]),
        (["job", "files", "ls", info.db_id], ["jfremote_in.json", "jfremote_out.json"]),
        (["job", "report"], ["Job Summary"]),
        (["flow", "list"], ["read again", "FAILED"]),
        (["flow", "list", "-v"], ["read again"]),
        (["flow", "info", flow.uuid], ["store_inputs", "COMPLETED"]),
        (["flow", "report"], ["Flow Summary"]),
        (["flow", "graph", "-m", flow.uuid], ["flowchart"]),
    ]
    actions = [
        (["job", "rerun", failing.uuid], ["1 jobs modified"]),
        (["job", "files", "delete", info.db_id], []),
        (["flow", "delete", "-y", "--output", "--files", "-fid", flow.uuid], ["Deleted Flow"]),
    ]
    # Each takes a second of imports.
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda reading: theirs(project, *reading[0]), readings))
    answers += [theirs(project, *words) for words, _ in actions]
    for (words, texts), answer in zip(readings + actions, answers, strict=True):
        text = answer.stdout + answer.stderr
        check(answer.returncode == 0 and all(part in text for part in texts), f"their `jf {' '.join(words)}`", text[-3000:])
    left = {name: project.database_of()[name].count_documents({"uuid": {"$in": flow.job_uuids}}) for name in ("jobs", "outputs")}
    check(left == {"jobs": 0, "outputs": 0}, "their deletion left something", left)


def what_theirs_dumps(project: Project) -> None:
    """The `dump` of their `jf` writes whole documents."""
    answer = theirs(project, "job", "dump", "-p", str(project.place.root / "dump.json"))
    check(answer.returncode == 0, "their `jf job dump`", answer)
    documents = json.loads((project.place.root / "dump.json").read_text())
    check(len(documents) == project.database_of()["jobs"].count_documents({}), "their dump has other jobs")


def jobs_change_hands(project: Project, first: str, second: str) -> None:
    """One runner is stopped while a job runs and others wait; the other goes on, and nothing is started twice."""
    notes = project.place.root / f"notes-{project.name}"
    notes.mkdir()
    slow = [jobs.short_work(str(notes), f"slow{number}", 3) for number in range(2)]
    submit_flow(Flow([*slow, jobs.keep([one.output for one in slow])]), project=project.name)
    if first == "theirs":
        environment = os.environ | {"PYTHONWARNINGS": "ignore"}
        runner = project.place.start([f"{VENV}/bin/jf", "-p", project.name, "runner", "run"], f"{project.name}/theirs.out", env=environment)
    else:
        runner = project.start_ours()
    states = project.database_of()["jobs"]
    wait_until(lambda: states.count_documents({"state": "RUNNING"}) == 2 and len(list(notes.iterdir())) == 2, "both jobs run")
    runner.terminate()
    runner.wait(60)
    check(states.count_documents({"state": "RUNNING"}) == 2, f"the jobs ended before {first} did")
    if second == "theirs":
        project.run_theirs()
    else:
        code = project.start_ours("--until-idle").wait(LIMIT_S / 2)
        check(code == 0, "our runner did not end well", project.log()[-2000:])
    found = list(states.find({}, {"state": 1, "error": 1, "remote": 1}))
    check([job["state"] for job in found] == ["COMPLETED"] * 3, f"from {first} to {second}: not all is complete", found)
    starts = {file.name: len([line for line in file.read_text().splitlines() if not line.startswith("end")]) for file in notes.iterdir()}
    check(starts == {"slow0": 1, "slow1": 1}, f"from {first} to {second}: starts", starts)


def main() -> int:
    with Place() as place:

        def project(name: str) -> Project:
            return place.project(name, {"local": place.worker(name, "local", execution_cmd=warm)})

        warm = place.warm_command()
        if sys.argv[1] == "runner":
            our_runner_is_seen(project("seen"))
            their_runner_is_respected(project("respected"))
        elif sys.argv[1] == "turns":
            jobs_change_hands(project("theirs_ours"), "theirs", "ours")
            jobs_change_hands(project("ours_theirs"), "ours", "theirs")
        else:
            read = project("read")
            submit_flow(jobs.add(2, 3), project=read.name)
            what_we_wrote_is_read(read)
            what_theirs_dumps(read)
    print(f"{failed} faults")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
