//! Holding a named lease: taken when free, renewed in time, given up when lost.

use std::sync::Arc;

use catalog::{Catalog, CatalogError, Lease};
use event_schemas::{Clock, Millis};

use crate::decide::{LeaseStep, lease_step};

/// A claim to a named lease, and the lease while it is held.
pub struct Tenure {
    catalog: Arc<dyn Catalog>,
    clock: Arc<dyn Clock>,
    name: &'static str,
    owner: String,
    ttl: Millis,
    lease: Option<Lease>,
}

impl Tenure {
    pub(crate) fn new(
        catalog: Arc<dyn Catalog>,
        clock: Arc<dyn Clock>,
        name: &'static str,
        owner: String,
        ttl: Millis,
    ) -> Self {
        Self { catalog, clock, name, owner, ttl, lease: None }
    }

    /// Whether this claimant may work now, for at least half of the lease's time.
    pub(crate) async fn hold(&mut self) -> Result<bool, CatalogError> {
        let now = self.clock.now();
        match (lease_step(self.lease.as_ref().map(|lease| lease.until), now, self.ttl), &mut self.lease) {
            (LeaseStep::Keep, _) => Ok(true),
            (LeaseStep::Renew, Some(lease)) => match self.catalog.renew_lease(lease, now + self.ttl).await {
                Ok(()) => {
                    lease.until = now + self.ttl;
                    Ok(true)
                }
                Err(CatalogError::Fenced) => {
                    tracing::warn!(lease = self.name, "the lease was taken over");
                    self.lease = None;
                    Ok(false)
                }
                Err(error) => Err(error),
            },
            _ => {
                self.lease = self.catalog.acquire_lease(self.name, &self.owner, now, self.ttl).await?;
                Ok(self.lease.is_some())
            }
        }
    }

    /// Gives the lease back, so that another need not wait for its end.
    pub(crate) async fn give_up(&mut self) {
        if let Some(lease) = self.lease.take()
            && let Err(error) = self.catalog.release_lease(&lease).await
        {
            tracing::warn!(lease = self.name, error = runtime::describe(&error), "the lease was not given back");
        }
    }
}
