//! The transcode stage: from a complete upload to renditions that a browser plays.
pub mod child;
pub mod cmaf;
pub mod ladder;
pub mod limits;
pub mod playlists;
pub mod protocol;
pub mod sandbox;
pub mod timeline;
pub mod worker;
