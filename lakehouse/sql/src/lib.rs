//! lake-sql
