//! index-stage
