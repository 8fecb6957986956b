//! Keys from the files of the AWS tools: `~/.aws/credentials` and `~/.aws/config`
//! (<https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-files.html>).

use std::path::{Path, PathBuf};

use super::S3Keys;

/// Why a profile gives no keys.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("the AWS profile `{name}` has no aws_access_key_id and aws_secret_access_key in {}", path.display())]
    Missing { name: String, path: PathBuf },
    #[error("cannot read {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
}

/// Returns the keys of the profile, and its region where it has one.
pub fn profile(
    name: &str,
    credentials: &Path,
    configuration: &Path,
) -> Result<(S3Keys, Option<String>), ProfileError> {
    let text = std::fs::read_to_string(credentials)
        .map_err(|source| ProfileError::File { path: credentials.to_owned(), source })?;
    // It need not be there.
    let other = std::fs::read_to_string(configuration).unwrap_or_default();
    let section = if name == "default" { name.to_owned() } else { format!("profile {name}") };
    let find = |key: &str| value(&text, name, key).or_else(|| value(&other, &section, key));
    let missing = || ProfileError::Missing { name: name.to_owned(), path: credentials.to_owned() };
    let keys = S3Keys {
        id: find("aws_access_key_id").ok_or_else(missing)?,
        secret: find("aws_secret_access_key").ok_or_else(missing)?,
        token: find("aws_session_token"),
    };
    Ok((keys, find("region")))
}

/// Returns the value of the key in the section `[name]`.
fn value(text: &str, section: &str, key: &str) -> Option<String> {
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = name.trim() == section;
        } else if let (true, Some((name, value))) = (inside, line.split_once('='))
            && name.trim().eq_ignore_ascii_case(key)
        {
            return Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_read_and_missing_ones_told_without_secrets() {
        let directory = tempfile::tempdir().unwrap();
        let (credentials, configuration) =
            (directory.path().join("credentials"), directory.path().join("config"));
        let text = "# mine\n[default]\naws_access_key_id = A\n aws_secret_access_key=S=1\n\n[half]\naws_access_key_id = B\n\
                    [lab]\naws_access_key_id=L\naws_secret_access_key=T\naws_session_token = X\n";
        std::fs::write(&credentials, text).unwrap();
        std::fs::write(&configuration, "[default]\nregion = r0\n[profile lab]\nregion=r1\n").unwrap();
        let (keys, region) = profile("default", &credentials, &configuration).unwrap();
        assert_eq!((keys.id.as_str(), keys.secret.as_str(), keys.token), ("A", "S=1", None));
        assert_eq!(region.as_deref(), Some("r0"));
        let (keys, region) = profile("lab", &credentials, &configuration).unwrap();
        assert_eq!((keys.id.as_str(), keys.token.as_deref()), ("L", Some("X")));
        assert_eq!(region.as_deref(), Some("r1"));
        for name in ["half", "none"] {
            let Err(error) = profile(name, &credentials, &configuration) else { panic!("{name}") };
            assert!(
                matches!(&error, ProfileError::Missing { .. }) && !error.to_string().contains("S=1"),
                "{error}"
            );
        }
        let Err(ProfileError::File { .. }) = profile("x", Path::new("/nowhere"), &configuration) else {
            panic!()
        };
    }
}
