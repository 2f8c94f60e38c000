//! Which process works on which partition: spread evenly over those that offer to, one owner at a
//! time by leases in the catalog, taken over when an owner dies.
//!
//! [`Membership`] says how many partitions fall to this process. [`Ownership`] holds that many
//! leases and runs work for each; stages whose partitions are independent use it. The lake writer,
//! which commits its partitions together, holds its own leases and asks [`Membership`] alone.
//!
//! A lease keeps two owners apart only as long as clocks agree and processes are not paused:
//! effects that must never come from a former owner are fenced by the lease's epoch where they
//! land, or are such that the newest wins.

mod decide;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::Arc,
};

use catalog::{Catalog, CatalogError, Lease};
use event_schemas::{Clock, Faulty, Millis, Partition};
use metrics::gauge;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

pub use decide::{Plan, plan, share};

use crate::describe;

/// A process that offers to work on a group's partitions.
#[derive(Clone)]
pub struct Membership {
    catalog: Arc<dyn Catalog>,
    clock: Arc<dyn Clock>,
    group: Arc<str>,
    member: Arc<str>,
    ttl: Millis,
}

impl Membership {
    /// `member` is unlike that of any other process that may run at the same time. A member that
    /// has not been heard of for `ttl` counts as dead.
    #[must_use]
    pub fn new(catalog: Arc<dyn Catalog>, clock: Arc<dyn Clock>, group: &str, member: &str, ttl: Millis) -> Self {
        Self { catalog, clock, group: group.into(), member: member.into(), ttl }
    }

    /// Says that this member is there, and tells how many of `partitions` fall to it.
    ///
    /// # Errors
    /// The catalog does not answer.
    pub async fn share(&self, partitions: usize) -> Result<usize, CatalogError> {
        let now = self.clock.now();
        self.catalog.join_group(&self.group, &self.member, now, self.ttl).await?;
        let members = self.catalog.group_members(&self.group, now).await?;
        Ok(share(partitions, &members, &self.member))
    }

    /// Leaves the group, so that the others need not wait for the end of its time.
    pub async fn leave(&self) {
        if let Err(error) = self.catalog.leave_group(&self.group, &self.member).await {
            tracing::warn!(group = &*self.group, error = describe(&error), "the group was not left in an orderly way");
        }
    }
}

/// A partition that this process owns.
#[derive(Debug, Clone)]
struct Held {
    lease: Lease,
    /// Cancelled when the work has to stop: the lease is lost or to be given back.
    end: CancellationToken,
}

/// What work on a partition is given.
#[derive(Debug, Clone)]
pub struct Tenancy {
    /// The partition.
    pub partition: Partition,
    /// The epoch of the lease, higher than that of every earlier owner.
    pub epoch: u64,
    /// Ends the work: the process stops, or the partition goes to another.
    pub cancel: CancellationToken,
}

/// Holds this process's share of a group's partitions. Clones share everything.
#[derive(Clone)]
pub struct Ownership {
    shared: Arc<Shared>,
}

struct Shared {
    membership: Membership,
    partitions: u32,
    held: watch::Sender<BTreeMap<Partition, Held>>,
    /// Partitions with work under way.
    busy: watch::Sender<BTreeSet<Partition>>,
}

impl Ownership {
    /// Nothing is held before [`Self::run`].
    #[must_use]
    pub fn new(membership: Membership, partitions: u32) -> Self {
        let (held, busy) = (watch::Sender::default(), watch::Sender::default());
        Self { shared: Arc::new(Shared { membership, partitions, held, busy }) }
    }

    /// The partitions held now.
    #[must_use]
    pub fn held(&self) -> BTreeSet<Partition> {
        self.shared.held.borrow().keys().copied().collect()
    }

    /// Keeps the leases until cancelled: joins the group, renews, takes what is free as far as the
    /// share goes, gives back what is too much once its work has stopped. At the end waits for all
    /// work to stop, gives everything back and leaves the group.
    ///
    /// # Errors
    /// The catalog refuses; while it does not answer, leases are kept for as long as they last.
    pub async fn run(&self, cancel: CancellationToken) -> Result<(), CatalogError> {
        let every = self.shared.membership.ttl.to_duration() / 3;
        let outcome = loop {
            let began = Instant::now();
            match self.round().await {
                Ok(()) => {}
                Err(error) if error.is_retryable() => {
                    let group = &*self.shared.membership.group;
                    tracing::warn!(group, error = describe(&error), "the partitions could not be looked after");
                    self.drop_expired();
                }
                Err(error) => break Err(error),
            }
            tokio::select! {
                () = cancel.cancelled() => break Ok(()),
                () = tokio::time::sleep_until(began + every) => {}
            }
        };
        self.give_all_back().await;
        outcome
    }

