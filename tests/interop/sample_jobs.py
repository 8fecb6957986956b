"""Job functions and Makers of the flows in flows.py. They need jobflow alone, as workers may have no more."""

import datetime
import os
import pathlib
import time
from dataclasses import dataclass, field
from enum import Enum

import numpy
from jobflow import CURRENT_JOB, Flow, JobConfig, Maker, OnMissing, Response, job
from monty.json import MSONable
from pydantic import BaseModel


@job
def add(a, b=1):
    return a + b


@job
def keep(*args, **kwargs):
    """Returns what it was given: what references became is then in its output."""
    return {"args": list(args), "kwargs": kwargs}


@job
def describe(value):
    """Returns what class a resolved reference has when the function sees it."""
    return {"class": type(value).__name__, "value": value}


@job
def record():
    return {"a": {"b": [10, 20, {"c": "deep"}]}, "list": [1, 2, 3], "0": "a text key", "none": None, "text": "ünï ☃ \"q\""}


@job
def fails():
    raise ValueError("no convergence after 60 steps")


@job
def environment(*names):
    return {name: os.environ.get(name) for name in names}


@job
def writes_then_fails():
    print("the last words of the job")
    raise RuntimeError("first line\nsecond line: ünï ☃")


# Values of many kinds.


class Spin(Enum):
    UP = "up"
    DOWN = "down"


class Site(BaseModel):
    label: str
    position: list[float] = [0.0, 0.0, 0.0]


class Structure(BaseModel):
    name: str
    sites: list[Site] = []
    energy: float | None = None


class Lattice(MSONable):
    """Its volume is a property: no key of its JSON."""

    def __init__(self, a, b, c):
        self.a, self.b, self.c = a, b, c

    @property
    def volume(self):
        return self.a * self.b * self.c

    @property
    def cell(self):
        return {"lengths": [self.a, self.b, self.c], "inner": Lattice(self.a / 2, self.b / 2, self.c / 2)}


@job
def lattice(a=1.0, b=2.0, c=3.0):
    return Lattice(a, b, c)


@job
def nested_lattice():
    return {"found": [Lattice(1, 1, 1), Lattice(2, 3, 4)], "best": 1}


@job
def kinds():
    return {
        "date": datetime.datetime(2024, 1, 2, 3, 4, 5, 678900),
        "array": numpy.arange(3),
        "matrix": numpy.eye(2),
        "number": numpy.float64(1.5),
        "path": pathlib.Path("/a/b"),
        "enum": Spin.DOWN,
        "tuple": (1, 2),
        "set": {1},
        "maker": AddMaker(),
        "model": Structure(name="NaCl", sites=[Site(label="Na")]),
        "function": numpy.sum,
        "class": Lattice,
        "int32": 2**31 - 1,
        "int64": 2**31,
        "large": 2**62,
        "small": 1e-300,
        "minus_zero": -0.0,
        "whole_float": 3.0,
        "true": True,
        "empty": [{}, [], "", None],
        3: "a number as key",
    }


@job
def not_numbers():
    return {"nan": float("nan"), "infinity": float("inf"), "minus": float("-inf"), "array": numpy.array([1.0, numpy.nan])}


@job
def dates():
    return {
        "naive": datetime.datetime(2024, 1, 2, 3, 4, 5),
        "microseconds": datetime.datetime(2024, 1, 2, 3, 4, 5, 678901),
        "utc": datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
        "elsewhere": datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.timezone(datetime.timedelta(hours=5))),
    }


@job
def raw_bytes():
    return {"bytes": b"\x00\xff"}


@job(output_schema=Structure)
def relaxed(name, count=2):
    return Structure(name=name, sites=[Site(label=f"{name}{i}", position=[i, 0.5, 1]) for i in range(count)], energy=-1.5)


@job(output_schema=Structure)
def breaks_its_schema():
    return {"name": "x", "unheard_of": 1, "sites": 7}


@dataclass
class AddMaker(Maker):
    name: str = "adder"
    shift: float = 1.5
    spin: Spin = Spin.UP
    weights: dict = field(default_factory=lambda: {"x": [1, 2]})

    @job
    def make(self, a, b=2):
        return {"sum": a + b + self.shift, "spin": self.spin, "weights": self.weights}


@dataclass
class TwiceMaker(Maker):
    """A Maker of a flow, with a Maker inside."""

    name: str = "twice"
    adder: AddMaker = field(default_factory=lambda: AddMaker(shift=0.5))

    def make(self, a):
        first = self.adder.make(a)
        second = self.adder.make(first.output["sum"])
        return Flow([first, second], output=second.output["sum"], name=self.name)


@dataclass
class Settings(MSONable):
    """Something serialized that holds references."""

    value: object = None
    more: dict = field(default_factory=dict)


@job
def unwrap(settings, extra=None):
    return {"value": settings.value, "more": settings.more, "extra": extra}


# Additional stores.


@job(data="big")
def one_blob(count):
    return {"big": list(range(count)), "small": 5}


@job(data="big")
def nested_blobs():
    return {"steps": [{"big": {"step": i, "deep": {"big": "not taken out"}}} for i in range(2)], "none": {"big": None}}


