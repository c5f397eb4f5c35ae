//! `softbus key`.

use super::{Context, unexpected};
use crate::args::KeyCommand;
use crate::control::{Request, Response};
use crate::failure::Failure;

/// This device's key.
pub(super) async fn key(cx: Context, command: Option<KeyCommand>) -> Result<(), Failure> {
    match command.unwrap_or(KeyCommand::Show) {
        KeyCommand::Show => match cx.client().call(Request::Status {}).await? {
            Response::Status(status) => {
                cx.say(&serde_json::json!({ "id": status.id }), &status.id.to_string())
            }
            other => Err(unexpected(&other)),
        },
        _ => Err(Failure::failed("not yet")),
    }
}
