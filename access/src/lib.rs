//! Who is asking, and what they may see and do: shared by every HTTP role.
//!
//! * [`who`] turns a request into a [`who::Caller`] (session cookie or API token).
//! * [`policy`] is the one place that decides what a caller may see or change.
//! * [`signing`] makes and checks playback grants, media path tokens and viewer ids.
//! * [`viewer`] says who watches, without telling who that is.
//! * [`problem`] is how every refusal looks: RFC 9457 `application/problem+json`.
//! * [`accounts`] signs people up and in; [`csrf`] keeps other sites' pages out.

pub mod accounts;
pub mod client;
pub mod csrf;
pub mod password;
pub mod policy;
pub mod problem;
pub mod routes;
pub mod signing;
pub mod state;
pub mod viewer;
pub mod who;

pub use policy::Deny;
pub use problem::{FieldError, Problem};
pub use signing::{Grant, PathToken, Signer};
pub use state::{Access, AccessOptions, SignUp};
pub use who::Caller;
