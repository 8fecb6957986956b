use bson::doc;
use proptest::prelude::*;

use super::*;

fn read(document: impl std::borrow::Borrow<Document>) -> Resources {
    Resources::from_document(document.borrow()).unwrap()
}

#[test]
fn our_words_are_read() {
    let resources = read(doc! {
        "nodes": 2, "tasks": 8_i64, "tasks_per_node": 4, "cpus": 3, "memory": "2GB", "memory_per_cpu": 1000, "gpus": 2.0,
        "gpu_type": "a100", "time": "2h30m", "partition": "main", "account": "p1", "qos": "high", "constraint": null,
    });
    let expected = Resources {
        nodes: Some(2),
        tasks: Some(8),
        tasks_per_node: Some(4),
        cpus_per_task: Some(3),
        memory_per_node_bytes: Some(2 << 30),
        memory_per_cpu_bytes: Some(1000),
        gpus: Some(2),
        gpu_type: Some("a100".into()),
        walltime_seconds: Some(9000),
        partition: Some("main".into()),
        account: Some("p1".into()),
        qos: Some("high".into()),
        template: Document::new(),
    };
    assert_eq!(resources, expected);
}

#[test]
fn template_keys_stay_as_they_are() {
    let document =
        doc! {"ntasks": 4, "time": 30, "mem": "4G", "nodes": "2-4", "qverbatim": "#SBATCH --x\n#SBATCH --y"};
    let resources = read(document.clone());
    assert_eq!(resources, Resources { template: document, ..Resources::default() });
    assert_eq!(read(doc! {"time": "UNLIMITED"}).template, doc! {"time": "UNLIMITED"});
    assert_eq!(read(doc! {"time": 30}).walltime_seconds, Some(30), "seconds where all words are ours");
}

#[test]
fn every_fault_is_said() {
    let faults = Resources::from_document(&doc! {
        "nodes": 0, "tasks": "many", "memory": "2XB", "time": "90", "partition": "", "qos": ["a"], "cpus": 1, "cpus_per_task": 1,
    })
    .unwrap_err();
    insta::assert_snapshot!(faults.join("\n"), @r#"
    nodes must be a whole number of at least 1, not 0
    tasks must be a whole number of at least 1, not "many"
    memory must be a number of bytes or text like 2GB or 500MB, not "2XB"
    time must be a number of seconds or text like 90s, 30m, 2h30m, 1-12:00:00, not "90"
    partition must be one line of text, not ""
    qos must be one line of text, not ["a"]
    cpus and cpus_per_task are the same: give one of them
    "#);
}

#[test]
fn durations_have_many_forms() {
    for (text, expected) in [
        ("90s", Some(90)),
        ("2h30m", Some(9000)),
        ("1d 2h", Some(93_600)),
        ("30M", Some(1800)),
        ("05:30", Some(330)),
        ("25:00:00", Some(90_000)),
        ("1-00", Some(86_400)),
        ("1-12:30", Some(131_400)),
        ("1-1:1:1", Some(90_061)),
        ("90", None),
        ("", None),
        ("h", None),
        ("1x", None),
        ("1:2:3:4", None),
        ("-1s", None),
        ("1-2-3", None),
        ("99999999999999999999s", None),
    ] {
        assert_eq!(parse_seconds(text), expected, "{text:?}");
    }
}

#[test]
fn sizes_have_many_forms() {
    for (text, expected) in [
        ("1000", Some(1000)),
        ("2GB", Some(2 << 30)),
        ("2GiB", Some(2 << 30)),
        ("2 g", Some(2 << 30)),
        ("1.5G", Some(3 << 29)),
        ("500M", Some(500 << 20)),
        ("8TB", Some(8 << 40)),
        ("10kb", Some(10 << 10)),
        ("0.0001k", Some(1)),
        ("", None),
        ("GB", None),
        ("-1", None),
        ("1.2.3", None),
        ("2PB", None),
        ("99999999999999999999", None),
        ("99999999999T", None),
    ] {
        assert_eq!(parse_bytes(text), expected, "{text:?}");
    }
}

fn qresources(fields: Document) -> Document {
    let mut document =
        doc! {"@module": "qtoolkit.core.data_objects", "@class": "QResources", "@version": "0.1.6"};
    document.extend(fields);
    document
}

#[test]
fn qresources_are_read_by_their_placement() {
    let places = |fields: Document| {
        let resources = read(qresources(fields));
        (resources.nodes, resources.tasks, resources.tasks_per_node)
    };
    let placed = |value: &str| doc! {"@class": "ProcessPlacement", "value": value};
    assert_eq!(places(doc! {}), (None, None, None));
    assert_eq!(
        places(doc! {"processes": 4, "process_placement": placed("NO_CONSTRAINTS")}),
        (None, Some(4), None)
    );
    assert_eq!(places(doc! {"process_placement": "NO_CONSTRAINTS"}), (None, Some(1), None));
    let even = doc! {"nodes": 2, "processes_per_node": 3, "process_placement": placed("EVENLY_DISTRIBUTED")};
    assert_eq!(places(even), (Some(2), None, Some(3)));
    let together = doc! {"processes": 4, "process_placement": placed("SAME_NODE")};
    assert_eq!(places(together), (Some(1), Some(4), Some(4)));
    let apart = doc! {"processes": 4, "process_placement": placed("SCATTERED")};
    assert_eq!(places(apart), (Some(4), Some(4), Some(1)));
    let unknown = qresources(doc! {"process_placement": "UPSIDE_DOWN"});
    assert!(Resources::from_document(&unknown).is_err());
}

#[test]
fn qresources_fields_without_a_word_of_ours_go_to_the_template() {
    let resources = read(qresources(doc! {
        "queue_name": "main", "job_name": "x", "memory_per_thread": 1024, "threads_per_process": 2, "gpus_per_job": 2,
        "time_limit": 90_061, "account": "p", "qos": null, "priority": 5, "email_address": "a@b", "rerunnable": true,
        "project": "pr", "njobs": 3, "nodes": null, "output_filepath": "o", "scheduler_kwargs": {"constraint": "gpu"},
    }));
    assert_eq!(resources.memory_per_cpu_bytes, Some(1 << 30));
    assert_eq!(resources.walltime_seconds, Some(90_061));
    assert_eq!(resources.cpus_per_task, Some(2));
    let template = doc! {
        "gres": "gpu:2", "mail_user": "a@b", "mail_type": "ALL", "array": "1-3", "priority": 5, "rerunnable": true,
        "project": "pr", "constraint": "gpu",
    };
    assert_eq!(resources.template, template);
}

proptest! {
    #[test]
    fn resources_go_through_their_document(
        nodes in proptest::option::of(1_u32..10_000),
        memory in proptest::option::of(1_u64..1 << 50),
        time in proptest::option::of(1_u64..1 << 40),
        partition in proptest::option::of("[a-z]{1,8}"),
        ntasks in proptest::option::of(1_i32..100),
    ) {
        let mut template = Document::new();
        if let Some(ntasks) = ntasks {
            template.insert("ntasks", ntasks);
        }
        let resources = Resources {
            nodes, memory_per_node_bytes: memory, walltime_seconds: time, partition, template, ..Resources::default()
        };
        prop_assert_eq!(Resources::from_document(&resources.to_document()), Ok(resources));
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,20}") {
        let _ignored = (parse_bytes(&text), parse_seconds(&text));
        let _ignored = Resources::from_document(&doc! {"time": &text, "memory": &text, "nodes": &text});
    }
}
