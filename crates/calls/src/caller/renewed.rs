//! A connection to functions that is opened anew when its babysitter was killed.
//!
//! Not for C libraries: handles and pointers of theirs that a program holds mean the connection that it has.
//! Lock: which connection is used now, read for each call and held while another is opened. No call waits for
//! it beyond its deadline, one in a signal handler that interrupted the opening neither.

use crate::caller::connection::{CallOptions, Connection};
use crate::error::{CallError, Ran};
use crate::shared::service::Configuration;
use parking_lot::RwLock;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The deadline passed while another call opened a connection.
const LATE: CallError = CallError::TimedOut { ran: Ran::No };

type Open = dyn Fn(&Configuration) -> Result<Connection, CallError> + Send + Sync;

/// What opens connections, and the one that it opened last.
pub(crate) struct Renewed {
    configuration: Configuration,
    open: Box<Open>,
    connection: RwLock<Arc<Connection>>,
}

impl fmt::Debug for Renewed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Renewed").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl Renewed {
    /// Opens the first connection.
    pub(crate) fn new(
        configuration: Configuration,
        open: impl Fn(&Configuration) -> Result<Connection, CallError> + Send + Sync + 'static,
    ) -> Result<Self, CallError> {
        let connection = RwLock::new(Arc::new(open(&configuration)?));
        Ok(Self { configuration, open: Box::new(open), connection })
    }

    /// Opens another, within `left`.
    fn open_within(&self, left: Duration) -> Result<Connection, CallError> {
        let mut configuration = self.configuration.clone();
        let left_ms = left.as_millis().min(u64::MAX.into()) as u64;
        configuration.start_deadline_ms = configuration.start_deadline_ms.min(left_ms);
        (self.open)(&configuration)
    }

    /// The connection used now.
    pub(crate) fn connection(&self) -> Arc<Connection> {
        Arc::clone(&self.connection.read())
    }

    /// Has `make` call through the connection; through another if its babysitter was lost before the call
    /// began.
    pub(crate) fn call<R>(
        &self,
        options: &CallOptions,
        mut make: impl FnMut(&Connection, &CallOptions) -> Result<R, CallError>,
    ) -> Result<R, CallError> {
        let began = Instant::now();
        let known = Arc::clone(&*self.connection.try_read_for(options.deadline).ok_or(LATE)?);
        match make(&known, options) {
            // No understudy has taken over.
            Err(CallError::NoService(_)) if known.has_lost_its_babysitter() => {}
            result => return result,
        }
        let left = || options.deadline.checked_sub(began.elapsed()).ok_or(LATE);
        let fresh = {
            let mut connection = self.connection.try_write_for(left()?).ok_or(LATE)?;
            // Another call may have been first.
            if Arc::ptr_eq(&connection, &known) {
                *connection = Arc::new(self.open_within(left()?)?);
            }
            Arc::clone(&connection)
        };
        make(&fresh, &CallOptions { deadline: left()?, ..*options })
    }
}
