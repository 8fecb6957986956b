"""Run one jobflow job: what `jf execution run` of jobflow-remote 1.0 does, for a Python that has only jobflow.

    python3 execute.py [RUN_DIR]

It reads `jfremote_in.json` and writes, each whole or not at all:

    jfremote_out.json          before anything is imported: `start_time`. At the end: `response` or `error`, and both times
    remote_job_data.json       the job's output document (other documents are there only for references, and go)
    additional_store_*.json    the parts of the output that the job asked to keep apart

Exit code: 0 when there is a response; 1 when there is an error in its place, be it the job's or one of starting it; 74 when
the files cannot be written; 130 after an interrupt. A process that is killed leaves `start_time` alone.

What jobflow-remote writes is written in the same form. It is done better where that loses something: NaN and infinities stay
(bare, as Python's json has them), bytes and ObjectIds are kept as MongoDB's extended JSON, several additional stores do not
wrap each other's parts, keys to be kept apart are looked for in the output alone, a job may change its directory.
"""

import json
import os
import sys
from datetime import datetime, timezone

IN_FILE = "jfremote_in.json"
OUT_FILE = "jfremote_out.json"
DONE, FAILED, CANNOT_WRITE, INTERRUPTED = 0, 1, 74, 130

# Set for a Python that another one has handed the job to, because that one has no jobflow.
HANDED_OVER = "JF_HANDED_OVER"

# What programs that compress a whole directory (as some jobs do with their own) add to a name, and the module that reads it.
COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma", ".lzma": "lzma"}


class CannotStart(Exception):
    """The job's function was not called."""


