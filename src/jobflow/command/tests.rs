use std::collections::{BTreeMap, HashMap};

use bson::bson;

use super::stored::*;
use super::*;
use crate::jobflow::document::CommandJob;
use crate::jobflow::reference::{Properties, Reference, Step, resolve};
use crate::model::flow::OnMissing;
use crate::model::ids::JobKey;

fn command() -> StoredCommand {
    StoredCommand {
        program: StoredProgram::Arguments(vec!["true".into()]),
        environment: doc! {},
        stdin: None,
        files: Vec::new(),
        outputs: Vec::new(),
        retries: Retries::default(),
    }
}

fn job(command: &StoredCommand) -> Document {
    let specification = command.to_document();
    CommandJob {
        key: JobKey::new("c", 1),
        name: "child".to_owned(),
        metadata: doc! {},
        on_missing: OnMissing::Error,
        hosts: vec!["f".to_owned()],
        specification,
    }
    .into_document()
}

fn spec(command: &StoredCommand, output: &Bson) -> Result<CommandSpec, SpecError> {
    let mut job = job(command);
    resolve(&mut job, &|_| Some(output), OnMissing::Error, Properties::Refused).unwrap();
    CommandSpec::from_job(&job).map(Option::unwrap)
}

fn reference(key: &str) -> Bson {
    let steps = vec![Step::Key(key.to_owned())];
    Bson::Document(Reference { uuid: "p".to_owned(), steps }.to_document())
}

fn parent() -> Bson {
    let kept = KeptFile { name: "w".into(), sha256: "ab".repeat(32), size_bytes: 5 };
    bson!({
        "n": 1.5, "t": "it's; rm -rf /", "l": [1, "b"], "nul": "a\0b", "kept": kept.to_document(),
    })
}

#[test]
fn values_of_other_jobs_come_in_typed_or_as_text() {
    let text = bson!({"$text": ["e=", reference("n"), "!"]});
    let command = StoredCommand {
        program: StoredProgram::Arguments(vec![
            "p".into(),
            text.clone(),
            reference("t"),
            reference("l"),
            7.into(),
        ]),
        environment: doc! {"E": reference("n"), "T": text.clone()},
        stdin: Some(StoredStdin::Text(text)),
        files: vec![
            StoredFile {
                path: "in.json".into(),
                mode: 0o644,
                content: StoredContent::Json(
                    bson!({"n": reference("n"), "t": {"$text": ["<", reference("t"), ">"]}}),
                ),
            },
            StoredFile { path: "d/w".into(), mode: 0o755, content: StoredContent::File(reference("kept")) },
        ],
        ..command()
    };
    let spec = spec(&command, &parent()).unwrap();
    let expected = ["p", "e=1.5!", "it's; rm -rf /", "1", "b", "7"].map(str::to_owned).to_vec();
    assert_eq!(spec.program, Program::Arguments(expected));
    assert_eq!(spec.environment, [("E".into(), "1.5".into()), ("T".into(), "e=1.5!".into())]);
    assert_eq!(spec.stdin.as_deref(), Some(".jobferry/stdin"));
    let json = "{\n  \"n\": 1.5,\n  \"t\": \"<it's; rm -rf />\"\n}\n";
    assert_eq!(spec.files[0].content, FileContent::Bytes(json.into()));
    assert_eq!(spec.files[1].content, FileContent::Stored { sha256: "ab".repeat(32), size_bytes: 5 });
    assert_eq!(spec.files[1].mode, 0o755);
    assert_eq!(spec.files[2].content, FileContent::Bytes("e=1.5!".into()));
}

#[test]
fn values_in_a_shell_text_are_variables_that_a_real_shell_reads_back() {
    let variables = BTreeMap::from([("jf_t".to_owned(), reference("t"))]);
    let text = "printf %s \"${jf_t}\"; false; printf no".to_owned();
    let command = StoredCommand { program: StoredProgram::Shell { text, variables }, ..command() };
    let Program::Shell(text) = spec(&command, &parent()).unwrap().program else { panic!() };
    let ran = std::process::Command::new("sh").args(["-c", &text]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "it's; rm -rf /");
    assert!(!ran.status.success());
}

