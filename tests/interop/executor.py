"""Make run directories of all cases of `executor_jobs`, run them by one program or the other, and print what is there.

    executor.py stage FOLDER [CASE…]   FOLDER/<case>/jfremote_in.json
    executor.py run FOLDER PROGRAM     PROGRAM: the path of execute.py, or `peer` for that of jobflow-remote
    executor.py read FOLDER            {case: {file: content, "exit": code, "out": text, "err": text}} as Python's JSON

Every case runs in a process of its own, forked from one that has imported jobflow.
"""

import gzip
import json
import os
import runpy
import sys
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
STORES = ("data", "other")


def stage(folder, names):
    import orjson
    from executor_jobs import CASES, Case
    from monty.json import jsanitize

    for name in names or CASES:
        built = CASES[name]()
        case = built if isinstance(built, Case) else Case(built)
        case.job.add_hosts_uuids("311c8a70-25b6-4480-bdec-4ab64d8705bd")
        directory = Path(folder, name).resolve()
        directory.mkdir(parents=True)
        serialized = orjson.loads(
            orjson.dumps(jsanitize(case.job, strict=True, allow_bson=True, enum_values=True))
        )
        if case.edit:
            case.edit(serialized)

        def store(stem):
            path = str(directory / (stem + case.suffix))
            place = {"paths": [path]} if case.store == "StdJSONStore" else {"path": path}
            return {"@module": "jobflow_remote.remote.data", "@class": case.store, "@version": "1.0.1", **place}

        content = {
            "job": serialized,
            "store": {
                "@module": "jobflow.core.store",
                "@class": "JobStore",
                "@version": "0.4.0",
                "docs_store": store("remote_job_data"),
                "additional_stores": {name: store("additional_store_" + name) for name in STORES},
                "save": {},
                "load": False,
            },
            "job_doc": job_doc(serialized),
        }
        (directory / "jfremote_in.json").write_text(json.dumps(content))
        if case.documents:
            (directory / ("remote_job_data" + case.suffix)).write_text(json.dumps(case.documents))


def job_doc(serialized):
    empty = ("previous_state", "error", "lock_id", "lock_time", "run_dir", "start_time", "end_time", "exec_config")
    remote = ("queue_state", "process_id", "retry_time_limit", "error", "queue_out", "queue_err")
    return {
        "uuid": serialized["uuid"],
        "index": serialized["index"],
        "db_id": "16",
        "worker": "w",
        "state": "CHECKED_OUT",
        "remote": {"step_attempts": 0, "prerun_cleanup": False, **dict.fromkeys(remote)},
        "parents": [],
        "created_on": "2026-11-20T07:18:48.299000",
        "updated_on": "2026-11-20T07:18:50",
        "priority": 0,
        "resources": None,
        "stored_data": None,
        **dict.fromkeys(empty),
    }


def run(folder, program):
    import jobflow  # noqa: F401

    if program == "peer":
        import jobflow_remote.jobs.run  # noqa: F401
    for directory in sorted(Path(folder).iterdir()):
        child = os.fork()
        if child == 0:
            for descriptor, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(directory / name, os.O_WRONLY | os.O_CREAT, 0o600), descriptor)
            if program == "peer":
                jobflow_remote.jobs.run.run_remote_job(str(directory))
                sys.exit(0)
            sys.argv = [program, str(directory)]
            runpy.run_path(program, run_name="__main__")
        _, status = os.waitpid(child, 0)
        (directory / "exit").write_text(str(os.waitstatus_to_exitcode(status)))


def read(folder):
    def content(file):
        data = file.read_bytes()
        if file.suffix == ".gz":
            data = gzip.decompress(data)
        if not data:
            return None
        if ".msgpack" in file.suffixes:
            import msgpack

            return msgpack.unpackb(data)
        return json.loads(data) if ".json" in file.suffixes or file.name == "exit" else data.decode()

    files = {
        directory.name: {file.name: content(file) for file in sorted(directory.iterdir()) if file.is_file()}
        for directory in sorted(Path(folder).iterdir())
    }
    print(json.dumps(files, default=str))


if __name__ == "__main__":
    command, place, *rest = sys.argv[1:]
    {"stage": lambda: stage(place, rest), "run": lambda: run(place, *rest), "read": lambda: read(place)}[command]()
