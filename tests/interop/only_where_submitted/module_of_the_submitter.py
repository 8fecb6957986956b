"""A module that no worker has: it is found only where flows are submitted."""

from jobflow import job


@job
def not_on_the_worker(a):
    return a
