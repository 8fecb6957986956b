//! What users do: in one transaction per batch, or on a standalone server under locks that the Python side sees.

use std::collections::BTreeSet;

use ::mongodb::bson::{Array, Bson, Document, doc};
use async_trait::async_trait;

use super::access::{Access, Body, Command, Fault, transact};
use super::derive::derive_flows;
use super::finish::{Signature, release};
use super::locks::Held;
use super::moves::{Also, by_key, refused, reporting, statement};
use super::{LONG, MongoStore, Server, Topology, cancellations, locks, scene};
use crate::model::flow::FlowState;
use crate::model::ids::{JobKey, Token};
use crate::model::state::State;
use crate::store::actions::rules::{self, FlowPlan, Plan, Removal};
use crate::store::actions::{
    Action, Answer, Cancellation, Cancellations, Deletion, Locks, MOST_JOBS, Mandate, Refusal, UserActions,
};
use crate::store::{Move, StoreError};

/// Flows deleted at once.
const MOST_FLOWS: usize = 20;

/// How often a plan is made again because it needs more documents than were locked; each time somebody else has
/// changed the flow meanwhile.
const LOCK_ROUNDS: u32 = 5;

#[async_trait]
impl UserActions for MongoStore {
    async fn act(
        &self,
        jobs: &[JobKey],
        action: &Action,
        mandate: &Mandate,
    ) -> Result<Vec<Answer>, StoreError> {
        let mut answers = Vec::with_capacity(jobs.len());
        for some in jobs.chunks(MOST_JOBS) {
            let order =
                Order { keys: some.to_vec(), action: action.clone(), mandate: mandate.clone(), own: None };
            let act = |server: std::sync::Arc<Server>| async move {
                match server.topology().await? {
                    Topology::Transactions => transact(&server, &order).await,
                    Topology::Standalone => order.in_steps(&server).await,
                }
            };
            answers.extend(self.run("change jobs", LONG, act).await?);
        }
        Ok(answers)
    }

    async fn delete_flows(
        &self,
        flows: &[String],
        deletion: Deletion,
        mandate: &Mandate,
    ) -> Result<Vec<Answer>, StoreError> {
        let mut answers = Vec::with_capacity(flows.len());
        for some in flows.chunks(MOST_FLOWS) {
            let order = FlowDeletion { flows: some.to_vec(), deletion, mandate: mandate.clone(), own: None };
            let delete = |server: std::sync::Arc<Server>| async move {
                match server.topology().await? {
                    Topology::Transactions => transact(&server, &order).await,
                    Topology::Standalone => order.in_steps(&server).await,
                }
            };
            answers.extend(self.run("delete flows", LONG, delete).await?);
        }
        Ok(answers)
    }

    async fn set_flow_store(
        &self,
        flow: &str,
        store: Option<&str>,
        mandate: &Mandate,
    ) -> Result<Answer, StoreError> {
        let (flow, store, mandate) = (flow.to_owned(), store.map(str::to_owned), mandate.clone());
        let set = |server: std::sync::Arc<Server>| async move {
            set_flow_store(&server, flow, store, &mandate).await
        };
        self.run("change a flow", LONG, set).await
    }
}

#[async_trait]
impl Cancellations for MongoStore {
    async fn cancellations(&self) -> Result<Vec<Cancellation>, StoreError> {
        self.run("read cancellations", LONG, |server| async move { cancellations::all(&server).await }).await
    }

    async fn order_cancellations(&self, orders: &[Cancellation]) -> Result<(), StoreError> {
        let orders = orders.to_vec();
        let order = |server: std::sync::Arc<Server>| async move {
            cancellations::order(&mut Access::plain(&server), &orders).await
        };
        self.run("order cancellations", LONG, order).await
    }

    async fn clear_cancellations(&self, tokens: &[Token]) -> Result<(), StoreError> {
        let tokens = tokens.to_vec();
        let clear =
            |server: std::sync::Arc<Server>| async move { cancellations::clear(&server, &tokens).await };
        self.run("clear cancellations", LONG, clear).await
    }
}

/// An action on a batch of jobs.
struct Order {
    keys: Vec<JobKey>,
    action: Action,
    mandate: Mandate,
    /// The lock that we hold, without transactions.
    own: Option<String>,
}

impl Body for Order {
    type Answer = Vec<Answer>;

