use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config::environment::Environment;
use crate::config::project::Project;
use crate::config::read::{Input, Loaded, read};
use crate::config::store::{MongoServer, StoreConfig};
use crate::config::{Secret, error::report};
use crate::flowfile::source::Format;

fn parse(text: &str) -> Loaded {
    let environment = Environment::new(Vec::<(String, String)>::new(), Some("/home/alice".into()));
    let input = Input {
        file: Path::new("new.yaml"),
        text,
        format: Format::Yaml,
        projects_folder: Path::new("/home/alice/.jfremote"),
        environment: &environment,
        overrides: &[],
    };
    read(&input).unwrap_or_else(|found| panic!("{}\n{text}", report(&found, Path::new("new.yaml"), text)))
}

fn local(name: &str) -> NewWorker {
    NewWorker {
        name: name.to_owned(),
        place: NewPlace::Local,
        scheduler: Scheduler::Shell,
        work_dir: "/home/alice/jobs".to_owned(),
        resources: Vec::new(),
        pre_run: None,
        max_jobs: Some(2),
    }
}

fn laptop() -> InitAnswers {
    InitAnswers {
        name: "laptop".to_owned(),
        base_dir: None,
        workers: vec![local("here")],
        store: NewStore::Sqlite,
    }
}

#[test]
fn a_laptops_file_reads_like_this() {
    insta::assert_snapshot!(project_file(&laptop()), @r"
    # A JobFerry project, made by `jf init`. `jf project check` tries every hop of it.
    # Every key, its value and where that comes from: `jf project show --source`.
    name: laptop
    # base_dir: /path/where/this/machine/keeps/the/projects/files
    # How much the log tells: error, warn, info or debug.
    log_level: info

    # The machines that run jobs. The first one takes the jobs that name none.
    workers:
      here:
        # This machine.
        type: local
        # Who starts the jobs: shell, slurm, pbs, sge, lsf or flux.
        scheduler_type: shell
        # Each job gets its directory below this one, which lies on the worker.
        work_dir: /home/alice/jobs
        # pre_run: shell lines before each job
        max_jobs: 2

    # Jobs and outputs are in the SQLite file jobferry.db in the project's folder. For MongoDB:
    # queue:
    #   store: {type: MongoStore, host: localhost, database: jobs, collection_name: jobs}

    # Environment modules, variables and commands around jobs that ask for them by name.
    # exec_config:
    #   vasp: {modules: [intel, vasp], export: {OMP_NUM_THREADS: 1}}
    ");
}

#[test]
fn a_slurm_clusters_file_gives_back_the_answers() {
    let cluster = NewWorker {
        name: "cluster".to_owned(),
        place: NewPlace::Ssh {
            host: "login.example.org".to_owned(),
            user: Some("alice".to_owned()),
            port: Some(2222),
            key_filename: Some("/home/alice/.ssh/a key".into()),
        },
        scheduler: Scheduler::Slurm,
        work_dir: "/scratch/alice: jobs".to_owned(),
        resources: vec![
            ("ntasks".to_owned(), "4".to_owned()),
            ("time".to_owned(), "01:00:00".to_owned()),
            ("account".to_owned(), "007".to_owned()),
        ],
        pre_run: Some("module load python\nexport A=\"b\"".to_owned()),
        max_jobs: None,
    };
    let answers = InitAnswers { workers: vec![cluster, local("here")], ..laptop() };
    let loaded = parse(&project_file(&answers));
    assert_eq!(loaded.warnings, []);
    let (name, worker) = loaded.project.default_worker().unwrap();
    assert_eq!((name, worker.scheduler), ("cluster", Scheduler::Slurm));
    assert_eq!(worker.work_dir, "/scratch/alice: jobs");
    assert_eq!(worker.resources, bson::doc! {"ntasks": 4, "time": "01:00:00", "account": "007"});
    assert_eq!(worker.pre_run.as_deref(), Some("module load python\nexport A=\"b\""));
    let connection = worker.connection().unwrap();
    assert_eq!((connection.user.as_deref(), connection.port), (Some("alice"), Some(2222)));
    assert_eq!(connection.key_filename, [Path::new("/home/alice/.ssh/a key")]);
}

#[test]
fn a_file_with_mongodb_keeps_outputs_beside_the_jobs_and_the_password_where_it_is() {
    let passwords = [
        SecretSource::Variable("DB_PASSWORD".to_owned()),
        SecretSource::File("/home/alice/.db password".into()),
        SecretSource::Command(vec!["pass".to_owned(), "show".to_owned(), "a: b".to_owned()]),
        SecretSource::Literal(Secret::new("a'b\"c: #d\\")),
    ];
    for password in passwords {
        let store = NewStore::Mongo {
            host: "db.example.org".to_owned(),
            port: 27018,
            database: "science".to_owned(),
            username: Some("alice".to_owned()),
            password: Some(password.clone()),
        };
        let loaded = parse(&project_file(&InitAnswers { store, ..laptop() }));
        let StoreConfig::Mongo(queue) = &loaded.project.queue.store else { panic!("no MongoDB") };
        let StoreConfig::Mongo(outputs) = &loaded.project.jobstore.docs_store else { panic!("no MongoDB") };
        assert_eq!(queue.password, Some(password));
        assert_eq!(queue.server, MongoServer::Host { host: "db.example.org".to_owned(), port: 27018 });
        assert_eq!((queue.collection.as_str(), outputs.collection.as_str()), ("jobs", "outputs"));
        assert_eq!(outputs.password, queue.password);
    }
}

#[test]
fn a_connection_string_is_kept_in_its_place() {
    let uri = SecretSource::Variable("DB_URI".to_owned());
    let store = NewStore::MongoUri { uri: uri.clone(), database: Some("science".to_owned()) };
    let loaded = parse(&project_file(&InitAnswers { store, ..laptop() }));
    let StoreConfig::Mongo(queue) = &loaded.project.queue.store else { panic!("no MongoDB") };
    assert_eq!(queue.server, MongoServer::Uri(uri));
}

proptest! {
    #[test]
    fn any_answers_come_back_as_they_were_given(
        path in "/[^\0\n]{0,30}",
        pre_run in "(?s).{1,40}",
        value in "(?s).{0,20}",
        name in "[a-z0-9_][a-z0-9_.-]{0,10}",
    ) {
        let worker = NewWorker {
            work_dir: path.clone(),
            pre_run: Some(pre_run.clone()),
            resources: vec![("qverbatim".to_owned(), value.clone())],
            ..local(&name)
        };
        let answers = InitAnswers { name: name.clone(), workers: vec![worker], ..laptop() };
        let project: Project = parse(&project_file(&answers)).project;
        let worker = project.worker(&name).unwrap();
        prop_assert_eq!(&worker.work_dir, &path);
        prop_assert_eq!(worker.pre_run.as_deref(), Some(pre_run.as_str()));
        let expected = match value.parse::<i32>() {
            Ok(number) if number >= 0 && number.to_string() == value => bson::Bson::Int32(number),
            _ => bson::Bson::String(value),
        };
        prop_assert_eq!(worker.resources.get("qverbatim"), Some(&expected));
    }
}
