//! The commands beside `serve`: each is a client of a running server, or a reader of its files.

pub mod dead_letters;
pub mod demo;
pub mod doctor;
pub mod lake;
pub mod rebuild;
pub mod simulate;
pub mod sql;
pub mod upload;
