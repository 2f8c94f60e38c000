//! Synthetic viewers: what they do, decided by a seed ([`script`]), and done over HTTP
//! (`commands::simulate`).

pub mod script;
