"""A temporary folder with projects on fresh databases, the processes that run their jobs, and nothing left afterwards.

Environment: JF_TEST_MONGODB_URI, a server; JF_TEST_JF, our `jf`; JF_TEST_PYTHON, a Python that has jobflow alone.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from jobflow_remote import SETTINGS

HERE = Path(__file__).resolve().parent
VENV = Path(sys.prefix)

# More than any run here takes on a loaded machine.
LIMIT_S = 300


class Place:
    """Use as a context: `with Place() as place`."""

    def __init__(self, uri: str | None = None):
        from pymongo.uri_parser import parse_uri

        self.uri = uri or os.environ["JF_TEST_MONGODB_URI"]
        (self.host, self.port), *_ = parse_uri(self.uri)["nodelist"]
        self.root = Path(tempfile.mkdtemp(prefix="jobferry-interop-"))
        # A test that takes too long is told to end; what it started has to end as well.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        self.processes: list[subprocess.Popen] = []
        self.databases: list[str] = []
        (self.root / "projects").mkdir()
        # For the processes that are started here; jobflow-remote in this one has read its settings when it was imported.
        os.environ["JFREMOTE_PROJECTS_FOLDER"] = SETTINGS.projects_folder = str(self.root / "projects")
        os.environ["JFREMOTE_CONFIG_FILE"] = str(self.root / "none.yaml")
        os.environ.pop("JFREMOTE_PROJECT", None)
        SETTINGS.project = None

    def __enter__(self) -> Place:
        return self

    def __exit__(self, failure, *_) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        client = self.client()
        for name in self.databases:
            client.drop_database(name)
        client.close()
        if os.environ.get("JF_TEST_KEEP") == "1":
            print(f"kept: {self.root}", file=sys.stderr)
        else:
            shutil.rmtree(self.root, ignore_errors=True)

    def client(self):
        from pymongo import MongoClient

        return MongoClient(self.uri, serverSelectionTimeoutMS=10_000)

    def project(self, name: str, workers: dict, **more) -> Project:
        """Writes a project with a database of its own, as jobflow-remote's `jf admin reset` makes it."""
        database = f"jf_interop_{secrets.token_hex(6)}"
        self.databases.append(database)
        store = {"type": "MongoStore", "host": self.host, "port": self.port, "database": database}

        def jobstore(prefix: str) -> dict:
            return {
                "docs_store": store | {"collection_name": f"{prefix}outputs"},
                "additional_stores": {
                    "data": store | {"collection_name": f"{prefix}data"},
                    "files": store | {"type": "GridFSStore", "collection_name": f"{prefix}files"},
                },
            }

        content = {
            "name": name,
            "base_dir": str(self.root / name),
            "log_level": "warn",
            # As short as the peer takes them; a second try is one too many for a test.
            "runner": {
                "delay_checkout": 0.05,
                "delay_check_run_status": 0.1,
                "delay_advance_status": 0.05,
                "delay_refresh_limited": 600,
                "delay_update_batch": 600,
                "max_step_attempts": 1,
                "delta_retry": [0],
            },
            "workers": workers,
            "exec_config": {"with_variable": {"export": {"JF_TEST_VARIABLE": "from_the_project"}}},
            "queue": {"store": store | {"collection_name": "jobs"}},
            "jobstore": jobstore(""),
            "optional_jobstores": {"elsewhere": jobstore("elsewhere_")},
        } | more
        (self.root / name).mkdir()
        with open(self.root / "projects" / f"{name}.yaml", "w") as file:
            yaml.safe_dump(content, file, sort_keys=False)
        return Project(self, name, database)

    def worker(self, project: str, name: str, **more) -> dict:
        """A worker on this machine whose Python finds sample_jobs.py."""
        work = self.root / "work" / project / name
        work.mkdir(parents=True, exist_ok=True)
        pre_run = f"export PYTHONPATH={HERE}"
        return {"type": "local", "scheduler_type": "shell", "work_dir": str(work), "pre_run": pre_run, "timeout_execute": 60} | more

    def warm_command(self) -> str:
        """Starts a warm worker and returns its `execution_cmd`."""
        socket = self.root / "warm.socket"
        script = HERE / "warm_worker.py"
        self.start_and_wait([sys.executable, str(script), "serve", str(socket)])
        return f"{sys.executable} -I -S {script} run {socket} {{}}"

    def start_and_wait(self, command: list[str]) -> subprocess.Popen:
        """Starts a process that prints a line when it is ready."""
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=self.root)
        self.processes.append(process)
        assert process.stdout.readline(), f"{command} ended"
        return process

    def start(self, command: list[str], log: str, **more) -> subprocess.Popen:
        with open(self.root / log, "ab") as file:
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=self.root, **more)
        self.processes.append(process)
        return process


class Project:
    def __init__(self, place: Place, name: str, database: str):
        from jobflow_remote.jobs.jobcontroller import JobController

        self.place, self.name, self.database = place, name, database
        self.controller = JobController.from_project_name(name)
        assert self.controller.reset(max_limit=0), "the new database could not be reset"

    def database_of(self):
        return self.controller.db

    def start_ours(self, *options: str) -> subprocess.Popen:
        """Starts our runner on this project; with `--until-idle` it ends when nothing is left to do."""
        command = [os.environ["JF_TEST_JF"], "-p", self.name, "runner", "run", *options]
        return self.place.start(command, f"{self.name}/runner.out")

    def run_theirs(self, runner=None):
        """Runs all jobs with jobflow-remote's own runner in this process; returns it for a next time."""
        from jobflow_remote.jobs.runner import Runner

        runner = runner or Runner(project_name=self.name)
        runner.run_all_jobs(max_seconds=LIMIT_S)
        return runner

    def log(self) -> str:
        path = self.place.root / self.name / "runner.out"
        return path.read_text(errors="replace") if path.exists() else ""
