//! The softbus program: a node (`softbus up`), the commands that talk to it over its control socket, and the
//! demo. It stands on the face (`softbus::Bus`) and knows nothing that the face does not tell.

pub mod clock;
pub mod control;
pub mod demo;
pub mod failure;
pub mod paths;
pub mod picture;
