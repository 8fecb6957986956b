"""Reads and writes outputs with the JobStore that jobflow-remote makes of a project file, as its users do.

Reads one JSON question a line on stdin and answers each with one JSON line; NaN stands for itself.
JFREMOTE_PROJECTS_FOLDER says where the project file is.

    {"get": UUID}                            the output, with its parts in their place
    {"put": DOCUMENT, "save": {STORE: KEY}}  stores the document, its parts where `save` wants them
    {"parts": UUID}                          how many parts of the job each additional store has
    {"remove": UUID}                         removes the document and its parts
"""

import json
import sys
import warnings

warnings.simplefilter("ignore")

from jobflow_remote import get_jobstore  # noqa: E402


def answer(store, question):
    if "get" in question:
        return store.get_output(question["get"], load=True)
    if "put" in question:
        store.update(question["put"], save=question["save"])
        return None
    if "remove" in question:
        store.remove_docs({"uuid": question["remove"]})
        return None
    criteria = {"job_uuid": question["parts"]}
    return {name: parts.count(criteria) for name, parts in store.additional_stores.items()}


def main():
    for line in sys.stdin:
        # Anew for each question: a JSONStore reads its file once.
        store = get_jobstore()
        store.connect()
        print(json.dumps(answer(store, json.loads(line))), flush=True)
        store.close()


main()
