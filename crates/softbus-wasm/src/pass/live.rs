//! Which locals are still needed at each place where a frame may be saved.

use std::collections::{BTreeMap, BTreeSet};

use wasmparser::Operator;

use super::body::Body;

/// Past so many bits of sets all locals count as live everywhere.
const BITS: usize = 1 << 28;

/// Locals that are live: at loops as they begin (each time), at other operators after them. Before a call or a block they are the
/// same, as it changes none.
pub(super) fn live(body: &Body<'_>, at: &BTreeSet<usize>) -> BTreeMap<usize, Vec<u32>> {
    let graph = Graph::of(body);
    let words = body.locals.len().div_ceil(64);
    if graph.starts.len().saturating_mul(words * 64 * 3) > BITS {
        let all: Vec<u32> = (0..body.locals.len() as u32).collect();
        return at.iter().map(|op| (*op, all.clone())).collect();
    }
    let count = graph.starts.len();
    let mut before = vec![vec![0u64; words]; count];
    let mut moved = true;
    while moved {
        moved = false;
        for block in (0..count).rev() {
            let mut set = graph.after(block, &before, words);
            for op in graph.range(block, body).rev() {
                step(&body.ops[op], &mut set);
            }
            if set != before[block] {
                before[block] = set;
                moved = true;
            }
        }
    }
    let mut found = BTreeMap::new();
    for block in 0..count {
        let range = graph.range(block, body);
        if at.range(range.clone()).next().is_none() {
            continue;
        }
        let mut set = graph.after(block, &before, words);
        for op in range.rev() {
            let is_loop = matches!(body.ops[op], Operator::Loop { .. });
            if at.contains(&op) && !is_loop {
                found.insert(op, members(&set));
            }
            step(&body.ops[op], &mut set);
            if at.contains(&op) && is_loop {
                found.insert(op, members(&set));
            }
        }
    }
    found
}

/// What is live before an operator, of what is live after it.
fn step(op: &Operator<'_>, set: &mut [u64]) {
    match op {
        Operator::LocalGet { local_index } => set[*local_index as usize / 64] |= 1 << (local_index % 64),
        Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
            set[*local_index as usize / 64] &= !(1 << (local_index % 64));
        }
        _ => {}
    }
}

fn members(set: &[u64]) -> Vec<u32> {
    let bits = set.iter().enumerate().flat_map(|(word, bits)| {
        (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| word as u32 * 64 + bit)
    });
    bits.collect()
}

/// Basic blocks.
struct Graph {
    starts: Vec<usize>,
    /// Blocks that may follow.
    next: Vec<Vec<usize>>,
}

impl Graph {
    fn of(body: &Body<'_>) -> Self {
        let len = body.ops.len();
        let mut leaders = BTreeSet::from([0]);
        // Where each operator may lead besides the next one, and whether it leads there.
        let mut jumps: BTreeMap<usize, (Vec<usize>, bool)> = BTreeMap::new();
        let mut open: Vec<usize> = Vec::new();
        for (at, op) in body.ops.iter().enumerate() {
            let target = |depth: u32| -> Option<usize> {
                let outer = open.len().checked_sub(1 + depth as usize)?;
                let start = open[outer];
                Some(match body.ops[start] {
                    Operator::Loop { .. } => start,
                    _ => body.blocks[&start].end,
                })
            };
            // A branch to the function itself leads nowhere.
            match op {
                Operator::Block { .. } => open.push(at),
                Operator::Loop { .. } => {
                    leaders.insert(at);
                    open.push(at);
                }
                Operator::If { .. } => {
                    let block = body.blocks[&at];
                    let over = block.otherwise.map_or(block.end, |otherwise| otherwise + 1);
                    jumps.insert(at, (vec![over], true));
                    open.push(at);
                }
                Operator::Else => {
                    let end = open.last().map(|start| body.blocks[start].end);
                    jumps.insert(at, (end.into_iter().collect(), false));
                }
                Operator::End => {
                    leaders.insert(at);
                    open.pop();
                }
                Operator::Br { relative_depth } => {
                    jumps.insert(at, (target(*relative_depth).into_iter().collect(), false));
                }
                Operator::BrIf { relative_depth }
                | Operator::BrOnNull { relative_depth }
                | Operator::BrOnNonNull { relative_depth } => {
                    jumps.insert(at, (target(*relative_depth).into_iter().collect(), true));
                }
                Operator::BrTable { targets } => {
                    let all = targets.targets().flatten().chain([targets.default()]);
                    let to: BTreeSet<usize> = all.filter_map(target).collect();
                    jumps.insert(at, (to.into_iter().collect(), false));
                }
                Operator::Return
                | Operator::Unreachable
                | Operator::ReturnCall { .. }
                | Operator::ReturnCallIndirect { .. }
                | Operator::ReturnCallRef { .. } => {
                    jumps.insert(at, (Vec::new(), false));
                }
                _ => {}
            }
        }
        for (at, (to, _)) in &jumps {
            leaders.extend(to.iter().copied());
            leaders.insert(at + 1);
        }
        let starts: Vec<usize> = leaders.into_iter().filter(|at| *at < len).collect();
        let block_of = |at: usize| starts.partition_point(|start| *start <= at) - 1;
        let mut next = vec![Vec::new(); starts.len()];
        for (block, to) in next.iter_mut().enumerate() {
            let end = starts.get(block + 1).copied().unwrap_or(len);
            let (jumps, falls) =
                jumps.get(&(end - 1)).map_or((&[][..], true), |(to, falls)| (&to[..], *falls));
            to.extend(jumps.iter().map(|at| block_of(*at)));
            if falls && end < len {
                to.push(block_of(end));
            }
        }
        Self { starts, next }
    }

    fn range(&self, block: usize, body: &Body<'_>) -> std::ops::Range<usize> {
        self.starts[block]..self.starts.get(block + 1).copied().unwrap_or(body.ops.len())
    }

    fn after(&self, block: usize, before: &[Vec<u64>], words: usize) -> Vec<u64> {
        let mut set = vec![0; words];
        for next in &self.next[block] {
            for (word, more) in set.iter_mut().zip(&before[*next]) {
                *word |= more;
            }
        }
        set
    }
}
