"""Decode a command job with jobflow alone, run it, and print what came of it as JSON.

Standard input: {"job": <serialized Job>, "outputs": {<uuid>: <output>}}. jobflow has to be installed, and nothing of
JobFerry.
"""

import json
import sys

from jobflow import Job, JobStore
from jobflow.core.reference import find_and_get_references
from maggma.stores import MemoryStore
from monty.json import MontyDecoder

asked = json.load(sys.stdin)
job_dict = asked["job"]

decoded = MontyDecoder().process_decoded(job_dict)
assert isinstance(decoded, Job), type(decoded)
job = Job.from_dict(job_dict)
assert isinstance(job, Job), type(job)

references = sorted({reference.uuid for reference in find_and_get_references(job.function_kwargs)})
inputs = sorted(set(job.input_uuids))

store = JobStore(MemoryStore())
store.connect()
for uuid, output in asked["outputs"].items():
    document = {"uuid": uuid, "index": 1, "output": output, "completed_at": "2026-11-20T00:00:00", "metadata": {}}
    store.update(document | {"hosts": [], "name": "parent"}, key=["uuid", "index"])

response = job.run(store)
print(
    json.dumps(
        {
            "name": job.name,
            "uuid": job.uuid,
            "index": job.index,
            "hosts": job.hosts,
            "metadata": job.metadata,
            "on_missing": getattr(job.config.on_missing_references, "value", job.config.on_missing_references),
            "references": references,
            "input_uuids": inputs,
            "output": response.output,
            "function_again": job.as_dict()["function"],
        }
    )
)
