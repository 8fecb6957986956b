//! Ids of processes in two parts: what the Python side reads as a process id, and what tells the process from others.
//!
//! Our scheduler `shell` knows a process by `<pid>-<start time>-<boot>`; jobflow-remote takes the pid alone, and of a
//! single other text it makes a fault of the whole worker (`_check_job_ids` of qtoolkit 0.1.7). So `remote.process_id`
//! is the pid, and `jobferry.process_id` the whole. Ids of batch systems are what they are.

use bson::{Bson, Document};

const SHOWN: &str = "remote.process_id";
pub(in crate::store) const WHOLE: &str = "jobferry.process_id";

/// Returns the id as the Python side knows it: the pid of a process, any other id unchanged.
pub fn shown(id: &str) -> &str {
    let mut parts = id.split('-');
    let is_number = |part: Option<&str>| {
        part.is_some_and(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let is_boot = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let pid = parts.next().unwrap_or(id);
    let whole = is_number(Some(pid)) && is_number(parts.next()) && parts.next().is_some_and(is_boot);
    if whole && parts.next().is_none() { pid } else { id }
}

/// Divides the id that a `$set` holds, if it holds one that has two parts.
pub fn divide(set: &mut Document) {
    let Some(Bson::String(id)) = set.get(SHOWN) else { return };
    let pid = shown(id).to_owned();
    if pid != *id {
        let whole = set.insert(SHOWN, pid);
        set.insert(WHOLE, whole);
    }
}

/// Returns the id from its stored parts. The whole counts only while the Python side has not put another pid there.
pub(in crate::store) fn join(stored: Option<String>, whole: Option<String>) -> Option<String> {
    let stored = stored?;
    Some(whole.filter(|whole| shown(whole) == stored).unwrap_or(stored))
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn ids_of_processes_are_divided_and_joined_and_others_are_left_alone() {
        for (id, pid) in [
            ("12555-1460544-cde31309", "12555"),
            ("12555", "12555"),
            ("123.server-2", "123.server-2"),
            ("4_7", "4_7"),
            ("12-34", "12-34"),
            ("12-34-zz", "12-34-zz"),
            ("12-34-ab-1", "12-34-ab-1"),
            ("-34-ab", "-34-ab"),
            ("", ""),
        ] {
            let mut set = doc! { SHOWN: id };
            divide(&mut set);
            assert_eq!(set.get_str(SHOWN).ok(), Some(pid));
            assert_eq!(set.get_str(WHOLE).ok(), (id != pid).then_some(id));
            let whole = set.get_str(WHOLE).ok().map(str::to_owned);
            assert_eq!(join(Some(pid.to_owned()), whole), Some(id.to_owned()));
        }
        let mut none = doc! { SHOWN: null };
        divide(&mut none);
        assert_eq!(none, doc! { SHOWN: null });
    }

    #[test]
    fn a_pid_that_the_python_side_wrote_is_not_taken_for_ours() {
        let ours = || Some("7-70-ab".to_owned());
        assert_eq!(join(Some("8".to_owned()), ours()), Some("8".to_owned()));
        assert_eq!(join(None, ours()), None);
    }
}
