//! Every acknowledged event is in the lake exactly once, whatever is killed, fails, or comes twice.

mod exactly_once;
mod faults;
mod ownership;
mod support;
mod working;
