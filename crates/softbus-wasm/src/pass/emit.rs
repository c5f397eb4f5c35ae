//! Writes functions that can be stopped and gone on with.
//!
//! A function gets a block around its body for each of its sites; behind the end of each stands what saves the frame:
//!
//! ```text
//! block $asked (result i32)       ;; if it asks anywhere
//!   block $site_1                 ;; for a call: (result exnref)
//!     block $site_0
//!       block $own
//!         …  try_table (catch_ref $stop $site_1)  call f  end  …
//!         loop  (br_if $site_0 (i32.load $ask 0))  …
//!       end
//!       return
//!     end
//!     …save the frame, (br $asked (i32.const 0))
//!   end
//!   …save the frame, throw on
//! end
//! (if (call $poll (site))  (throw $stop))
//! (return_call_indirect $rest (site))
//! ```
//!
//! So no call stands in a loop that is for asking only: around it everything would have to be kept as calls keep it. It costs that
//! a program which asked and is not to stop goes on in the function that goes on with the frame, as it would elsewhere. Where that
//! function would be a large one the program asks in the loop, with nothing saved, and saves its frame if it is to stop.

use std::borrow::Cow;

use wasm_encoder::reencode::Reencode;
use wasm_encoder::{BlockType, Catch, Encode, Instruction, MemArg, RefType, ValType as Val};
use wasmparser::{Operator, ValType};

use super::Refusal;
use super::body::{Block, Body};
use super::frame::{Frames, Kind, Place};
use super::module::AskMemory;

/// Where things of the pass's own stand in a module.
pub(super) struct Own {
    /// Function `(i32) -> i32`: asks the host, for a site at which the frame is saved, or [`UNSAVED`]. 1 to stop; else there is now
    /// a function that goes on with it.
    pub poll: u32,
    /// Function `(i32) -> i32`: room for a frame, and where it begins.
    pub reserve: u32,
    /// The exception that unwinds.
    pub tag: u32,
    /// The memory that is the host's, which says whether it wants to be asked, and who writes it.
    pub ask: u32,
    pub asked: AskMemory,
    /// The memory of frames and notes.
    pub side: u32,
    /// The end of the frames saved.
    pub top: u32,
    /// Where the functions stand that go on with frames, each at the number of its site.
    pub table: u32,
    /// How many data segments there are.
    pub data: u32,
    /// Where frames begin.
    pub frames: u32,
}

/// Stands for a site where the program asks with nothing saved: nothing is needed to go on.
pub const UNSAVED: u32 = u32::MAX;
/// Word of the host's memory that is not zero if the program is to ask.
pub(crate) const ASK: u64 = 0;
/// Word of the side memory that is not zero after a call out that has not happened: the program is to stop, and call anew.
pub(crate) const AGAIN: u64 = 4;
/// From here on a byte for each data segment, then for each element segment: 1 if it has been dropped.
pub(crate) const NOTES: u32 = 8;

/// Indices of one module, as operators need them.
pub(super) trait Indices: Reencode<Error = std::convert::Infallible> {
    /// A function type.
    fn ty(&mut self, params: &[ValType], results: &[ValType]) -> u32;
    /// Parameters and results of a function, as the program counts them.
    fn signature(&self, function: u32) -> (Vec<ValType>, Vec<ValType>);
    /// Of a type, as the program counts them.
    fn of_type(&self, ty: u32) -> (Vec<ValType>, Vec<ValType>);
    fn own(&self) -> &Own;
    /// What stands for an operator that needs something which this module does not have itself.
    fn instead(&mut self, op: &Operator<'_>) -> Option<Instruction<'static>>;
}

/// A function's code, and where in it branches stand that are hardly ever taken.
pub(super) struct Code {
    pub bytes: Vec<u8>,
    pub unlikely: Vec<u32>,
}

pub(super) struct Emit<'e, 'a, I> {
    indices: &'e mut I,
    body: &'e Body<'a>,
    frames: &'e mut Frames,
    /// Number of the function's first site among those of all.
    first_site: u32,
    results: Vec<ValType>,
    bytes: Vec<u8>,
    unlikely: Vec<usize>,
    /// Blocks that are open.
    depth: u32,
    /// Labels of what asks, of sites, of the whole body, and of the program's blocks that are open (with what stands beneath
    /// them).
    asked: Option<u32>,
    sites: Vec<u32>,
    whole: u32,
    open: Vec<(u32, usize)>,
}

impl<'e, 'a, I: Indices> Emit<'e, 'a, I> {
    pub fn new(
        indices: &'e mut I,
        body: &'e Body<'a>,
        frames: &'e mut Frames,
        first_site: u32,
        results: Vec<ValType>,
    ) -> Self {
        let sites = vec![0; frames.sites.len()];
        Self {
            indices,
            body,
            frames,
            first_site,
            results,
            bytes: Vec::new(),
            unlikely: Vec::new(),
            depth: 0,
            asked: None,
            sites,
            whole: 0,
            open: Vec::new(),
        }
    }

