"""Jobs whose files have to be the same, whoever executes them. One decorated function builds one job, or a `Case`."""

import dataclasses
import datetime
import gzip
import math
import os
import shutil
import signal
import sys
from enum import Enum
from uuid import UUID

import numpy
from bson import ObjectId
from jobflow import CURRENT_JOB, Flow, JobConfig, Maker, OnMissing, Response, job
from monty.json import MSONable
from pydantic import BaseModel

CASES = {}

OTHER = "0b1e1c5e-0000-4000-8000-000000000001"
"""The uuid of a job whose output lies in the run directory."""


@dataclasses.dataclass
class Case:
    """A job, and what lies in its run directory before it runs."""

    job: object
    store: str = "StdJSONStore"
    suffix: str = ".json"
    documents: list = dataclasses.field(default_factory=list)
    """Of other jobs, for references."""
    edit: object = None
    """Changes the serialized job."""


def case(build):
    CASES[build.__name__] = build
    return build


class Colour(Enum):
    RED = "red"


class Point(MSONable):
    def __init__(self, x, y):
        self.x, self.y = x, y

    @property
    def length(self):
        return math.hypot(self.x, self.y)


class Schema(BaseModel):
    number: int
    more: dict | None = None


@dataclasses.dataclass
class AddMaker(Maker):
    name: str = "adder"
    shift: float = 1.5
    colour: Colour = Colour.RED

    @job
    def make(self, a, b=2):
        return {"sum": a + b + self.shift, "list": [a, {"k": b}], "colour": self.colour}


@job
def give(value=None):
    return value


@job
def add(a, b):
    return a + b


@case
def function():
    return add(1, 2)


@case
def maker_method():
    return AddMaker(shift=0.25).make(1, b=3)


@case
def keyword_objects():
    return give({"point": Point(3, 4), "colour": Colour.RED, "function": numpy.sum})


@job
def describe(value):
    return {name: [type(one).__name__, repr(one)] for name, one in value.items()}


@case
def inputs_that_json_has_not():
    """As JobFerry writes them."""

    def edit(serialized):
        serialized["function_args"] = [
            {
                "nan": math.nan,
                "infinity": -math.inf,
                "bytes": {"$binary": {"base64": "AP8=", "subType": "00"}},
                "id": {"$oid": "6afff43a374b9c7d94d5a44a"},
                "monty": {"@module": "datetime", "@class": "datetime", "string": "2024-01-02 03:04:05.678900"},
            }
        ]

    return Case(describe({}), edit=edit)


@job(output_schema=Schema)
def schemed(number):
    return {"number": number, "more": {"z": [1, 2]}}


@case
def output_schema():
    return schemed(3)


@case
def output_schema_violated():
    return schemed("no number")


@job
def outputs():
    return {
        "array": numpy.arange(3),
        "scalar": numpy.float64(1.5),
        "flag": numpy.bool_(True),
        "colour": Colour.RED,
        "tuple": (1, 2),
        "maker": AddMaker(),
        "point": Point(1, 2),
        "schema": Schema(number=1),
        "path": __import__("pathlib").Path("/a/b"),
        "uuid": UUID(OTHER),
        "function": numpy.sum,
        "text": "ü € 😀 \x1b \"quoted\"\n",
        3: "a key that is no text",
        "a.b": {"$c": 1, "": 2},
        "long": 2**62,
        "small": 5e-324,
        "minus": -0.0,
        "none": None,
    }


@case
def many_types():
    return outputs()


@job
def times():
    zone = datetime.timezone(datetime.timedelta(hours=2))
    return {
        "fraction": datetime.datetime(2024, 1, 2, 3, 4, 5, 678900),
        "whole": datetime.datetime(2024, 1, 2, 3, 4, 5),
        "zone": datetime.datetime(2024, 1, 2, 3, 4, 5, 678900, tzinfo=zone),
        "last_updated": datetime.datetime(2024, 1, 1),
    }


@case
def datetimes():
    return times()


@job
def odd_numbers():
    return {"nan": math.nan, "list": [math.inf, -math.inf, numpy.float64("nan")]}


@case
def nan():
    return odd_numbers()


@job
def binary():
    return {"bytes": b"\x00\xff", "id": ObjectId("6afff43a374b9c7d94d5a44a")}


@case
def bytes_and_ids():
    return binary()


@job
def half_a_pair():
    return "a\ud800b"


