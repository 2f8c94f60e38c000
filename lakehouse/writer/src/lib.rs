//! lake-writer
