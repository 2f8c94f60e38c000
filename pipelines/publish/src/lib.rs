//! publish-stage