@case
def half_a_surrogate_pair():
    return half_a_pair()


@job
def unknown():
    return {"object": object()}


@case
def output_that_cannot_be_written():
    return unknown()


@job(data="big")
def one_store():
    return {"big": [1, 2], "list": [{"big": {"big": 3}}, {"big": None}], "small": 5}


@case
def additional_store():
    return one_store()


@job(data=True)
def whole_output():
    return {"value": 1}


@case
def additional_store_for_everything():
    return whole_output()


@job(data=Point)
def points():
    return {"a": Point(1, 2), "b": [Point(3, 4)], "c": 5}


@case
def additional_store_for_a_class():
    return points()


@job(data=[["output", "a", "big"]])
def one_place():
    return {"a": {"big": 1}, "b": {"big": 2}}


@case
def additional_store_for_a_place():
    return one_place()


@job(data="big", other=["first", "second"])
def two_stores():
    return {"big": [1, 2], "nested": {"big": {"deep": 1}, "first": "hello"}, "second": [3]}


@case
def two_additional_stores():
    return two_stores()


@job(data="inner", other="outer")
def one_inside_the_other():
    return {"outer": {"inner": 1, "rest": 2}, "inner": 3}


@case
def additional_stores_inside_each_other():
    return one_inside_the_other()


@job(data="name")
def named():
    return {"name": "in the output", "metadata": 1}


@case
def key_of_the_document():
    return named()


@job(missing="big")
def in_no_store():
    return {"big": 1}


@case
def additional_store_that_is_not_there():
    return in_no_store()


@job
def replace_by(kind):
    one, two = add(1, 10), add(2, 20)
    if kind == "flow":
        two = add(one.output, 20)
        return Response(replace=Flow([one, two], output=two.output, name="inner"))
    if kind == "flow without output":
        return Response(replace=Flow([one]))
    return {"job": one, "list": [one, two], "dict": {"a": one, "b": two}}[kind]


def changed(one):
    """With everything that is carried on to new jobs."""
    one.update_metadata({"tag": 1})
    one.update_metadata({"_set": {"a->b": 2}}, dict_mod=True)
    one.append_name("_x")
    one.append_name("x_", prepend=True)
    one.update_config({"manager_config": {"worker": "w"}}, attributes="manager_config")
    one.update_config({"_set": {"manager_config->priority": 3}}, name_filter="add", dict_mod=True)
    return one


@case
def replaced_by_job():
    return changed(replace_by("job"))


@case
def replaced_by_flow():
    return changed(replace_by("flow"))


@case
def replaced_by_flow_without_output():
    return replace_by("flow without output")


@case
def replaced_by_list():
    return replace_by("list")


@case
def replaced_by_dict():
    return replace_by("dict")


@job(data="big", output_schema=Schema)
def replace_by_flow_with_schema():
    one = schemed(1)
    return Response(replace=Flow([one], output=one.output))


@case
def replaced_with_schema_and_store():
    return replace_by_flow_with_schema()


@job
def branch(kind):
    one = add(1, 2)
    return Response(output=kind, **{kind: Flow([one, add(one.output, Colour.RED.value)])})


@case
def detour():
    return changed(branch("detour"))


@case
def addition():
    return changed(branch("addition"))


@case
def response_manager_config():
    one = branch("addition")
    one.config = JobConfig(response_manager_config={"worker": "other"})
    return one


@job
def stop(what):
    return Response(output=1, **{what: True})


@case
def stop_children():
    return stop("stop_children")


@case
def stop_jobflow():
    return stop("stop_jobflow")


@job
def store_data():
    time = datetime.datetime(2024, 1, 1)
    stored = {"time": time, "nan": math.nan, "array": numpy.arange(2), "point": Point(1, 2), "colour": Colour.RED}
    return Response(output=1, stored_data=stored, addition=give({"array": numpy.arange(2), "time": time}))


@case
def stored_data():
    return store_data()


@job
def store_bytes():
    return Response(output=1, stored_data={"bytes": b"ab"})


@case
def stored_bytes():
    return store_bytes()


@job
def fail():
    raise ValueError("boom ü")


@case
def exception():
    return fail()


@job
def leave(code):
    sys.exit(code)


@case
def sys_exit():
    return leave(0)


def of_module(module, name):
    def edit(serialized):
        serialized["function"].update({"@module": module, "@callable": name})

    return edit


