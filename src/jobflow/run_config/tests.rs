use bson::{bson, doc};

use super::*;
use crate::model::ids::JobKey;

fn member(manager_config: Document) -> FlowMember {
    let job = doc! {"name": "n", "config": {"manager_config": manager_config}};
    FlowMember { key: JobKey::new("u", 1), parents: Vec::new(), job }
}

fn given() -> RunConfig {
    RunConfig {
        worker: "first".to_owned(),
        priority: 3,
        exec_config: Some(bson!("module_a")),
        resources: Some(doc! {"ntasks": 4}),
    }
}

#[test]
fn a_job_says_otherwise_in_its_manager_config() {
    let run = |config| given().new_job(member(config), vec!["p".to_owned()]).unwrap();
    let plain = run(doc! {});
    assert_eq!((plain.worker.as_str(), plain.priority, plain.parents), ("first", 3, vec!["p".to_owned()]));
    assert_eq!((plain.exec_config, plain.resources), (Some(bson!("module_a")), Some(doc! {"ntasks": 4})));
    let own = run(
        doc! {"worker": "w", "priority": 9, "exec_config": {"modules": ["gcc"]}, "resources": {"nodes": 2}},
    );
    assert_eq!((own.worker.as_str(), own.priority), ("w", 9));
    assert_eq!(
        own.exec_config,
        Some(bson!({"modules": ["gcc"], "export": null, "pre_run": null, "post_run": null}))
    );
    assert_eq!(own.resources, Some(doc! {"nodes": 2}));
    // Empty says nothing, except of resources.
    let empty = run(doc! {"worker": "", "priority": 0, "exec_config": {}, "resources": {}});
    assert_eq!(
        (empty.worker.as_str(), empty.priority, empty.exec_config),
        ("first", 3, Some(bson!("module_a")))
    );
    assert_eq!(empty.resources.unwrap().get_str("@class").ok(), Some("QResources"));
    let null = run(doc! {"worker": null, "priority": null, "exec_config": null, "resources": null});
    assert_eq!((null.worker.as_str(), null.priority, null.resources), ("first", 3, Some(doc! {"ntasks": 4})));
    // What pydantic takes for a whole number.
    for (value, expected) in [(bson!(5.0), 5), (bson!("7"), 7), (bson!(true), 1), (Bson::Int64(8), 8)] {
        assert_eq!(run(doc! {"priority": value}).priority, expected);
    }
}

#[test]
fn what_cannot_be_is_an_error_with_the_job_in_it() {
    let fault = |config| given().new_job(member(config), Vec::new()).unwrap_err().to_string();
    let faults = [
        fault(doc! {"worker": 3}),
        fault(doc! {"priority": "high"}),
        fault(doc! {"priority": 1.5}),
        fault(doc! {"resources": "many"}),
        fault(doc! {"exec_config": ["a"]}),
        fault(doc! {"exec_config": {"module": ["a"]}}),
        fault(doc! {"exec_config": {"modules": [1]}}),
        fault(doc! {"exec_config": {"pre_run": ["a"]}}),
    ];
    insta::assert_snapshot!(faults.join("\n"), @r#"
    the job n (u) cannot have the worker of its manager_config: it is 3, not a name
    the job n (u) cannot have the priority of its manager_config: it is the text "high", not a whole number
    the job n (u) cannot have the priority of its manager_config: it is 1.5, not a whole number
    the job n (u) cannot have the resources of its manager_config: it is the text "many", not a map
    the job n (u) cannot have the exec_config of its manager_config: it is a list of 1 items, neither a name nor a map
    the job n (u) cannot have the exec_config of its manager_config: `module` is not one of modules, export, pre_run, post_run
    the job n (u) cannot have the exec_config of its manager_config: its `modules` is a list of 1 items
    the job n (u) cannot have the exec_config of its manager_config: its `pre_run` is a list of 1 items
    "#);
}

#[test]
fn an_exec_config_that_python_serialized_loses_its_class() {
    let value = bson!({"@module": "jobflow_remote.config.base", "@class": "ExecutionConfig", "@version": "1.0.1",
                       "modules": null, "export": {"A": 1}, "pre_run": "x", "post_run": null});
    let expected = bson!({"modules": null, "export": {"A": 1}, "pre_run": "x", "post_run": null});
    assert_eq!(stored_exec_config(&value), Ok(expected.clone()));
    assert_eq!(stored_exec_config(&expected), Ok(expected));
}

#[test]
fn resources_that_could_be_qresources_are() {
    let becomes = [
        (doc! {}, None),
        (doc! {"job_name": "x"}, None),
        (doc! {"processes": 2}, Some("NO_CONSTRAINTS")),
        (doc! {"processes": 2, "queue_name": "q", "scheduler_kwargs": {"x": 1}}, Some("NO_CONSTRAINTS")),
        (doc! {"processes": 2, "nodes": null, "processes_per_node": 0}, Some("NO_CONSTRAINTS")),
        (doc! {"nodes": 1, "processes_per_node": 2}, Some("EVENLY_DISTRIBUTED")),
    ];
    for (resources, expected) in becomes {
        let stored = stored_resources(&resources);
        assert_eq!(stored.len(), 23, "{resources}");
        let placement =
            stored.get_document("process_placement").ok().and_then(|value| value.get_str("value").ok());
        assert_eq!(placement, expected, "{resources}");
        assert_eq!(stored_resources(&stored), stored, "{resources}");
        for (key, value) in &resources {
            assert_eq!(stored.get(key), Some(value));
        }
    }
    let stays = [
        doc! {"nodes": 2},
        doc! {"ntasks": 4},
        doc! {"account": "x"},
        doc! {"partition": "p"},
        doc! {"processes": 2, "qverbatim": "x"},
        doc! {"processes": 2, "nodes": 2},
        doc! {"@class": "Other", "processes": 2},
        doc! {"@class": "QResources", "nodes": 2},
        doc! {"@class": "QResources", "unknown": 2},
    ];
    for resources in stays {
        assert_eq!(stored_resources(&resources), resources);
    }
    let placed = stored_resources(&doc! {"nodes": 2, "process_placement": "SCATTERED"});
    assert_eq!(placed.get_str("process_placement").ok(), Some("SCATTERED"));
}
