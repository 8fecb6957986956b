use bson::{bson, doc};
use proptest::prelude::*;

use super::*;

fn reference(uuid: &str) -> Bson {
    bson!({"@module": "jobflow.core.reference", "@class": "OutputReference", "@version": null,
           "uuid": uuid, "attributes": [["i", "x"]], "output_schema": null})
}

/// A job that refers to the outputs of others, one reference in a list and the rest inside an object.
fn job_in(hosts: &[&str], uuid: &str, needs: &[&str]) -> Bson {
    let mut needs = needs.iter().map(|uuid| reference(uuid));
    let first: Vec<Bson> = needs.next().into_iter().collect();
    let rest: Vec<Bson> = needs.map(|one| bson!({"@class": "Thing", "inner": [one]})).collect();
    bson!({
        "@module": "jobflow.core.job", "@class": "Job", "@version": "0.4.0",
        "function": {"@module": "m", "@callable": "f", "@bound": null},
        "function_args": [1, first], "function_kwargs": {"k": rest}, "output_schema": null,
        "uuid": uuid, "index": 1, "name": format!("name of {uuid}"), "metadata": {"tag": 1},
        "config": {"@class": "JobConfig", "resolve_references": false, "manager_config": {}},
        "hosts": hosts.to_vec(), "metadata_updates": [], "config_updates": [], "name_updates": [],
    })
}

fn job(uuid: &str, needs: &[&str]) -> Bson {
    job_in(&[], uuid, needs)
}

fn flow(uuid: &str, order: &str, jobs: Vec<Bson>) -> Bson {
    bson!({"@module": "jobflow.core.flow", "@class": "Flow", "@version": "0.4.0", "jobs": jobs, "output": null,
           "name": "a flow", "order": order, "uuid": uuid, "hosts": [], "metadata": {"m": 2}, "metadata_updates": []})
}

fn submitted(value: Bson) -> Result<SerializedFlow, FlowError> {
    SerializedFlow::submitted(value, ExternalReferences::Refused, &mut || "new".to_owned())
}

/// `uuid(parents)` of each member, in order.
fn shape(flow: &SerializedFlow) -> String {
    let member = |member: &FlowMember| format!("{}({})", member.key.uuid, member.parents.join(" "));
    flow.members.iter().map(member).collect::<Vec<_>>().join(" ")
}

fn hosts(flow: &SerializedFlow) -> String {
    let member = |member: &FlowMember| {
        let hosts = member.job.get_array("hosts").unwrap().iter().filter_map(Bson::as_str);
        format!("{}<{}", member.key.uuid, hosts.collect::<Vec<_>>().join("<"))
    };
    flow.members.iter().map(member).collect::<Vec<_>>().join(" ")
}

#[test]
fn parents_come_first_and_parts_that_are_not_connected_one_after_the_other() {
    let cases = [
        (vec![job("a", &[])], "a()"),
        (vec![job("b", &["a"]), job("a", &[])], "a() b(a)"),
        (
            vec![job("a", &[]), job("b", &["a"]), job("c", &["a"]), job("d", &["c", "b"])],
            "a() b(a) c(a) d(c b)",
        ),
        // Two chains: the first as a whole, although its end stands last.
        (vec![job("a", &[]), job("x", &[]), job("b", &["a"]), job("y", &["x"])], "a() b(a) x() y(x)"),
        // By generations: b waits for no one but stands behind in the text.
        (
            vec![job("a", &[]), job("c", &["a"]), job("d", &["c"]), job("b", &[]), job("e", &["b", "d"])],
            "a() b() c(a) d(c) e(b d)",
        ),
        (vec![job("a", &[]), job("b", &["a", "a", "a"])], "a() b(a)"),
    ];
    for (jobs, expected) in cases {
        let read = submitted(flow("f", "auto", jobs)).unwrap();
        assert_eq!(shape(&read), expected);
        assert_eq!((read.uuid.as_str(), read.name.as_str()), ("f", "a flow"));
        assert_eq!(read.metadata, doc! {"m": 2});
    }
}

