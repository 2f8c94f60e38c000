//! bad_input
fn main() {}
