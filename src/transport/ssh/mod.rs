//! Hosts reached by OpenSSH.
//!
//! One connection (a control master of OpenSSH) for each host, and over it a few *lanes*: a lane is one shell on the host
//! that reads a request, runs it, and answers. A profile that takes a second is so paid for once for each lane, not for
//! each request, and what it prints is over before the first answer. A request is one script and one stream of data, for a
//! whole batch.
//!
//! The host needs a POSIX shell, GNU coreutils, and `tar`, `find`, `xargs`, `grep`, `sed` in any flavour.
//!
//! A lane that fails or is late is given up; what runs in it is killed over the connection, as far as that still stands.
//! When the future of a request is dropped, its lane is given up too, but the commands on the host end at their own
//! limits.

mod answers;
mod archive;
mod lane;
mod master;
mod request;
mod settings;
mod stderr;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use openssh::Session;
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tokio::time::{Instant, timeout_at};

use self::lane::{Lane, LaneFailure};
pub use self::settings::{Shell, SshSettings, default_control_directory};
use super::{Answer, Operation, Transport, TransportError};

/// The transport to one host over SSH.
pub struct SshTransport {
    settings: SshSettings,
    round_trips: AtomicU64,
    permits: Semaphore,
    idle: Mutex<Vec<Lane>>,
    master: AsyncMutex<Option<Arc<Session>>>,
}

impl SshTransport {
    /// Returns a transport; the connection is opened by its first request.
    pub fn new(settings: SshSettings) -> Self {
        let permits = Semaphore::new(settings.lanes.max(1));
        Self {
            settings,
            round_trips: AtomicU64::new(0),
            permits,
            idle: Mutex::new(Vec::new()),
            master: AsyncMutex::new(None),
        }
    }

    async fn perform_until(
        &self,
        batch: Vec<Operation>,
        limit: Duration,
    ) -> Result<Vec<Answer>, TransportError> {
        let deadline = Instant::now() + limit;
        let late = || TransportError::TimedOut { host: self.settings.host.clone(), limit };
        let permit = timeout_at(deadline, self.permits.acquire()).await.map_err(|_| late())?;
        let _permit = permit.map_err(|error| self.lost(&error))?;
        let mut lane = match self.take_idle() {
            Some(lane) => lane,
            None => self.open_lane(deadline).await?,
        };
        let scratch = lane.scratch().to_owned();
        let request = tokio::task::spawn_blocking(move || request::build(batch, &scratch))
            .await
            .map_err(|error| self.lost(&error))?;
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        match timeout_at(deadline, lane.request(request)).await {
            Ok(Ok(answers)) => {
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(lane);
                Ok(answers)
            }
            Ok(Err(failure)) => {
                lane.kill().await;
                Err(self.failed(failure))
            }
            Err(_) => {
                lane.kill().await;
                Err(late())
            }
        }
    }

    fn take_idle(&self) -> Option<Lane> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find_map(|mut lane| lane.is_ready().then_some(lane))
    }

    /// Opens a lane, over the connection that stands or a new one.
    async fn open_lane(&self, deadline: Instant) -> Result<Lane, TransportError> {
        let mut master = self.master.lock().await;
        if let Some(session) = master.take() {
            if let Ok(lane) = Lane::open(&session, &self.settings, deadline).await {
                *master = Some(session);
                return Ok(lane);
            }
            // The connection may be dead without knowing it: nobody gets it any more, its lanes end by themselves.
            master::retire(&self.settings).await;
        }
        let session = master::open(&self.settings, deadline).await?;
        match Lane::open(&session, &self.settings, deadline).await {
            Ok(lane) => {
                *master = Some(session);
                Ok(lane)
            }
            Err(error) => {
                master::retire(&self.settings).await;
                Err(error)
            }
        }
    }

    fn failed(&self, failure: LaneFailure) -> TransportError {
        let host = self.settings.host.clone();
        match failure {
            LaneFailure::Lost(message) => TransportError::Lost { host, message },
            LaneFailure::Garbled(message) => TransportError::Garbled { host, message },
        }
    }

    fn lost(&self, error: &dyn std::error::Error) -> TransportError {
        self.failed(LaneFailure::Lost(error.to_string()))
    }
}

#[async_trait]
impl Transport for SshTransport {
    async fn perform(&self, batch: Vec<Operation>, limit: Duration) -> Result<Vec<Answer>, TransportError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.perform_until(batch, limit).await
    }

    async fn close(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        if self.master.lock().await.take().is_some() {
            master::retire(&self.settings).await;
        }
    }

    fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::Relaxed)
    }

    fn host(&self) -> &str {
        &self.settings.host
    }
}
