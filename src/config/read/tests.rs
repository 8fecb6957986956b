use std::fmt::Write as _;

use super::*;
use crate::config::store::{MongoServer, StoreConfig};
use crate::config::worker::{Gateway, Scheduler};
use crate::config::{SecretSource, error::report};

mod bad_files;
mod parts;

const LAPTOP: &str = include_str!("../../../config/examples/laptop.yaml");
const CLUSTER: &str = include_str!("../../../config/examples/cluster.yaml");
const CLUSTERS: &str = include_str!("../../../config/examples/clusters.yaml");
const JOBFLOW_REMOTE: &str = include_str!("../../../tests/fixtures/projects/jobflow_remote_1_0.yaml");

fn home() -> Environment {
    Environment::new([("PATH", "/usr/bin")], Some("/home/alice".into()))
}

fn parse_in(
    text: &str,
    format: Format,
    environment: &Environment,
    overrides: &[Override],
) -> Result<Loaded, String> {
    let file = Path::new("/home/alice/.jfremote/demo.yaml");
    let projects_folder = Path::new("/home/alice/.jfremote");
    read(&Input { file, text, format, projects_folder, environment, overrides })
        .map_err(|found| report(&found, Path::new("demo.yaml"), text))
}

fn parse(text: &str) -> Result<Loaded, String> {
    parse_in(text, Format::Yaml, &home(), &[])
}

fn project_of(text: &str) -> Project {
    parse(text).unwrap_or_else(|report| panic!("{report}")).project
}

fn source_of(loaded: &Loaded, key: &str) -> (String, String) {
    let setting = loaded.settings.iter().find(|setting| setting.key == key);
    let setting = setting.unwrap_or_else(|| panic!("no {key}"));
    (setting.value.clone(), setting.source.to_string())
}

#[test]
fn a_project_needs_nothing_but_its_name() {
    let project = project_of("name: demo");
    assert_eq!(project.base_dir, Path::new("/home/alice/.jfremote/demo"));
    assert_eq!(project.daemon_dir, Path::new("/home/alice/.jfremote/demo/daemon"));
    let sqlite = StoreConfig::Sqlite { path: "/home/alice/.jfremote/demo/jobferry.db".into() };
    assert_eq!(project.queue.store, sqlite);
    assert_eq!(project.jobstore.docs_store, sqlite);
    assert_eq!(project.queue.flows_collection, "flows");
    assert_eq!(project.runner.delay_checkout, Duration::from_secs(30));
    assert_eq!(project.runner.delta_retry, [30, 300, 1200].map(Duration::from_secs));
    assert_eq!(project.jobferry.lease, Duration::from_secs(30));
    assert_eq!(project.default_worker(), None);
}

#[test]
fn a_project_file_of_jobflow_remote_is_read_as_it_is() {
    let loaded = parse(JOBFLOW_REMOTE).unwrap();
    let project = loaded.project;
    assert_eq!(project.name, "demo");
    assert_eq!(project.log_level, LogLevel::Debug);
    assert_eq!(project.base_dir, Path::new("/home/user/jf/base"));
    assert_eq!(project.workers.keys().collect::<Vec<_>>(), ["local_shell", "limited", "batch_local"]);
    assert_eq!(project.default_worker().unwrap().0, "local_shell");
    assert_eq!(project.worker("limited").unwrap().max_jobs, Some(1));
    let batch = project.worker("batch_local").unwrap().batch.clone().unwrap();
    assert_eq!(
        (batch.jobs_handle_dir.as_str(), batch.max_wait),
        ("/home/user/jf/batch_handle", Some(Duration::from_secs(10)))
    );
    let StoreConfig::Mongo(queue) = &project.queue.store else { panic!("{:?}", project.queue) };
    assert_eq!(queue.server, MongoServer::Host { host: "localhost".to_owned(), port: 27117 });
    assert_eq!((queue.database.as_str(), queue.collection.as_str()), ("jfq", "jobs"));
    assert!(matches!(
        project.jobstore.additional_stores["gfs"],
        StoreConfig::GridFs { compression: false, .. }
    ));
    assert_eq!(project.execution_config("ec1").unwrap().export["TESTING_ENV_VAR"], "hello");
    assert_eq!(project.optional_jobstore("other").unwrap().additional_stores.len(), 1);
    let warnings: Vec<&str> = loaded.warnings.iter().map(|warning| warning.fault.path.as_str()).collect();
    assert_eq!(warnings, ["workers.batch_local.batch"]);
}

