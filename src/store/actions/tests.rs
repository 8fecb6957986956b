use super::*;

fn order(attempt: i32) -> Cancellation {
    Cancellation {
        token: Token::new(&JobKey::new("a", 1), attempt),
        worker: "w".into(),
        process_id: None,
        run_dir: None,
        remove_directory: false,
        ordered_on: Timestamp::from_millis(0),
        by: String::new(),
    }
}

#[test]
fn an_order_holds_once_the_attempt_is_nobodys() {
    assert!(is_due(&order(2), None), "the job is deleted");
    for state in State::ALL {
        let in_hand = state.is_active() || state == State::RemoteError;
        assert_eq!(is_due(&order(2), Some((state, 2))), !in_hand, "{state}");
        assert!(is_due(&order(2), Some((state, 3))), "{state}, one attempt later");
    }
}
