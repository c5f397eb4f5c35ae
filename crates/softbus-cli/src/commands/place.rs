//! `softbus place`.

use super::run::{sending, work_request};
use super::{Context, unexpected};
use crate::args::PlaceArgs;
use crate::control::{PlaceRequest, Request, Response};
use crate::failure::{Failure, Kind};
use crate::output::{clean, clean_lines};

/// Which device would be chosen, and why.
pub(super) async fn place(cx: Context, args: PlaceArgs) -> Result<(), Failure> {
    let (work, input) = work_request(args.task_type, args.work)?;
    let request = PlaceRequest { work };
    let bar = sending(&cx, &input);
    let answer = cx.client().call_with(Request::Place(request), &input).await;
    drop(bar);
    let view = match answer?.response {
        Response::Placement(view) => view,
        other => return Err(unexpected(&other)),
    };
    let none = view.chosen.is_none();
    if cx.out.json {
        cx.out.json(&view)?;
    } else {
        if let Some(id) = view.chosen {
            cx.out.line(if view.chosen_name.is_empty() {
                id.to_string()
            } else {
                clean(&view.chosen_name)
            })?;
        }
        if args.explain || none {
            cx.out.line(format!("\n{}", clean_lines(view.text.trim_end())))?;
        }
    }
    if none {
        return Err(Failure::new(Kind::Conflict, "no device can take this work").advise(
            "the explanation says why each one cannot; `softbus devices --long` shows what they have",
        ));
    }
    Ok(())
}
