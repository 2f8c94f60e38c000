//! transcode-stage