#[test]
fn json_and_toml_give_the_same_project_as_yaml() {
    let yaml = "name: demo\nworkers:\n  b: {type: local, scheduler_type: shell, work_dir: /w}\n  a: {type: remote, \
                host: h, scheduler_type: slurm, work_dir: /w, resources: {ntasks: 2}}\n";
    let json = r#"{"name": "demo", "workers": {
        "b": {"type": "local", "scheduler_type": "shell", "work_dir": "/w"},
        "a": {"type": "remote", "host": "h", "scheduler_type": "slurm", "work_dir": "/w", "resources": {"ntasks": 2}}}}"#;
    let toml = "name = 'demo'\n[workers.b]\ntype = 'local'\nscheduler_type = 'shell'\nwork_dir = '/w'\n\
                [workers.a]\ntype = 'remote'\nhost = 'h'\nscheduler_type = 'slurm'\nwork_dir = '/w'\n\
                resources = {ntasks = 2}\n";
    let project = project_of(yaml);
    for (format, text) in [(Format::Json, json), (Format::Toml, toml)] {
        assert_eq!(parse_in(text, format, &home(), &[]).unwrap().project, project, "{format:?}");
    }
}

#[test]
fn the_examples_are_sound() {
    for text in [LAPTOP, CLUSTER, CLUSTERS] {
        let loaded = parse(text).unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(loaded.warnings, []);
        assert_eq!(loaded.literal_secrets, Vec::<String>::new());
    }
    let project = project_of(CLUSTERS);
    assert_eq!(project.default_worker().unwrap().0, "here");
    let WorkerKind::SeparatedTransfer { commands, transfer } = &project.worker("sge_centre").unwrap().kind
    else {
        panic!("another kind of worker");
    };
    assert_eq!(transfer.host, "data.sge-centre.example.org");
    assert_eq!(transfer.user, commands.user);
    let slurm = project.worker("slurm_centre").unwrap().connection().unwrap();
    assert_eq!(slurm.key_filename, [Path::new("/home/alice/.ssh/id_ed25519")]);
    assert!(matches!(&project.worker("pbs_centre").unwrap().connection().unwrap().gateway,
        Some(Gateway::Connection(gate)) if gate.user.as_deref() == Some("a_smith")));
}

#[test]
fn remote_workers_have_jobflow_remotes_defaults_and_null_switches_off() {
    let worker = "name: p\nworkers:\n  w: {type: remote, host: h, scheduler_type: pbs, work_dir: /w";
    let project = project_of(&format!("{worker}}}"));
    let connection = project.worker("w").unwrap().connection().unwrap();
    assert_eq!(connection.keepalive, Some(Duration::from_secs(60)));
    assert_eq!((connection.shell_cmd.as_deref(), connection.login_shell), (Some("bash"), true));
    let project = project_of(&format!("{worker}, keepalive: null, shell_cmd: null, max_jobs: 0}}"));
    let connection = project.worker("w").unwrap().connection().unwrap();
    assert_eq!((connection.keepalive, connection.shell_cmd.as_deref()), (None, None));
    assert_eq!(project.worker("w").unwrap().max_jobs, None);
}

#[test]
fn serialized_schedulers_and_stores_are_known_by_their_class() {
    let text = r#"
name: p
workers:
  w:
    type: local
    work_dir: /w
    scheduler_type: {"@module": qtoolkit.io.slurm, "@class": SlurmIO, "@version": 1, get_job_executable: scontrol}
queue:
  store: {"@module": maggma.stores.mongolike, "@class": MongoStore, "@version": 0.7, database: d, collection_name: c,
          host: localhost, port: 27017, username: "", password: "", last_updated_field: last_updated, key: uuid}
JOB_STORE:
  "@module": jobflow.core.store
  "@class": JobStore
  docs_store: {type: MemoryStore}
  additional_stores: {big: {type: AzureBlobStore, container_name: b, index: {type: MemoryStore}}}
"#;
    let loaded = parse(text).unwrap();
    assert_eq!(loaded.project.worker("w").unwrap().scheduler, Scheduler::Slurm);
    let StoreConfig::Mongo(queue) = &loaded.project.queue.store else { panic!("no MongoDB") };
    assert_eq!((&queue.username, &queue.password), (&None, &None));
    let StoreConfig::Mongo(outputs) = &loaded.project.jobstore.docs_store else { panic!("no MongoDB") };
    assert_eq!((outputs.database.as_str(), outputs.collection.as_str()), ("d", "outputs"));
    assert!(matches!(&loaded.project.jobstore.additional_stores["big"],
        StoreConfig::Other { type_name, .. } if type_name == "AzureBlobStore"));
    assert_eq!(loaded.warnings.len(), 3);
}

