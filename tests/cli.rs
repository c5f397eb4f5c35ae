//! The program from outside: help, errors and exit codes.
