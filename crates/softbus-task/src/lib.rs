//! softbus-task