@case
def module_that_is_not_there():
    return Case(add(1, 2), edit=of_module("no_such_module", "add"))


@case
def function_that_is_not_there():
    return Case(add(1, 2), edit=of_module(__name__, "no_such_function"))


@case
def maker_that_is_not_there():
    def edit(serialized):
        serialized["function"]["@bound"]["@module"] = "no_such_package.makers"

    return Case(AddMaker().make(1), edit=edit)


@job(config=JobConfig(expose_store=True))
def look_around():
    """What a job sees of itself and of its store."""
    documents = CURRENT_JOB.store.query({"uuid": {"$in": [OTHER]}, "output.x": {"$gt": 1}})
    return {
        "name": CURRENT_JOB.job.name,
        "found": [document["output"] for document in documents],
        "count": CURRENT_JOB.store.count({}),
        "output": CURRENT_JOB.store.get_output(OTHER),
        "additional": sorted(CURRENT_JOB.store.additional_stores),
        "directory": sorted(os.listdir(".")),
    }


def document_of(uuid, index, output):
    return {
        "uuid": uuid,
        "index": index,
        "output": output,
        "completed_at": "2024-01-01T00:00:00.000000",
        "metadata": {"db_id": "1"},
        "hosts": [],
        "name": "other",
        "@module": "jobflow.core.schemas",
        "@class": "JobStoreDocument",
        "@version": "0.4.0",
    }


@case
def exposed_store():
    return Case(look_around(), documents=[document_of(OTHER, 1, {"x": 2})])


def other_output():
    """A reference to the output of the other job."""
    one = give()
    one.set_uuid(OTHER)
    return one.output


@case
def property_of_a_parents_output():
    """Only Python knows what it is."""
    point = Point(3, 4).as_dict()
    return Case(add(other_output().length, 1), documents=[document_of(OTHER, 1, point)])


@case
def newest_of_two_outputs():
    documents = [document_of(OTHER, 2, {"x": 2}), document_of(OTHER, 1, {"x": 1})]
    return Case(give([other_output().x, {"deep": other_output()}]), documents=documents)


@case
def parents_output_that_is_not_there():
    return Case(give(other_output().x))


@case
def parents_output_that_may_be_missing():
    one = give([other_output().x, 1])
    one.config.on_missing_references = OnMissing.NONE
    return one


@job
def go_away(directory):
    os.mkdir(directory)
    os.chdir(directory)
    return os.path.basename(os.getcwd())


@case
def other_directory():
    return go_away("below")


@job
def compress_everything():
    """As some jobs do with what they leave."""
    for name in os.listdir("."):
        if os.path.isfile(name) and not name.endswith(".gz"):
            with open(name, "rb") as plain, gzip.open(name + ".gz", "wb") as packed:
                shutil.copyfileobj(plain, packed)
            os.unlink(name)
    return 1


@case
def compressed_directory():
    return compress_everything()


@case
def orjson_store():
    return Case(two_times_in_two_stores(), store="MinimalORJSONStore")


@case
def msgspec_store():
    return Case(two_times_in_two_stores(), store="MinimalMsgspecJSONStore")


@case
def msgpack_store():
    return Case(two_times_in_two_stores(), store="MinimalMsgpackStore", suffix=".msgpack")


@case
def packed_store():
    return Case(two_times_in_two_stores(), suffix=".json.gz")


@case
def packed_msgpack_store():
    return Case(two_times_in_two_stores(), store="MinimalMsgpackStore", suffix=".msgpack.gz")


@job(data="big")
def two_times_in_two_stores():
    time = datetime.datetime(2024, 1, 2, 3, 4, 5, 678900)
    return {"time": time, "big": [time, 1.5, "ü"]}


@job
def end_by(name):
    os.kill(os.getpid(), getattr(signal, name))
    signal.pause()


@case
def killed():
    return end_by("SIGKILL")


@case
def terminated():
    return end_by("SIGTERM")


@case
def interrupted():
    return end_by("SIGINT")


@job
def look_at_own_document():
    from jobflow_remote.jobs.run import CURRENT_JOBDOC

    document = CURRENT_JOBDOC.job_doc
    return [document.db_id, document.worker, document.job.name, document.uuid == CURRENT_JOB.job.uuid]


@case
def document_of_the_job():
    """It is there where jobflow-remote is."""
    return look_at_own_document()
