//! Recovery words: shown to a person, and only then taken off the disk.

use std::fmt::Write as _;

use zeroize::Zeroizing;

use super::{Context, unexpected};
use crate::control::{FoundedView, Request, Response};
use crate::failure::Failure;
use crate::output::{Paint, clean};

/// Room for the text with the words, so that it need not grow and leave a copy behind.
const TEXT_BYTES: usize = 2048;

/// Shows the words that wait.
pub(super) async fn waiting(cx: &Context) -> Result<(), Failure> {
    let waiting = match cx.client().call(Request::Words {}).await? {
        Response::Words(waiting) => waiting,
        other => return Err(unexpected(&other)),
    };
    if cx.out.json {
        cx.out.seen_json(&waiting)?;
    } else if waiting.is_empty() {
        return cx.out.line(
            "No recovery words wait here: they are shown once, to whoever founds a circle, and then kept nowhere.",
        );
    }
    for founded in &waiting {
        if !cx.out.json {
            cx.out.seen(&text(cx, founded))?;
        }
        shown(cx, founded).await;
    }
    Ok(())
}

/// Shows the words of a circle just founded.
pub(super) async fn show(cx: &Context, founded: &FoundedView) -> Result<(), Failure> {
    cx.out.seen(&text(cx, founded))?;
    shown(cx, founded).await;
    Ok(())
}

/// Tells the node that they were shown. If it does not hear it, it shows them once more; that is no failure.
pub(super) async fn shown(cx: &Context, founded: &FoundedView) {
    let told = cx.client().call(Request::WordsShown { circle: founded.circle }).await;
    if told.is_err() {
        cx.out.note(
            "The node could not be told that the words were shown: it keeps them until `softbus circle words` has.",
        );
    }
}

/// What a person who was not shown them is told.
pub(crate) fn waits(circle: &str) -> String {
    format!("the recovery words of {} wait to be written down: softbus circle words", clean(circle))
}

/// The words, in lines of six.
fn text(cx: &Context, founded: &FoundedView) -> Zeroizing<String> {
    let name = if founded.name.is_empty() { founded.circle.to_string() } else { clean(&founded.name) };
    let id: String = founded.circle.to_string().chars().take(12).collect();
    let mut text = Zeroizing::new(String::with_capacity(TEXT_BYTES));
    let _ = writeln!(
        text,
        "\nRecovery words of {} ({id}…). They take the circle back when\n\
         its last owner is lost. They are shown this once and kept nowhere: write them\n\
         down, in this order and with the circle's name, apart from your devices.\n",
        cx.out.paint(Paint::Strong, &name)
    );
    for (at, word) in founded.recovery_words.split_whitespace().enumerate() {
        let _ = match at % 6 {
            5 => writeln!(text, "{:>4} {word}", at + 1),
            _ => write!(text, "{:>4} {word:<9}", at + 1),
        };
    }
    text
}