    async fn run(&self, access: &mut Access<'_>) -> Result<Vec<Answer>, Fault> {
        let plan = self.plan(access).await?;
        cancellations::order(access, &plan.cancellations).await?;
        touch_flows(access, &plan, &self.mandate).await?;
        let steps = plan.moves.iter().map(|step| self.unlocking(step));
        let steps = steps.collect::<Result<Vec<_>, _>>()?;
        let jobs = access.server.names.jobs.clone();
        let written = access.write(Command::Update, &jobs, &steps).await?.all()?;
        if u64::try_from(steps.len()).is_ok_and(|wanted| wanted != written) {
            return Err(Fault::Strange("documents changed within a transaction".to_owned()));
        }
        remove(access, &plan.removals, &plan.orphans, &self.mandate).await?;
        self.follow_up(access, &plan).await?;
        Ok(plan.answers)
    }
}

impl Order {
    async fn plan(&self, access: &mut Access<'_>) -> Result<Plan, Fault> {
        let scene = scene::load(access, &self.keys, rules::scope(&self.action)).await?;
        Ok(rules::plan(&scene, &self.keys, &self.action, &self.mandate, self.own.as_deref()))
    }

    /// Returns the statement of a move; a broken lock is taken away with it.
    fn unlocking(&self, step: &Move) -> Result<Document, Fault> {
        let mut statement = statement(step, Also::Nothing)?;
        if self.mandate.locks == Locks::Break {
            if let Ok(query) = statement.get_document_mut("q") {
                query.remove("lock_id");
            }
            if let Ok(Some(update)) = statement.get_document_mut("u").map(|u| u.get_document_mut("$set").ok())
            {
                update.extend(doc! { "lock_id": null, "lock_time": null });
            }
        }
        Ok(statement)
    }

    /// Does the same without transactions.
    async fn in_steps(mut self, server: &Server) -> Result<Vec<Answer>, Fault> {
        let mut held = Held::nothing();
        let done = self.under_locks(server, &mut held).await;
        let released = held.release(server).await;
        let answers = done?;
        released?;
        Ok(answers)
    }

    async fn under_locks(&mut self, server: &Server, held: &mut Held) -> Result<Vec<Answer>, Fault> {
        let mut access = Access::plain(server);
        let mut plan = self.plan(&mut access).await?;
        for _ in 0..LOCK_ROUNDS {
            if held.covers(plan.causes.keys(), plan.held_flows.iter()) {
                break;
            }
            let (jobs, flows) = (plan.causes.keys().cloned(), plan.held_flows.iter().cloned());
            held.take(server, jobs, flows, &self.mandate).await?;
            // What is ours now is free for us; what somebody else has got before is not, though locks be broken.
            self.own = Some(held.id.clone());
            self.mandate.locks = Locks::Honour;
            plan = self.plan(&mut access).await?;
        }
        if !held.covers(plan.causes.keys(), plan.held_flows.iter()) {
            return Err(Fault::Strange("the flow changes all the time; try again later".to_owned()));
        }
        cancellations::order(&mut access, &plan.cancellations).await?;
        self.make_moves(&mut access, &mut plan).await?;
        remove(&mut access, &plan.removals, &plan.orphans, &self.mandate).await?;
        self.follow_up(&mut access, &plan).await?;
        Ok(plan.answers)
    }

    /// Makes the moves of descendants, then those of the jobs asked for whose descendants were all moved.
    ///
    /// The Python side checks out locked jobs too: then the compare-and-set is lost, and the answer with it.
    async fn make_moves(&self, access: &mut Access<'_>, plan: &mut Plan) -> Result<(), Fault> {
        let asked: BTreeSet<&JobKey> = self.keys.iter().collect();
        let (last, first): (Vec<Move>, Vec<Move>) =
            plan.moves.clone().into_iter().partition(|step| asked.contains(&step.key));
        for steps in [first, last] {
            let alive = |step: &&Move| plan.causes.get(&step.key).is_some_and(|place| is_done(plan, *place));
            let steps: Vec<&Move> = steps.iter().filter(alive).collect();
            let lost = self.write_moves(access, &steps).await?;
            for key in lost {
                let answer = plan.causes.get(&key).and_then(|place| plan.answers.get_mut(*place));
                if let Some(answer) = answer {
                    *answer = Answer::Refused(Refusal::ChangedMeanwhile(key.to_string()));
                }
            }
        }
        Ok(())
    }

    /// Returns the jobs whose move was lost.
    async fn write_moves(&self, access: &mut Access<'_>, steps: &[&Move]) -> Result<Vec<JobKey>, Fault> {
        let of_step = |step: &&Move| {
            let mut statement = statement(step, Also::Nothing)?;
            if let Ok(query) = statement.get_document_mut("q") {
                query.insert("lock_id", self.own.as_deref());
            }
            Ok(reporting(statement))
        };
        let statements: Vec<Document> = steps.iter().map(of_step).collect::<Result<_, Fault>>()?;
        let jobs = access.server.names.jobs.clone();
        let reply = access.write(Command::Update, &jobs, &statements).await?;
        let lost = refused(reply)?;
        Ok(lost.iter().filter_map(|place| steps.get(*place)).map(|step| step.key.clone()).collect())
    }