#[test]
fn a_connection_string_can_stand_in_for_its_parts() {
    let store =
        |keys: &str| format!("name: p\nqueue: {{store: {{type: MongoStore, collection_name: c, {keys}}}}}");
    for keys in ["uri: 'mongodb://u:p@h/d?x=1'", "host: 'mongodb://u:p@h/d'", "host: 'mongodb+srv://u:p@h/d'"]
    {
        let loaded = parse(&store(keys)).unwrap();
        let StoreConfig::Mongo(mongo) = &loaded.project.queue.store else { panic!("no MongoDB") };
        assert!(
            matches!(&mongo.server, MongoServer::Uri(SecretSource::Literal(uri)) if uri.reveal().contains("u:p@h"))
        );
        assert_eq!(mongo.database, "d");
        assert_eq!(loaded.literal_secrets.len(), 1, "{keys}");
        assert!(!format!("{loaded:?}").contains("u:p@"), "{loaded:?}");
    }
    let without_password = parse(&store("uri: 'mongodb://u@h/d'")).unwrap();
    assert_eq!(without_password.literal_secrets, Vec::<String>::new());
    let elsewhere = project_of(&store("uri_env: DATABASE, database: d"));
    let StoreConfig::Mongo(mongo) = elsewhere.queue.store else { panic!("no MongoDB") };
    assert_eq!(mongo.server, MongoServer::Uri(SecretSource::Variable("DATABASE".to_owned())));
}

#[test]
fn layers_win_over_one_another_and_every_value_knows_its_own() {
    let variables = [
        ("JOBFERRY_LOG_LEVEL", "debug"),
        ("JOBFERRY_WORKERS__CLUSTER__MAX_JOBS", "4"),
        ("JOBFERRY_WORKERS__CLUSTER__RESOURCES__NTASKS", "8"),
        ("JOBFERRY_RUNNER__DELTA_RETRY", "[1, 2]"),
        ("JOBFERRY_DEMO_THING", "belongs to something else"),
    ];
    let environment = Environment::new(variables, Some("/home/alice".into()));
    let option = Override {
        key: "workers.cluster.max_jobs".to_owned(),
        value: "5".to_owned(),
        option: "--set".to_owned(),
    };
    let loaded = parse_in(CLUSTER, Format::Yaml, &environment, &[option]).unwrap();
    let worker = loaded.project.worker("cluster").unwrap();
    assert_eq!(loaded.project.log_level, LogLevel::Debug);
    assert_eq!(worker.max_jobs, Some(5));
    assert_eq!(worker.resources, bson::doc! {"partition": "main", "ntasks": 8, "time": "02:00:00"});
    assert_eq!(loaded.project.runner.delta_retry, [1, 2].map(Duration::from_secs));
    let cases = [
        ("log_level", "debug", "environment JOBFERRY_LOG_LEVEL"),
        ("workers.cluster.max_jobs", "5", "option --set"),
        ("workers.cluster.resources.ntasks", "8", "environment JOBFERRY_WORKERS__CLUSTER__RESOURCES__NTASKS"),
        ("workers.cluster.resources.partition", "main", "/home/alice/.jfremote/demo.yaml:13"),
        ("workers.cluster.timeout_execute", "60", "default"),
        ("base_dir", "/home/alice/.jfremote/cluster", "default"),
        ("queue.store.password_env", "SCIENCE_DB_PASSWORD", "/home/alice/.jfremote/demo.yaml:28"),
        ("queue.store.port", "27017", "default"),
    ];
    for (key, value, source) in cases {
        assert_eq!(source_of(&loaded, key), (value.to_owned(), source.to_owned()), "{key}");
    }
}