    /// Runs `work` for `partition` whenever this process owns it. Returns when `cancel` is cancelled
    /// and the work has stopped, or with the first error of the work; called again, it goes on.
    ///
    /// # Errors
    /// Those of the work.
    pub async fn with<F, Fut, E>(&self, partition: Partition, cancel: CancellationToken, mut work: F) -> Result<(), E>
    where
        F: FnMut(Tenancy) -> Fut,
        Fut: Future<Output = Result<(), E>>,
    {
        let mut held = self.shared.held.subscribe();
        loop {
            let Held { lease, end } = tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                mine = held.wait_for(|held| held.get(&partition).is_some_and(|held| !held.end.is_cancelled())) => {
                    match mine.ok().and_then(|held| held.get(&partition).cloned()) {
                        Some(held) => held,
                        None => return Ok(()),
                    }
                }
            };
            let _busy = Busy::begin(&self.shared, partition);
            // Cancelled by either.
            let stop = end.child_token();
            let outcome = {
                let work = work(Tenancy { partition, epoch: lease.epoch, cancel: stop.clone() });
                tokio::pin!(work);
                tokio::select! {
                    biased;
                    outcome = &mut work => outcome,
                    () = cancel.cancelled() => {
                        stop.cancel();
                        work.await
                    }
                }
            };
            match outcome {
                Ok(()) if end.is_cancelled() && !cancel.is_cancelled() => {}
                outcome => return outcome,
            }
        }
    }

    async fn round(&self) -> Result<(), CatalogError> {
        let Shared { membership, partitions, held, .. } = &*self.shared;
        let share = membership.share(*partitions as usize).await?;
        let now = membership.clock.now();
        let mine: Vec<(Partition, Held)> = held.borrow().iter().map(|(p, h)| (*p, h.clone())).collect();
        for (partition, Held { lease, end }) in mine {
            let until = now + membership.ttl;
            match membership.catalog.renew_lease(&lease, until).await {
                Ok(()) => held.send_modify(|held| {
                    if let Some(held) = held.get_mut(&partition) {
                        held.lease.until = until;
                    }
                }),
                Err(CatalogError::Fenced) => {
                    tracing::warn!(lease = lease.name, "a partition was taken over");
                    end.cancel();
                    held.send_modify(|held| {
                        held.remove(&partition);
                    });
                }
                Err(error) => return Err(error),
            }
        }
        let Plan { give_back, take } = plan(share, &self.held());
        for partition in give_back {
            self.give_back(partition).await;
        }
        self.take(take).await
    }

    /// Takes up to `wanted` partitions that nobody holds, each member beginning elsewhere.
    async fn take(&self, mut wanted: usize) -> Result<(), CatalogError> {
        let Shared { membership, partitions, held, .. } = &*self.shared;
        for partition in (0..*partitions).map(Partition) {
            if wanted == 0 {
                break;
            }
            if held.borrow().contains_key(&partition) {
                continue;
            }
            let name = self.lease_name(partition);
            let (now, owner) = (membership.clock.now(), &membership.member);
            if let Some(lease) = membership.catalog.acquire_lease(&name, owner, now, membership.ttl).await? {
                tracing::info!(lease = lease.name, epoch = lease.epoch, "a partition is taken");
                held.send_modify(|held| drop(held.insert(partition, Held { lease, end: CancellationToken::new() })));
                wanted -= 1;
            }
        }
        gauge!("millrace_partitions_owned", "group" => membership.group.to_string()).set(held.borrow().len() as f64);
        Ok(())
    }

    fn lease_name(&self, partition: Partition) -> String {
        format!("{}/{partition}", self.shared.membership.group)
    }

    /// Stops the work on a partition and gives its lease back. Work that does not stop in time
    /// leaves the lease to run out.
    async fn give_back(&self, partition: Partition) {
        let Some(Held { lease, end }) = self.shared.held.borrow().get(&partition).cloned() else { return };
        end.cancel();
        let mut busy = self.shared.busy.subscribe();
        let stopped = busy.wait_for(|busy| !busy.contains(&partition));
        let stopped = tokio::time::timeout(self.shared.membership.ttl.to_duration() / 2, stopped).await.is_ok();
        self.shared.held.send_modify(|held| {
            held.remove(&partition);
        });
        if !stopped {
            tracing::warn!(
                lease = lease.name,
                "work on a partition did not stop in time; its lease runs out by itself"
            );
            return;
        }
        if let Err(error) = self.shared.membership.catalog.release_lease(&lease).await {
            tracing::warn!(lease = lease.name, error = describe(&error), "a lease runs out by itself");
        }
    }

    /// Without the catalog: what can't be renewed in time is given up.
    fn drop_expired(&self) {
        let Shared { membership, held, .. } = &*self.shared;
        // Before the lease is over for the others, whose clocks may run ahead a little.
        let now = membership.clock.now() + Millis(membership.ttl.0 / 6);
        held.send_if_modified(|held| {
            let before = held.len();
            held.retain(|_, held| {
                let keep = now < held.lease.until;
                if !keep {
                    tracing::warn!(lease = held.lease.name, "a lease could not be renewed and is given up");
                    held.end.cancel();
                }
                keep
            });
            held.len() != before
        });
    }

    async fn give_all_back(&self) {
        let mine = self.held();
        for held in self.shared.held.borrow().values() {
            held.end.cancel();
        }
        for partition in mine {
            self.give_back(partition).await;
        }
        self.shared.membership.leave().await;
    }
}

/// Shows that work on a partition is under way, until dropped.
struct Busy<'a>(&'a Shared, Partition);

impl<'a> Busy<'a> {
    fn begin(shared: &'a Shared, partition: Partition) -> Self {
        shared.busy.send_modify(|busy| {
            busy.insert(partition);
        });
        Self(shared, partition)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.send_modify(|busy| {
            busy.remove(&self.1);
        });
    }
}
