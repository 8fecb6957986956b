use proptest::prelude::*;

use super::*;
use crate::model::ids::JobKey;

const END: &str = "jobferry-end 1\ntoken=u_1_2\nexit_code=137\nsignal=9\nstarted=1795165884.602809\nended=1795165884.5\n\
    host=n1\npid=42\nstdout_bytes=5\nstderr_bytes=\ncomplete=1\n";
const START: &str = "jobferry-start 1\ntoken=u_1_2\nscheduler_id=17\nhost=n1\npid=42\nprocess_start=7\n\
    started=1795165884.N\nrestarts=1\ncomplete=1\n";

fn token() -> Token {
    Token::new(&JobKey::new("u", 1), 2)
}

#[test]
fn markers_are_read() {
    let end = End {
        exit_code: 137,
        signal: Some(9),
        started: Some(Timestamp::from_millis(1_795_165_884_602)),
        ended: Some(Timestamp::from_millis(1_795_165_884_500)),
        host: "n1".into(),
        pid: 42,
        stdout_bytes: Some(5),
        stderr_bytes: None,
    };
    assert_eq!(read_end(END.as_bytes(), &token()), Ok(end));
    let start = Start {
        scheduler_id: Some("17".into()),
        host: "n1".into(),
        pid: 42,
        started: Some(Timestamp::from_millis(1_795_165_884_000)),
        restarts: 1,
    };
    assert_eq!(read_start(START.as_bytes(), &token()), Ok(start));
}

#[test]
fn keys_of_later_versions_are_left_alone() {
    let later = END.replace("pid=42\n", "pid=42\nmemory_bytes=12\n");
    assert_eq!(read_end(later.as_bytes(), &token()), read_end(END.as_bytes(), &token()));
}

#[test]
fn every_cut_is_refused() {
    for (length, _) in END.char_indices() {
        assert!(read_end(&END.as_bytes()[..length], &token()).is_err(), "{length}");
    }
    for (length, _) in START.char_indices() {
        assert!(read_start(&START.as_bytes()[..length], &token()).is_err(), "{length}");
    }
}

#[test]
fn another_attempts_marker_is_refused() {
    let other = Token::new(&JobKey::new("u", 1), 3);
    assert!(matches!(read_end(END.as_bytes(), &other), Err(MarkerError::OtherAttempt { .. })));
}

#[test]
fn what_we_never_write_is_refused() {
    for (from, to) in [
        ("exit_code=137", "exit_code="),
        ("exit_code=137", "exit_code=x"),
        ("pid=42", "pid=-1"),
        ("host=n1", "exit_code=0"),
        ("host=n1", "no key"),
        ("jobferry-end 1", "jobferry-end 2"),
        ("jobferry-end 1", "jobferry-start 1"),
        ("started=1795165884.602809", "started=99999999999999999"),
        ("started=1795165884.602809", "started=now"),
    ] {
        assert!(read_end(END.replace(from, to).as_bytes(), &token()).is_err(), "{to}");
    }
    assert_eq!(read_end(&vec![b'x'; 5000], &token()), Err(MarkerError::TooLarge(5000)));
    assert!(read_end(b"\xff\xfe", &token()).is_err());
}

proptest! {
    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize..200) {
        let mut bytes = END.as_bytes().to_vec();
        let at = at.min(bytes.len());
        bytes.splice(at..at, noise.iter().copied());
        let _ignored = (read_end(&noise, &token()), read_end(&bytes, &token()), read_start(&bytes, &token()));
    }
}
