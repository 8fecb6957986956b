//! The lease of the acting runner: one row.

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::model::Timestamp;
use crate::store::{Holder, Lease, LeaseAnswer, LeaseClaim, Standing};

use super::connection::prepared;
use super::failure::Failure;
use super::rows::Columns;

/// Gives or renews the lease, unless another owner's has not run out at the claimant's time.
pub(super) fn take(connection: &Connection, claim: &LeaseClaim) -> Result<LeaseAnswer, Failure> {
    if let Some(lease) = read(connection, claim.at)?
        && lease.owner != claim.owner
        && lease.standing == Standing::Holds
    {
        return Ok(LeaseAnswer::Taken(lease));
    }
    write(connection, claim)?;
    Ok(LeaseAnswer::Yours)
}

fn write(connection: &Connection, claim: &LeaseClaim) -> Result<(), Failure> {
    let duration = i64::try_from(claim.duration.as_millis()).unwrap_or(i64::MAX);
    let renewed = claim.at.timestamp_millis();
    let holder = &claim.holder;
    let mut statement = prepared(
        connection,
        "INSERT OR REPLACE INTO lease (one, owner, host, pid, user, project, daemon_dir, version, started,
                                       renewed, expires)
         VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    statement.execute(params![
        claim.owner,
        holder.host,
        holder.pid,
        holder.user,
        holder.project,
        holder.daemon_dir,
        holder.version,
        holder.started.timestamp_millis(),
        renewed,
        renewed.saturating_add(duration),
    ])?;
    Ok(())
}

/// Ends the lease if `owner` holds it.
pub(super) fn release(connection: &Connection, owner: &str) -> Result<(), Failure> {
    prepared(connection, "DELETE FROM lease WHERE one = 1 AND owner = ?1")?.execute([owner])?;
    Ok(())
}

/// Returns the lease and whether it holds at `now`.
pub(super) fn read(connection: &Connection, now: Timestamp) -> Result<Option<Lease>, Failure> {
    let mut statement = prepared(
        connection,
        "SELECT owner, host, pid, user, project, daemon_dir, version, started, renewed, expires
           FROM lease WHERE one = 1",
    )?;
    let lease = statement.query_row([], |row| Ok(of_columns(&mut Columns::of(row), now))).optional()?;
    lease.transpose()
}

fn of_columns(columns: &mut Columns<'_, '_>, now: Timestamp) -> Result<Lease, Failure> {
    let owner = columns.take()?;
    let holder = Holder {
        host: columns.take()?,
        pid: columns.take()?,
        user: columns.take()?,
        project: columns.take()?,
        daemon_dir: columns.take()?,
        version: columns.take()?,
        started: columns.time()?,
    };
    let renewed = columns.time()?;
    let expires = columns.time()?;
    let standing = if expires > now { Standing::Holds } else { Standing::RanOut };
    Ok(Lease { owner, holder, renewed, expires, standing })
}
