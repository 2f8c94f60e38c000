//! serving-store
