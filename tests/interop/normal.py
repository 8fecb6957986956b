"""What a database holds about one flow, without what differs from run to run: ids, times, process ids, places.

Everything else stays as it is stored, types included.
"""

from __future__ import annotations

import datetime
import json
import re
import sys
from pathlib import Path
from typing import Any

import gridfs
from bson import Int64, ObjectId

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
RUN_DIR = re.compile(r"(?:[0-9a-f]{2}/){3}(?=<)")
TIME_IN_TEXT = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:\+00:00)?")
DATES = {"created_on", "updated_on", "start_time", "end_time", "lock_time", "retry_time_limit"}
# Not compared: the database's own id, and what JobFerry adds.
OWN = {"_id", "jobferry"}
# The peer stores what it happened to see between two polls.
QUEUE_STATES = {None, "UNDETERMINED", "QUEUED", "RUNNING", "DONE", "FAILED"}


def snapshot(project, flow_uuid: str, concurrent: bool, brief_errors: bool) -> dict[str, Any]:
    """Returns the flow, jobs, outputs and blobs of one flow in a form that is equal when the run was."""
    database = project.database_of()
    flow = database["flows"].find_one({"uuid": flow_uuid})
    assert flow, f"flow {flow_uuid} is not in the database"
    uuids = {"$in": flow["jobs"]}
    jobs = list(database["jobs"].find({"$or": [{"uuid": uuids}, {"job.hosts": flow_uuid}]}).sort("created_on"))
    prefix = f"{flow['jobstore']}_" if flow.get("jobstore") else ""
    outputs = list(database[f"{prefix}outputs"].find({"uuid": uuids}))
    blobs = list(database[f"{prefix}data"].find({"job_uuid": uuids}))
    files = read_files(database, f"{prefix}files", flow["jobs"])

    names = Names(project, flow, jobs, concurrent)
    names.brief_errors = brief_errors
    place = {uuid: number for number, uuid in enumerate(names.order)}
    jobs.sort(key=lambda job: (place[job["uuid"]], job["index"]))
    outputs.sort(key=lambda output: (place[output["uuid"]], output["index"]))
    taken = {
        "jobs": {f"{place[job['uuid']]}.{job['index']} {job['job']['name']}": names.job(job) for job in jobs},
        "flow": names.flow(flow),
        "outputs": {f"{place[o['uuid']]}.{o['index']}": names.output(o) for o in outputs},
    }
    # Blobs have names now, given where an output refers to them.
    taken["blobs"] = {names.text(blob["blob_uuid"]): names.plain(blob) for blob in blobs}
    taken["files"] = {names.text(uuid): names.plain(file) for uuid, file in files.items()}
    return taken


def read_files(database, name: str, uuids: list[str]) -> dict[str, Any]:
    """The GridFS files of some jobs, their contents decoded, by blob uuid."""
    found = {}
    for entry in database[f"{name}.files"].find({"metadata.job_uuid": {"$in": uuids}}):
        content = gridfs.GridFS(database, name).get(entry["_id"]).read()
        assert len(content) == entry["length"], entry
        uuid = entry["metadata"]["blob_uuid"]
        assert uuid not in found, f"blob {uuid} is stored twice"
        kept = {key: value for key, value in entry.items() if key not in ("_id", "uploadDate", "md5", "length")}
        found[uuid] = {"entry": kept, "content": json.loads(content)}
    return found


