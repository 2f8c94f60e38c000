//! The serving store on Redis, shared by all processes of a deployment.
//!
//! [`RedisStore`] keeps every guarantee of [`serving_store::ServingStore`]: decisions and the
//! writes that follow from them are one Lua script each. While Redis is away calls fail at once
//! with an error to be tried again, and the connections heal by themselves. Only the bootstrap of
//! the program opens it; `keys.rs` has the layout of the keys.

mod address;
mod error;
mod examine;
mod hub;
mod keys;
mod link;
mod offsets;
mod scripts;
mod store;

use event_schemas::Millis;

pub use error::OpenError;
pub use store::RedisStore;

/// What can be set besides the address.
#[derive(Debug, Clone)]
pub struct Options {
    /// The beginning of every key and channel: a name and a colon. Processes with the same one
    /// share their store; different ones never see each other.
    pub prefix: String,
    /// How long a call may take before it fails and the connection is given up.
    pub call_timeout: Millis,
    /// The most rate-limit buckets remembered for each quota; beyond it those that are full again
    /// soonest are forgotten. About 100 bytes of Redis memory each.
    pub rate_buckets: u32,
    /// The certificates, in PEM, of the authorities that may vouch for a `rediss://` server; none
    /// for those of the system.
    pub authority: Option<Vec<u8>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prefix: "millrace:".to_owned(),
            call_timeout: Millis::from_secs(1),
            rate_buckets: 262_144,
            authority: None,
        }
    }
}
