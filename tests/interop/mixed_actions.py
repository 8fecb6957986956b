"""Our runner works on 200 short jobs while the real JobController acts on them at random.

    mixed_actions.py [--seed N] [--replica-set] [--commands]

With --commands the jobs are commands, without a Python in them.

In the end, after everything that was stopped, paused or failed was taken up again: no job is stuck, no attempt was started
twice, no action that the controller reported as done was undone by the runner, and flows, jobs and outputs fit together.
"""

from __future__ import annotations

import argparse
import collections
import json
import logging
import os
import random
import subprocess
import sys
import time
import warnings

warnings.simplefilter("ignore")

import sample_jobs as jobs
from jobflow import Flow, JobConfig, OnMissing
from jobflow_remote import submit_flow
from jobflow_remote.jobs.data import FlowDoc
from jobflow_remote.jobs.jobcontroller import get_flow_leafs
from jobflow_remote.jobs.state import FlowState, JobState
from jobflow_remote.utils.db import FlowLockedError, JobLockedError
from place import LIMIT_S, Place, Project

FLOWS = 25
JOBS_OF_A_FLOW = 8
ACTIONS = 400
# What the controller refuses, in its own words: the job is in the wrong state, or the runner has it in hand.
REFUSALS = (ValueError, JobLockedError, FlowLockedError)
# That it could not cancel a process, which it goes on without.
logging.getLogger("jobflow_remote").setLevel(logging.CRITICAL)


def tree(chance: random.Random, number: int, notes: str) -> Flow:
    """A flow in which each job may have up to two parents."""
    made = []
    for index in range(JOBS_OF_A_FLOW):
        parents = chance.sample(made, min(len(made), chance.choice([0, 1, 1, 2])))
        outputs = [parent.output for parent in parents]
        one = jobs.short_work(notes, f"{number}-{index}", chance.choice([0, 0.1, 0.3, 0.6]), outputs)
        if chance.random() < 0.2:
            one.config = JobConfig(on_missing_references=OnMissing.NONE)
        made.append(one)
    return Flow(made, name=f"tree {number}")


def tree_of_commands(chance: random.Random, number: int) -> dict:
    """The same as a flow file of ours."""
    made = {}
    for index in range(JOBS_OF_A_FLOW):
        parents = chance.sample(list(made), min(len(made), chance.choice([0, 1, 1, 2])))
        made[f"job{index}"] = {"command": ["sleep", str(chance.choice([0, 0.1, 0.3, 0.6]))], "after": parents}
    return {"flow": f"tree {number}", "jobs": made}


def submit(project: Project, chance: random.Random, commands: bool, notes: str) -> None:
    for number in range(FLOWS):
        if not commands:
            submit_flow(tree(chance, number, notes), project=project.name)
            continue
        file = project.place.root / f"tree{number}.json"
        file.write_text(json.dumps(tree_of_commands(chance, number)))
        subprocess.run([os.environ["JF_TEST_JF"], "-p", project.name, "submit", str(file)], check=True, capture_output=True)


