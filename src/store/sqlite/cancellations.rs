//! Orders to end processes.

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};

use crate::model::ids::Token;
use crate::store::StoreError;
use crate::store::actions::{Cancellation, Cancellations};

use super::SqliteStore;
use super::connection::prepared;
use super::failure::Failure;
use super::rows::Columns;

#[async_trait]
impl Cancellations for SqliteStore {
    async fn cancellations(&self) -> Result<Vec<Cancellation>, StoreError> {
        self.read("read cancellations", all).await
    }

    async fn order_cancellations(&self, orders: &[Cancellation]) -> Result<(), StoreError> {
        let orders = orders.to_vec();
        self.write("order cancellations", move |connection| order(connection, &orders)).await
    }

    async fn clear_cancellations(&self, tokens: &[Token]) -> Result<(), StoreError> {
        let tokens = tokens.to_vec();
        self.write("clear cancellations", move |connection| clear(connection, &tokens)).await
    }
}

fn all(connection: &Connection) -> Result<Vec<Cancellation>, Failure> {
    let mut statement = prepared(
        connection,
        "SELECT token, worker, process_id, run_dir, remove_directory, ordered_on, ordered_by
           FROM cancellations",
    )?;
    let mut rows = statement.query([])?;
    let mut orders = Vec::new();
    while let Some(row) = rows.next()? {
        orders.push(of_row(row)?);
    }
    orders.sort_by(|a, b| (a.ordered_on, &a.token).cmp(&(b.ordered_on, &b.token)));
    Ok(orders)
}

fn of_row(row: &Row<'_>) -> Result<Cancellation, Failure> {
    let mut columns = Columns::of(row);
    let token: String = columns.take()?;
    let token = Token::parse(&token)
        .ok_or_else(|| Failure::unreadable("a cancellation", &format!("{token} names no attempt")))?;
    Ok(Cancellation {
        token,
        worker: columns.take()?,
        process_id: columns.take()?,
        run_dir: columns.take()?,
        remove_directory: columns.take()?,
        ordered_on: columns.time()?,
        by: columns.take()?,
    })
}

/// Stores the orders, but for those whose token has one.
pub(super) fn order(connection: &Connection, orders: &[Cancellation]) -> Result<(), Failure> {
    let mut statement = prepared(
        connection,
        "INSERT INTO cancellations (token, worker, process_id, run_dir, remove_directory, ordered_on, ordered_by)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (token) DO NOTHING",
    )?;
    for order in orders {
        statement.execute(params![
            order.token.as_str(),
            order.worker,
            order.process_id,
            order.run_dir,
            order.remove_directory,
            order.ordered_on.timestamp_millis(),
            order.by,
        ])?;
    }
    Ok(())
}

fn clear(connection: &Connection, tokens: &[Token]) -> Result<(), Failure> {
    let mut statement = prepared(connection, "DELETE FROM cancellations WHERE token = ?1")?;
    for token in tokens {
        statement.execute([token.as_str()])?;
    }
    Ok(())
}
