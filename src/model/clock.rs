//! Where the time comes from: an argument, so that tests and the simulation can set it.

use super::Timestamp;

/// Tells the time of day.
pub trait Clock: Send + Sync {
    /// Returns the current time. It may jump in either direction: never measure a duration with it.
    fn now(&self) -> Timestamp;
}
