//! Playlists from the catalog's renditions.
