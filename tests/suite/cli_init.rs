//! `jf init`

use std::os::unix::fs::PermissionsExt as _;

use insta::assert_snapshot;

use crate::cli_environment::TestEnv;

#[test]
fn init_makes_a_project_that_works() {
    let place = TestEnv::empty();
    assert_snapshot!(place.jf("init"), @r"
        exit: 0
        ----- stdout
        Project main is in [ROOT]/projects/main.yaml
        Next: `jf project check`, then `jf submit -- hostname` and `runner start`.
        ----- stderr
        ");
    let file = place.path("projects/main.yaml");
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(place.jf("project check").code, Some(0));
    assert_eq!(place.jf("job list --count --json").json()["count"], 0);
    assert_snapshot!(place.jf("init main --yes"), @r"
        exit: 6
        ----- stdout
        ----- stderr
        error: the project main is there already: [ROOT]/projects/main.yaml
        hint: choose another name: jf init NAME
        ");
}

#[test]
fn a_cluster_with_a_database_is_written_as_told() {
    let place = TestEnv::empty();
    let line = "init oxides --host hpc.example --user ada --scheduler slurm --work-dir /scratch/ada/jobs \
                --resource partition=main --max-jobs 50 --mongodb db.example:27018 --username ada --password-env DB_PASSWORD";
    assert_snapshot!(place.jf(line), @r"
        exit: 0
        ----- stdout
        Project oxides is in [ROOT]/projects/oxides.yaml
        Next: `jf project check`, then `jf submit -- hostname` and `runner start`.
        ----- stderr
        ");
    assert_snapshot!(place.jf("project show --changed"), @r"
        exit: 0
        ----- stdout
        Project oxides
         Key                                      Value
         name                                     oxides
         log_level                                info
         workers.hpc_example.type                 remote
         workers.hpc_example.scheduler_type       slurm
         workers.hpc_example.work_dir             /scratch/ada/jobs
         workers.hpc_example.resources.partition  main
         workers.hpc_example.max_jobs             50
         workers.hpc_example.host                 hpc.example
         workers.hpc_example.user                 ada
         queue.store.type                         MongoStore
         queue.store.host                         db.example
         queue.store.port                         27018
         queue.store.username                     ada
         queue.store.password_env                 DB_PASSWORD
         queue.store.database                     oxides
         queue.store.collection_name              jobs
         jobstore.docs_store.type                 MongoStore
         jobstore.docs_store.host                 db.example
         jobstore.docs_store.port                 27018
         jobstore.docs_store.username             ada
         jobstore.docs_store.password_env         DB_PASSWORD
         jobstore.docs_store.database             oxides
         jobstore.docs_store.collection_name      outputs
        ----- stderr
        ");
}

#[test]
fn what_cannot_be_a_project_is_not_written() {
    let place = TestEnv::empty();
    assert_snapshot!(place.jf("init oxides --host hpc.example"), @r"
        exit: 2
        ----- stdout
        ----- stderr
        error: where on hpc.example may jobs have their directories?
        hint: add --work-dir /absolute/path/on/the/host
        ");
    assert_snapshot!(place.jf("init ../evil"), @r"
        exit: 2
        ----- stdout
        ----- stderr
        error: `../evil` is no name for a project
        hint: use letters, digits, `.`, `_` and `-`, and begin with a letter or a digit
        ");
    assert_snapshot!(place.jf("init x --work-dir relative"), @r#"
        exit: 6
        ----- stdout
        ----- stderr
        error: the project file [ROOT]/projects/x.yaml has a fault:
            [ROOT]/projects/x.yaml:16:15: the path "relative" is not absolute (in workers.here.work_dir)
               |
            16 |     work_dir: relative
               |               ^^^^^^^^ `~` and variables mean nothing here; begin with /
        hint: nothing was written; give other answers (`jf init --help`)
        "#);
    assert_snapshot!(place.jf("init x --scheduler slrum"), @r"
        exit: 2
        ----- stdout
        ----- stderr
        error: invalid value 'slrum' for '--scheduler <NAME>': `slrum` is none of shell, slurm, pbs, sge, lsf, flux

        For more information, try '--help'.
        ");
    assert_eq!(std::fs::read_dir(place.path("projects")).unwrap().count(), 0);
    assert!(!place.path("evil.yaml").exists());
}
