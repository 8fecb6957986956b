"""Submits COUNT jobs of Python as one flow to the project and worker named, and prints when that was done.

    submit_python_jobs.py PROJECT WORKER COUNT
"""

import sys
import time

from jobflow import Flow
from jobflow_remote import submit_flow
from jobflow_remote.utils.examples import add

project, worker, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
submit_flow(Flow([add(number, 1) for number in range(count)]), project=project, worker=worker)
print(time.time_ns() // 1000)