    /// Lets children start that may, and derives the flows' states.
    async fn follow_up(&self, access: &mut Access<'_>, plan: &Plan) -> Result<(), Fault> {
        let signature = Signature { at: self.mandate.at, by: self.mandate.by.clone() };
        let mut flows = plan.flows.clone();
        if !plan.settled.is_empty() || !plan.orphans.is_empty() {
            let parents: Vec<&String> = plan.settled.iter().collect();
            let orphans: Vec<&str> = plan.orphans.iter().map(|key| key.uuid.as_str()).collect();
            let either =
                [doc! { "parents": { "$in": parents } }, doc! { "uuid": { "$in": orphans } }].to_vec();
            let filter = doc! { "$or": either, "state": State::Waiting.stored_name() };
            flows.extend(release(access, filter, &signature).await?.flows);
        }
        derive_flows(access, flows.into_iter().collect(), self.mandate.at).await?;
        Ok(())
    }
}

fn is_done(plan: &Plan, place: usize) -> bool {
    plan.answers.get(place).is_some_and(|answer| answer.refusal().is_none())
}

/// Makes the transaction collide with whoever locks one of the flows meanwhile; takes away what is to be broken.
async fn touch_flows(access: &mut Access<'_>, plan: &Plan, mandate: &Mandate) -> Result<(), Fault> {
    let mut update = doc! { "$inc": { "jobferry.revision": 1 } };
    if mandate.locks == Locks::Break {
        update.extend(locks::free());
    }
    let uuids: Vec<&String> = plan.held_flows.iter().collect();
    let statement = doc! { "q": { "uuid": { "$in": uuids } }, "u": update, "multi": true };
    let flows = access.server.names.flows.clone();
    access.write(Command::Update, &flows, &[statement]).await?.all()?;
    Ok(())
}

/// Deletes jobs: first their places in the flows, then as parents of others, then their documents. A kill in between
/// leaves documents that can be deleted again.
async fn remove(
    access: &mut Access<'_>,
    removals: &[Removal],
    orphans: &BTreeSet<JobKey>,
    mandate: &Mandate,
) -> Result<(), Fault> {
    if removals.is_empty() {
        return Ok(());
    }
    let flows: BTreeSet<&String> = removals.iter().map(|removal| &removal.flow).collect();
    let of_flow = |uuid: &&String| {
        let ours: Vec<&Removal> = removals.iter().filter(|removal| removal.flow == **uuid).collect();
        doc! { "q": { "uuid": *uuid }, "u": without(&ours, orphans, mandate) }
    };
    let statements: Vec<Document> = flows.iter().map(of_flow).collect();
    let collection = access.server.names.flows.clone();
    access.write(Command::Update, &collection, &statements).await?.all()?;

    let gone: Vec<&str> = gone(removals).collect();
    let of_orphan = |key: &JobKey| {
        let pull = doc! { "$pull": { "parents": { "$in": &gone } } };
        doc! { "q": { "uuid": &key.uuid, "index": key.index }, "u": pull, "hint": by_key() }
    };
    let statements: Vec<Document> = orphans.iter().map(of_orphan).collect();
    let jobs = access.server.names.jobs.clone();
    access.write(Command::Update, &jobs, &statements).await?.all()?;

    let of_job = |removal: &Removal| {
        let key = &removal.key;
        doc! { "q": { "uuid": &key.uuid, "index": key.index }, "limit": 1 }
    };
    let statements: Vec<Document> = removals.iter().map(of_job).collect();
    access.write(Command::Delete, &jobs, &statements).await?.all()?;
    Ok(())
}

/// Returns the uuids of which no document is left.
fn gone(removals: &[Removal]) -> impl Iterator<Item = &str> {
    removals.iter().filter(|removal| removal.is_last).map(|removal| removal.key.uuid.as_str())
}

/// Returns the update that takes the jobs out of their flow's document.
fn without(removals: &[&Removal], orphans: &BTreeSet<JobKey>, mandate: &Mandate) -> Document {
    let ids = removals.iter().map(|removal| {
        let key = &removal.key;
        Bson::Array(vec![removal.db_id.as_str().into(), key.uuid.as_str().into(), key.index.into()])
    });
    let last: Vec<&str> =
        removals.iter().filter(|removal| removal.is_last).map(|removal| removal.key.uuid.as_str()).collect();
    let mut pull = doc! { "ids": { "$in": ids.collect::<Array>() }, "jobs": { "$in": &last } };
    for orphan in orphans {
        pull.insert(format!("parents.{}.{}", orphan.uuid, orphan.index), doc! { "$in": &last });
    }
    let unset = removals.iter().map(|removal| {
        let key = &removal.key;
        let path = if removal.is_last {
            format!("parents.{}", key.uuid)
        } else {
            format!("parents.{}.{}", key.uuid, key.index)
        };
        (path, Bson::String(String::new()))
    });
    doc! {
        "$pull": pull,
        "$unset": unset.collect::<Document>(),
        "$set": { "updated_on": mandate.at },
        "$inc": { "jobferry.revision": 1 },
    }
}

