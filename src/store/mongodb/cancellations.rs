//! Orders to end processes: documents of their own in the auxiliary collection, each under the token's name.
//!
//! The Python side finds its documents there by the presence of a key of theirs, and leaves ours alone. An order must
//! outlive the document of its job, which may be deleted.

use ::mongodb::bson::{Document, doc};

use super::Server;
use super::access::{Access, Command, Fault};
use crate::model::Timestamp;
use crate::model::ids::Token;
use crate::store::actions::Cancellation;

/// The key that makes a document an order.
pub(super) const FIELD: &str = "jobferry_cancel";

/// Returns all orders, the oldest first.
pub(super) async fn all(server: &Server) -> Result<Vec<Cancellation>, Fault> {
    let filter = doc! { FIELD: { "$exists": true } };
    let sort = doc! { "jobferry_cancel.ordered_on": 1, "_id": 1 };
    let auxiliary = server.names.auxiliary.clone();
    let found = Access::plain(server).find_some(&auxiliary, filter, doc! { "_id": 0 }, sort, None).await?;
    found.iter().map(read).collect()
}

fn read(document: &Document) -> Result<Cancellation, Fault> {
    let strange = || Fault::Strange(format!("a cancellation cannot be read: {document}"));
    let order = document.get_document(FIELD).map_err(|_| strange())?;
    let text = |field: &str| order.get_str(field).ok().map(str::to_owned);
    Ok(Cancellation {
        token: text("token").as_deref().and_then(Token::parse).ok_or_else(strange)?,
        worker: text("worker").ok_or_else(strange)?,
        process_id: text("process_id"),
        run_dir: text("run_dir"),
        remove_directory: order.get_bool("remove_directory").unwrap_or_default(),
        ordered_on: order.get_datetime("ordered_on").copied().unwrap_or(Timestamp::MIN),
        by: text("by").unwrap_or_default(),
    })
}

/// Stores the orders, but for those whose token has one.
pub(super) async fn order(access: &mut Access<'_>, orders: &[Cancellation]) -> Result<(), Fault> {
    let auxiliary = access.server.names.auxiliary.clone();
    let statements: Vec<Document> = orders.iter().map(statement).collect();
    access.write(Command::Update, &auxiliary, &statements).await?.all()?;
    Ok(())
}

fn statement(order: &Cancellation) -> Document {
    let content = doc! {
        "token": order.token.as_str(),
        "worker": &order.worker,
        "process_id": order.process_id.as_deref(),
        "run_dir": order.run_dir.as_deref(),
        "remove_directory": order.remove_directory,
        "ordered_on": order.ordered_on,
        "by": &order.by,
    };
    let insert = doc! { "$setOnInsert": { FIELD: content } };
    doc! { "q": { "_id": id(&order.token) }, "u": insert, "upsert": true }
}

/// Forgets the orders for these tokens.
pub(super) async fn clear(server: &Server, tokens: &[Token]) -> Result<(), Fault> {
    let of_token = |token: &Token| doc! { "q": { "_id": id(token) }, "limit": 1 };
    let statements: Vec<Document> = tokens.iter().map(of_token).collect();
    let auxiliary = server.names.auxiliary.clone();
    Access::plain(server).write(Command::Delete, &auxiliary, &statements).await?.all()?;
    Ok(())
}

fn id(token: &Token) -> String {
    format!("{FIELD}:{token}")
}
