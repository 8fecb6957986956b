use super::*;
use crate::config::error::report;

fn parse(text: &str, variables: &[(&str, &str)]) -> Result<GeneralSettings, String> {
    let environment = Environment::new(variables.iter().copied(), Some("/home/alice".into()));
    let file = Path::new("/home/alice/.jfremote.yaml");
    GeneralSettings::parse(text, file, &environment).map_err(|found| report(&found, file, text))
}

#[test]
fn without_file_and_variables_the_defaults_hold() {
    let settings = parse("", &[]).unwrap();
    assert_eq!(settings.projects_folder, Path::new("/home/alice/.jfremote"));
    assert_eq!((settings.project, settings.cli_log_level), (None, LogLevel::Warn));
    assert_eq!((settings.cli_full_exc, settings.cli_suggestions), (false, true));
}

#[test]
fn a_variable_in_any_case_wins_over_the_file() {
    let text = "projects_folder: ~/one\nproject: a\ncli_suggestions: true\ncli_job_list_columns: [db_id]\n";
    let file = parse(text, &[]).unwrap();
    assert_eq!(file.projects_folder, Path::new("/home/alice/one"));
    assert_eq!((file.project.as_deref(), file.cli_suggestions), (Some("a"), true));
    let variables = [
        ("JFREMOTE_PROJECTS_FOLDER", "/two"),
        ("jfremote_project", "b"),
        ("JFREMOTE_CLI_SUGGESTIONS", "0"),
        ("JFREMOTE_CLI_JOB_LIST_COLUMNS", r#"["name", "state"]"#),
    ];
    let settings = parse(text, &variables).unwrap();
    assert_eq!(settings.projects_folder, Path::new("/two"));
    assert_eq!((settings.project.as_deref(), settings.cli_suggestions), (Some("b"), false));
    assert_eq!(settings.cli_job_list_columns, Some(vec!["name".to_owned(), "state".to_owned()]));
}

#[test]
fn all_that_is_wrong_is_told_with_its_place() {
    let variables = [("JFREMOTE_CLI_LOG_LEVEL", "loud"), ("JFREMOTE_CLI_FULL_EXC", "perhaps")];
    insta::assert_snapshot!(parse("projcet: a\ncli_suggestions: 3\n", &variables).unwrap_err(), @r#"
    environment JFREMOTE_CLI_FULL_EXC: true or false is needed here, not the text "perhaps" (in cli_full_exc)
    environment JFREMOTE_CLI_LOG_LEVEL: `loud` is not known here (in cli_log_level)
      hint: known are: error, warn, info, debug
    /home/alice/.jfremote.yaml:1:1: the key `projcet` is not known here
      |
    1 | projcet: a
      | ^^^^^^^ did you mean `project`?
    /home/alice/.jfremote.yaml:2:18: true or false is needed here, not the number 3 (in cli_suggestions)
      |
    2 | cli_suggestions: 3
      |                  ^
    "#);
}

#[test]
fn the_file_is_where_the_variable_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.json");
    std::fs::write(&file, r#"{"projects_folder": "/three"}"#).unwrap();
    let environment = Environment::new([("JFREMOTE_CONFIG_FILE", file.to_str().unwrap())], None);
    let settings = GeneralSettings::read(&environment).unwrap();
    assert_eq!(settings.projects_folder, Path::new("/three"));
    assert_eq!(settings.config_file, file);
}
