//! How renditions are told to players: playlists written by the project, from what the catalog
//! knows. Pure; the transcode stage and the playback API share it.

pub mod playlists;
