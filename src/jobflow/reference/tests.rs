use std::collections::HashMap;

use bson::bson;
use proptest::prelude::*;

use super::*;

fn reference(uuid: &str, steps: &[Step]) -> Bson {
    Bson::Document(Reference { uuid: uuid.to_owned(), steps: steps.to_vec() }.to_document())
}

fn key(name: &str) -> Step {
    Step::Key(name.to_owned())
}

fn job(argument: Bson) -> Document {
    doc! {
        "name": "child", "uuid": "c", "function_args": [argument.clone()], "function_kwargs": {"x": {"deep": [argument]}},
        "config": {"resolve_references": true},
    }
}

fn resolved(argument: Bson, outputs: &[(&str, Bson)], on_missing: OnMissing) -> Result<Bson, ResolveError> {
    let outputs: HashMap<&str, &Bson> = outputs.iter().map(|(uuid, output)| (*uuid, output)).collect();
    let mut job = job(argument);
    resolve(&mut job, &|uuid| outputs.get(uuid).copied(), on_missing, Properties::Refused)?;
    let first = job.get_array("function_args").unwrap()[0].clone();
    let deep = job.get_document("function_kwargs").unwrap().get_document("x").unwrap();
    assert_eq!(deep.get_array("deep").unwrap()[0], first, "one answer everywhere");
    Ok(first)
}

fn failure(argument: Bson, outputs: &[(&str, Bson)]) -> String {
    resolved(argument, outputs, OnMissing::Error).unwrap_err().to_string()
}

#[test]
fn steps_walk_maps_lists_and_texts() {
    let output = bson!({"lst": [{"k": 1}, {"k": [1.5, "abc"]}]});
    let outputs = [("a", output.clone())];
    let get = |steps: &[Step]| resolved(reference("a", steps), &outputs, OnMissing::Error).unwrap();
    assert_eq!(get(&[]), output);
    assert_eq!(get(&[key("lst"), Step::Index(1), key("k"), Step::Index(0)]), bson!(1.5));
    assert_eq!(get(&[key("lst"), Step::Index(-2), key("k")]), bson!(1));
    assert_eq!(get(&[key("lst"), Step::Index(-1), key("k"), Step::Index(1), Step::Index(-1)]), bson!("c"));
}

#[test]
fn attribute_steps_on_maps_are_key_steps() {
    let mut serialized = reference("a", &[]);
    serialized.as_document_mut().unwrap().insert("attributes", bson!([["a", "k"], ["i", 0]]));
    assert_eq!(resolved(serialized, &[("a", bson!({"k": [7]}))], OnMissing::Error), Ok(bson!(7)));
}

