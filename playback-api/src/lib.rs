//! playback-api
