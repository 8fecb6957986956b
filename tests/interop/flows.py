"""The flows that the peer's runner and ours must end alike. One decorated function builds one flow.

A flow is anything that `submit_flow` takes: a Job, a list or a Flow. To add one, write a function:

    @flow()
    def my_flow():
        first = jobs.add(1, 2)
        return Flow([first, jobs.add(first.output, 3)])

Arguments of the decorator are said at `Case`. What may differ is listed with it, with the number of the peer's fault.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import sample_jobs as jobs
from jobflow import Flow, JobConfig, OnMissing
from jobflow_remote import set_run_config
from jobflow_remote.config.base import ExecutionConfig
from qtoolkit.core.data_objects import QResources


@dataclass(frozen=True)
class Difference:
    """One difference that is wanted: a fault of the peer that we do not repeat."""

    fault: int
    """Its number in the list of the peer's faults."""
    path: str
    """Glob over the path of the difference, as differential.py prints it."""
    executor: str = "*"
    """Only with this way of running jobs on the worker: `theirs` (jobflow-remote), `ours` (jobflow alone) or both."""


@dataclass
class Case:
    name: str
    build: Callable[[], object]
    options: dict = field(default_factory=dict)
    """Further arguments of `submit_flow`."""
    after: str | None = None
    """This flow has to be complete before this one is submitted; its Flow is the argument of `build`."""
    concurrent: bool = False
    """Several of its jobs make new ones at the same time: in which order these are stored is left open."""
    differences: tuple[Difference, ...] = ()


CASES: list[Case] = []

# A detour becomes a parent of the children, and the peer writes it into their documents alone, not into the flow's.
CHILDREN_OF_DETOURS = (Difference(29, "flow/parents/*"),)


def flow(after: str | None = None, concurrent: bool = False, differs: tuple[Difference, ...] = (), **options):
    def decorator(build):
        CASES.append(Case(build.__name__, build, options, after, concurrent, tuple(differs)))
        return build

    return decorator


# Submission.


@flow()
def single_job():
    return jobs.add(1, 5)


@flow()
def list_of_jobs():
    return [jobs.add(1, 2), jobs.add(3, 4)]


@flow(worker="second", priority=7)
def another_worker():
    first = jobs.add(1, 2)
    return Flow([first, jobs.add(first.output, 3)], name="on the second worker")


@flow(resources={"qverbatim": "# as the user wrote it"})
def resources_plain():
    return jobs.add(1, 2)


@flow(resources=QResources(job_name="named by its resources"))
def resources_of_the_queue():
    return jobs.add(1, 2)


@flow(resources={"job_name": "turned into QResources"})
def resources_turned():
    return jobs.add(1, 2)


@flow(exec_config="with_variable")
def exec_config_by_name():
    return jobs.environment("JF_TEST_VARIABLE")


@flow(exec_config=ExecutionConfig(export={"JF_TEST_VARIABLE": "given"}, pre_run="export JF_TEST_BEFORE=yes"))
def exec_config_given():
    return jobs.environment("JF_TEST_VARIABLE", "JF_TEST_BEFORE")


@flow(exec_config={"export": {"JF_TEST_VARIABLE": "plain"}})
def exec_config_plain():
    return jobs.environment("JF_TEST_VARIABLE")


@flow(worker="local", priority=2)
def manager_config_per_job():
    """Each job overrides some of what was submitted."""
    plain = jobs.add(1, 2)
    other = jobs.add(plain.output, 2)
    other.update_config({"manager_config": {"worker": "second", "priority": 9}})
    variable = jobs.environment("JF_TEST_VARIABLE")
    variable.update_config({"manager_config": {"exec_config": "with_variable", "resources": {"qverbatim": "# mine"}}})
    return Flow([plain, other, variable])


@flow(concurrent=True)
def run_config_set():
    """set_run_config reaches jobs that are made while the flow runs."""
    made = Flow([jobs.replaced_by_flow(1), jobs.environment("JF_TEST_VARIABLE"), jobs.adds_job(5)])
    made = set_run_config(made, exec_config="with_variable", priority=4)
    return set_run_config(made, name_filter="add", worker="second", resources={"qverbatim": "# second"})


@flow()
def run_config_overwritten():
    made = jobs.environment("JF_TEST_VARIABLE")
    made.update_config({"manager_config": {"worker": "second"}})
    return set_run_config(made, exec_config="with_variable", overwrite=True, dynamic=False)


@flow(jobstore="elsewhere")
def another_jobstore():
    first = jobs.one_blob(4)
    return Flow([first, jobs.keep(first.output, first.output["big"][2]), jobs.replaced_by_flow(3)])