#[test]
fn failures_name_the_job_the_reference_the_step_and_what_is_there() {
    let outputs = [("a", bson!({"energy": 1, "lst": [1, 2], "t": "abc", "n": null}))];
    insta::assert_snapshot!(failure(reference("a", &[key("enrgy")]), &outputs), @"the job child (c) refers to a.enrgy, and its step .enrgy does not exist there: the map has the keys energy, lst, t, n");
    insta::assert_snapshot!(failure(reference("a", &[key("lst"), Step::Index(2)]), &outputs), @"the job child (c) refers to a.lst[2], and its step [2] does not exist there: the list has 2 items");
    insta::assert_snapshot!(failure(reference("a", &[key("lst"), Step::Index(-3)]), &outputs), @"the job child (c) refers to a.lst[-3], and its step [-3] does not exist there: the list has 2 items");
    insta::assert_snapshot!(failure(reference("a", &[key("lst"), key("x")]), &outputs), @"the job child (c) refers to a.lst.x, and its step .x cannot be made: the value there is a list of 2 items");
    insta::assert_snapshot!(failure(reference("a", &[key("n"), key("x")]), &outputs), @"the job child (c) refers to a.n.x, and its step .x cannot be made: the value there is null");
    insta::assert_snapshot!(failure(reference("a", &[Step::Index(0)]), &outputs), @"the job child (c) refers to a[0], and its step [0] cannot be made: the value there is a map with the keys energy, lst, t, n");
    insta::assert_snapshot!(failure(reference("b", &[key("x")]), &outputs), @r#"the job child (c) refers to b.x, and the job b has no output (its `on_missing_references` is "error")"#);
    insta::assert_snapshot!(failure(bson!({"@class": "OutputReference", "attributes": 3, "uuid": "a"}), &outputs), @r#"the job child (c) refers to a, and that is not of the form of a reference: { "@class": "OutputReference", "attributes": 3, "uuid": "a" }"#);
}

#[test]
fn a_missing_output_is_null_or_stays() {
    let argument = reference("b", &[key("x")]);
    assert_eq!(resolved(argument.clone(), &[], OnMissing::None), Ok(Bson::Null));
    assert_eq!(resolved(argument.clone(), &[], OnMissing::Pass), Ok(argument));
}

#[test]
fn references_inside_outputs_are_followed() {
    let outputs = [
        ("a", bson!({"x": [reference("b", &[key("y")])], "z": reference("b", &[])})),
        ("b", bson!({"y": 5, "w": reference("c", &[])})),
        ("c", bson!([1, 2])),
    ];
    let get = |steps: &[Step]| resolved(reference("a", steps), &outputs, OnMissing::Error).unwrap();
    assert_eq!(get(&[key("x")]), bson!([5]));
    assert_eq!(get(&[key("x"), Step::Index(0)]), bson!(5));
    assert_eq!(get(&[key("z"), key("w"), Step::Index(1)]), bson!(2));
    assert_eq!(get(&[]), bson!({"x": [5], "z": {"y": 5, "w": [1, 2]}}));
}

#[test]
fn cycles_are_found() {
    let direct = [("a", bson!({"x": reference("a", &[key("x")])}))];
    assert!(failure(reference("a", &[]), &direct).contains("comes back to the output of the job a itself"));
    let indirect = [("a", bson!([reference("b", &[])])), ("b", bson!([reference("a", &[])]))];
    assert!(failure(reference("a", &[]), &indirect).contains("comes back"));
}

#[test]
fn ever_more_references_come_to_an_end() {
    let names: Vec<String> = (0..30).map(|level| format!("l{level}")).collect();
    let mut outputs: Vec<(&str, Bson)> = Vec::new();
    for (level, name) in names.iter().enumerate() {
        let next = names.get(level + 1).map_or(bson!(1), |next| Bson::Array(vec![reference(next, &[]); 10]));
        outputs.push((name, next));
    }
    assert!(failure(reference("l0", &[]), &outputs).contains("more than 200000"));
}

#[test]
fn a_job_may_want_its_references_left_alone() {
    let mut document = job(reference("a", &[]));
    document.insert("config", doc! {"resolve_references": false});
    let before = document.clone();
    assert_eq!(references(&document), BTreeSet::new());
    resolve(&mut document, &|_| None, OnMissing::Error, Properties::Refused).unwrap();
    assert_eq!(document, before);
}

fn value() -> impl Strategy<Value = Bson> {
    let leaf = prop_oneof![
        Just(Bson::Null),
        any::<i32>().prop_map(Bson::Int32),
        "[a-z]{0,3}".prop_map(Bson::String),
        (0..6_u8).prop_map(|number| reference(&format!("job{number}"), &[])),
        (0..6_u8, "[a-c]").prop_map(|(number, step)| reference(&format!("job{number}"), &[Step::Key(step)])),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Bson::Array),
            prop::collection::btree_map("[a-c]", inner, 0..4)
                .prop_map(|map| Bson::Document(map.into_iter().collect())),
        ]
    })
}