@job(data="big", files=["wave", "density"])
def two_stores(count):
    return {"big": list(range(count)), "wave": "ψ" * count, "nested": {"density": {"grid": [[1, 2], [3, 4]]}}, "small": 5}


@job(files=True)
def whole_blob(value):
    return {"v": value}


@job(data=Lattice)
def blob_by_class():
    return {"lattices": [Lattice(1, 2, 3), Lattice(4, 5, 6)], "other": 1}


@job(files=True)
def large(megabytes):
    """An output that no document can hold; with quotes, a line feed and a letter that is no ASCII in each kilobyte."""
    line = "é\"\n" + "x" * 1020
    return {"text": line * (megabytes * 1024), "end": "here"}


@job(files=True)
def large_numbers(count):
    return {"numbers": [i * 0.5 for i in range(count)]}


@job(files=True)
def lists_a_blob():
    return Response(replace=Flow([one := one_blob(3), other := one_blob(4)], output=[one.output, other.output]))


@job
def length_of(value):
    return {"length": len(value["text"]), "end": value["end"], "last": value["text"][-3:]}


# Responses.


@job
def replaced_by_job(a):
    return Response(replace=add(a, 10))


@job
def returns_job(a):
    return add(a, 20)


@job
def replaced_many_times(count):
    if count == 0:
        return "done"
    return Response(replace=replaced_many_times(count - 1), output={"left": count})


@job
def replaced_by_flow(a):
    first = add(a, 1)
    second = add(first.output, 2)
    return Response(replace=Flow([first, second], output=second.output, name="inner"))


@job
def replaced_by_flow_of_flows(a):
    inner = TwiceMaker().make(a)
    last = add(inner.output, 100)
    return Response(replace=Flow([inner, last], output={"inner": inner.output, "last": [last.output]}))


@job
def replaced_by_flow_without_output(a):
    return Response(replace=Flow([add(a, 1)]))


@job
def returns_flow(a):
    first = add(a, 1)
    return Flow([first], output=first.output)


@job
def replaced_by_list(a):
    return [add(a, 1), add(a, 2)]


@job
def replaced_by_dict(a):
    return Response(replace={"one": add(a, 1), "two": add(a, 2)})


@job
def replaced_by_linear_flow(a):
    return Response(replace=Flow([add(a, 1), keep(a), add(a, 3)], output=None, order="linear"))


@job(output_schema=Structure)
def replaced_with_schema(name):
    one = relaxed(name)
    return Response(replace=Flow([one], output=one.output))


@job(data="big")
def replaced_with_store(count):
    return Response(replace=Flow([one := one_blob(count)], output={"big": one.output["big"], "small": one.output["small"]}))


@job
def detours(a):
    first = add(a, 1)
    second = add(first.output, 5)
    return Response(output=a, detour=Flow([first, second]))


@job
def detours_to_job(a):
    return Response(output=a, detour=keep(a))


@job
def adds_job(a):
    return Response(output=a, addition=add(a, 7))


@job
def adds_flow(a):
    first = add(a, 1)
    second = keep(first.output)
    return Response(output=a, addition=Flow([first, second]))


@job
def adds_and_detours(a):
    return Response(output=a, addition=add(a, 1), detour=keep(a))


@job
def adds_reference_to_itself(a):
    """The new job reads the output of the job that made it."""
    return Response(output={"value": a}, addition=keep(CURRENT_JOB.job.output["value"]))


@job
def stops_children(a):
    return Response(output=a, stop_children=True)


@job
def stops_jobflow(a):
    return Response(output=a, stop_jobflow=True)


@job
def adds_and_stops(a):
    return Response(output=a, addition=add(a, 1), stop_jobflow=True)


@job
def stores_data(a):
    return Response(output=a, stored_data={"k": [1, 2.5], "text": "ünï", "nested": {"none": None, "true": True}})


@job
def stores_odd_data():
    stored = {"date": datetime.datetime(2024, 1, 1), "array": numpy.arange(2), "spin": Spin.UP, "lattice": Lattice(1, 2, 3)}
    return Response(output=1, stored_data=stored)


@job
def adds_with_values():
    """What the arguments of a dynamic job become on the way."""
    return Response(
        output=1,
        addition=keep(numpy.arange(2), date=datetime.datetime(2024, 1, 1, 2, 3, 4, 5000), spin=Spin.DOWN, maker=AddMaker()),
    )


@job
def grows(depth):
    """Adds a job that adds a job … ."""
    if depth == 0:
        return {"depth": 0}
    return Response(output={"depth": depth}, addition=grows(depth - 1))


@job
def adds_many(count):
    return Response(output=count, addition=Flow([add(i, 1) for i in range(count)]))


@job
def replaced_under_another_manager(a):
    return Response(replace=Flow([one := add(a, 1), keep(one.output)], output=one.output))


# What jobs note about themselves, for those who count starts.


@job
def short_work(folder, label, seconds, parents=None):
    """Appends one line for each start, by which double starts are found."""
    with open(os.path.join(folder, label), "a") as file:
        file.write(f"{os.getcwd()} {os.getpid()} {time.time()}\n")
    time.sleep(seconds)
    with open(os.path.join(folder, label), "a") as file:
        file.write(f"end {os.getpid()} {time.time()}\n")
    return label