@flow()
def flow_with_metadata():
    made = Flow([jobs.add(1, 2)], name="tagged", metadata={"group": "oxides", "run": 3})
    made.jobs[0].metadata = {"tags": ["a", "b"], "nested": {"x": 1}}
    return made


@flow(after="single_job", allow_external_references=True)
def external_reference(earlier):
    first = jobs.add(earlier.output, 100)
    return Flow([first, jobs.keep(first.output, earlier.output)])


@flow(worker="cold")
def without_a_warm_worker():
    """The worker's own command line, not a process that was warmed up."""
    first = jobs.add(1, 2)
    return Flow([first, jobs.keep(first.output)])


# References.


@flow()
def references_everywhere():
    first, second = jobs.record(), jobs.add(1, 2)
    settings = jobs.Settings(value=first.output["list"], more={"deep": [second.output, {"x": first.output["a"]["b"][2]["c"]}]})
    return Flow(
        [
            first,
            second,
            jobs.keep(first.output["a"]["b"][1], [second.output, [first.output["list"][-1]]], x={"y": {"z": second.output}}),
            jobs.keep(first.output, key=first.output["0"], none=first.output["none"], text=first.output["text"]),
            jobs.unwrap(settings, extra=[settings]),
        ]
    )


@flow()
def values_of_many_kinds():
    """What a value is when it comes out of the store again."""
    first = jobs.kinds()
    names = ["date", "array", "matrix", "enum", "tuple", "maker", "model", "large", "whole_float", "empty", "path"]
    return Flow([first, jobs.keep(**{name: first.output[name] for name in names}), jobs.describe(first.output["maker"])])


@flow()
def dates_in_outputs():
    first = jobs.dates()
    return Flow([first, jobs.keep(first.output)])


@flow()
def arguments_of_many_kinds():
    import datetime
    import pathlib

    import numpy

    return jobs.keep(
        datetime.datetime(2024, 1, 2, 3, 4, 5, 678000),
        numpy.arange(3),
        numpy.float64(2.5),
        (1, (2, 3)),
        pathlib.Path("/x"),
        spin=jobs.Spin.UP,
        site=jobs.Site(label="Na"),
        lattice=jobs.Lattice(1, 2, 3),
        maker=jobs.AddMaker(),
        number=2**40,
        whole=2.0,
        nothing=None,
    )


@flow()
def property_of_an_object():
    """Attributes that are properties of a Python object, and no keys of its JSON."""
    first, nested = jobs.lattice(), jobs.nested_lattice()
    return Flow(
        [
            first,
            nested,
            jobs.keep(first.output.volume, first.output.a),
            jobs.keep(first.output.cell["inner"].volume, first.output.cell["lengths"][1]),
            jobs.keep(nested.output["found"][1].volume, nested.output["best"]),
            jobs.describe(first.output),
        ]
    )


@flow()
def failing_parent_none():
    """The children of a failed job: one takes None, one leaves the reference, one waits for ever."""
    parent = jobs.fails()
    none, passed, error = jobs.keep(parent.output), jobs.keep(parent.output["x"]), jobs.keep(parent.output)
    none.config = JobConfig(on_missing_references=OnMissing.NONE)
    passed.config = JobConfig(on_missing_references=OnMissing.PASS)
    error.config = JobConfig(on_missing_references=OnMissing.ERROR)
    return Flow([parent, none, passed, error])


@flow()
def failing_parent_of_two():
    parent, fine = jobs.fails(), jobs.add(1, 2)
    child = jobs.keep(parent.output, fine.output, [parent.output["deep"][0]])
    child.config = JobConfig(on_missing_references=OnMissing.NONE)
    return Flow([parent, fine, child, jobs.add(child.output["args"][1], 1)])


@flow()
def references_left_alone():
    parent = jobs.record()
    child = jobs.keep(parent.output["a"], x=[parent.output])
    child.config = JobConfig(resolve_references=False)
    after = jobs.keep(child.output)
    return Flow([parent, child, after])


@flow()
def both_resolved_and_not():
    parent = jobs.add(1, 2)
    child = jobs.keep(parent.output)
    child.config = JobConfig(resolve_references="both")
    return Flow([parent, child])


@flow(differs=[Difference(28, "jobs/*")])
def key_that_is_not_there():
    parent = jobs.record()
    return Flow([parent, jobs.keep(parent.output["unheard of"])])


# Functions, Makers, schemas, nesting, order.


@flow()
def makers():
    single = jobs.AddMaker(shift=2.5, spin=jobs.Spin.DOWN).make(1)
    twice = jobs.TwiceMaker().make(single.output["sum"])
    return Flow([single, twice, jobs.keep(twice.output, single.output["weights"]["x"][1])], output=twice.output)


