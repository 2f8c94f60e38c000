//! The transcode stage: from a complete upload to renditions that a browser plays.
pub mod cmaf;
pub mod ladder;
pub mod limits;
pub mod timeline;
