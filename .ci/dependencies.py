"""Checks what we depend on: every crate named in Cargo.toml is used, in one version, from crates.io, under a licence of .deny.toml.

    python3 .ci/dependencies.py

Prints each fault on a line and exits with 1 when there is one. A short stand-in for cargo-machete and cargo-deny, which
take minutes to build where they are not installed.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"
# The one the tests run on; without it cargo fetches the crates of all others.
PLATFORM = "x86_64-unknown-linux-gnu"


def metadata():
    cargo = os.environ.get("CARGO", "cargo")
    command = [cargo, "metadata", "--format-version", "1", "--locked", "--quiet", "--filter-platform", PLATFORM]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def sources(*folders):
    """Returns the text of all Rust files below the folders, without line comments."""
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.rs"))]
    return re.sub(r"//.*", "", "\n".join(path.read_text() for path in files))


# Named in Cargo.toml to switch on a feature of a crate that another one of ours uses, and why.
FOR_FEATURES = {"reqwest": "object_store wants its TLS, with the provider of cryptography that we choose"}


def unused(package):
    """Returns the dependencies that no source file names."""
    product, everything = sources("src"), sources("src", "tests")
    for dependency in package["dependencies"]:
        name = (dependency["rename"] or dependency["name"]).replace("-", "_")
        text = everything if dependency["kind"] == "dev" else product
        if name not in FOR_FEATURES and not re.search(rf"\b{name}\b(::|!|;| as )", text):
            yield f"{dependency['name']}: named in Cargo.toml and used nowhere; remove it"


def repeated(package, packages):
    """Returns the crates that we name ourselves and that are built in several versions."""
    named = {dependency["name"] for dependency in package["dependencies"]}
    for name in sorted(named):
        versions = sorted(other["version"] for other in packages if other["name"] == name)
        if len(versions) > 1:
            yield f"{name}: built in the versions {', '.join(versions)}"


def foreign(packages):
    for package in packages:
        if package["source"] not in (None, CRATES_IO):
            yield f"{package['name']}: comes from {package['source']}, not from crates.io"


def allowed(expression, licences):
    """Returns whether an SPDX expression can be met with the licences alone."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def either():
        result = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            result = both() or result
        return result

    def both():
        result = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            result = one() and result
        return result

    def one():
        token = tokens.pop(0)
        if token == "(":
            result = either()
            tokens.pop(0)
            return result
        if tokens and tokens[0] == "WITH":
            tokens.pop(0)
            token = f"{token} WITH {tokens.pop(0)}"
        return token in licences

    return either()


def unlicensed(packages):
    licences = set(tomllib.loads((ROOT / ".deny.toml").read_text())["licenses"]["allow"])
    for package in packages:
        expression = package["license"]
        if not expression or not allowed(expression, licences):
            yield f"{package['name']} {package['version']}: licence {expression!r} is not in .deny.toml"


def main():
    everything = metadata()
    packages = everything["packages"]
    ours = next(package for package in packages if package["id"] == everything["resolve"]["root"])
    faults = [*unused(ours), *foreign(packages), *unlicensed(packages)]
    for fault in faults:
        print(fault)
    # Worth knowing, and rarely ours to change.
    for note in repeated(ours, packages):
        print(f"note: {note}")
    print(f"{len(packages)} packages, {len(faults)} faults")
    sys.exit(1 if faults else 0)


main()