@flow()
def function_of_the_library():
    """Jobs of functions that know nothing of jobflow."""
    import os.path

    from jobflow import Job

    first = Job(sum, function_args=([1, 2, 3],))
    return Flow([first, Job(os.path.join, function_args=("a", "b"), name="join"), Job(dict, function_kwargs={"x": first.output})])


@flow()
def output_schema():
    first = jobs.relaxed("Na")
    return Flow([first, jobs.keep(first.output.energy, first.output.sites[1].position), jobs.describe(first.output.sites)])


@flow()
def output_schema_broken():
    first = jobs.breaks_its_schema()
    return Flow([first, jobs.keep(first.output.name)])


@flow()
def nested_flows():
    one, two = jobs.add(1, 1), jobs.add(2, 2)
    inner = Flow([one, two], output=[one.output, two.output], name="inner")
    middle = Flow([inner, jobs.keep(inner.output)], output=inner.output, name="middle")
    middle.append_name("_m")
    return Flow([middle, jobs.keep(middle.output, one.output)], name="outer", output=middle.output)


@flow()
def linear_order():
    inner = Flow([jobs.add(1, 1), jobs.add(2, 2)])
    return Flow([jobs.add(0, 0), inner, jobs.keep("last")], order="linear")


@flow()
def diamond():
    top = jobs.add(1, 1)
    left, right = jobs.add(top.output, 1), jobs.add(top.output, 2)
    return Flow([jobs.add(left.output, right.output), left, right, top])


# Responses.


@flow()
def replaced_job():
    first = jobs.replaced_by_job(1)
    return Flow([first, jobs.add(first.output, 1)])


@flow()
def replaced_by_return():
    first = jobs.returns_job(1)
    return Flow([first, jobs.add(first.output, 1)])


@flow()
def replaced_again_and_again():
    first = jobs.replaced_many_times(3)
    return Flow([first, jobs.keep(first.output)])


@flow()
def replaced_by_a_flow():
    """Children wait for the end of the whole replacement, parents of the replaced job are kept."""
    parent = jobs.add(0, 1)
    first = jobs.replaced_by_flow(parent.output)
    child = jobs.add(first.output, 1)
    return Flow([parent, first, child, jobs.keep(child.output, first.output)])


@flow()
def replaced_by_nested_flows():
    first = jobs.replaced_by_flow_of_flows(1)
    return Flow([first, jobs.keep(first.output["last"][0], first.output["inner"])])


@flow()
def replaced_without_output():
    first = jobs.replaced_by_flow_without_output(1)
    child = jobs.keep(first.output)
    return Flow([first, child])


@flow()
def replaced_by_returned_flow():
    first = jobs.returns_flow(1)
    return Flow([first, jobs.add(first.output, 1)])


@flow()
def replaced_by_a_list():
    first = jobs.replaced_by_list(1)
    return Flow([first, jobs.add(first.output[1], 1), jobs.keep(first.output)])


@flow()
def replaced_by_a_dict():
    first = jobs.replaced_by_dict(1)
    return Flow([first, jobs.keep(first.output["two"], first.output)])


@flow()
def replaced_in_linear_order():
    return Flow([jobs.replaced_by_linear_flow(1)])


@flow()
def replaced_keeping_schema():
    first = jobs.replaced_with_schema("Na")
    return Flow([first, jobs.keep(first.output.energy)])


@flow()
def replaced_keeping_stores():
    first = jobs.replaced_with_store(3)
    return Flow([first, jobs.keep(first.output["big"])])


@flow(differs=CHILDREN_OF_DETOURS)
def detour():
    first = jobs.detours(1)
    child = jobs.add(first.output, 1)
    return Flow([first, child, jobs.keep(child.output)])


@flow(differs=CHILDREN_OF_DETOURS)
def detour_to_one_job():
    first = jobs.detours_to_job(1)
    return Flow([first, jobs.add(first.output, 1)])


@flow()
def addition():
    first = jobs.adds_job(1)
    return Flow([first, jobs.add(first.output, 1)])


@flow()
def addition_of_a_flow():
    return jobs.adds_flow(1)


@flow(differs=CHILDREN_OF_DETOURS)
def addition_and_detour():
    first = jobs.adds_and_detours(1)
    return Flow([first, jobs.add(first.output, 1)])


@flow()
def addition_that_refers_back():
    return jobs.adds_reference_to_itself(4)


@flow(concurrent=True)
def additions_side_by_side():
    return Flow([jobs.adds_job(1), jobs.adds_job(10), jobs.grows(3)])


@flow()
def addition_with_values():
    return jobs.adds_with_values()