class Actor:
    """Does one thing after another and remembers what was promised."""

    def __init__(self, project: Project, chance: random.Random):
        self.controller, self.chance = project.controller, chance
        self.database = project.database_of()
        self.done = collections.Counter()
        self.refused = collections.Counter()
        self.priorities: dict[str, int] = {}
        self.held: dict[str, str] = {}
        self.deleted: set[str] = set()

    def act(self) -> None:
        found = list(self.database["jobs"].find({}, {"db_id": 1, "uuid": 1, "state": 1, "job.hosts": 1}))
        in_work = [job for job in found if job["state"] not in ("COMPLETED", "WAITING")]
        job = self.chance.choice(in_work if in_work and self.chance.random() < 0.7 else found)
        db_id, flow = job["db_id"], job["job"]["hosts"][-1]
        # As often resumed as held back, so that work goes on.
        weights = {"rerun": 4, "rerun_forced": 3, "stop": 3, "pause": 3, "resume": len(self.held) / 4, "retry": 1, "set": 3}
        weights |= {"delete": 0.5, "stop_flow": 0.3}
        name = self.chance.choices(list(weights), list(weights.values()))[0]
        try:
            getattr(self, name)(db_id, flow)
        except REFUSALS as error:
            self.refused[f"{name}: {type(error).__name__}"] += 1
        else:
            self.done[name] += 1

    def forget(self, flow: str) -> None:
        """A forced rerun takes along whatever depends on the job, also what was held."""
        for db_id in self.database["jobs"].distinct("db_id", {"job.hosts": flow}):
            self.held.pop(db_id, None)

    def rerun(self, db_id: str, flow: str) -> None:
        self.controller.rerun_job(db_id=db_id)
        self.held.pop(db_id, None)
        self.forget(flow)

    def rerun_forced(self, db_id: str, flow: str) -> None:
        try:
            self.controller.rerun_job(db_id=db_id, force=True)
        finally:
            self.forget(flow)

    def stop(self, db_id: str, _: str) -> None:
        self.controller.stop_job(db_id=db_id)
        self.held[db_id] = JobState.USER_STOPPED.value

    def pause(self, db_id: str, _: str) -> None:
        self.controller.pause_job(db_id=db_id)
        self.held[db_id] = JobState.PAUSED.value

    def resume(self, db_id: str, _: str) -> None:
        held = list(self.held)
        db_id = self.chance.choice(held) if held else db_id
        self.controller.resume_job(db_id=db_id)
        self.held.pop(db_id, None)

    def retry(self, db_id: str, _: str) -> None:
        self.controller.retry_job(db_id=db_id)

    def set(self, db_id: str, _: str) -> None:
        priority = self.chance.randrange(1, 1000)
        done = self.controller.set_job_run_properties(priority=priority, db_ids=[db_id], raise_on_error=True)
        assert done == [db_id], done
        self.priorities[db_id] = priority

    def delete(self, db_id: str, flow: str) -> None:
        """Only jobs without children: those of the others wait for ever (fault 29 of the peer)."""
        job = self.database["jobs"].find_one({"db_id": db_id})
        if self.database["jobs"].count_documents({"parents": job["uuid"]}):
            raise ValueError("it has children")
        self.controller.delete_job(db_id=db_id)
        self.deleted.add(db_id)
        self.held.pop(db_id, None)

    def stop_flow(self, _: str, flow: str) -> None:
        for db_id in self.database["jobs"].distinct("db_id", {"job.hosts": flow}):
            try:
                self.stop(db_id, flow)
            except REFUSALS:
                pass


def faults_while_held(actor: Actor) -> list[str]:
    """What was stopped or paused stays so until somebody resumes it."""
    found = []
    for db_id, state in actor.held.items():
        job = actor.database["jobs"].find_one({"db_id": db_id})
        if job["state"] != state:
            found.append(f"{describe(job)}: the controller had made it {state}")
    return found


def take_up(actor: Actor) -> None:
    """Resumes and reruns what is stopped, paused or failed, parents first."""
    stuck = {"$in": [state.value for state in (JobState.PAUSED, JobState.STOPPED, JobState.USER_STOPPED)]}
    failed = {"$in": [JobState.FAILED.value, JobState.REMOTE_ERROR.value]}
    for query, action in ((stuck, actor.controller.resume_job), (failed, actor.controller.rerun_job)):
        for db_id in actor.database["jobs"].find({"state": query}).sort("created_on").distinct("db_id"):
            try:
                action(db_id=db_id)
            except REFUSALS as error:
                actor.refused[f"take up: {type(error).__name__}"] += 1


def wait_until_started(project: Project) -> None:
    end = time.monotonic() + LIMIT_S / 10
    while not project.database_of()["jobs"].count_documents({"state": {"$nin": ["READY", "WAITING"]}}):
        assert time.monotonic() < end, f"our runner does nothing:\n{project.log()[-2000:]}"
        time.sleep(0.05)


def wait_until_complete(actor: Actor) -> None:
    end = time.monotonic() + LIMIT_S / 2
    open_jobs = {"state": {"$ne": JobState.COMPLETED.value}}
    while left := list(actor.database["jobs"].find(open_jobs)):
        if time.monotonic() > end:
            lines = "\n".join(f"  {describe(job)}" for job in left[:20])
            sys.exit(f"{len(left)} jobs are stuck:\n{lines}")
        take_up(actor)
        time.sleep(0.2)


