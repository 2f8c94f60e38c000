//! The SQL engine and the project's views: golden results, and the same figures as the `views`
//! stage for any history.

mod engine;
mod golden;
mod history;
mod property;
