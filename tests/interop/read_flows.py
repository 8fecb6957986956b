"""What jobflow-remote makes of serialized flows and of responses, for a comparison with what we make of them.

Every flow of flows.py, and some more, is serialized, submitted, and run job by job in this process, without a runner. Each
line of the output is one BSON document in hexadecimal:

    {"case", "text", "given": {worker, priority, exec_config, resources}, "external": bool, "exact": bool,
     "flow": <flow document>, "jobs": [<job documents, by db_id>]}                       one for each flow
    {"case", "job": <job document before>, "text": <jfremote_out.json>, "exact": bool, "new": [<job documents>],
     "after": <job document after>, "children": [{"before": [parents], "after": [parents]}]}   for each job

`exact` is false where jobflow goes through Python sets, so that the order of jobs differs from run to run.
"""

from __future__ import annotations

import io
import json
import sys
import warnings
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent / "only_where_submitted"))
# About the libraries of the peer.
warnings.simplefilter("ignore")

import bson
import flows
import networkx
import sample_jobs as jobs
from jobflow import Flow
from jobflow_remote import submit_flow
from jobflow_remote.jobs.run import run_remote_job
from jobflow_remote.remote.data import get_remote_in_file, get_remote_store, resolve_job_dict_args
from monty.json import MontyEncoder
from place import Place


@flows.flow()
def more_parts():
    """Parts that are not connected, given in each other's midst."""
    a, b = jobs.add(1, 1), jobs.add(2, 2)
    return [a, b, jobs.add(a.output, 1), jobs.add(b.output, 1), jobs.add(3, 3)]


@flows.flow()
def more_nesting():
    """Linear flows in each other, and a child that stands before its parent."""
    late = jobs.add(5, 5)
    early = jobs.keep(late.output)
    inner = Flow([Flow([early, late]), jobs.add(1, 2)], order="linear", name="inner")
    return Flow([jobs.add(0, 0), inner, Flow([jobs.add(3, 3), jobs.add(4, 4)], metadata={"k": 1})], order="linear")


@flows.flow()
def more_generations():
    a = jobs.add(1, 1)
    c = jobs.add(a.output, 1)
    d = jobs.add(c.output, 1)
    b = jobs.add(2, 2)
    return [a, c, d, b, jobs.keep(b.output, [d.output]), jobs.keep(a.output)]


@flows.flow(resources={"processes": 2, "scheduler_kwargs": {"x": 1}})
def more_resources():
    kinds = [
        {},
        {"nodes": 1, "processes_per_node": 2},
        {"nodes": 2},
        {"job_name": "x", "error_filepath": "e"},
        {"nodes": 2, "process_placement": "SCATTERED"},
        {"ntasks": 4},
        {"processes": 0, "nodes": None},
        {"account": "x"},
    ]
    made = [jobs.add(1, 1) for _ in kinds]
    for job, resources in zip(made, kinds):
        job.update_config({"manager_config": {"resources": resources, "priority": 0}})
    return Flow(made)


def is_exact(flow: Flow) -> bool:
    """Whether nothing in the order of the flow's jobs is left to Python's sets."""
    graph = flow.graph
    sizes = [len(part) for part in networkx.weakly_connected_components(graph)]
    seen: set[str] = set()
    for job in in_order_of_the_text(flow):
        seen.add(job.uuid)
        new = set(job.input_uuids) - seen
        if len(new) > 1:
            return False
        seen |= new
    return all(size == 1 or 2 * size >= len(graph) for size in sizes)


def in_order_of_the_text(flow):
    for part in flow:
        if isinstance(part, Flow):
            yield from in_order_of_the_text(part)
        else:
            yield part


def emit(document: dict) -> None:
    print(bson.encode(document).hex(), file=OUT, flush=True)


def plain(value):
    if hasattr(value, "as_dict"):
        return value.as_dict()
    return value.model_dump() if hasattr(value, "model_dump") else value


def by_id(documents) -> list[dict]:
    return sorted(documents, key=lambda document: int(document["db_id"]))


def submit(project, case, built) -> str:
    text = json.dumps(built, cls=MontyEncoder)
    ids = submit_flow(built, project=project.name, **case.options)
    database = project.database_of()
    first = database["jobs"].find_one({"db_id": ids[0]})
    flow_uuid = first["job"]["hosts"][-1]
    # What jobflow made of it is decoded again, because loose jobs are in a flow now.
    flow = built if isinstance(built, Flow) else Flow(list(built) if isinstance(built, list) else [built], uuid=flow_uuid)
    keys = ["priority", "exec_config", "resources"]
    given = {"worker": case.options.get("worker") or "local"} | {key: plain(case.options.get(key)) for key in keys}
    emit(
        {
            "case": case.name,
            "text": text,
            "given": given,
            "external": case.options.get("allow_external_references", False),
            "exact": is_exact(flow),
            "flow": database["flows"].find_one({"uuid": flow_uuid}),
            "jobs": by_id(database["jobs"].find({"db_id": {"$in": ids}})),
        }
    )
    return flow_uuid


def run(project, case, flow_uuid: str) -> None:
    """Runs the jobs of a flow until none is READY, each as a worker does, and completes it as the controller does."""
    controller = project.controller
    collection = project.database_of()["jobs"]
    while job := collection.find_one_and_update(
        {"state": "READY", "job.hosts": flow_uuid}, {"$set": {"state": "DOWNLOADED"}}, sort=[("created_on", 1)], return_document=True
    ):
        before = {child["_id"]: child["parents"] for child in collection.find({"parents": job["uuid"]})}
        last = max(int(document["db_id"]) for document in collection.find({}, ["db_id"]))
        with tempfile.TemporaryDirectory() as folder:
            store = controller.project.get_jobstore(controller.get_flow_store(flow_uuid))
            store.connect()
            resolved = collection.find_one({"_id": job["_id"]})["job"]
            try:
                resolve_job_dict_args(resolved, store)
            except Exception:
                # Such a job ends in REMOTE_ERROR; it has no response.
                continue
            local = get_remote_store(store, folder, None)
            Path(folder, "jfremote_in.json").write_bytes(get_remote_in_file(resolved, local, job).getvalue())
            with redirect_stdout(io.StringIO()):
                run_remote_job(folder)
            text = Path(folder, "jfremote_out.json").read_text()
            controller.complete_job(job, folder, store)
        after = collection.find_one({"_id": job["_id"]})
        new = [d for d in collection.find({"job.hosts": flow_uuid}) if int(d["db_id"]) > last]
        children = [
            {"before": parents, "after": collection.find_one({"_id": child})["parents"]} for child, parents in before.items()
        ]
        report = {"case": case.name, "job": job, "text": text, "exact": response_is_exact(text), "new": by_id(new)}
        emit(report | {"after": after, "children": children})


def response_is_exact(text: str) -> bool:
    from monty.json import MontyDecoder

    response = json.loads(text)["response"] or {}
    made = [response[kind] for kind in ("replace", "addition", "detour") if response.get(kind)]
    return all(is_exact(MontyDecoder().process_decoded(flow)) for flow in made)


def main() -> None:
    with Place() as place:
        workers = {name: place.worker("read", name) for name in ("local", "second", "cold")}
        project = place.project("read", workers)
        built = {}
        for case in flows.CASES:
            built[case.name] = case.build(built[case.after]) if case.after else case.build()
            run(project, case, submit(project, case, built[case.name]))


if __name__ == "__main__":
    OUT = sys.stdout
    main()