class Names:
    """Gives each id the name of what it stands for, the same in every run."""

    def __init__(self, project, flow: dict, jobs: list[dict], concurrent: bool):
        root = project.place.root
        self.places = [(str(root / "work" / project.name), "<work>"), (str(root), "<root>"), (sys.prefix, "<venv>")]
        self.places.append((str(Path(__file__).resolve().parent), "<interop>"))
        # With those that the flow should know and does not.
        self.order = list(dict.fromkeys([*flow["jobs"], *(job["uuid"] for job in jobs)]))
        self.concurrent = concurrent
        self.brief_errors = False
        if concurrent:
            first = {uuid: sort_key(job) for job in reversed(jobs) if (uuid := job["uuid"])}
            self.order.sort(key=lambda uuid: first[uuid])
        self.names = {uuid: f"<job {number}>" for number, uuid in enumerate(self.order)}
        self.names[flow["uuid"]] = "<flow>"
        self.db_ids = {job["db_id"]: f"<id of {self.names[job['uuid']]} {job['index']}>" for job in jobs}

    def text(self, text: str) -> str:
        text = UUID.sub(lambda found: self.names.setdefault(found[0], f"<uuid {len(self.names)}>"), text)
        for place, name in self.places:
            text = text.replace(place, name)
        return RUN_DIR.sub("xx/xx/xx/", text)

    def plain(self, value: Any, key: str = "") -> Any:
        match value:
            case dict():
                return {self.text(k): self.plain(v, k) for k, v in value.items() if k != "_id"}
            case list():
                return [self.plain(item) for item in value]
            case str() if key == "db_id":
                return self.db_ids.get(value, value)
            case str():
                return self.text(value)
            # Lest they are taken for equal to others.
            case bool() | None:
                return value
            case Int64():
                return f"int64 {value}"
            case float():
                return f"double {value!r}"
            case datetime.datetime() | ObjectId():
                return f"{type(value).__name__} {value}"
            case _:
                return value

    def dated(self, value: Any, key: str) -> Any:
        """Takes the time out, and leaves that there was one."""
        assert value is None or isinstance(value, datetime.datetime), f"{key}: {value!r}"
        return value and "<date>"

    def job(self, job: dict) -> dict:
        job = {key: value for key, value in job.items() if key not in OWN}
        if job["start_time"] and job["end_time"]:
            assert job["start_time"] <= job["end_time"], (job["start_time"], job["end_time"])
        remote, name = job["remote"], job["job"]["name"].replace(" ", "_")
        assert remote["queue_state"] in QUEUE_STATES, remote["queue_state"]
        kept = {key: self.dated(value, key) if key in DATES else self.plain(value, key) for key, value in job.items()}
        kept["error"] = self.error(job["error"])
        # A set in all but name: the peer has them in the order of a set of Python.
        kept["parents"].sort()
        kept["remote"] = {key: self.remote(key, value, name, job["state"]) for key, value in remote.items()}
        return kept

    def remote(self, key: str, value: Any, name: str, state: str) -> Any:
        if key in DATES:
            return self.dated(value, key)
        if key == "queue_state":
            return "<seen or not>"
        if key == "process_id" and value:
            return "<process id>" if isinstance(value, str) and value.isdecimal() else value
        if key in ("queue_out", "queue_err") and self.brief_errors:
            # What another program says is its own; `FAILED` jobs have it, others not.
            return "<talk>" if value or state == "FAILED" else None
        if key in ("queue_out", "queue_err"):
            # The peer's script for the scheduler `shell` says the name of the job first.
            value = (value or "").removeprefix(f"{name}\n")
            return TIME_IN_TEXT.sub("<time>", self.text(value)).strip() or None
        if key == "error":
            return self.error(value)
        return self.plain(value, key)

    def error(self, text: str | None) -> str | None:
        if not text:
            return text
        text = TIME_IN_TEXT.sub("<time>", self.text(text))
        if self.brief_errors:
            # Another program ran the job: the way to the user's function is another one.
            lines = text.rstrip().splitlines()
            last = max((number for number, line in enumerate(lines) if line.startswith("  ")), default=-1)
            return "\n".join(lines[last + 1 :])
        return text

    def flow(self, flow: dict) -> dict:
        flow = {key: value for key, value in flow.items() if key not in OWN}
        ids = [[self.db_ids.get(number, number), self.text(uuid), index] for number, uuid, index in flow.pop("ids")]
        parents = {
            self.text(uuid): {index: sorted(map(self.text, some)) for index, some in of_each.items()}
            for uuid, of_each in flow.pop("parents").items()
        }
        kept = {key: self.dated(value, key) if key in DATES else self.plain(value) for key, value in flow.items()}
        if self.concurrent:
            ids.sort()
            kept["jobs"].sort()
        return kept | {"ids": ids, "parents": parents}

    def output(self, output: dict) -> dict:
        completed = output["completed_at"]
        assert isinstance(completed, str) and TIME_IN_TEXT.fullmatch(completed), completed
        return self.plain(output | {"completed_at": "<local time>"})


def sort_key(job: dict) -> tuple:
    """The same for the same job in two runs; without any id that is given while it runs."""
    arguments = json.dumps([job["job"]["function_args"], job["job"]["function_kwargs"]], default=str, sort_keys=True)
    return (job["job"]["name"], UUID.sub("", arguments), len(job["job"]["hosts"]), job["created_on"])
