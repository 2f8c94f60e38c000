//! outside
fn main() {}