#[test]
fn a_linear_flow_ties_each_part_to_the_one_before() {
    let linear = |jobs| shape(&submitted(flow("f", "linear", jobs)).unwrap());
    assert_eq!(linear(vec![job("b", &[]), job("a", &[])]), "b() a(b)");
    let wide = flow("w", "auto", vec![job("x", &[]), job("y", &[])]);
    assert_eq!(linear(vec![job("a", &[]), wide.clone(), job("b", &[])]), "a() x(a) y(a) b(x y)");
    assert_eq!(
        linear(vec![wide, flow("v", "auto", vec![job("p", &[]), job("q", &["p"])])]),
        "x() y() p(x y) q(p)"
    );
    // What the second part needs of the first is no reason to leave the order out.
    let behind = flow("v", "auto", vec![job("p", &["a"]), job("q", &[])]);
    assert_eq!(linear(vec![job("a", &[]), behind]), "a() p(a) q(a)");
}

#[test]
fn flows_in_flows_are_hosts_of_their_jobs() {
    let tree = |hosts: [&[&str]; 2]| {
        let inner = flow("i", "auto", vec![job_in(hosts[0], "a", &[]), job_in(hosts[0], "b", &["a"])]);
        flow("f", "auto", vec![inner, job_in(hosts[1], "c", &["b"])])
    };
    for stored in [[&[][..], &[]], [&["i", "f"], &["f"]]] {
        let mut value = tree(stored);
        if !stored[0].is_empty() {
            let inner = value.as_document_mut().unwrap().get_array_mut("jobs").unwrap();
            inner[0].as_document_mut().unwrap().insert("hosts", ["f"].to_vec());
        }
        assert_eq!(hosts(&submitted(value).unwrap()), "a<i<f b<i<f c<f");
    }
    let loose = submitted(bson!([job("a", &[]), flow("i", "auto", vec![job("b", &["a"])])])).unwrap();
    assert_eq!((loose.uuid.as_str(), loose.name.as_str()), ("new", "Flow"));
    assert_eq!(hosts(&loose), "a<new b<i<new");
    assert_eq!(loose.leaves, ["b"]);
    assert_eq!(hosts(&submitted(job("a", &[])).unwrap()), "a<new");
}

#[test]
fn a_job_gets_what_readers_expect_and_keeps_the_rest() {
    let bare = bson!({
        "@class": "Job", "function": {"@module": "m", "@callable": "C.f", "@bound": {"name": "the maker"}},
        "function_args": [{"@module": "datetime", "@class": "datetime", "string": "2024-01-01 00:00:00"}],
        "uuid": "a", "data": "big",
    });
    let mut expected = bare.as_document().unwrap().clone();
    expected.extend(doc! {
        "index": 1, "name": "the maker", "metadata": {}, "config": super::super::document::default_config(),
        "hosts": ["new"],
    });
    let read = submitted(bare).unwrap();
    assert_eq!(read.members[0].job, expected);
    assert_eq!(additional_stores(&expected).collect::<Vec<_>>(), ["data"]);
}

