//! Indices in the modules that the pass writes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use wasm_encoder::Instruction;
use wasm_encoder::reencode::{Error, Reencode, utils};
use wasmparser::{FuncType, Operator, ValType};

use super::emit::{Indices, Own};

/// What the program's own indices mean.
#[derive(Default)]
pub(super) struct Program {
    pub types: Vec<FuncType>,
    /// Type of each function, the imported ones first.
    pub functions: Vec<u32>,
    pub imports: u32,
    /// Operators that only the program's own module can carry out, and which of the helpers does it.
    pub helpers: BTreeMap<Helper, u32>,
}

/// A function that stands for one operator.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Helper {
    RefFunc(u32),
    MemoryInit { data: u32, memory: u32 },
    DataDrop(u32),
    TableInit { elem: u32, table: u32 },
    ElemDrop(u32),
}

impl Helper {
    pub fn of(op: &Operator<'_>) -> Option<Self> {
        Some(match *op {
            Operator::RefFunc { function_index } => Self::RefFunc(function_index),
            Operator::MemoryInit { data_index, mem } => Self::MemoryInit { data: data_index, memory: mem },
            Operator::DataDrop { data_index } => Self::DataDrop(data_index),
            Operator::TableInit { elem_index, table } => Self::TableInit { elem: elem_index, table },
            Operator::ElemDrop { elem_index } => Self::ElemDrop(elem_index),
            _ => return None,
        })
    }
}

impl Program {
    pub fn signature(&self, function: u32) -> (Vec<ValType>, Vec<ValType>) {
        self.of_type(self.functions[function as usize])
    }

    pub fn of_type(&self, ty: u32) -> (Vec<ValType>, Vec<ValType>) {
        let ty = &self.types[ty as usize];
        (ty.params().to_vec(), ty.results().to_vec())
    }
}

/// Function types of a module, those of the program first.
pub(super) struct Types {
    program: u32,
    known: BTreeMap<String, u32>,
    pub added: Vec<(Vec<ValType>, Vec<ValType>)>,
}

impl Types {
    /// `first`: how many the module has before.
    pub fn new(program: &Program, first: u32) -> Self {
        let own = (0..first).zip(&program.types);
        let mut known = BTreeMap::new();
        for (index, ty) in own {
            known.entry(key(ty.params(), ty.results())).or_insert(index);
        }
        Self { program: first, known, added: Vec::new() }
    }

    pub fn find(&mut self, params: &[ValType], results: &[ValType]) -> u32 {
        let next = self.program + self.added.len() as u32;
        *self.known.entry(key(params, results)).or_insert_with(|| {
            self.added.push((params.to_vec(), results.to_vec()));
            next
        })
    }
}

fn key(params: &[ValType], results: &[ValType]) -> String {
    format!("{params:?}{results:?}")
}

/// Indices in the program's own module after the pass.
pub(super) struct Base {
    pub program: Arc<Program>,
    pub types: Types,
    /// Functions that stand for imported ones.
    pub stand_ins: BTreeMap<u32, u32>,
    pub own: Own,
    /// The first of the helpers.
    pub helpers: u32,
}

impl Reencode for Base {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Error<Infallible>> {
        Ok(match function.checked_sub(self.program.imports) {
            Some(_) => function + 1,
            None => self.stand_ins.get(&function).copied().unwrap_or(function),
        })
    }

    /// Imported memories come first, and the host's is one.
    fn memory_index(&mut self, memory: u32) -> Result<u32, Error<Infallible>> {
        Ok(memory + 1)
    }
}

impl Indices for Base {
    fn ty(&mut self, params: &[ValType], results: &[ValType]) -> u32 {
        self.types.find(params, results)
    }

    fn signature(&self, function: u32) -> (Vec<ValType>, Vec<ValType>) {
        self.program.signature(function)
    }

    fn of_type(&self, ty: u32) -> (Vec<ValType>, Vec<ValType>) {
        self.program.of_type(ty)
    }

    fn own(&self) -> &Own {
        &self.own
    }

    fn instead(&mut self, op: &Operator<'_>) -> Option<Instruction<'static>> {
        // Dropping is noted.
        let helper = Helper::of(op).filter(|h| matches!(h, Helper::DataDrop(_) | Helper::ElemDrop(_)))?;
        Some(Instruction::Call(self.helpers + self.program.helpers[&helper]))
    }
}

/// Indices in a module that goes on with frames: it imports what it needs of the program's.
pub(super) struct Rest {
    pub program: Arc<Program>,
    pub types: Types,
    pub own: Own,
    pub functions: Vec<Imported>,
    pub memories: Vec<u32>,
    pub tables: Vec<u32>,
    pub globals: Vec<u32>,
}

/// A function of the program's module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Imported {
    /// Of the host.
    Poll,
    Reserve,
    /// As the program counts them.
    Own(u32),
    Helper(Helper, u32),
}

impl Rest {
    fn function(&mut self, function: Imported) -> u32 {
        place(&mut self.functions, function)
    }
}

pub(super) fn place<T: PartialEq>(list: &mut Vec<T>, item: T) -> u32 {
    let found = list.iter().position(|other| *other == item);
    found.unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    }) as u32
}

impl Reencode for Rest {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Error<Infallible>> {
        Ok(self.function(Imported::Own(function)))
    }

    fn memory_index(&mut self, memory: u32) -> Result<u32, Error<Infallible>> {
        Ok(place(&mut self.memories, memory) + 2)
    }

    fn table_index(&mut self, table: u32) -> Result<u32, Error<Infallible>> {
        Ok(place(&mut self.tables, table) + 1)
    }

    fn global_index(&mut self, global: u32) -> Result<u32, Error<Infallible>> {
        Ok(place(&mut self.globals, global) + 1)
    }

    fn type_index(&mut self, ty: u32) -> Result<u32, Error<Infallible>> {
        let (params, results) = self.program.of_type(ty);
        Ok(self.types.find(&params, &results))
    }

    fn mem_arg(&mut self, arg: wasmparser::MemArg) -> Result<wasm_encoder::MemArg, Error<Infallible>> {
        utils::mem_arg(self, arg)
    }
}

impl Indices for Rest {
    fn ty(&mut self, params: &[ValType], results: &[ValType]) -> u32 {
        self.types.find(params, results)
    }

    fn signature(&self, function: u32) -> (Vec<ValType>, Vec<ValType>) {
        self.program.signature(function)
    }

    fn of_type(&self, ty: u32) -> (Vec<ValType>, Vec<ValType>) {
        self.program.of_type(ty)
    }

    fn own(&self) -> &Own {
        &self.own
    }

    fn instead(&mut self, op: &Operator<'_>) -> Option<Instruction<'static>> {
        let helper = Helper::of(op)?;
        let number = self.program.helpers[&helper];
        Some(Instruction::Call(self.function(Imported::Helper(helper, number))))
    }
}