    /// The function itself.
    pub fn function(mut self) -> Result<Code, Refusal> {
        self.begin()?;
        if let Some(entry) = self.frames.find(Kind::Entry) {
            self.ask(entry);
        }
        self.range(0, self.body.ops.len() - 1)?;
        let params = self.body.params;
        self.finish(params)
    }

    /// The function as it is, for one that is never stopped.
    pub fn plainly(mut self) -> Result<Code, Refusal> {
        self.range(0, self.body.ops.len() - 1)?;
        let params = self.body.params;
        self.close(params)
    }

    /// What goes on with a frame that was saved at a site, and ends as the function would. Where it asked it does not ask again
    /// at once: it would get nowhere if each time it were to stop.
    pub fn rest(mut self, site: usize) -> Result<Code, Refusal> {
        let at = self.frames.sites[site].clone();
        self.begin()?;
        let own = self.indices.own();
        let (top, side) = (own.top, own.side);
        let frame = self.frames.home(Place::Frame, ValType::I32);
        self.put(Instruction::GlobalGet(top));
        self.put(Instruction::I32Const(at.bytes as i32));
        self.put(Instruction::I32Sub);
        self.put(Instruction::LocalTee(frame));
        self.put(Instruction::GlobalSet(top));
        for slot in &at.slots {
            self.put(Instruction::LocalGet(frame));
            self.put(load(slot.ty, u64::from(slot.offset), side));
            self.put(Instruction::LocalSet(slot.local));
        }
        match at.kind {
            Kind::Entry => self.range(0, self.body.ops.len() - 1)?,
            Kind::Before(op) | Kind::Loop(op) | Kind::Call(op) => {
                let own = matches!(at.kind, Kind::Loop(_));
                let path: Vec<usize> = self
                    .body
                    .blocks
                    .range(..=op)
                    .filter(|(start, block)| op < block.end && (**start < op || own))
                    .map(|(start, _)| *start)
                    .collect();
                self.resume(&path, site, at.kind, op)?;
            }
        }
        self.finish(0)
    }

    fn begin(&mut self) -> Result<(), Refusal> {
        if self.frames.sites.iter().any(|site| site.saved_first) {
            self.block(BlockType::Result(Val::I32));
            self.asked = Some(self.depth);
        }
        for site in (0..self.sites.len()).rev() {
            let ty = match self.frames.sites[site].kind {
                Kind::Call(_) => BlockType::Result(Val::Ref(RefType::EXNREF)),
                _ => BlockType::Empty,
            };
            self.block(ty);
            self.sites[site] = self.depth;
        }
        let ty = self.block_type(&[], &self.results.clone());
        self.block(ty);
        self.whole = self.depth;
        Ok(())
    }

    /// Ends the body, and saves frames. `params`: so many of the locals are parameters.
    fn finish(mut self, params: usize) -> Result<Code, Refusal> {
        self.end();
        self.put(Instruction::Return);
        let own = self.indices.own();
        let (reserve, tag, side, poll, table) = (own.reserve, own.tag, own.side, own.poll, own.table);
        let frame = if self.sites.is_empty() { 0 } else { self.frames.home(Place::Frame, ValType::I32) };
        for (number, site) in self.frames.sites.clone().iter().enumerate() {
            self.end();
            self.put(Instruction::I32Const(site.bytes as i32));
            self.put(Instruction::Call(reserve));
            self.put(Instruction::LocalSet(frame));
            for slot in &site.slots {
                self.put(Instruction::LocalGet(frame));
                self.put(Instruction::LocalGet(slot.local));
                self.put(store(slot.ty, u64::from(slot.offset), side));
            }
            self.put(Instruction::LocalGet(frame));
            self.put(Instruction::I32Const((self.first_site + number as u32) as i32));
            self.put(store(ValType::I32, u64::from(site.bytes) - 4, side));
            match (site.kind, self.asked) {
                (Kind::Call(_), _) => self.put(Instruction::ThrowRef),
                (_, Some(asked)) if site.saved_first => {
                    self.put(Instruction::I32Const((self.first_site + number as u32) as i32));
                    self.put(Instruction::Br(self.depth - asked));
                }
                _ => self.put(Instruction::Throw(tag)),
            }
        }
        if self.asked.is_some() {
            let ty = self.indices.ty(&[], &self.results.clone());
            self.end();
            self.put(Instruction::LocalTee(frame));
            self.put(Instruction::Call(poll));
            self.put(Instruction::If(BlockType::Empty));
            self.put(Instruction::Throw(tag));
            self.put(Instruction::End);
            self.put(Instruction::LocalGet(frame));
            self.put(Instruction::ReturnCallIndirect { type_index: ty, table_index: table });
        }
        self.close(params)
    }