def describe(job: dict) -> str:
    ferry = job.get("jobferry") or {}
    events = [f"{entry.get('event')}→{entry.get('state', entry.get('to'))}" for entry in ferry.get("history", [])]
    return f"{job['db_id']} {job['uuid']} {job['state']} lock={job['lock_id']} {job['remote']['error'] or ''} {' '.join(events)}"


def faults_of_flows(project: Project) -> list[str]:
    """Every job's document fits its flow."""
    found = []
    for flow in map(FlowDoc.model_validate, project.database_of()["flows"].find()):
        documents = list(project.database_of()["jobs"].find({"job.hosts": flow.uuid}))
        leafs = get_flow_leafs(documents)
        states = [JobState(document["state"]) for document in documents]
        state = FlowState.from_jobs_states(states, [JobState(leaf["state"]) for leaf in leafs])
        if flow.state != state:
            found.append(f"flow {flow.uuid} is {flow.state}, its jobs say {state}")
        if sorted(flow.jobs) != sorted({document["uuid"] for document in documents}):
            found.append(f"flow {flow.uuid} and its documents name other jobs")
        ids = sorted((document["db_id"], document["uuid"], document["index"]) for document in documents)
        if sorted(tuple(entry) for entry in flow.ids) != ids:
            found.append(f"flow {flow.uuid}: ids {flow.ids}, documents {ids}")
        if flow.lock_id:
            found.append(f"flow {flow.uuid} is locked by {flow.lock_id}")
        found += [f"locked: {describe(document)}" for document in documents if document["lock_id"]]
    outputs = set(project.database_of()["outputs"].distinct("uuid"))
    missing = set(project.database_of()["jobs"].distinct("uuid")) - outputs
    return found + [f"job {uuid} is COMPLETED without an output" for uuid in missing]


def faults_of_starts(path: str) -> list[str]:
    """Each attempt has a token of its own, which the worker notes before the job begins."""
    with open(path) as file:
        starts = collections.Counter(file.read().split())
    print(f"{starts.total()} starts of {len(starts)} attempts", file=sys.stderr)
    return [f"attempt {token} was started {count} times" for token, count in starts.items() if count > 1]


def main() -> int:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments.add_argument("--replica-set", action="store_true")
    arguments.add_argument("--commands", action="store_true")
    asked = arguments.parse_args()
    chance = random.Random(asked.seed)
    print(f"seed {asked.seed}", file=sys.stderr)
    uri = os.environ["JF_TEST_MONGODB_REPLICA_SET_URI"] if asked.replica_set else None
    with Place(uri) as place:
        starts, notes = place.root / "starts", place.root / "notes"
        starts.touch()
        notes.mkdir()
        worker = place.worker("mixed", "local", execution_cmd=place.warm_command(), max_jobs=8)
        worker["pre_run"] += f'\necho "$JF_TOKEN" >> {starts}'
        project = place.project("mixed", {"local": worker})
        submit(project, chance, asked.commands, str(notes))
        runner = project.start_ours()
        actor = Actor(project, chance)
        completed = {"state": JobState.COMPLETED.value}
        wait_until_started(project)
        for _ in range(ACTIONS):
            actor.act()
            # Less than a job takes: so that actions meet every step of one.
            time.sleep(0.01)
        faults = faults_while_held(actor)
        print(f"done: {dict(actor.done)}\nrefused: {dict(actor.refused)}", file=sys.stderr)
        print(f"{actor.database['jobs'].count_documents(completed)} jobs complete after the actions", file=sys.stderr)
        wait_until_complete(actor)
        assert runner.poll() is None, f"our runner ended:\n{project.log()[-3000:]}"
        for db_id, priority in actor.priorities.items():
            job = actor.database["jobs"].find_one({"db_id": db_id})
            if job and job["priority"] != priority:
                faults.append(f"{describe(job)}: priority {job['priority']}, set to {priority}")
        faults += [f"{db_id} was deleted and is there" for db_id in actor.deleted if actor.database["jobs"].find_one({"db_id": db_id})]
        faults += faults_of_flows(project) + faults_of_starts(str(starts))
        print(*faults, sep="\n")
        return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