#[test]
fn sources_are_ordered_by_precedence() {
    let file = Source::File { path: "f".into(), line: 1, column: 1 };
    let variable = Source::Environment { variable: "V".to_owned() };
    let option = Source::Flag { option: "-o".to_owned() };
    assert!(Source::Default < file && file < variable && variable < option);
}

#[test]
fn each_setting_is_told_once() {
    for text in [LAPTOP, CLUSTER, CLUSTERS, JOBFLOW_REMOTE, "name: p"] {
        let mut keys: Vec<String> =
            parse(text).unwrap().settings.into_iter().map(|setting| setting.key).collect();
        keys.sort();
        let twice: Vec<&[String]> = keys.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }
}

#[test]
fn no_secret_is_shown_and_each_literal_one_is_noted() {
    let text = "
name: p
workers:
  w: {type: remote, host: h, scheduler_type: slurm, work_dir: /w, password: hunter2, connect_kwargs: {passphrase: hunter2}}
queue:
  store: {type: MongoStore, database: d, collection_name: c, username: u, password: hunter2,
          mongoclient_kwargs: {tlsCertificateKeyFilePassword: hunter2, tls: true}}
exec_config:
  e: {export: {API_TOKEN: hunter2, TOKENIZERS_PARALLELISM: 'false'}}
";
    let loaded = parse(text).unwrap();
    let shown = format!("{loaded:?} {}", serde_json::to_string(&loaded.settings).unwrap());
    // `export` is the job's environment, which its script shows anyway; everything else must not be shown.
    let shown = shown.replace(r#""API_TOKEN": "hunter2""#, "");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert_eq!(
        loaded.literal_secrets,
        [
            "workers.w.password",
            "workers.w.connect_kwargs.passphrase",
            "exec_config.e.export.API_TOKEN",
            "queue.store.password",
            "queue.store.mongoclient_kwargs.tlsCertificateKeyFilePassword",
        ]
    );
}

#[test]
fn a_secret_of_the_environment_is_no_secret_of_the_file() {
    let environment = Environment::new([("JOBFERRY_QUEUE__STORE__PASSWORD", "{[hunter2")], None);
    let text = "name: p\nqueue: {store: {type: MongoStore, database: d, collection_name: c, username: u}}";
    let loaded = parse_in(text, Format::Yaml, &environment, &[]).unwrap();
    let StoreConfig::Mongo(mongo) = &loaded.project.queue.store else { panic!("no MongoDB") };
    assert!(matches!(&mongo.password, Some(SecretSource::Literal(secret)) if secret.reveal() == "{[hunter2"));
    assert_eq!(loaded.literal_secrets, Vec::<String>::new());
    assert!(!format!("{:?}", loaded.settings).contains("hunter2"));
}

#[test]
fn workers_take_the_projects_additions_unless_they_have_their_own() {
    let project = project_of(
        "
name: p
jobferry: {poll_floor_seconds: 7, keep_attempts: null, environment: {A: 1, B: x}, ssh_config_file: ~/ssh}
workers:
  one: {type: remote, host: h, scheduler_type: lsf, work_dir: /w}
  two: {type: local, scheduler_type: flux, work_dir: /w, jobferry: {poll_floor_seconds: 0.5, keep_attempts: 1, environment: {B: y}}}
",
    );
    let one = project.worker("one").unwrap();
    assert_eq!((one.jobferry.poll_floor, one.jobferry.keep_attempts), (Duration::from_secs(7), None));
    assert_eq!(one.connection().unwrap().ssh_config_file.as_deref(), Some(Path::new("/home/alice/ssh")));
    let two = project.worker("two").unwrap();
    assert_eq!((two.jobferry.poll_floor, two.jobferry.keep_attempts), (Duration::from_millis(500), Some(1)));
    let environment: Vec<(&str, &str)> =
        two.jobferry.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(environment, [("A", "1"), ("B", "y")]);
}

