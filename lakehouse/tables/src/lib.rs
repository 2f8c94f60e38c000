//! The lake's tables: what each column means, and opening them as plain Delta tables.
//!
//! [`schema`] is the schema file: every table with every column's meaning and unit, which also
//! become the Delta column comments. [`Lake`] opens or creates them over an object store. The lake
//! writer writes through it, the SQL engine reads; anything else that reads Delta can open the
//! same folders.
//!
//! Guarantees: a table is created once, also by two processes at the same time; a column that a
//! later version adds is nullable and appears in an existing table when that version opens it to
//! write; columns that this version does not know are left alone.

mod error;
mod lake;
mod ordered;
pub mod schema;
pub mod txn;

pub use error::LakeError;
pub use lake::Lake;
pub use schema::{Column, TableDef};
