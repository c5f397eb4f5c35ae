//! Which functions may be on the stack when a program is stopped, and where they look whether it is to stop.

use std::collections::{BTreeMap, BTreeSet};

use wasmparser::{Operator, ValType};

use super::body::Body;
use super::frame::Kind;

/// Most operators that run between two looks, as far as they do not lie in a single function without loops.
const UNSEEN: u64 = 1 << 20;

/// Most of them in a function of a circle that looks only before it calls: it may be called many times, and call no more.
const UNSEEN_CALL: u64 = 1 << 12;

/// What an operator counts that works on as much as it likes.
const BULK_OPS: u64 = 1 << 16;

/// What a function calls.
#[derive(Default)]
struct Calls {
    direct: BTreeMap<u32, Places>,
    /// By type.
    indirect: BTreeMap<u32, Places>,
    loops: bool,
    ops: u64,
}

/// Where a function calls another: at how many places, and whether one of them is in none of its loops, so that it may not have
/// looked before.
#[derive(Clone, Copy, Default)]
struct Places {
    count: u64,
    outside: bool,
}

/// Of each function that may be on the stack then: where.
pub(super) struct Reach {
    pub places: BTreeMap<u32, BTreeSet<Kind>>,
    stops: Vec<bool>,
    /// Types of which a function that may be stopped can be called through a table.
    types: BTreeSet<u32>,
}

impl Reach {
    /// `stopping`: imported functions in which a program may be stopped. `canonical`: one index for equal types.
    /// `exposed`: functions of which a reference is taken.
    pub fn of(
        imports: u32,
        stopping: &BTreeSet<u32>,
        bodies: &[Body<'_>],
        type_of: &[u32],
        canonical: &[u32],
        exposed: &BTreeSet<u32>,
    ) -> Self {
        let calls: Vec<Calls> = bodies.iter().map(|body| calls(body, canonical)).collect();
        let mut by_type: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for function in exposed {
            by_type.entry(canonical[type_of[*function as usize] as usize]).or_default().push(*function);
        }
        let callees = |of: &Calls| -> Vec<(u32, Places)> {
            let indirect = of.indirect.iter().filter_map(|(ty, places)| Some((by_type.get(ty)?, *places)));
            let indirect = indirect.flat_map(|(all, places)| all.iter().map(move |callee| (*callee, places)));
            of.direct.iter().map(|(callee, places)| (*callee, *places)).chain(indirect).collect()
        };
        let graph: Vec<Vec<(u32, Places)>> = calls.iter().map(callees).collect();
        let (circles, long) = entries(imports, &graph, &calls);
        let total = imports as usize + bodies.len();
        let mut stops = vec![false; total];
        let mut callers: Vec<Vec<u32>> = vec![Vec::new(); total];
        for (index, to) in (imports..).zip(&graph) {
            to.iter().for_each(|(callee, _)| callers[*callee as usize].push(index));
        }
        let looks = |index: &u32| circles.contains(index) || long.contains(index);
        let own = (imports..).zip(&calls).filter(|(index, calls)| calls.loops || looks(index));
        let mut new: Vec<u32> = stopping.iter().copied().chain(own.map(|(index, _)| index)).collect();
        while let Some(function) = new.pop() {
            if !std::mem::replace(&mut stops[function as usize], true) {
                new.extend(&callers[function as usize]);
            }
        }
        let types: BTreeSet<u32> = by_type
            .iter()
            .filter(|(_, functions)| functions.iter().any(|function| stops[*function as usize]))
            .map(|(ty, _)| *ty)
            .collect();
        let mut reach = Self { places: BTreeMap::new(), stops, types };
        for (index, body) in (imports..).zip(bodies) {
            if !reach.stops[index as usize] {
                continue;
            }
            let mut places = BTreeSet::new();
            if long.contains(&index) {
                places.insert(Kind::Entry);
            } else if circles.contains(&index) {
                places.insert(reach.before_calls(body, canonical));
            }
            for (at, op) in body.ops.iter().enumerate() {
                match op {
                    Operator::Loop { .. } => drop(places.insert(Kind::Loop(at))),
                    Operator::Call { .. } | Operator::CallIndirect { .. } if reach.calls(op, canonical) => {
                        places.insert(Kind::Call(at));
                    }
                    _ => {}
                }
            }
            reach.places.insert(index, places);
        }
        reach
    }

    /// Whether an operator calls a function that may be stopped.
    fn calls(&self, op: &Operator<'_>, canonical: &[u32]) -> bool {
        match op {
            Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                self.stops[*function_index as usize]
            }
            Operator::CallIndirect { type_index, .. } | Operator::ReturnCallIndirect { type_index, .. } => {
                self.types.contains(&canonical[*type_index as usize])
            }
            _ => false,
        }
    }

