//! How much machine code a module's functions are, and how much of it only saves frames.
//!
//! What the pass adds stands in two places. Looks, and values kept where a call may be stopped, are in the program's way. What
//! saves a frame stands behind the end of its function, and what branches there is marked unlikely: so the engine puts it
//! behind the function's machine code as well, where it does not run and is not fetched. The engine says from where in the
//! module it has its machine code; what it has from nowhere (moves, spills) is reckoned with what stands before it, but for
//! constants at the very end.

use std::collections::BTreeMap;

use anyhow::Result;
use wasmparser::{Operator, Parser, Payload};
use wasmtime::Module;

/// What makes room for a frame, as the pass exports it: nothing else calls it.
const RESERVE: &str = "softbus:reserve";

/// In bytes.
#[derive(Clone, Copy)]
pub struct Size {
    /// Of all functions, without alignment and what the engine adds between host and program.
    pub all: usize,
    /// Of that what does not save frames.
    pub hot: usize,
}

/// Where in a rewritten function what saves its frames begins, as an offset in the module; nothing if it saves none.
fn tail(body: &wasmparser::FunctionBody<'_>) -> Result<Option<usize>> {
    let (mut ends, mut last, mut before) = (None, None, None);
    let mut ops = body.get_operators_reader()?;
    while !ops.eof() {
        let (op, at) = ops.read_with_offset()?;
        // Behind it stands nothing else that returns.
        if matches!(op, Operator::Return) {
            ends = Some(at);
        }
        before = last.replace(op);
    }
    // No function of a measured program ends so by itself.
    let saves = matches!(
        before,
        Some(Operator::Throw { .. } | Operator::ThrowRef | Operator::ReturnCallIndirect { .. })
    );
    Ok(ends.filter(|_| saves))
}

/// Of a module that was compiled of these bytes. Where no frame is saved all of it is hot.
pub fn size(module: &Module, bytes: &[u8]) -> Result<Size> {
    let all = module.functions().map(|function| function.len).sum();
    // Ends of bodies, and where in them the tails begin.
    let (mut tails, mut reserve) = (BTreeMap::new(), None);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export?;
                    reserve = reserve.or((export.name == RESERVE).then_some(export.index));
                }
            }
            Payload::CodeSectionEntry(body) => {
                tails.extend(tail(&body)?.map(|begins| (body.range().end, begins)));
            }
            _ => {}
        }
    }
    let is_cold = |from: u32| {
        let from = from as usize;
        tails.range(from + 1..).next().is_some_and(|(_, begins)| from > *begins)
    };
    let map: Vec<(usize, Option<u32>)> = module.address_map().into_iter().flatten().collect();
    let mut cold = 0;
    for function in module.functions() {
        if Some(function.index.as_u32()) == reserve {
            cold += function.len;
            continue;
        }
        let end = function.offset + function.len;
        let first = map.partition_point(|(at, _)| *at < function.offset);
        let mut saves = false;
        for (n, (at, from)) in map[first..].iter().enumerate().take_while(|(_, (at, _))| *at < end) {
            saves = from.map_or(saves, is_cold);
            let next = map.get(first + n + 1).map_or(end, |(next, _)| end.min(*next));
            let constants = from.is_none() && next == end;
            cold += if saves && !constants { next - at } else { 0 };
        }
    }
    Ok(Size { all, hot: all - cold })
}
