//! The Lua scripts that make a decision and its write one step. Redis keeps them by their hash;
//! after a restart the first call of each sends its text again.

use redis::Script;

/// One of each.
#[derive(Debug)]
pub(crate) struct Scripts {
    pub(crate) put: Script,
    pub(crate) replace: Script,
    pub(crate) take: Script,
    pub(crate) lease: Script,
    pub(crate) release: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            put: Script::new(concat!(include_str!("lua/covers.lua"), include_str!("lua/put.lua"))),
            replace: Script::new(concat!(include_str!("lua/covers.lua"), include_str!("lua/replace.lua"))),
            take: Script::new(include_str!("lua/take.lua")),
            lease: Script::new(include_str!("lua/lease.lua")),
            release: Script::new(include_str!("lua/release.lua")),
        }
    }
}