    fn close(mut self, params: usize) -> Result<Code, Refusal> {
        self.put(Instruction::End);
        let mut bytes = Vec::new();
        let types = self.body.locals[params..].iter().chain(&self.frames.homes);
        let mut runs: Vec<(u32, ValType)> = Vec::new();
        for ty in types {
            match runs.last_mut() {
                Some((count, last)) if last == ty => *count += 1,
                _ => runs.push((1, *ty)),
            }
        }
        (runs.len() as u32).encode(&mut bytes);
        for (count, ty) in runs {
            count.encode(&mut bytes);
            self.indices.val_type(ty)?.encode(&mut bytes);
        }
        let before = bytes.len();
        bytes.extend(self.bytes);
        let unlikely = self.unlikely.iter().map(|at| (before + at) as u32).collect();
        Ok(Code { bytes, unlikely })
    }

    /// Goes on inside blocks: `path` says which, the outermost first.
    fn resume(&mut self, path: &[usize], site: usize, kind: Kind, op: usize) -> Result<(), Refusal> {
        let whole = self.body.ops.len() - 1;
        // Of each block entered: where its code ends in the one around it, and the label behind it.
        let mut entered: Vec<(usize, usize, u32)> = Vec::with_capacity(path.len());
        let (mut to, mut base) = (whole, 0);
        for &start in path {
            let block = self.body.blocks[&start];
            self.push(start, base, block.base);
            let (params, results) = self.types(&block);
            let ty = self.block_type(&[], &results);
            self.block(ty);
            entered.push((start, to, self.depth));
            base = block.base;
            to = block.end;
            if let Operator::Loop { .. } = self.body.ops[start] {
                // The rest of this iteration; if it comes to another, the whole loop.
                let ty = self.block_type(&[], &params);
                self.block(ty);
            } else if let Some(otherwise) = block.otherwise.filter(|otherwise| op < *otherwise) {
                to = otherwise;
            }
            self.open.push((self.depth, base));
        }
        let stack = self.body.stacks[&op].len();
        if matches!(kind, Kind::Call(_)) {
            self.push(op, base, stack - self.args(op));
            self.go_on(op, site);
        } else {
            self.push(op, base, stack);
            // Of a loop, with which `path` ends, the iteration that it asked before.
            if !matches!(kind, Kind::Loop(_)) {
                self.operator(op)?;
            }
        }
        self.range(op + 1, to)?;
        while let Some((start, to, out)) = entered.pop() {
            let block = self.body.blocks[&start];
            self.open.pop();
            if let Operator::Loop { .. } = self.body.ops[start] {
                self.put(Instruction::Br(self.depth - out));
                self.end();
                // What stands beneath it is outside.
                self.opens(start, block.base)?;
                self.range(start + 1, block.end + 1)?;
            }
            self.end();
            self.range(block.end + 1, to)?;
        }
        Ok(())
    }

    /// Puts what stood on the operand stack before an operator, from one depth up to another, back there.
    fn push(&mut self, op: usize, from: usize, to: usize) {
        for depth in from..to {
            let ty = self.body.stacks[&op][depth];
            let home = self.frames.home(Place::Operand(depth), ty);
            self.put(Instruction::LocalGet(home));
        }
    }

    /// Keeps it, and leaves it there; all of it that is above `base`.
    fn keep(&mut self, op: usize, base: usize) {
        let stack = &self.body.stacks[&op];
        let homes: Vec<u32> =
            (base..stack.len()).map(|depth| self.frames.home(Place::Operand(depth), stack[depth])).collect();
        homes.iter().rev().for_each(|home| self.put(Instruction::LocalSet(*home)));
        homes.iter().for_each(|home| self.put(Instruction::LocalGet(*home)));
    }

