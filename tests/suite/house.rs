//! The rules of the house that a compiler does not know: which room may use which, what the pure rooms may name, how long a file may be.
//!
//! They read the source text. Each rule is a function from text to faults, and each has a test that shows it a fault: a
//! rule that finds nothing because it is broken would look like a tidy house.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

/// Lines of code a file may have before its tests: about what one sitting reads.
const LONGEST_FILE_LINES: usize = 500;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 5] = ["util", "common", "helpers", "misc", "imp"];

/// Rooms that only turn values into values.
const PURE_ROOMS: [&str; 4] = ["model", "jobflow", "flowfile", "scheduler"];

/// What a pure room may not name: files, processes, sockets, tasks, clocks, chance.
static IMPURE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\btokio\b|\bstd::(process|fs|net|thread)\b|\bstd::\{[^}]*\b(process|fs|net|thread)\b|\b(Instant|SystemTime|Timestamp|Zoned)::now\b|\brand::(rng|random)\b|\bUuid::new_v4\b",
    )
});

/// A path that begins at the crate's root, or the brace of a group of them.
static FROM_ROOT: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b(?:crate|jobferry)::\s*(\w+|\{)"));

/// A path that climbs out of its module, and what it names there.
static FROM_ABOVE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b((?:super::)+)\s*(\w+)"));

/// Where a file's tests begin.
static TESTS_BEGIN: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?m)^#\[cfg\(test\)\]\s*(?:pub(?:\(\w+\))? )?mod \w+ \{"));

/// The rooms that `room` may use; `None` for a room that the map does not know.
fn allowed(room: &str) -> Option<&'static [&'static str]> {
    const PURE: &[&str] = &["model", "jobflow", "flowfile"];
    Some(match room {
        "model" => &[],
        "jobflow" => &["model"],
        "flowfile" => &["model", "jobflow"],
        "config" | "store" | "transport" | "scheduler" => PURE,
        "worker" => &["model", "jobflow", "flowfile", "scheduler"],
        "runner" => &["model", "jobflow", "flowfile", "config", "store", "transport", "scheduler", "worker"],
        "cli" => {
            &["model", "jobflow", "flowfile", "config", "store", "transport", "scheduler", "worker", "runner"]
        }
        // The binaries parse, dispatch and exit.
        "bin" => &["cli"],
        _ => return None,
    })
}

#[test]
fn rooms_use_only_the_rooms_below_them() {
    assert_no_faults(source_files().iter().flat_map(|file| back_edges(&file.module, &file.code())));
}

#[test]
fn a_back_edge_is_found_however_it_is_written() {
    let store = path_of(&["store", "mongodb", "queue"]);
    for text in [
        "use crate::runner::Lease;",
        "use crate::{model::Job, runner::{lease, Lease}};",
        "use crate::{\n    model::{Job, Flow},\n    runner,\n};",
        "let lease = crate::runner::Lease::new();",
        "use super::super::super::runner::Lease;",
    ] {
        assert_eq!(back_edges(&store, text).len(), 1, "{text}");
    }
    for text in
        ["use crate::{model::{Job, runner::X}, store};", "use super::runner;", "use super::super::runner::X;"]
    {
        assert_eq!(back_edges(&store, text), Vec::<String>::new(), "{text}");
    }
    assert_eq!(back_edges(&path_of(&["model"]), "use super::store::Queue;").len(), 1);
    assert_eq!(back_edges(&path_of(&["attic", "old"]), "").len(), 1, "a room that the map does not know");
}

#[test]
fn pure_rooms_name_no_files_processes_sockets_tasks_or_clocks() {
    let pure = source_files()
        .into_iter()
        .filter(|file| file.module.first().is_some_and(|room| PURE_ROOMS.contains(&room.as_str())));
    assert_no_faults(pure.flat_map(|file| impurities(&file.name, &file.code())));
}

#[test]
fn an_impurity_is_found() {
    for text in [
        "use tokio::fs;",
        "std::fs::read(path)",
        "use std::{fs, io};",
        "let now = Instant::now();",
        "rand::rng()",
    ] {
        assert_eq!(impurities("model/x.rs", text).len(), 1, "{text}");
    }
    assert_eq!(impurities("model/x.rs", "let instant = clock.now(); // never tokio"), Vec::<String>::new());
}

#[test]
fn files_are_short_enough_to_be_read_whole() {
    assert_no_faults(source_files().iter().filter(|file| !file.is_test()).filter_map(|file| {
        let lines = lines_of_code(&file.text);
        (lines > LONGEST_FILE_LINES).then(|| {
            format!("{}: {lines} lines of code before its tests, {LONGEST_FILE_LINES} at most", file.name)
        })
    }));
}

#[test]
fn lines_of_code_leave_out_comments_blanks_and_tests() {
    let text =
        "//! About.\n\nfn a() {\n    // Why.\n    b();\n}\n\n#[cfg(test)]\nmod tests {\n    fn c() {}\n}\n";
    assert_eq!(lines_of_code(text), 3);
    assert_eq!(lines_of_code("#[cfg(test)]\nmod tests;\nfn a() {}\n"), 3);
}