#[test]
fn what_is_no_flow_is_refused() {
    let of = |value: Bson| submitted(value).unwrap_err().to_string();
    let with = |mut value: Bson, key: &str, new: Bson| {
        value.as_document_mut().unwrap().insert(key, new);
        value
    };
    insta::assert_snapshot!([
        of(bson!(3)),
        of(bson!([job("a", &[]), "x"])),
        of(bson!([])),
        of(bson!({"@class": "DecoratedFlow", "fn": {"@callable": "my_flow"}, "args": []})),
        of(flow("f", "auto", vec![])),
        of(flow("f", "auto", vec![job("a", &[]), flow("i", "auto", vec![])])),
        of(flow("f", "backwards", vec![job("a", &[])])),
        of(flow("f", "auto", vec![job("a", &[]), job("a", &[])])),
        of(flow("f", "auto", vec![job("a", &[]), flow("i", "auto", vec![job("a", &[])])])),
        of(flow("f", "auto", vec![job("a", &["b"]), job("b", &["a"]), job("c", &["b"]), job("d", &[])])),
        of(job("a", &["a"])),
        of(flow("f", "auto", vec![job("a", &["x", "y"]), job("b", &["x"])])),
        of(with(flow("f", "auto", vec![job("a", &[])]), "output", reference("z"))),
        of(with(flow("f", "auto", vec![job("a", &[])]), "hosts", bson!(["g"]))),
        of(flow("f", "auto", vec![job_in(&["g"], "a", &[])])),
        of(with(job("a", &[]), "uuid", Bson::Null)),
        of(with(job("a", &[]), "index", bson!(0))),
        of(with(job("a", &[]), "config", bson!("x"))),
        of(with(job("a", &[]), "hosts", bson!([1]))),
        of(with(job("a", &[]), "metadata", bson!([]))),
    ].join("\n"), @r#"
    3 is no serialized Flow or Job of jobflow
    the text "x" is no serialized Flow or Job of jobflow
    the flow Flow (new) has no jobs
    my_flow is a flow made by @flow, and its serialized form has no jobs: make a plain one of it first, in Python `Flow(list(flow), output=flow.output, name=flow.name, uuid=flow.uuid)`
    the flow a flow (f) has no jobs
    the flow a flow (i) has no jobs
    the flow a flow has no usable `order`
    the job name of a (a) is there twice
    the job name of a (a) is there twice
    jobs need each other in a circle (these are in it or wait for it): the job name of a (a), the job name of b (b), the job name of c (c)
    jobs need each other in a circle (these are in it or wait for it): the job name of a (a)
    jobs refer to outputs of jobs outside the flow: the job name of a (a) to x, the job name of a (a) to y, the job name of b (b) to x
    the output of the flow a flow (f) refers to z, which is no job of it
    the flow a flow (f) is part of the flow g: submit that one
    the job name of a (a) stands in the flow a flow, but says that it is part of g
    the job name of a has no usable `uuid`
    the job name of a has no usable `index`
    the job name of a has no usable `config`
    the job name of a has no usable `hosts`
    the job name of a has no usable `metadata`
    "#);
}

#[test]
fn references_to_jobs_outside_can_be_allowed() {
    let value = flow("f", "auto", vec![job("a", &["x"]), job("b", &["x", "a"])]);
    let read = SerializedFlow::submitted(value, ExternalReferences::Allowed, &mut String::new).unwrap();
    assert_eq!(shape(&read), "a() b(a)");
}

#[test]
fn a_flow_of_a_response_is_in_the_flow_of_its_job() {
    let current = ["inner".to_owned(), "top".to_owned()];
    let mut value = flow("f", "auto", vec![job_in(&["f", "inner", "top"], "a", &["outside"])]);
    value.as_document_mut().unwrap().insert("hosts", current.to_vec());
    let read = SerializedFlow::of_response(value, &current).unwrap();
    assert_eq!((shape(&read).as_str(), hosts(&read).as_str()), ("a()", "a<f<inner<top"));
    let bare = SerializedFlow::of_response(flow("f", "auto", vec![job("a", &[])]), &current).unwrap();
    assert_eq!(hosts(&bare), "a<f<inner<top");
}

#[test]
fn flows_and_jobs_are_told_from_other_values() {
    assert!(is_serialized_flow(&job("a", &[])));
    assert!(is_serialized_flow(&bson!([job("a", &[]), flow("f", "auto", vec![])])));
    assert!(is_serialized_flow(&bson!({"@class": "DecoratedFlow", "fn": {}})));
    // A flow file of ours.
    assert!(!is_serialized_flow(&bson!({"name": "x", "jobs": [{"command": ["true"]}]})));
    for other in [bson!([]), bson!({}), bson!({"@class": "Job"}), bson!(1), Bson::Null] {
        assert!(!is_serialized_flow(&other), "{other}");
    }
}

/// Trees of jobs, each of which may need any job that comes before it in the text, and one that is not there.
fn trees() -> impl Strategy<Value = Bson> {
    let shape = prop::collection::vec((0..4_u8, any::<bool>()), 1..25);
    (shape, prop::collection::vec(any::<prop::sample::Index>(), 50)).prop_map(|(steps, picks)| {
        let mut open: Vec<(String, Vec<Bson>)> = vec![("auto".to_owned(), Vec::new())];
        let mut known: Vec<String> = vec!["outside".to_owned()];
        let mut picks = picks.into_iter();
        for (number, (step, linear)) in steps.into_iter().enumerate() {
            match step {
                0 => open.push((if linear { "linear" } else { "auto" }.to_owned(), Vec::new())),
                1 if open.len() > 1 && !open.last().unwrap().1.is_empty() => close(&mut open, number),
                _ => {
                    let uuid = format!("j{number}");
                    let needs: Vec<String> =
                        picks.by_ref().take(2).map(|pick| pick.get(&known).clone()).collect();
                    let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
                    open.last_mut().unwrap().1.push(job(&uuid, &needs));
                    known.push(uuid);
                }
            }
        }
        while open.len() > 1 {
            let depth = open.len();
            if open.last().unwrap().1.is_empty() {
                open.last_mut().unwrap().1.push(job(&format!("filler{depth}"), &[]));
            }
            close(&mut open, 1000 + depth);
        }
        let (order, mut jobs) = open.pop().unwrap();
        if jobs.is_empty() {
            jobs.push(job("only", &[]));
        }
        flow("top", &order, jobs)
    })
}

fn close(open: &mut Vec<(String, Vec<Bson>)>, number: usize) {
    let (order, jobs) = open.pop().unwrap();
    open.last_mut().unwrap().1.push(flow(&format!("f{number}"), &order, jobs));
}

fn uuids_in_text(value: &Bson, found: &mut Vec<String>) {
    let document = value.as_document().unwrap();
    match document.get_array("jobs") {
        Ok(jobs) => jobs.iter().for_each(|job| uuids_in_text(job, found)),
        Err(_) => found.push(document.get_str("uuid").unwrap().to_owned()),
    }
}

proptest! {
    #[test]
    fn every_job_comes_once_and_after_all_that_it_needs(tree in trees()) {
        let mut expected = Vec::new();
        uuids_in_text(&tree, &mut expected);
        let read = SerializedFlow::submitted(tree, ExternalReferences::Allowed, &mut String::new).unwrap();
        let mut done: Vec<&str> = Vec::new();
        for member in &read.members {
            let own: Vec<String> = references_in_order(&Bson::Document(member.job.clone()));
            prop_assert!(member.parents.iter().all(|parent| done.contains(&parent.as_str())));
            prop_assert!(own.iter().all(|uuid| uuid == "outside" || member.parents.contains(uuid)));
            prop_assert_eq!(member.job.get_array("hosts").unwrap().last(), Some(&bson!("top")));
            done.push(&member.key.uuid);
        }
        let is_parent = |uuid: &&String| read.members.iter().any(|member| member.parents.contains(uuid));
        let leaves: Vec<&String> = expected.iter().filter(|uuid| !is_parent(uuid)).collect();
        let mut found: Vec<&String> = read.leaves.iter().collect();
        found.sort_by_key(|leaf| expected.iter().position(|uuid| uuid == *leaf));
        prop_assert_eq!(found, leaves);
        done.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(done, expected);
    }

    #[test]
    fn no_document_makes_it_panic(keys in prop::collection::vec(0..12_usize, 0..8), nested in any::<bool>()) {
        let names = ["jobs", "function", "uuid", "index", "hosts", "name", "metadata", "config", "order", "output", "fn", "@class"];
        let values = [bson!([]), bson!({}), bson!("a"), bson!(1), Bson::Null, bson!([job("q", &["q"])])];
        let document: Document = keys.iter().map(|key| (names[*key].to_owned(), values[key * 7 % 6].clone())).collect();
        let value = Bson::Document(document);
        let value = if nested { bson!({"@class": "Flow", "uuid": "u", "jobs": [value]}) } else { value };
        submitted(value).ok();
    }
}