    /// Calls the function that goes on with the frame above.
    fn go_on(&mut self, op: usize, site: usize) {
        let results = match self.body.ops[op] {
            Operator::Call { function_index } => self.indices.signature(function_index).1,
            Operator::CallIndirect { type_index, .. } => self.indices.of_type(type_index).1,
            _ => Vec::new(),
        };
        let ty = self.indices.ty(&[], &results);
        let own = self.indices.own();
        let (top, side, table) = (own.top, own.side, own.table);
        self.try_stop(BlockType::FunctionType(ty), site);
        self.put(Instruction::GlobalGet(top));
        self.put(Instruction::I32Const(4));
        self.put(Instruction::I32Sub);
        self.put(load(ValType::I32, 0, side));
        self.put(Instruction::CallIndirect { type_index: ty, table_index: table });
        self.end();
    }

    fn try_stop(&mut self, ty: BlockType, site: usize) {
        let label = self.depth - self.sites[site];
        let tag = self.indices.own().tag;
        self.put(Instruction::TryTable(ty, Cow::Owned(vec![Catch::OneRef { tag, label }])));
        self.depth += 1;
    }

    /// Leaves for a site if the host wants to be asked.
    fn ask(&mut self, site: usize) {
        let own = self.indices.own();
        let (ask, asked, poll) = (own.ask, own.asked, own.poll);
        self.put(Instruction::I32Const(0));
        self.put(match asked {
            // Atomic, for what another thread writes: of two loads that are not an engine may leave one out, and in a loop that
            // stores nothing and calls nothing it does.
            AskMemory::Shared => Instruction::I32AtomicLoad(at(ASK, 2, ask)),
            AskMemory::Plain => load(ValType::I32, ASK, ask),
        });
        self.unlikely.push(self.bytes.len());
        if self.frames.sites[site].saved_first {
            self.put(Instruction::BrIf(self.depth - self.sites[site]));
            return;
        }
        self.put(Instruction::If(BlockType::Empty));
        self.depth += 1;
        self.put(Instruction::I32Const(UNSAVED as i32));
        self.put(Instruction::Call(poll));
        self.put(Instruction::BrIf(self.depth - self.sites[site]));
        self.end();
    }

    fn range(&mut self, from: usize, to: usize) -> Result<(), Refusal> {
        for at in from..to {
            if let Some(site) = self.frames.find(Kind::Before(at)) {
                let base = self.base();
                if self.body.stacks[&at].len() > base {
                    self.keep(at, base);
                }
                self.ask(site);
            }
            self.operator(at)?;
        }
        Ok(())
    }

    fn operator(&mut self, at: usize) -> Result<(), Refusal> {
        let op = &self.body.ops[at];
        match op {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                self.opens(at, self.base())?;
            }
            Operator::End => {
                self.open.pop();
                self.end();
            }
            Operator::Br { relative_depth } => {
                let label = self.label(*relative_depth);
                self.put(Instruction::Br(label));
            }
            Operator::BrIf { relative_depth } => {
                let label = self.label(*relative_depth);
                self.put(Instruction::BrIf(label));
            }
            Operator::BrTable { targets } => {
                let mut labels = Vec::with_capacity(targets.len() as usize);
                for target in targets.targets() {
                    labels.push(self.label(target?));
                }
                let default = self.label(targets.default());
                self.put(Instruction::BrTable(Cow::Owned(labels), default));
            }
            Operator::BrOnNull { relative_depth } => {
                let label = self.label(*relative_depth);
                self.put(Instruction::BrOnNull(label));
            }
            Operator::BrOnNonNull { relative_depth } => {
                let label = self.label(*relative_depth);
                self.put(Instruction::BrOnNonNull(label));
            }
            Operator::Call { .. } | Operator::CallIndirect { .. } => self.call(at)?,
            _ => self.plain(op)?,
        }
        Ok(())
    }

    /// What stands beneath the block that is open.
    fn base(&self) -> usize {
        self.open.last().map_or(0, |(_, base)| *base)
    }

    fn plain(&mut self, op: &Operator<'a>) -> Result<(), Refusal> {
        let instruction = match self.indices.instead(op) {
            Some(instead) => instead,
            None => self.indices.instruction(op.clone())?,
        };
        self.put(instruction);
        Ok(())
    }