#[test]
fn what_cannot_be_run_is_refused() {
    let arguments =
        |values: Vec<Bson>| StoredCommand { program: StoredProgram::Arguments(values), ..command() };
    let file = |path: &str, content| StoredCommand {
        files: vec![StoredFile { path: path.into(), mode: 0o644, content }],
        ..command()
    };
    let refusal = |command: StoredCommand| spec(&command, &parent()).unwrap_err();
    assert_eq!(refusal(arguments(vec![])), SpecError::NoCommand);
    assert_eq!(refusal(arguments(vec!["".into()])), SpecError::NoCommand);
    assert_eq!(
        refusal(arguments(vec!["a".into(), reference("nul")])),
        SpecError::Nul { what: "an argument".into() }
    );
    for path in [
        "../x",
        "/x",
        "a/../b",
        "",
        "a\0",
        "a//b",
        "./a",
        "stdout",
        "submit.sh",
        ".jobferry/end",
        "additional_store_data.json",
    ] {
        let error = refusal(file(path, StoredContent::Text("".into())));
        assert!(matches!(error, SpecError::Path { .. }), "{path}: {error}");
    }
    let error = refusal(file("x", StoredContent::File(reference("n"))));
    assert_eq!(
        error.to_string(),
        "the file `x` is to come from another job, but what it refers to is 1.5, not a kept file"
    );
    let mut newer = job(&command());
    newer
        .get_document_mut("function_kwargs")
        .unwrap()
        .get_document_mut(KEYWORD)
        .unwrap()
        .insert("version", 2);
    assert!(CommandSpec::from_job(&newer).unwrap_err().to_string().contains("version 2"));
}

#[test]
fn jobs_of_others_are_left_alone() {
    let python =
        doc! {"function": {"@module": "m", "@callable": "f"}, "function_kwargs": {"jobferry": 3, "x": 1}};
    assert_eq!(CommandSpec::from_job(&python), Ok(None));
    assert!(result_files(&python).is_empty());
    assert_eq!(retries(&python), Retries::default());
    assert_eq!(extract(&python, &Found::default()), Ok(doc! {}));
}

#[derive(Default)]
struct Found(HashMap<&'static str, &'static str>);

impl ResultFiles for Found {
    fn content(&self, path: &str) -> Option<&[u8]> {
        self.0.get(path).map(|text| text.as_bytes())
    }

    fn digest(&self, path: &str) -> Option<Digest> {
        let content = self.content(path)?;
        Some(Digest { sha256: "cd".repeat(32), size_bytes: content.len() as u64 })
    }
}

fn output(name: &str, file: &str, kind: OutputKind) -> Output {
    Output { name: name.into(), file: file.into(), kind, optional: false }
}

fn json(pointer: &str) -> OutputKind {
    OutputKind::Json { pointer: Some(pointer.into()) }
}

fn regex(pattern: &str, group: Group, parsed_as: ParsedAs, which: Which) -> OutputKind {
    OutputKind::Regex { pattern: pattern.into(), group, parsed_as, which }
}

fn text(parsed_as: ParsedAs) -> OutputKind {
    OutputKind::Text { trim: true, parsed_as }
}

const RESULT: &str = r#"{"e": -1.5, "a/b": {"m~n": [10, 20]}, "nan": NaN}"#;
const LOG: &str = "step 1 E = -1.0D+00 ok\nstep 2 E = -2.5 ok\nstep x E = ? bad\n";

fn ended(outputs: Vec<Output>) -> Result<Document, ExtractError> {
    let files = Found(HashMap::from([
        ("r.json", RESULT),
        ("stdout", LOG),
        ("d/t", "  42\n"),
        ("bad.json", "{\"a\": oops}"),
    ]));
    extract(&job(&StoredCommand { outputs, ..command() }), &files)
}