#[test]
fn names_say_what_is_inside() {
    assert_no_faults(source_files().iter().chain(&test_files()).filter_map(|file| {
        let empty = file.module.iter().find(|name| EMPTY_NAMES.contains(&name.as_str()))?;
        Some(format!("{}: `{empty}` says nothing", file.name))
    }));
}

#[test]
fn every_file_of_the_suite_is_compiled() {
    let suite = repository().join("tests/suite");
    let main = fs::read_to_string(suite.join("main.rs")).expect("the suite has a main.rs");
    let modules: BTreeSet<String> = pattern(r"(?m)^(?:pub(?:\(\w+\))? )?mod (\w+);")
        .captures_iter(&main)
        .map(|found| found[1].to_owned())
        .collect();
    let names = fs::read_dir(&suite)
        .expect("the suite is a folder")
        .map(|entry| entry.expect("it can be read").path());
    let files: BTreeSet<String> = names
        .filter(|path| {
            path.extension().is_some_and(|extension| extension == "rs") || path.join("mod.rs").is_file()
        })
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .filter(|name| name != "main")
        .collect();
    assert_eq!(files, modules, "the files of tests/suite and the `mod` lines of its main.rs");
}

/// One Rust file.
struct File {
    /// The path from the repository's root.
    name: String,
    /// The module path, such as `store`, `mongodb`, `queue`.
    module: Vec<String>,
    text: String,
}

impl File {
    /// Returns the text that the rules are about: none for a file of tests, else what stands before the tests.
    fn code(&self) -> String {
        if self.is_test() { String::new() } else { without_comments(before_tests(&self.text)) }
    }

    fn is_test(&self) -> bool {
        self.module.iter().any(|name| name == "tests")
    }
}

fn source_files() -> Vec<File> {
    files_below("src")
}

fn test_files() -> Vec<File> {
    files_below("tests")
}

/// Returns every Rust file below a folder of the repository; at least one, or the rules would hold of nothing.
fn files_below(folder: &str) -> Vec<File> {
    let root = repository().join(folder);
    let mut files = Vec::new();
    collect(&root, &root, &mut files);
    assert!(!files.is_empty(), "no Rust file below {}", root.display());
    files
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).expect("a source folder can be read") {
        let path = entry.expect("its entries can be read").path();
        if path.is_dir() {
            collect(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let module = module_of(path.strip_prefix(root).expect("it was found below the root"));
            let name = path.strip_prefix(repository()).unwrap_or(&path).display().to_string();
            files.push(File {
                name,
                module,
                text: fs::read_to_string(&path).expect("a source file is text"),
            });
        }
    }
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the module path of a file: `store/mongodb/mod.rs` is `store`, `mongodb`; the crate's root is empty.
fn module_of(path: &Path) -> Vec<String> {
    let names = path.with_extension("");
    let names = names.iter().map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| !["mod", "lib", "main"].contains(&name.as_str())).collect()
}

fn path_of(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Returns a fault for each use of a room that the module's own room may not use.
fn back_edges(module: &[String], code: &str) -> Vec<String> {
    let Some(room) = module.first() else { return Vec::new() };
    let Some(allowed) = allowed(room) else {
        return vec![format!("src/{room}: a room that the map does not know")];
    };
    let used: BTreeSet<String> =
        rooms_from_root(code).into_iter().chain(rooms_from_above(module, code)).collect();
    // Only rooms count: a name such as `crate::VERSION` belongs to nobody.
    let rooms = used.iter().filter(|used| self::allowed(used).is_some() && *used != room);
    rooms
        .filter(|used| !allowed.contains(&used.as_str()))
        .map(|used| format!("{}: uses {used}", module.join("::")))
        .collect()
}

/// Returns the first names of all paths that begin with `crate::`, groups in braces taken apart.
fn rooms_from_root(code: &str) -> Vec<String> {
    FROM_ROOT
        .captures_iter(code)
        .flat_map(|found| match &found[1] {
            "{" => first_names(&code[found.get_match().end()..]),
            name => vec![name.to_owned()],
        })
        .collect()
}

/// Returns the first name of each path in a group, given the text after its opening brace.
fn first_names(group: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let (mut depth, mut in_first_name) = (0, true);
    for letter in group.chars() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(String::new());
                in_first_name = true;
            }
            _ if letter.is_whitespace() => {}
            _ if in_first_name && (letter.is_alphanumeric() || letter == '_') => {
                names.last_mut().expect("it is never empty").push(letter);
            }
            _ => in_first_name = false,
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Returns the names that paths with `super::` reach at the crate's root.
fn rooms_from_above(module: &[String], code: &str) -> Vec<String> {
    let climbs = FROM_ABOVE.captures_iter(code);
    climbs
        .filter(|found| found[1].matches("super").count() == module.len())
        .map(|found| found[2].to_owned())
        .collect()
}

fn impurities(name: &str, code: &str) -> Vec<String> {
    let code = without_comments(code);
    IMPURE.find_iter(&code).map(|found| format!("{name}: names {}", found.as_str())).collect()
}

fn lines_of_code(text: &str) -> usize {
    let lines = before_tests(text).lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

fn before_tests(text: &str) -> &str {
    TESTS_BEGIN.find(text).map_or(text, |found| &text[..found.start()])
}

fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is well formed")
}

fn assert_no_faults(faults: impl Iterator<Item = String>) {
    let faults: Vec<String> = faults.collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