    /// Where a function of a circle looks: once before all calls by which the circle may go on, and late, as those that call no
    /// more are many. In its loops it looks anyway.
    fn before_calls(&self, body: &Body<'_>, canonical: &[u32]) -> Kind {
        let mut ends = 0;
        let (mut first, mut last) = (None, 0);
        for (at, op) in body.ops.iter().enumerate() {
            if let Operator::Loop { .. } = op {
                ends = ends.max(body.blocks[&at].end);
            }
            if at >= ends && self.calls(op, canonical) {
                first.get_or_insert(at);
                last = at;
            }
        }
        let Some(first) = first else { return Kind::Entry };
        // The innermost block with all of them; nothing in it leads past what it has of them first, be it a block or a call.
        let around = body.blocks.range(..first).filter(|(_, block)| first < block.end);
        let mut op = first;
        for (start, block) in around {
            let half = block.otherwise.filter(|otherwise| first < *otherwise).unwrap_or(block.end);
            if last >= half {
                op = *start;
                break;
            }
        }
        // References cannot be saved.
        let mut held = body.locals.iter().chain(&body.stacks[&op]);
        if held.any(|ty| matches!(ty, ValType::Ref(_))) { Kind::Entry } else { Kind::Before(op) }
    }
}

fn calls(body: &Body<'_>, canonical: &[u32]) -> Calls {
    let mut calls = Calls { ops: body.ops.len() as u64, ..Calls::default() };
    // Where the outermost of the loops ends that are open.
    let mut ends = 0;
    for (at, op) in body.ops.iter().enumerate() {
        let count = |places: &mut Places| {
            places.count += 1;
            places.outside |= at >= ends;
        };
        match op {
            Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                count(calls.direct.entry(*function_index).or_default());
            }
            Operator::CallIndirect { type_index, .. } | Operator::ReturnCallIndirect { type_index, .. } => {
                count(calls.indirect.entry(canonical[*type_index as usize]).or_default());
            }
            Operator::Loop { .. } => {
                calls.loops = true;
                ends = ends.max(body.blocks[&at].end);
            }
            Operator::MemoryFill { .. }
            | Operator::MemoryCopy { .. }
            | Operator::MemoryInit { .. }
            | Operator::MemoryGrow { .. }
            | Operator::TableFill { .. }
            | Operator::TableCopy { .. }
            | Operator::TableInit { .. }
            | Operator::TableGrow { .. } => calls.ops += BULK_OPS,
            _ => {}
        }
    }
    calls
}

/// Functions that look: one in each circle of calls of which none is made in a loop, where the function has looked just
/// before; and those that look as they begin, as too much would run between two looks.
fn entries(imports: u32, graph: &[Vec<(u32, Places)>], calls: &[Calls]) -> (BTreeSet<u32>, BTreeSet<u32>) {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        No,
        Open,
        Done,
    }
    let mut seen = vec![Seen::No; graph.len()];
    let mut cost = vec![0u64; graph.len()];
    let (mut circles, mut long) = (BTreeSet::new(), BTreeSet::new());
    for first in 0..graph.len() {
        if seen[first] != Seen::No {
            continue;
        }
        seen[first] = Seen::Open;
        let mut walk = vec![(first, 0)];
        while let Some((at, next)) = walk.last_mut() {
            let at = *at;
            if let Some((callee, places)) = graph[at].get(*next) {
                *next += 1;
                let Some(callee) = callee.checked_sub(imports).map(|own| own as usize) else { continue };
                match seen[callee] {
                    Seen::No => {
                        seen[callee] = Seen::Open;
                        walk.push((callee, 0));
                    }
                    // It calls itself in the end.
                    Seen::Open if places.outside => drop(circles.insert(imports + callee as u32)),
                    Seen::Open | Seen::Done => {}
                }
                continue;
            }
            seen[at] = Seen::Done;
            walk.pop();
            let unseen = graph[at]
                .iter()
                .filter_map(|(callee, places)| Some((callee.checked_sub(imports)?, places.count)))
                .map(|(own, times)| cost[own as usize].saturating_mul(times));
            let sum = unseen.fold(calls[at].ops, u64::saturating_add);
            let index = imports + at as u32;
            let most = if circles.contains(&index) { UNSEEN_CALL } else { UNSEEN };
            cost[at] = sum;
            if cost[at] > most {
                long.insert(index);
                cost[at] = 0;
            }
        }
    }
    (circles, long)
}
