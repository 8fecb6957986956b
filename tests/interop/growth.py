"""A flow that grows by a thousand additions takes time in proportion to its size.

    growth.py [SMALL LARGE]

One flow of 50 jobs, each of which adds a job that adds a job … .
"""

from __future__ import annotations

import sys
import time
import warnings

warnings.simplefilter("ignore")

import sample_jobs as jobs
from jobflow import Flow
from jobflow_remote import submit_flow
from place import LIMIT_S, Place

ROOTS = 50
# In proportion it is 4; where each addition looks at the whole flow, it is 16.
LARGEST_RATIO = 8.0

def main() -> int:
    sizes = [int(word) for word in sys.argv[1:]] or [250, 1000]
    took = {}
    with Place() as place:
        worker = place.worker("growth", "local", execution_cmd=place.warm_command())
        project = place.project("growth", {"local": worker})
        for size in sizes:
            flow = Flow([jobs.grows(size // ROOTS) for _ in range(ROOTS)])
            submit_flow(flow, project="growth")
            began = time.monotonic()
            code = project.start_ours("--until-idle").wait(LIMIT_S)
            took[size] = time.monotonic() - began
            assert code == 0, project.log()[-2000:]
            stored = project.database_of()["flows"].find_one({"uuid": flow.uuid})
            completed = project.database_of()["jobs"].count_documents({"job.hosts": flow.uuid, "state": "COMPLETED"})
            assert (stored["state"], len(stored["jobs"]), completed) == ("COMPLETED", size + ROOTS, size + ROOTS), stored["state"]
            print(f"{size} additions: {took[size]:.1f} s, {1000 * took[size] / size:.1f} ms each", file=sys.stderr)
    ratio = took[sizes[1]] / took[sizes[0]]
    print(f"{sizes[1] / sizes[0]:.0f} times as many took {ratio:.1f} times as long")
    return int(ratio > LARGEST_RATIO)


if __name__ == "__main__":
    sys.exit(main())