#[test]
fn names_that_are_not_there_come_with_the_nearest_one() {
    let project = project_of(CLUSTER);
    let error = project.execution_config("vsap").unwrap_err();
    assert_eq!(error.to_string(), "the project `cluster` has no exec_config `vsap`");
    assert_eq!(error.hint.as_deref(), Some("did you mean `vasp`?"));
    assert!(project.chosen_worker("clutser").unwrap_err().hint.unwrap().contains("`cluster`"));
}

/// The other direction, that each key of the reader has a default, is asserted at every reading.
#[test]
fn every_key_of_the_defaults_is_read() {
    let sections: [(&[&str], &[&[&str]]); 10] = [
        (&[], &[&[]]),
        (&["runner"], &[&["runner"]]),
        (&["jobferry"], &[&["jobferry"]]),
        (&["queue"], &[&["queue"]]),
        (&["jobstore"], &[&["jobstore"]]),
        (&["exec_config", "e"], &[&["exec_config", "<name>"]]),
        (&["workers", "w", "batch"], &[&["workers", "<batch>"]]),
        (&["workers", "w", "jobferry"], &[&["workers", "<worker>", "jobferry"]]),
        (&["workers", "w", "gateway"], &[&["workers", "<connection>"]]),
        (
            &["workers", "w"],
            &[
                &["workers", "<worker>"],
                &["workers", "<remote>"],
                &["workers", "<connection>"],
                &["workers", "<separated_transfer>"],
            ],
        ),
    ];
    let stores: [(&str, &[&str]); 5] = [
        ("SqliteStore", &["<store>", "<SqliteStore>"]),
        ("MongoStore", &["<store>", "<MongoStore>"]),
        ("GridFSStore", &["<store>", "<MongoStore>", "<GridFSStore>"]),
        ("JSONStore", &["<store>", "<JSONStore>"]),
        ("S3Store", &["<store>", "<S3Store>"]),
    ];
    for (place, templates) in sections {
        for template in templates {
            check_all_known(place, defaults::section(template), "separated_transfer");
        }
    }
    for (kind, templates) in stores {
        let is_for_parts = ["GridFSStore", "JSONStore", "S3Store"].contains(&kind);
        let place = ["jobstore", if is_for_parts { "additional_stores" } else { "docs_store" }, "s"];
        let place = if is_for_parts { &place[..] } else { &place[..2] };
        for template in templates {
            check_all_known(place, defaults::section(&[template]), kind);
        }
    }
}

/// Reads a project with every key of the template set to null at the place, and looks for unknown ones.
fn check_all_known(place: &[&str], template: &[crate::flowfile::source::Entry], kind: &str) {
    assert!(!template.is_empty(), "{place:?}");
    let keys = template.iter().filter(|entry| !entry.key.starts_with('<') && entry.key != "type");
    let keys: Vec<String> = keys.map(|entry| format!("\"{}\": null", entry.key)).collect();
    let typed = if place.first() == Some(&"workers") || place.first() == Some(&"jobstore") && place.len() > 1
    {
        format!("type: {kind}, ")
    } else {
        String::new()
    };
    let mut text = String::new();
    for (depth, key) in place.iter().enumerate() {
        let worker = depth == 1 && place.len() == 3 && place[0] == "workers";
        let inside = if worker { "type: remote, " } else { "" };
        write!(text, "{key}: {{{inside}").unwrap();
    }
    let own_type = if place.len() == 3 && place[0] == "workers" { "" } else { &typed };
    write!(text, "{own_type}{}", keys.join(", ")).unwrap();
    text.push_str(&"}".repeat(place.len()));
    let text = if place.is_empty() { format!("{{{text}}}") } else { text };
    let report = parse(&text).map(|_| String::new()).unwrap_or_else(|report| report);
    assert!(!report.contains("not known here"), "{text}\n{report}");
}

#[test]
fn every_key_of_the_defaults_has_a_comment_above_it() {
    let mut previous = "";
    for line in defaults::DEFAULT_YAML.lines() {
        let text = line.trim();
        let names_of_users = ["<worker>:", "<store>:", "<SqliteStore>:", "<name>:"].contains(&text);
        let is_key = !text.starts_with('#') && text.contains(':');
        if is_key && !names_of_users {
            assert!(previous.starts_with('#'), "no comment above: {line}");
        }
        previous = text;
    }
}
