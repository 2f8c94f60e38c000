//! lake-views