/// What jobflow does, written naively: the whole output resolved first, then the steps.
fn naive(value: &Bson, outputs: &[Bson], depth: usize) -> Option<Bson> {
    if depth > 40 {
        return None;
    }
    match value {
        Bson::Document(document) if is_reference(document) => {
            let reference = Reference::parse(document).ok()?;
            let number: usize = reference.uuid.strip_prefix("job")?.parse().ok()?;
            let Some(output) = outputs.get(number) else { return Some(Bson::Null) };
            let mut current = naive(output, outputs, depth + 1)?;
            for step in &reference.steps {
                current = descend(&current, step).ok()?.into_owned();
            }
            Some(current)
        }
        Bson::Document(document) => {
            let entries =
                document.iter().map(|(key, value)| Some((key.clone(), naive(value, outputs, depth + 1)?)));
            entries.collect::<Option<Document>>().map(Bson::Document)
        }
        Bson::Array(items) => items
            .iter()
            .map(|item| naive(item, outputs, depth + 1))
            .collect::<Option<Vec<_>>>()
            .map(Bson::Array),
        other => Some(other.clone()),
    }
}

/// Output `n` refers only to outputs with larger numbers, so that there are no cycles.
fn acyclic(value: &Bson, above: usize) -> Bson {
    match value {
        Bson::Document(document) if is_reference(document) => {
            let number: usize = document.get_str("uuid").unwrap().trim_start_matches("job").parse().unwrap();
            if number > above { value.clone() } else { Bson::Null }
        }
        Bson::Document(document) => {
            Bson::Document(document.iter().map(|(key, value)| (key.clone(), acyclic(value, above))).collect())
        }
        Bson::Array(items) => Bson::Array(items.iter().map(|item| acyclic(item, above)).collect()),
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn it_agrees_with_the_naive_way(argument in value(), outputs in prop::collection::vec(value(), 4)) {
        let outputs: Vec<Bson> = outputs.iter().enumerate().map(|(number, output)| acyclic(output, number)).collect();
        let lookup = |uuid: &str| uuid.strip_prefix("job").and_then(|n| n.parse::<usize>().ok()).and_then(|n| outputs.get(n));
        let mut document = job(argument.clone());
        let expected = naive(&argument, &outputs, 0);
        match resolve(&mut document, &lookup, OnMissing::None, Properties::Refused) {
            Ok(_) => {
                let got = &document.get_array("function_args").unwrap()[0];
                prop_assert!(!has_reference(got));
                // Walking lazily may succeed where a part that is not asked for cannot be resolved.
                if let Some(expected) = expected {
                    prop_assert_eq!(got, &expected);
                }
            }
            Err(_) => prop_assert_eq!(expected, None),
        }
    }

    #[test]
    fn all_references_are_found(argument in value()) {
        let found = references(&job(argument.clone()));
        prop_assert_eq!(&found, &references_in(&argument));
        prop_assert_eq!(found.is_empty(), !has_reference(&argument));
    }
}

#[test]
fn a_part_of_an_object_that_may_be_an_object_is_left_to_python() {
    let output = bson!({
        "@module": "m", "@class": "Model", "energy": 1.5, "sites": [{"label": "Na"}], "forces": [[1, 2], [3, 4]],
        "lattice": {"@module": "m", "@class": "Lattice", "a": 1},
    });
    let lookup = |uuid: &str| (uuid == "m").then_some(&output);
    let resolved = |key: &str| {
        let reference = bson!({"@class": "OutputReference", "uuid": "m", "attributes": [["a", key]]});
        let mut job = doc! { "function_args": [reference.clone()], "name": "n" };
        let left = resolve(&mut job, &lookup, OnMissing::Error, Properties::LeftInPlace).unwrap();
        let value = job.get_array("function_args").unwrap()[0].clone();
        assert_eq!(left.is_empty(), value != reference, "{key}");
        left.is_empty().then_some(value)
    };
    assert_eq!(resolved("energy"), Some(bson!(1.5)));
    assert_eq!(resolved("forces"), Some(bson!([[1, 2], [3, 4]])));
    assert!(resolved("lattice").is_some(), "it says itself what it is");
    assert_eq!(resolved("sites"), None, "a model within a model does not");
}