/// The deletion of a batch of flows.
struct FlowDeletion {
    flows: Vec<String>,
    deletion: Deletion,
    mandate: Mandate,
    own: Option<String>,
}

impl Body for FlowDeletion {
    type Answer = Vec<Answer>;

    async fn run(&self, access: &mut Access<'_>) -> Result<Vec<Answer>, Fault> {
        let (_, plan) = self.plan(access).await?;
        self.delete(access, &plan).await?;
        Ok(plan.answers)
    }
}

impl FlowDeletion {
    async fn plan(&self, access: &mut Access<'_>) -> Result<(rules::Scene, FlowPlan), Fault> {
        let scene = scene::load_flows(access, &self.flows).await?;
        let plan = rules::plan_flows(&scene, &self.flows, self.deletion, &self.mandate, self.own.as_deref());
        Ok((scene, plan))
    }

    /// Deletes the jobs, then the flows: a kill in between leaves flows that can be deleted again.
    async fn delete(&self, access: &mut Access<'_>, plan: &FlowPlan) -> Result<(), Fault> {
        cancellations::order(access, &plan.cancellations).await?;
        let (jobs, flows) = (access.server.names.jobs.clone(), access.server.names.flows.clone());
        let of = |field: &str, limit: i32| {
            plan.flows.iter().map(|uuid| doc! { "q": { field: uuid }, "limit": limit }).collect()
        };
        let (members, documents): (Vec<Document>, Vec<Document>) = (of("job.hosts", 0), of("uuid", 1));
        access.write(Command::Delete, &jobs, &members).await?.all()?;
        access.write(Command::Delete, &flows, &documents).await?.all()?;
        Ok(())
    }

    async fn in_steps(mut self, server: &Server) -> Result<Vec<Answer>, Fault> {
        let mut held = Held::nothing();
        let done = self.under_locks(server, &mut held).await;
        let released = held.release(server).await;
        let answers = done?;
        released?;
        Ok(answers)
    }

    async fn under_locks(&mut self, server: &Server, held: &mut Held) -> Result<Vec<Answer>, Fault> {
        let mut access = Access::plain(server);
        for _ in 0..LOCK_ROUNDS {
            let (scene, plan) = self.plan(&mut access).await?;
            let deleted: BTreeSet<&String> = plan.flows.iter().collect();
            let jobs: Vec<JobKey> = scene
                .jobs
                .values()
                .filter(|job| deleted.contains(&job.flow))
                .map(|job| job.key.clone())
                .collect();
            if held.covers(jobs.iter(), plan.flows.iter()) {
                self.delete(&mut access, &plan).await?;
                return Ok(plan.answers);
            }
            held.take(server, jobs.into_iter(), plan.flows.iter().cloned(), &self.mandate).await?;
            self.own = Some(held.id.clone());
            self.mandate.locks = Locks::Honour;
        }
        Err(Fault::Strange("the flow changes all the time; try again later".to_owned()))
    }
}

async fn set_flow_store(
    server: &Server,
    uuid: String,
    store: Option<String>,
    mandate: &Mandate,
) -> Result<Answer, Fault> {
    let mut query = doc! { "uuid": &uuid, "state": FlowState::Ready.name() };
    if mandate.locks == Locks::Honour {
        query.insert("lock_id", Bson::Null);
    }
    let update = doc! { "$set": { "jobstore": store, "updated_on": mandate.at } };
    let mut access = Access::plain(server);
    let flows = server.names.flows.clone();
    let statement = doc! { "q": query, "u": update };
    if access.write(Command::Update, &flows, &[statement]).await?.all()? > 0 {
        return Ok(Answer::Done { changed: Vec::new() });
    }
    let view = scene::load_flows(&mut access, std::slice::from_ref(&uuid)).await?.flows.remove(&uuid);
    Ok(Answer::Refused(match view {
        None => Refusal::NoSuchFlow(uuid),
        Some(view) => match view.lock {
            Some(lock) => Refusal::FlowLocked { uuid, lock },
            None => Refusal::FlowNotReady(view.state),
        },
    }))
}