#[test]
fn outputs_are_taken_from_files_and_streams() {
    let number = r"E = (?<e>\S+) ok";
    let outputs = vec![
        output("all", "r.json", OutputKind::Json { pointer: None }),
        output("twenty", "r.json", json("/a~1b/m~0n/1")),
        output("t", "d/t", text(ParsedAs::Text)),
        output("raw", "d/t", OutputKind::Text { trim: false, parsed_as: ParsedAs::Text }),
        output("n", "d/t", text(ParsedAs::Integer)),
        output("first", "stdout", regex(number, Group::Number(1), ParsedAs::Number, Which::First)),
        output("last", "stdout", regex(number, Group::Name("e".into()), ParsedAs::Number, Which::Last)),
        output("every", "stdout", regex(number, Group::Number(1), ParsedAs::Number, Which::All)),
        output("whole", "stdout", regex("step 2", Group::Number(0), ParsedAs::Text, Which::First)),
        output("kept", "d/t", OutputKind::File),
        Output { optional: true, ..output("none", "missing", OutputKind::File) },
        Output { optional: true, ..output("nothing", "r.json", json("/zzz")) },
    ];
    let mut document = ended(outputs).unwrap();
    assert!(document.get_document_mut("all").unwrap().remove("nan").unwrap().as_f64().unwrap().is_nan());
    let expected = doc! {
        "all": {"e": -1.5, "a/b": {"m~n": [10, 20]}},
        "twenty": 20,
        "t": "42",
        "raw": "  42\n",
        "n": 42,
        "first": -1.0,
        "last": -2.5,
        "every": [-1.0, -2.5],
        "whole": "step 2",
        "kept": {"@class": "JobferryFile", "name": "t", "sha256": "cd".repeat(32), "size_bytes": 5_i64},
        "none": null,
        "nothing": null,
    };
    assert_eq!(document, expected);
}

#[test]
fn each_output_that_fails_says_what_was_found() {
    let outputs = vec![
        output("a", "missing", json("/e")),
        output("b", "r.json", json("/a~1b/x")),
        output("c", "r.json", json("/e/x")),
        output("d", "bad.json", json("")),
        output("e", "stdout", regex("F = (.*)", Group::Number(1), ParsedAs::Text, Which::Last)),
        output("f", "stdout", regex("E = (.*)", Group::Number(1), ParsedAs::Number, Which::Last)),
        output("g", "r.json", text(ParsedAs::Integer)),
    ];
    let errors = ended(outputs).unwrap_err();
    let lines: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    the output `a` cannot be taken from the file missing: the command ended well but did not write it
    the output `b` cannot be taken from the file r.json: it has no /a~1b/x: at /a~1b there is a map with the keys m~n
    the output `c` cannot be taken from the file r.json: it has no /e/x: at /e there is -1.5
    the output `d` cannot be taken from the file bad.json: it is not JSON: `oops` is no JSON value at offset 6, near "{\"a\": oops}"
    the output `e` cannot be taken from the standard output: nothing in it matches "F = (.*)"; its last line is "step x E = ? bad"
    the output `f` cannot be taken from the standard output: a number is wanted and "? bad" was found
    the output `g` cannot be taken from the file r.json: a whole number is wanted and "{\"e\": -1.5, \"a/b\": {\"m~n\": [10, 20]}, \"nan\": NaN}" was found
    "#);
}

#[test]
fn files_to_fetch_are_named_once_with_the_largest_limit() {
    let outputs = vec![
        Output { optional: true, ..output("a", "x", json("/a")) },
        output("b", "x", regex("a", Group::Number(0), ParsedAs::Text, Which::First)),
        output("c", "w", OutputKind::File),
        Output { optional: true, ..output("d", "stdout", text(ParsedAs::Text)) },
    ];
    let retries_wanted = Retries { count: 2, delay: Duration::from_secs(30) };
    let job = job(&StoredCommand { outputs, retries: retries_wanted, ..command() });
    let file = |path: &str, limit_bytes, need| ResultFile { path: path.into(), limit_bytes, need };
    let expected = vec![
        file("x", SEARCH_LIMIT_BYTES, Need::Required),
        file("w", KEPT_LIMIT_BYTES, Need::Required),
        file("stdout", DOCUMENT_LIMIT_BYTES, Need::Optional),
    ];
    assert_eq!(result_files(&job), expected);
    assert_eq!(kept_files(&job), ["w"]);
    assert_eq!(retries(&job), retries_wanted);
}