    fn call(&mut self, at: usize) -> Result<(), Refusal> {
        let op = &self.body.ops[at];
        let Some(site) = self.frames.find(Kind::Call(at)) else { return self.plain(op) };
        let base = self.base();
        if self.body.stacks[&at].len() - self.args(at) > base {
            self.keep(at, base);
        }
        let (mut params, results) = match op {
            Operator::Call { function_index } => self.indices.signature(*function_index),
            Operator::CallIndirect { type_index, .. } => self.indices.of_type(*type_index),
            _ => Default::default(),
        };
        if matches!(op, Operator::CallIndirect { .. }) {
            params.push(ValType::I32);
        }
        let ty = self.block_type(&params, &results);
        self.try_stop(ty, site);
        self.plain(op)?;
        self.end();
        Ok(())
    }

    /// How many values of the operand stack a call takes.
    fn args(&self, at: usize) -> usize {
        match self.body.ops[at] {
            Operator::Call { function_index } => self.indices.signature(function_index).0.len(),
            Operator::CallIndirect { type_index, .. } => self.indices.of_type(type_index).0.len() + 1,
            _ => 0,
        }
    }

    /// Opens a block; what stands on the operand stack above `base` is kept if the program may be stopped in it.
    fn opens(&mut self, at: usize, base: usize) -> Result<(), Refusal> {
        let op = &self.body.ops[at];
        let block = self.body.blocks[&at];
        let holds = self.frames.any_in(at..block.end);
        // The condition of an `if` is kept, too, which does no harm.
        if holds && self.body.stacks[&at].len() > base {
            self.keep(at, base);
        }
        self.plain(op)?;
        self.depth += 1;
        self.open.push((self.depth, block.base));
        if let Some(site) = self.frames.find(Kind::Loop(at)) {
            // At each iteration its parameters may be others.
            if self.body.stacks[&at].len() > block.base {
                self.keep(at, block.base);
            }
            self.ask(site);
        }
        Ok(())
    }

    fn label(&self, relative: u32) -> u32 {
        let own = self.open.len().checked_sub(1 + relative as usize);
        self.depth - own.map_or(self.whole, |own| self.open[own].0)
    }

    fn types(&self, block: &Block) -> (Vec<ValType>, Vec<ValType>) {
        match block.ty {
            wasmparser::BlockType::Empty => Default::default(),
            wasmparser::BlockType::Type(ty) => (Vec::new(), vec![ty]),
            wasmparser::BlockType::FuncType(ty) => self.indices.of_type(ty),
        }
    }

    fn block_type(&mut self, params: &[ValType], results: &[ValType]) -> BlockType {
        match (params, results) {
            ([], []) => BlockType::Empty,
            ([], [ValType::I32]) => BlockType::Result(Val::I32),
            ([], [ValType::I64]) => BlockType::Result(Val::I64),
            ([], [ValType::F32]) => BlockType::Result(Val::F32),
            ([], [ValType::F64]) => BlockType::Result(Val::F64),
            _ => BlockType::FunctionType(self.indices.ty(params, results)),
        }
    }

    fn block(&mut self, ty: BlockType) {
        self.put(Instruction::Block(ty));
        self.depth += 1;
    }

    fn end(&mut self) {
        self.put(Instruction::End);
        self.depth -= 1;
    }

    fn put(&mut self, instruction: Instruction<'_>) {
        instruction.encode(&mut self.bytes);
    }
}

fn at(offset: u64, align: u32, memory: u32) -> MemArg {
    MemArg { offset, align, memory_index: memory }
}

pub(super) fn load(ty: ValType, offset: u64, memory: u32) -> Instruction<'static> {
    match ty {
        ValType::I32 | ValType::Ref(_) => Instruction::I32Load(at(offset, 2, memory)),
        ValType::I64 => Instruction::I64Load(at(offset, 3, memory)),
        ValType::F32 => Instruction::F32Load(at(offset, 2, memory)),
        ValType::F64 => Instruction::F64Load(at(offset, 3, memory)),
        ValType::V128 => Instruction::V128Load(at(offset, 4, memory)),
    }
}

pub(super) fn store(ty: ValType, offset: u64, memory: u32) -> Instruction<'static> {
    match ty {
        ValType::I32 | ValType::Ref(_) => Instruction::I32Store(at(offset, 2, memory)),
        ValType::I64 => Instruction::I64Store(at(offset, 3, memory)),
        ValType::F32 => Instruction::F32Store(at(offset, 2, memory)),
        ValType::F64 => Instruction::F64Store(at(offset, 3, memory)),
        ValType::V128 => Instruction::V128Store(at(offset, 4, memory)),
    }
}