class RunDirectory(object):
    """The run directory by its descriptor.

    So it is the one of this attempt even when it is renamed meanwhile, or when the job goes to another directory.
    """

    def __init__(self, path):
        os.chdir(path)
        self.descriptor = os.open(".", os.O_RDONLY)

    def exists(self, name):
        try:
            os.stat(name, dir_fd=self.descriptor)
        except OSError:
            return False
        return True

    def read(self, name):
        with os.fdopen(os.open(name, os.O_RDONLY, dir_fd=self.descriptor), "rb") as file:
            return file.read()

    def write(self, name, content):
        part = "." + name + ".part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with os.fdopen(os.open(part, flags, 0o666, dir_fd=self.descriptor), "wb") as file:
            file.write(content)
        os.replace(part, name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def remove(self, name):
        os.unlink(name, dir_fd=self.descriptor)


# ---- the result file ----


def monty_time(time):
    return {"@module": "datetime", "@class": "datetime", "string": str(time)}


def now():
    return datetime.now(timezone.utc)


class Result(object):
    """`jfremote_out.json`."""

    def __init__(self, directory):
        self.directory = directory
        self.started = now()

    def record_start(self):
        self._write({"start_time": monty_time(self.started)})

    def record_response(self, response):
        self._write_end(response, None)

    def record_error(self, error):
        self._write_end(None, error)

    def _write_end(self, response, error):
        times = {"start_time": monty_time(self.started), "end_time": monty_time(now())}
        self._write(dict({"response": response, "error": error}, **times), response_encoder() if response else None)

    def _write(self, content, encoder=None):
        self.directory.write(OUT_FILE, json.dumps(content, cls=encoder).encode())


def response_encoder():
    from monty.json import MontyEncoder

    class ResponseEncoder(MontyEncoder):
        """Bytes, which monty cannot write, as in the other files."""

        def default(self, o):
            return extended(o) if isinstance(o, bytes) else super(ResponseEncoder, self).default(o)

    return ResponseEncoder


# ---- values in files ----


def extended(value):
    """Return MongoDB's extended JSON for a value of its own types."""
    from bson import json_util

    return json_util.default(value, json_util.RELAXED_JSON_OPTIONS)


def read_json(text):
    """Return the value; extended JSON becomes what it stands for. The plain reader is ten times faster."""
    if b'"$' not in text:
        return json.loads(text)
    from bson import json_util

    return json_util.loads(text.decode(), json_options=json_util.RELAXED_JSON_OPTIONS.with_options(tz_aware=False))


def write_json(value, time_form):
    def default(o):
        return time_form(o) if isinstance(o, datetime) else extended(o)

    def dumps(ensure_ascii):
        return json.dumps(value, ensure_ascii=ensure_ascii, separators=(",", ":"), default=default).encode()

    try:
        return dumps(ensure_ascii=False)
    except UnicodeEncodeError:  # Half of a surrogate pair.
        return dumps(ensure_ascii=True)


def whole_milliseconds(time):
    """Return the text of a time as it is after mongomock, which is MongoDB in this: in UTC, without a zone."""
    if time.tzinfo is not None:
        time = time.astimezone(timezone.utc).replace(tzinfo=None)
    return time.replace(microsecond=time.microsecond // 1000 * 1000).isoformat()


def read_msgpack(content):
    import msgpack

    def time(value):
        return datetime.strptime(value["as_str"], "%Y%m%dT%H:%M:%S.%f") if "__datetime__" in value else value

    return msgpack.unpackb(content, object_hook=time, raw=False, strict_map_key=False)


def write_msgpack(value):
    import msgpack

    def default(o):
        if isinstance(o, datetime):
            return {"__datetime__": True, "as_str": o.strftime("%Y%m%dT%H:%M:%S.%f")}
        return extended(o)

    return msgpack.packb(value, default=default, use_bin_type=True)


class StoreFile(object):
    """One store's file, in the form that its class of `jobflow_remote.remote.data` writes."""

    def __init__(self, directory, name, class_name):
        self.directory, self.name, self.class_name = directory, name, class_name
        if class_name == "MinimalMsgpackStore":
            import msgpack  # noqa: F401  Its absence is to be known before the job runs for hours.

    def read(self):
        content = self.directory.read(self.name) if self.directory.exists(self.name) else b""
        if content and self.name.endswith(".gz"):
            import gzip

            content = gzip.decompress(content)
        if not content:
            return []
        value = read_msgpack(content) if self.class_name == "MinimalMsgpackStore" else read_json(content)
        return value if isinstance(value, list) else [value]

    def write(self, documents):
        if self.class_name == "MinimalMsgpackStore":
            content = write_msgpack(documents)
        else:
            precise = self.class_name != "StdJSONStore"
            content = write_json(documents, datetime.isoformat if precise else whole_milliseconds)
        if self.name.endswith(".gz"):
            import gzip

            content = gzip.compress(content)
        self.directory.write(self.name, content)


# ---- stores ----


def is_class(key):
    from monty.json import MSONable

    return isinstance(key, type) and issubclass(key, MSONable)


def occurrences(value, key, path):
    """Yield the paths below `value` at which jobflow's `find_key` finds `key`: nothing inside what is found."""
    if isinstance(value, dict):
        found = False
        if is_class(key) and (value.get("@module"), value.get("@class")) == (key.__module__, key.__name__):
            yield path
            found = True
        elif key in value:
            yield path + (key,)
            found = True
        if not found:
            for name in value:
                for found in occurrences(value[name], key, path + (name,)):
                    yield found
    elif isinstance(value, list):
        for index, item in enumerate(value):
            for found in occurrences(item, key, path + (index,)):
                yield found


def at(value, path):
    """Return what is at the path, or None when there is no such place."""
    for key in path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def paths_to_keep_apart(doc, save):
    """Return {path: store} for one document: no path is inside another one, and each goes to one store only."""
    from enum import Enum

    found = []
    for store, keys in save.items():
        if keys is False or keys is None:
            continue
        keys = ["output"] if keys is True else keys
        for key in keys if isinstance(keys, (list, tuple)) else [keys]:
            key = key.value if isinstance(key, Enum) else key
            if isinstance(key, (list, tuple)):
                found.append((tuple(key), store))
            else:
                output = {"output": doc.get("output")}
                found.extend((path, store) for path in occurrences(output, key, ()))
    chosen = {}
    for path, store in sorted(found, key=lambda one: len(one[0])):
        inside = any(path[: len(outer)] == outer for outer in chosen)
        if path and not inside and at(doc, path) is not None:
            chosen[path] = store
    return chosen


def new_stores():
    """Return the two classes of stores; what they inherit from cannot be imported at the beginning of this file."""
    from jobflow.core.store import JobStore
    from jobflow.utils.uid import suid
    from maggma.core import Store
    from monty.json import jsanitize

    class DocumentStore(Store):
        """Documents in memory; those that the job wrote are in the file when the store is closed."""

        def __init__(self, file):
            super(DocumentStore, self).__init__()
            self.file = file
            self.documents, self.written, self.mirror = {}, set(), None

        @property
        def name(self):
            return "json://" + self.file.name

        def identity(self, doc, key):
            key = key or self.key
            return json.dumps([doc.get(one) for one in (key if isinstance(key, list) else [key])], default=str)

        def connect(self, force_reset=False):
            if not self.documents:
                # Two outputs of one job may be there: of all its indices, the newest is asked for.
                key = ["uuid", "index"] if self.key == "uuid" else None
                self.documents = {self.identity(doc, key): doc for doc in self.file.read()}

        def close(self):
            self.file.write([self.documents[one] for one in self.documents if one in self.written])

        def update(self, docs, key=None):
            for doc in docs if isinstance(docs, list) else [docs]:
                identity = self.identity(doc, key)
                self.documents[identity] = {name: doc[name] for name in doc if name != "_id"}
                self.written.add(identity)
            self.mirror = None

        def remove_docs(self, criteria):
            self.memory().remove_docs(criteria)
            left = {str(doc["_id"]) for doc in self.mirror.query(properties=["_id"])}
            self.documents = {one: self.documents[one] for one, _id in self.mirror_ids.items() if _id in left}
            self.mirror = None

        def memory(self):
            """Return the documents in a store that knows MongoDB's queries."""
            if self.mirror is None:
                from bson import ObjectId
                from maggma.stores import MemoryStore

                self.mirror, self.mirror_ids = MemoryStore(), {}
                self.mirror.connect()
                for one, doc in self.documents.items():
                    _id = ObjectId()
                    self.mirror_ids[one] = str(_id)
                    self.mirror._collection.insert_one(dict(doc, _id=_id))
            return self.mirror

        @property
        def _collection(self):
            return self.memory()._collection

        def count(self, criteria=None):
            return self.memory().count(criteria)

        def query(self, *args, **kwargs):
            return self.memory().query(*args, **kwargs)

        def groupby(self, *args, **kwargs):
            return self.memory().groupby(*args, **kwargs)

        def distinct(self, *args, **kwargs):
            return self.memory().distinct(*args, **kwargs)

        def ensure_index(self, key, unique=False):
            return True

        def __hash__(self):
            return hash(self.file.name)

        def __eq__(self, other):
            return self is other

    class ResultStore(JobStore):
        """jobflow's, but for how parts of a document are kept apart."""

        def update(self, docs, key=None, save=None):
            save = self.save if save in (None, True) else save or {}
            unknown = [store for store in save if store not in self.additional_stores]
            if unknown:
                raise ValueError("Unrecognised additional store name: " + ", ".join(unknown))
            docs = [
                jsanitize(doc, strict=True, allow_bson=True) for doc in (docs if isinstance(docs, list) else [docs])
            ]
            blobs = {}
            for doc in docs:
                for path, store in paths_to_keep_apart(doc, save).items():
                    blobs.setdefault(store, []).append(self.keep_apart(doc, path, store))
            self.docs_store.update(docs, key=key or ["uuid", "index"])
            for store, parts in blobs.items():
                self.additional_stores[store].update(parts, key="blob_uuid")

        @staticmethod
        def keep_apart(doc, path, store):
            """Put a pointer into the document, and return the blob it points to."""
            place, part = at(doc, path[:-1]), at(doc, path)
            of_class = part if isinstance(part, dict) and "@class" in part and "@module" in part else {}
            blob = {"@class": of_class.get("@class", ""), "@module": of_class.get("@module", ""), "blob_uuid": suid()}
            place[path[-1]] = dict(blob, store=store)
            return dict(blob, data=part, job_uuid=doc["uuid"], job_index=doc["index"])

    return DocumentStore, ResultStore


class Stores(object):
    """The stores that the input names, as one JobStore."""

    def __init__(self, directory, spec):
        from monty.json import MontyDecoder

        document_store, result_store = new_stores()
        self.names = []

        def opened(store):
            if store.get("@module") != "jobflow_remote.remote.data":
                return MontyDecoder().process_decoded(store)
            path = store["paths"][0] if "paths" in store else store["path"]
            name = os.path.basename(path)
            self.names.append(name)
            return document_store(StoreFile(directory, name, store["@class"]))

        docs = opened(spec["docs_store"])
        additional = {name: opened(store) for name, store in (spec.get("additional_stores") or {}).items()}
        decoded = {key: MontyDecoder().process_decoded(spec.get(key)) for key in ("save", "load")}
        self.store = result_store(docs, additional, save=decoded["save"], load=decoded["load"])

    def close(self):
        """Write all files, that of the output document last."""
        for additional in self.store.additional_stores.values():
            additional.close()
        self.store.docs_store.close()


# ---- the job ----


class JobDocument(object):
    """Fills jobflow-remote's CURRENT_JOBDOC as soon as the job's code imports it: a Python may have that package too."""

    MODULE = "jobflow_remote.jobs.run"

    def __init__(self, document):
        self.document, self.job = document, None
        if document:
            sys.meta_path.insert(0, self)

    def find_spec(self, name, path=None, target=None):
        if name != self.MODULE:
            return None
        import importlib.util

        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                self.fill(module)

            spec.loader.exec_module = exec_module
        return spec

    def ready(self, job):
        self.job = job
        self.fill(sys.modules.get(self.MODULE))

    def fill(self, module):
        if module is not None and self.job is not None and self.document:
            module.CURRENT_JOBDOC.job_doc = module.JobDoc.model_validate(dict(self.document, job=self.job))


def this_python():
    """Return who could not import something, and what to do about it."""
    return (
        "The Python is {} (version {}), on {}.\nInstall what is missing there, or choose another Python in the worker's "
        "`pre_run`: activate its environment, or set JF_PYTHON to its path."
    ).format(sys.executable, sys.version.split()[0], os.uname()[1])


def hand_over():
    """Go on with the Python of jobflow-remote's `jf`, if there is one: it may be found where its Python is not."""
    if os.environ.get("JF_PYTHON") or os.environ.get(HANDED_OVER):
        return
    import shutil

    program = shutil.which("jf")
    if program is None:
        return
    with open(program, "rb") as file:
        first_line = file.readline(1024)
    python = first_line[2:].strip().decode(errors="replace") if first_line.startswith(b"#!") else ""
    if os.path.basename(python).startswith("python") and python != sys.executable and os.access(python, os.X_OK):
        os.environ[HANDED_OVER] = "1"
        os.execv(python, [python] + sys.argv)


def import_jobflow():
    try:
        import jobflow
    except ImportError as error:
        if error.name == "jobflow":
            hand_over()
        raise CannotStart("jobflow cannot be imported: {}.\n{}".format(error, this_python()))
    return jobflow


def modules_of(function):
    """Return the modules that a serialized function needs, those of the object it is bound to first."""
    nested = [function.get("@bound")] if isinstance(function, dict) else []
    nested += [value for value in function.values() if value is not nested[0]] if nested else list(function)
    names = [name for value in nested if isinstance(value, (dict, list)) for name in modules_of(value)]
    return names + ([function["@module"]] if nested and function.get("@module") else [])


def decode_job(serialized):
    from importlib import import_module

    from monty.json import MontyDecoder

    function = serialized["function"]
    try:
        job = MontyDecoder().process_decoded(serialized)
    except ImportError as error:
        text = "The job's Python code cannot be imported: {}.\n{}"
        raise CannotStart(text.format(error, this_python()))
    if not isinstance(job.function, dict):
        return job
    why = "nothing of that name is in the module {}".format(function.get("@module"))
    for name in modules_of(function):
        try:
            import_module(name)
        except Exception as error:
            why = "{}: {}".format(type(error).__name__, error)
            break
    text = (
        "The function in the Job could not be deserialized: {}.\nCheck if this function is actually available in the "
        "worker's python environment: {}.\n{}"
    )
    raise CannotStart(text.format(function, why, this_python()))


def run_job(directory):
    """Run the job, write its stores, and return its response."""
    jobflow = import_jobflow()
    content = read_json(directory.read(IN_FILE))
    document = JobDocument(content.get("job_doc"))
    job = decode_job(content["job"])
    document.ready(job)
    stores = Stores(directory, content["store"])
    names = [IN_FILE, OUT_FILE] + stores.names
    known = [name + suffix for name in names for suffix in COMPRESSED if directory.exists(name + suffix)]
    stores.store.connect()
    jobflow.initialize_logger()
    try:
        response = job.run(store=stores.store)
    finally:
        unpack(directory, names, known)
        stores.close()
    from jobflow.core.flow import get_flow

    response.output = None
    for part in ("addition", "detour", "replace"):
        if getattr(response, part):
            setattr(response, part, get_flow(getattr(response, part)))
    return response


def unpack(directory, names, known):
    """Undo it where the job has compressed the runner's files with its own. Those that are written again only go."""
    for name in names:
        for suffix, module in COMPRESSED.items():
            compressed = name + suffix
            if compressed in known or compressed in names or not directory.exists(compressed):
                continue
            if name == IN_FILE and not directory.exists(name):
                from importlib import import_module

                directory.write(name, import_module(module).decompress(directory.read(compressed)))
            directory.remove(compressed)


def traceback_of(error):
    """Return the traceback from where it leaves this file."""
    import traceback

    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename == __file__ and frame.tb_next is not None:
        frame = frame.tb_next
    return "".join(traceback.format_exception(type(error), error, frame))


def description(error):
    """Return the text that takes the place of a response."""
    if isinstance(error, CannotStart):
        cause = error.__cause__ or error.__context__
        return str(error) + ("\n\n" + traceback_of(cause) if cause is not None else "\n")
    text = traceback_of(error)
    if isinstance(error, SystemExit):
        text = "The job ended itself with sys.exit({!r}) instead of returning.\n\n{}".format(error.code, text)
    if isinstance(error, ImportError):
        text += "\n" + this_python() + "\n"
    return text


def main(arguments):
    directory = RunDirectory(arguments[0] if arguments else ".")
    result = Result(directory)
    try:
        result.record_start()
        try:
            response = run_job(directory)
            result.record_response(response)
            return DONE
        except BaseException as error:
            text = description(error)
            sys.stderr.write(text)
            result.record_error(text)
            return INTERRUPTED if isinstance(error, KeyboardInterrupt) else FAILED
    except OSError as error:
        sys.stderr.write("JobFerry: cannot write {}: {}\n".format(OUT_FILE, error))
        return CANNOT_WRITE


if __name__ == "__main__":
    import faulthandler

    # A job whose compiled code crashes leaves a traceback, and one that is killed all lines it has printed.
    faulthandler.enable()
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)
    # Beside this file there is nothing to be imported.
    if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
        del sys.path[0]
    sys.exit(main(sys.argv[1:]))
