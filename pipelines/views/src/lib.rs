//! views-stage