@flow()
def children_stopped():
    """Only the direct children are stopped (30 in the list of the peer's faults): grandchildren wait."""
    first = jobs.stops_children(1)
    child = jobs.add(first.output, 1)
    return Flow([first, child, jobs.add(child.output, 1)])


@flow()
def flow_stopped():
    first = jobs.stops_jobflow(1)
    child = jobs.add(first.output, 1)
    return Flow([first, child, jobs.add(child.output, 1)])


@flow()
def new_jobs_stopped():
    first = jobs.adds_and_stops(1)
    return Flow([first, jobs.add(first.output, 1)])


@flow()
def data_stored():
    return jobs.stores_data(1)


@flow()
def odd_data_stored():
    return jobs.stores_odd_data()


@flow(concurrent=True)
def updates_carried_on():
    """Metadata, names and configurations that jobs pass on to those that they make."""
    first, second = jobs.replaced_by_flow(1), jobs.adds_flow(2)
    made = Flow([first, second, jobs.detours(3)])
    made.update_metadata({"tag": "carried"}, dynamic=True)
    made.update_metadata({"only_add": 1}, name_filter="add", dynamic=True)
    made.append_name("_end", dynamic=True)
    made.append_name("begin_", prepend=True, dynamic=True)
    made.update_config({"on_missing_references": OnMissing.NONE}, name_filter="add", attributes=["on_missing_references"], dynamic=True)
    made.update_config({"_set": {"manager_config->priority": 3}}, dict_mod=True, dynamic=True)
    return made


@flow()
def updates_of_metadata():
    first = jobs.replaced_by_job(1)
    first.update_metadata({"list": [1]}, dynamic=True)
    first.update_metadata({"_push": {"list": 2}}, dict_mod=True, dynamic=True)
    return first


@flow()
def manager_of_responses():
    """response_manager_config replaces what new jobs would inherit. One after the other, so that new jobs have one order."""
    first = jobs.replaced_under_another_manager(1)
    first.config = JobConfig(manager_config={"priority": 1}, response_manager_config={"worker": "second", "priority": 5})
    second = jobs.replaced_under_another_manager(2)
    second.config = JobConfig(manager_config={"worker": "second", "priority": 6}, pass_manager_config=False)
    third = jobs.adds_job(3)
    third.config = JobConfig(manager_config={"worker": "second", "exec_config": "with_variable"})
    return Flow([first, second, third], order="linear")


# Additional stores, large and odd values.


@flow()
def blob():
    first = jobs.one_blob(5)
    return Flow([first, jobs.keep(first.output["big"][3], first.output), jobs.keep(first.output["small"])])


@flow()
def blobs_inside():
    first = jobs.nested_blobs()
    return Flow([first, jobs.keep(first.output["steps"][1]["big"]["step"])])


@flow()
def blob_by_class():
    first = jobs.blob_by_class()
    return Flow([first, jobs.keep(first.output["lattices"][1])])


@flow()
def blob_of_everything():
    first = jobs.whole_blob({"x": [1, "ψ"]})
    return Flow([first, jobs.keep(first.output["v"]["x"])])


@flow(differs=[Difference(36, path, executor="ours") for path in ("outputs/0.1/output/big/store", "blobs/*", "files/*")])
def blobs_in_two_stores():
    first = jobs.two_stores(4)
    return Flow([first, jobs.keep(first.output["small"])])


@flow()
def blob_of_a_replacement():
    first = jobs.lists_a_blob()
    return Flow([first, jobs.keep(first.output)])


@flow()
def large_output():
    first = jobs.large(40)
    return Flow([first, jobs.length_of(first.output)])


@flow()
def large_output_of_numbers():
    first = jobs.large_numbers(20_000)
    return Flow([first, jobs.keep(first.output["numbers"][19_999])])


@flow(differs=[Difference(35, "outputs/*", executor="ours")])
def not_a_number():
    first = jobs.not_numbers()
    return Flow([first, jobs.keep(first.output["nan"], first.output)])


@flow(differs=[Difference(35, "outputs/*", executor="ours")])
def not_a_number_as_argument():
    return jobs.keep(float("nan"), [float("inf")])


@flow(differs=[Difference(35, path, executor="ours") for path in ("jobs/*", "flow/state", "outputs/*")])
def bytes_in_the_output():
    return jobs.raw_bytes()


# Failures.


@flow()
def failing_job():
    first = jobs.writes_then_fails()
    return Flow([first, jobs.add(first.output, 1), jobs.add(1, 1)])


@flow()
def missing_module():
    from module_of_the_submitter import not_on_the_worker

    first = not_on_the_worker(1)
    return Flow([first, jobs.add(first.output, 1)])
