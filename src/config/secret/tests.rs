use std::os::unix::fs::PermissionsExt as _;

use super::*;

const TEXT: &str = "correct horse";

fn environment() -> Environment {
    Environment::new([("PATH", "/usr/bin:/bin"), ("DATABASE_PASSWORD", TEXT)], None)
}

fn file_with(content: &str, mode: u32) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    file
}

fn command(argv: &[&str]) -> SecretSource {
    SecretSource::Command(argv.iter().map(|word| (*word).to_owned()).collect())
}

#[test]
fn no_way_of_printing_shows_the_text() {
    let secret = Secret::new(TEXT);
    let source = SecretSource::Literal(secret.clone());
    let shown = format!("{secret} {secret:?} {source:?} {}", serde_json::to_string(&secret).unwrap());
    assert!(!shown.contains(TEXT), "{shown}");
    assert_eq!(secret.reveal(), TEXT);
}

#[tokio::test]
async fn every_source_gives_the_same_secret() {
    let file = file_with(&format!("{TEXT}\nsecond line\n"), 0o600);
    let sources = [
        SecretSource::Literal(Secret::new(TEXT)),
        SecretSource::Variable("DATABASE_PASSWORD".to_owned()),
        SecretSource::File(file.path().to_owned()),
        command(&["echo", TEXT]),
        command(&["sh", "-c", "echo \"$DATABASE_PASSWORD\""]),
    ];
    for source in sources {
        assert_eq!(source.read(&environment()).await.unwrap().reveal(), TEXT, "{source:?}");
    }
}

#[tokio::test]
async fn a_command_gets_its_arguments_without_a_shell() {
    let source = command(&["echo", "$DATABASE_PASSWORD; rm -rf '"]);
    assert_eq!(source.read(&environment()).await.unwrap().reveal(), "$DATABASE_PASSWORD; rm -rf '");
}

#[tokio::test]
async fn a_file_that_others_can_read_is_refused_with_the_command_to_type() {
    for mode in [0o640, 0o604, 0o644] {
        let file = file_with(TEXT, mode);
        let error = SecretSource::File(file.path().to_owned()).read(&environment()).await.unwrap_err();
        assert!(error.to_string().contains("type: chmod 600 "), "{error}");
    }
}

#[tokio::test]
async fn a_command_that_hangs_is_killed() {
    let limit = Duration::from_millis(50);
    let error = command(&["sleep", "1000"]).read_within(&environment(), limit).await.unwrap_err();
    assert!(matches!(error, SecretError::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn failures_name_the_place_and_never_the_text() {
    let empty = file_with("\n", 0o600);
    let large = file_with(&TEXT.repeat(10_000), 0o600);
    let cases = [
        (SecretSource::Variable("UNSET".to_owned()), "UNSET is not set"),
        (SecretSource::File("/nowhere/secret".into()), "/nowhere/secret"),
        (SecretSource::File(empty.path().to_owned()), "first line is empty"),
        (SecretSource::File(large.path().to_owned()), "no secret"),
        (command(&["/nowhere/program"]), "/nowhere/program"),
        (command(&["sh", "-c", "echo correct horse; echo correct horse >&2; exit 3"]), "exit status: 3"),
        (command(&["sh", "-c", ":"]), "first line is empty"),
        (command(&["sh", "-c", "printf '\\377'"]), "no text"),
    ];
    for (source, expected) in cases {
        let error = source.read(&environment()).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains(TEXT), "{text}");
    }
}
