//! lake-tables
