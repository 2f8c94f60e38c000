//! walkthroughs
fn main() {}
