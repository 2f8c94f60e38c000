//! Whose fault an error is, and whether trying again can help.
//!
//! Every error type of a seam answers these two questions; a handler decides from the answers
//! and never from the message.

/// Who has to act for the call to succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The caller asked for something that can't be had: correct the request.
    Caller,
    /// This program broke a rule of its own: a bug, or stored data that is damaged.
    Program,
    /// A disk, a server or the network failed: it may heal.
    Dependency,
}

/// An error that knows whose fault it is.
pub trait Faulty: std::error::Error {
    /// Who has to act.
    fn fault(&self) -> Fault;

    /// Whether the same call may succeed later with nothing changed by the caller.
    fn is_retryable(&self) -> bool {
        self.fault() == Fault::Dependency
    }
}
