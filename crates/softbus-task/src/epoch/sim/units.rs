//! Single walks through the protocol, step by step.
