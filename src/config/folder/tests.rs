use super::*;

struct Folder {
    folder: tempfile::TempDir,
    environment: Environment,
}

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        }
        let environment = Environment::new(
            [("JFREMOTE_PROJECTS_FOLDER", folder.path().to_str().unwrap())],
            Some("/nowhere".into()),
        );
        Self { folder, environment }
    }

    fn select(&self, named: Option<&str>) -> Result<String, String> {
        let settings = GeneralSettings::read(&self.environment).unwrap();
        let selected = select(named, &settings, &self.environment, &[]);
        let told = |error: ConfigError| {
            let text = format!("{error}\nhint: {}", error.hint().unwrap_or_default());
            text.replace(self.folder.path().to_str().unwrap(), "FOLDER")
        };
        selected.map(|loaded| loaded.project.name).map_err(told)
    }
}

#[test]
fn the_only_project_is_meant_when_none_is_named() {
    let folder = Folder::with(&[
        ("a.yaml", "name: one"),
        ("ignored.yml", "name: two"),
        ("notes.txt", "name: three"),
        ("broken.toml", "name = "),
        ("faulty.json", r#"{"name": "four", "wrokers": {}}"#),
    ]);
    assert_eq!(folder.select(None), Ok("one".to_owned()));
    assert_eq!(folder.select(Some("one")), Ok("one".to_owned()));
}

#[test]
fn the_one_that_is_named_wins_over_the_one_of_the_settings() {
    let mut folder = Folder::with(&[("x.json", r#"{"name": "one"}"#), ("y.toml", "name = 'two'")]);
    assert_eq!(folder.select(Some("one")), Ok("one".to_owned()));
    let root = folder.folder.path().to_str().unwrap().to_owned();
    let variables = [("JFREMOTE_PROJECTS_FOLDER", root.as_str()), ("JFREMOTE_PROJECT", "two")];
    folder.environment = Environment::new(variables, Some("/nowhere".into()));
    assert_eq!(folder.select(None), Ok("two".to_owned()));
    assert_eq!(folder.select(Some("one")), Ok("one".to_owned()));
}

#[test]
fn a_folder_without_projects_is_no_error_of_its_own() {
    let folder = Folder::with(&[]);
    assert_eq!(list(Path::new("/nowhere/at/all"), &folder.environment).unwrap().len(), 0);
    insta::assert_snapshot!(folder.select(None).unwrap_err(), @r"
    there is no project in FOLDER
    hint: make one: jf init; or try without: jf demo
    ");
}

#[test]
fn several_projects_and_none_chosen() {
    let folder = Folder::with(&[("a.yaml", "name: one"), ("b.yaml", "name: two")]);
    insta::assert_snapshot!(folder.select(None).unwrap_err(), @r"
    there are several projects in FOLDER and none is chosen: one, two
    hint: choose one: jf -p one …; or for good: export JFREMOTE_PROJECT=one
    ");
}

#[test]
fn a_name_that_no_project_has() {
    let folder =
        Folder::with(&[("a.yaml", "name: science"), ("b.yaml", "name: ["), ("c.yaml", "name: teaching")]);
    insta::assert_snapshot!(folder.select(Some("sceince")).unwrap_err(), @r"
    there is no project `sceince` in FOLDER (a file there cannot be used: FOLDER/b.yaml)
    hint: did you mean `science`? type: jf -p science …
    ");
}

#[test]
fn two_files_of_the_same_name() {
    let folder = Folder::with(&[("a.yaml", "name: one"), ("b.toml", "name = 'one'")]);
    insta::assert_snapshot!(folder.select(None).unwrap_err(), @r"
    two files are the project `one`: FOLDER/a.yaml, FOLDER/b.toml
    hint: change the `name` in one of them, or move it away
    ");
}

#[test]
fn the_chosen_project_with_faults_tells_them() {
    let folder = Folder::with(&[("a.yaml", "name: one\nlog_level: INFO\n"), ("b.yaml", "name: two")]);
    insta::assert_snapshot!(folder.select(Some("one")).unwrap_err(), @r"
    the project file FOLDER/a.yaml has a fault:
    FOLDER/a.yaml:2:12: `INFO` is not known here (in log_level)
      |
    2 | log_level: INFO
      |            ^^^^ did you mean `info`?
    hint: mend the file, then type: jf project check
    ");
}

#[test]
fn a_file_with_a_secret_that_others_can_read_is_refused() {
    let text = "name: one\nqueue: {store: {type: MongoStore, database: d, collection_name: c, username: u, password: hunter2}}\n";
    let folder = Folder::with(&[("a.yaml", text)]);
    insta::assert_snapshot!(folder.select(Some("one")).unwrap_err(), @r"
    the project file FOLDER/a.yaml holds secrets (queue.store.password), and others can read it (mode 0644)
    hint: type: chmod 600 FOLDER/a.yaml
    ");
    let path = folder.folder.path().join("a.yaml");
    for (mode, accepted) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(folder.select(Some("one")).is_ok(), accepted, "{mode:o}");
    }
}

#[test]
fn a_file_without_a_secret_may_be_read_by_all() {
    let text = "name: one\nqueue: {store: {type: MongoStore, database: d, collection_name: c, username: u, password_env: P}}\n";
    assert_eq!(Folder::with(&[("a.yaml", text)]).select(None), Ok("one".to_owned()));
}
