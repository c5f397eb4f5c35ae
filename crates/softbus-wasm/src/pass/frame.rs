//! Where a function's frame may be saved, and how it looks then.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use wasmparser::{Operator, ValType};

use super::Refusal;
use super::body::Body;
use super::live::live;

/// Most values that all frames of one function hold together, each place at which it may be saved counted.
const SLOTS: usize = 1 << 21;

/// Most operators of what goes on with a frame, and most values that all frames of its function hold together, if the frame is saved whenever the program asks there: then it is compiled while the
/// program runs, and perhaps at many places.
const QUICK: usize = 1 << 14;

/// A place at which a frame may be saved.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub kind: Kind,
    /// What of the frame is saved, and where in it.
    pub slots: Vec<Slot>,
    /// Size of the saved frame, its last word included, which says of which site it is.
    pub bytes: u32,
    /// It is saved before the host is asked, and what goes on with it goes on also if the program is not to stop.
    pub saved_first: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    /// As the function begins.
    Entry,
    /// Before this operator, a call or a block, which is in no loop.
    Before(usize),
    /// At the head of the loop at this operator, before each iteration.
    Loop(usize),
    /// In the call at this operator.
    Call(usize),
}

impl Kind {
    /// The operator.
    pub fn op(self) -> Option<usize> {
        match self {
            Self::Entry => None,
            Self::Before(op) | Self::Loop(op) | Self::Call(op) => Some(op),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub local: u32,
    pub ty: ValType,
    pub offset: u32,
}

/// The sites of a function, and the locals that keep what stands on its operand stack.
#[derive(Clone)]
pub(super) struct Frames {
    pub sites: Vec<Site>,
    /// Types of the locals beyond the function's own.
    pub homes: Vec<ValType>,
    by_place: BTreeMap<(Place, u8), u32>,
    by_kind: BTreeMap<Kind, usize>,
    ops: BTreeSet<usize>,
    own: u32,
}

/// What a local beyond the function's own is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Place {
    /// A value of the operand stack at this depth, counted from the bottom.
    Operand(usize),
    /// Where a frame begins.
    Frame,
}

impl Frames {
    /// Of a function that is never stopped.
    pub fn none(body: &Body<'_>) -> Self {
        Self {
            sites: Vec::new(),
            homes: Vec::new(),
            by_place: BTreeMap::new(),
            by_kind: BTreeMap::new(),
            ops: BTreeSet::new(),
            own: body.locals.len() as u32,
        }
    }

    /// Of one that may be saved at these `places`; `args` says how many values a call takes.
    ///
    /// # Errors
    /// It holds what cannot be saved, or too much.
    pub fn of(
        body: &Body<'_>,
        places: &BTreeSet<Kind>,
        args: impl Fn(usize) -> usize,
    ) -> Result<Self, Refusal> {
        let mut frames = Self::none(body);
        frames.ops = places.iter().filter_map(|kind| kind.op()).collect();
        let needed = live(body, &frames.ops);
        let rests = rests(body);
        let mut total = 0;
        for kind in places {
            let mut held: Vec<(u32, ValType)> = Vec::new();
            match kind {
                Kind::Entry => held.extend((0..).zip(body.locals[..body.params].iter().copied())),
                Kind::Before(op) | Kind::Loop(op) | Kind::Call(op) => {
                    let stack = &body.stacks[op];
                    // A loop's parameters are saved, the arguments of a call that has begun are not.
                    let taken = if matches!(kind, Kind::Call(_)) { args(*op) } else { 0 };
                    for (depth, ty) in stack[..stack.len() - taken].iter().enumerate() {
                        held.push((frames.home(Place::Operand(depth), *ty), *ty));
                    }
                    let locals = needed.get(op).map_or(&[][..], |locals| locals);
                    held.extend(locals.iter().map(|local| (*local, body.locals[*local as usize])));
                }
            }
            total += held.len();
            if total > SLOTS {
                return Err(Refusal::new(format!(
                    "its frames hold more than {SLOTS} values where it may be stopped"
                )));
            }
            let (slots, bytes) = layout(&held)?;
            let saved_first = match kind {
                Kind::Entry | Kind::Before(_) => body.ops.len() <= QUICK,
                Kind::Loop(op) => rests.get(op).is_some_and(|operators| *operators <= QUICK),
                Kind::Call(_) => false,
            };
            frames.by_kind.insert(*kind, frames.sites.len());
            frames.sites.push(Site { kind: *kind, slots, bytes, saved_first });
        }
        // What goes on with one of its frames can save all others, too.
        if total > QUICK {
            frames.sites.iter_mut().for_each(|site| site.saved_first = false);
        }
        Ok(frames)
    }

    /// The local for something.
    pub fn home(&mut self, place: Place, ty: ValType) -> u32 {
        let next = self.own + self.homes.len() as u32;
        *self.by_place.entry((place, code(ty))).or_insert_with(|| {
            self.homes.push(ty);
            next
        })
    }

    /// The number of a site.
    pub fn find(&self, kind: Kind) -> Option<usize> {
        self.by_kind.get(&kind).copied()
    }

    /// Whether there is a site among these operators.
    pub fn any_in(&self, ops: Range<usize>) -> bool {
        self.ops.range(ops).next().is_some()
    }
}

/// Of each loop: operators of what goes on there, at most. It has the iteration, and then the whole loop again, of each loop that the
/// site is in.
fn rests(body: &Body<'_>) -> BTreeMap<usize, usize> {
    let mut open: Vec<(usize, usize)> = Vec::new();
    let mut rests = BTreeMap::new();
    for (start, block) in &body.blocks {
        if !matches!(body.ops[*start], Operator::Loop { .. }) {
            continue;
        }
        while open.pop_if(|(end, _)| *end < *start).is_some() {}
        let around = open.last().map_or(body.ops.len(), |(_, operators)| *operators);
        let operators = around + (block.end - start);
        open.push((block.end, operators));
        rests.insert(*start, operators);
    }
    rests
}

/// Where values stand in a frame, and how large it is with the word that says of which site it is.
pub(super) fn layout(held: &[(u32, ValType)]) -> Result<(Vec<Slot>, u32), Refusal> {
    let mut offset = 0;
    let mut slots = Vec::with_capacity(held.len());
    for (local, ty) in held {
        slots.push(Slot { local: *local, ty: *ty, offset });
        offset += match ty {
            ValType::I32 | ValType::F32 => 4,
            ValType::I64 | ValType::F64 => 8,
            ValType::V128 => 16,
            ValType::Ref(_) => return Err(Refusal::new("it holds a reference where it may be stopped")),
        };
    }
    Ok((slots, offset + 4))
}

/// A number for each type of which a value may stand on the operand stack.
fn code(ty: ValType) -> u8 {
    match ty {
        ValType::I32 => 0,
        ValType::I64 => 1,
        ValType::F32 => 2,
        ValType::F64 => 3,
        ValType::V128 => 4,
        ValType::Ref(ty) if ty.is_func_ref() => 5,
        ValType::Ref(_) => 6,
    }
}
